"""The service that knows the users: a process of its own, as in production.

Start it with ``uvicorn --factory taskboard.user_service:create``.
"""

from __future__ import annotations

from fastapi import FastAPI, HTTPException

NAMES = ("Ada", "Alan", "Barbara", "Dennis", "Donald", "Edsger", "Frances", "Grace", "John", "Ken")
USERS = 40


def create() -> FastAPI:
    app = FastAPI(title="User service")
    seen = 0

    @app.get("/users/{user_id}")
    async def user(user_id: int) -> dict[str, object]:
        nonlocal seen
        seen += 1
        if not 1 <= user_id <= USERS:
            raise HTTPException(404, f"there is no user {user_id}")
        return {"id": user_id, "name": f"{NAMES[user_id % len(NAMES)]} {user_id}"}

    @app.get("/health")
    async def health() -> dict[str, object]:
        """Says that it is up, and how many requests for a user it has seen."""
        return {"status": "ok", "seen": seen}

    return app
