"""The task board: users and their tasks.

Every answer needs the name of a user, which another service knows. ``TASKBOARD_VARIANT`` says how
it is asked: the difference is in `users`, or, if ``REDIS_URL`` says where users are kept, in
`caching`; and nowhere else. Start it with ``uvicorn --factory taskboard.app:create``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from .store import Task, TaskStore
from .user_service import USERS
from .users import VARIANTS, FindUser, User, bare


class NewTask(BaseModel):
    title: str
    assignee: int


def create() -> FastAPI:
    user_service_url = os.environ.get("TASKBOARD_USER_SERVICE", "http://127.0.0.1:8001")
    database = os.environ.get("TASKBOARD_DATABASE", "taskboard.sqlite")
    variant = os.environ.get("TASKBOARD_VARIANT", "holdfast")
    redis_url = os.environ.get("REDIS_URL")

    http = httpx.AsyncClient(base_url=user_service_url)
    find_user: FindUser = VARIANTS[variant](http)
    tasks = TaskStore(database, USERS)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        nonlocal find_user
        async with http:
            if redis_url:
                from . import caching

                async with caching.VARIANTS[variant](bare(http), redis_url) as find_user:
                    yield
            else:
                yield
        tasks.close()

    app = FastAPI(title=f"Task board ({variant})", lifespan=lifespan)

    @app.get("/tasks/{task_id}")
    async def task(task_id: int) -> dict[str, Any]:
        found = await asyncio.to_thread(tasks.get, task_id)
        if found is None:
            raise HTTPException(404, f"there is no task {task_id}")
        return shown(await find_user(found.assignee), found)

    @app.post("/tasks", status_code=201)
    async def add_task(new: NewTask) -> dict[str, Any]:
        assignee = await find_user(new.assignee)
        return shown(assignee, await asyncio.to_thread(tasks.add, new.title, new.assignee))

    @app.get("/users/{user_id}")
    async def user(user_id: int) -> dict[str, Any]:
        found = await asyncio.to_thread(tasks.of_user, user_id)
        return shown(await find_user(user_id), *found)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok", "variant": variant}

    @app.exception_handler(httpx.HTTPStatusError)
    async def refused(request: Request, error: httpx.HTTPStatusError) -> JSONResponse:
        """What the user service says no to is missing here too; the rest is its own trouble."""
        status = 404 if error.response.status_code == 404 else 502
        return JSONResponse({"detail": "the user service refused"}, status)

    @app.exception_handler(httpx.HTTPError)
    async def unreachable(request: Request, error: httpx.HTTPError) -> JSONResponse:
        return JSONResponse({"detail": "the user service does not answer"}, 503)

    if redis_url:
        from redis.exceptions import RedisError

        @app.exception_handler(RedisError)
        async def cache_trouble(request: Request, error: RedisError) -> JSONResponse:
            return JSONResponse({"detail": "the cache does not answer"}, 503)

    return app


def shown(user: User, *tasks: Task) -> dict[str, Any]:
    """An answer says openly when it is not the whole truth."""
    return {
        "user": {"id": user.id, "name": user.name},
        "tasks": [{"id": task.id, "title": task.title} for task in tasks],
        "degraded": user.degraded,
        "stale": user.stale,
        "source": user.source,
    }
