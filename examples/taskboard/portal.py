"""The portal: eight features on five dependencies, and what is left of each in an outage.

Each feature says how it copes: a chain of sources, the last good answer, a default, an answer with
parts missing, or not at all. What comes out of it, outage by outage, is in `promises`. A response
that is less than full says so in its header ``X-Degraded``.

Start it with ``uvicorn --factory taskboard.portal:create``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from holdfast import CircuitBreaker, Pipeline, Resilience, ResilienceError, Timeout
from holdfast.cache import Status
from holdfast.cache.lifeline import TierState
from holdfast.degradation import CacheFallback, FallbackStep, Level, Served
from holdfast.degradation.web import DegradedHeader

from .dependencies import Dependencies

PATIENCE = 0.25
"""Seconds that a dependency may take."""
KEPT = 3600.0
"""Seconds for which an answer is good enough in an emergency."""

NOBODY = "/avatars/nobody.png"


class SwitchedOffError(Exception):
    """The feature is off because there are more important ones."""


class Portal:
    """What the portal can do. Every method gives an answer, or raises why there is none."""

    def __init__(self, on: Dependencies, resilience: Resilience) -> None:
        self._on = on
        self.resilience = resilience
        self._degradation = resilience.degradation
        self._database = self._guard("database")
        self._users = self._guard("users")
        self._avatars = self._guard("avatars")
        self._recommendations = self._guard("recommendations")
        # Only copies that Redis vouches for: profiles change, and memory might not hear of it.
        self._copies = resilience.cache.namespace("profiles", ttl=KEPT, fallback_to_memory=False)
        self._counters = resilience.cache.namespace("counters")
        self._search = self._degradation.features.declare("search", tier=2)
        self._ideas = self._degradation.features.declare("recommendations", tier=3)
        self.avatar = self._degradation.with_fallbacks(
            "avatar", FallbackStep("nobody", value=NOBODY)
        )(self._avatars(on.avatars.avatar))
        self._declare_health()

    def _guard(self, name: str) -> Pipeline:
        # No retry: in an outage the next best answer is sooner there than another attempt.
        return self.resilience.pipeline(
            name, CircuitBreaker(failure_threshold=3, reset_timeout=5.0), Timeout(PATIENCE)
        )

    def _declare_health(self) -> None:
        health = self.resilience.health
        health.component("database", critical=True)
        for name in ("cache", "users", "avatars", "recommendations"):
            health.component(name)
        health.component("tasks", depends_on=["database"], uses=["avatars", "recommendations"])
        health.component("profile", uses=["database", "cache"])
        health.component("person", uses=["users", "cache"])
        health.component("avatar", uses=["avatars"])

        @health.check("cache", interval=1.0)
        async def redis_is_used() -> bool:
            return self.resilience.cache.state is TierState.UP

    async def profile(self, user: int) -> Served[Any]:
        """The database's answer, else a copy of it, else what is known of everybody."""
        served: Served[Any] = await self._degradation.execute_with_fallback_chain(
            "profile",
            [
                FallbackStep(
                    "database",
                    lambda: self._on.database.user(user),
                    priority=100,
                    pipeline=self._database,
                ),
                FallbackStep("cache", lambda: self._copy(user), priority=80),
                FallbackStep("basic", value={"id": user}, priority=50),
            ],
        )
        if not served.degraded:
            await self._copies.set(str(user), served.value)
        return served

    async def _copy(self, user: int) -> Served[Any]:
        found = await self._copies.lookup(str(user))
        if found.status is not Status.HIT:
            raise LookupError("there is no copy")
        return Served(found.value, Level.CACHED, age=found.age)

    async def person(self, user: int) -> Served[Any]:
        """The user service's answer, else its last good one, else a stranger."""
        return await self._degradation.execute_with_degradation(
            "person",
            FallbackStep("user service", lambda: self._on.users.person(user), pipeline=self._users),
            cache_fallback=CacheFallback(key=str(user), ttl=KEPT),
            fallback_data={"id": user, "name": "Unknown User"},
        )

    async def tasks(self, user: int) -> Served[Any]:
        """The tasks, and around them whatever can be had."""
        on, step = self._on, FallbackStep
        return await self._degradation.compose(
            "tasks",
            essential={
                "tasks": step("database", lambda: on.database.tasks(user), pipeline=self._database)
            },
            optional={
                "avatar": step("avatars", lambda: on.avatars.avatar(user), pipeline=self._avatars),
                "recommendations": lambda: self._recommended(user),
                "views": lambda: self._counters.incr(f"views of {user}"),
            },
        )

    async def _recommended(self, user: int) -> list[str]:
        if not self._ideas.enabled:
            raise SwitchedOffError
        return await self._recommendations.acall(self._on.recommendations.of, user)

    async def search(self, words: str) -> list[str]:
        """Users by their names, unless there are more important things to do."""
        if not self._search.enabled:
            raise SwitchedOffError
        return await self._database.acall(self._on.database.search, words)

    async def sign_in(self, user: int) -> dict[str, Any]:
        """A session. All processes number them together, so without the cache there is none."""
        person = await self._users.acall(self._on.users.person, user)
        return {"user": person, "session": await self._counters.incr("sessions")}

    async def admin(self) -> dict[str, int]:
        """The totals. Nothing but the truth will do."""
        return await self._database.acall(self._on.database.totals)

    async def status(self) -> dict[str, Any]:
        """How everything is doing, and why."""
        health = self.resilience.health.snapshot()
        return {
            "system": health.system.status,
            "reason": health.system.reason,
            "components": {each.name: each.status for each in health.components},
        }


def create(dependencies: Dependencies | None = None) -> FastAPI:
    on = Dependencies() if dependencies is None else dependencies
    portal = Portal(on, Resilience(cache=on.cache.cache))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with portal.resilience:
            yield

    app = FastAPI(title="Portal", lifespan=lifespan)
    app.add_middleware(DegradedHeader)
    app.state.portal = portal

    @app.get("/users/{user}")
    async def profile(user: int) -> Any:
        return shown(await portal.profile(user))

    @app.get("/people/{user}")
    async def person(user: int) -> Any:
        return shown(await portal.person(user))

    @app.get("/users/{user}/avatar")
    async def avatar(user: int) -> Any:
        return {"value": await portal.avatar(user)}

    @app.get("/users/{user}/tasks")
    async def tasks(user: int) -> Any:
        return shown(await portal.tasks(user))

    @app.get("/search")
    async def search(words: str) -> Any:
        return {"value": await portal.search(words)}

    @app.post("/sessions/{user}")
    async def sign_in(user: int) -> Any:
        return {"value": await portal.sign_in(user)}

    @app.get("/admin")
    async def admin() -> Any:
        return {"value": await portal.admin()}

    @app.get("/status")
    async def status() -> Any:
        return {"value": await portal.status()}

    @app.exception_handler(SwitchedOffError)
    async def switched_off(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": "switched off for a while"}, 503)

    @app.exception_handler(ResilienceError)
    @app.exception_handler(ConnectionError)
    async def down(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": "cannot be had now"}, 503)

    return app


def shown(served: Served[Any]) -> dict[str, Any]:
    """An answer, and whatever makes it less than full."""
    answer: dict[str, Any] = {"value": served.value}
    if served.degraded:
        answer |= {
            "level": served.level,
            "age": served.age,
            "missing": [cause.step for cause in served.causes],
        }
    return answer
