"""The service that knows the users: a process of its own, as in production.

As in production, too, its capacity is limited and it works off what it was asked in order, whether
the one who asked still waits or not. It does 30 requests a second. The demo needs 15 without a
cache, and with one sends 45, most of which the cache answers.

Start it with ``uvicorn --factory taskboard.user_service:create``.
"""

from __future__ import annotations

import asyncio

from fastapi import FastAPI, HTTPException

NAMES = ("Ada", "Alan", "Barbara", "Dennis", "Donald", "Edsger", "Frances", "Grace", "John", "Ken")
USERS = 40
CAPACITY = 30


def create() -> FastAPI:
    app = FastAPI(title="User service")
    turn = asyncio.Lock()
    seen = 0

    @app.get("/users/{user_id}")
    async def user(user_id: int) -> dict[str, object]:
        nonlocal seen
        seen += 1
        async with turn:
            await asyncio.sleep(1 / CAPACITY)
        if not 1 <= user_id <= USERS:
            raise HTTPException(404, f"there is no user {user_id}")
        return {"id": user_id, "name": f"{NAMES[user_id % len(NAMES)]} {user_id}"}

    @app.get("/health")
    async def health() -> dict[str, object]:
        """Says that it is up, and how many requests for a user it has seen."""
        return {"status": "ok", "seen": seen}

    return app
