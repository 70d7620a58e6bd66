"""Three ways to ask the user service for a user: bare, by hand, and with Holdfast."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import httpx

from holdfast import Bulkhead, CircuitBreaker, Fallback, Pipeline, Retry, Timeout


@dataclass(frozen=True)
class User:
    id: int
    name: str
    degraded: bool = False
    """Whether this is the best we know rather than what the user service says now."""
    stale: bool = False
    """Whether it is past the time for which it was kept."""
    source: str = "user service"
    """Who said so."""


FindUser = Callable[[int], Awaitable[User]]


# -- as one writes it first ------------------------------------------------------------------------


def bare(http: httpx.AsyncClient) -> FindUser:
    async def find_user(user_id: int) -> User:
        response = await http.get(f"/users/{user_id}")
        response.raise_for_status()
        return User(**response.json())

    return find_user


# -- as one writes it after the first outage: a timeout and three retries with jitter --------------


def handmade(http: httpx.AsyncClient) -> FindUser:
    async def find_user(user_id: int) -> User:
        for attempt in range(4):
            try:
                response = await http.get(f"/users/{user_id}", timeout=1.0)
                response.raise_for_status()
                return User(**response.json())
            except httpx.HTTPError:
                if attempt == 3:
                    raise
                await asyncio.sleep(random.uniform(0, 0.1 * 2**attempt))
        raise AssertionError("unreachable")

    return find_user


# -- with Holdfast ---------------------------------------------------------------------------------


def protected(http: httpx.AsyncClient) -> FindUser:
    last_known: dict[int, User] = {}  # as many as there are users

    def best_known(error: Exception, user_id: int) -> User:
        best = last_known.get(user_id, User(user_id, "Unknown User"))
        return replace(best, degraded=True, source="memory")

    user_service = Pipeline(
        "user-service",
        Fallback(best_known),
        Timeout(0.8),  # for all attempts together
        Retry(attempts=3),
        CircuitBreaker(failure_threshold=5, reset_timeout=1.0),
        Bulkhead(max_concurrent=20, max_queue=20),
        Timeout(0.3),  # for each
    )

    @user_service
    async def find_user(user_id: int) -> User:
        response = await http.get(f"/users/{user_id}")
        response.raise_for_status()
        user = last_known[user_id] = User(**response.json())
        return user

    return find_user


VARIANTS: dict[str, Callable[[httpx.AsyncClient], FindUser]] = {
    "bare": bare,
    "handmade": handmade,
    "holdfast": protected,
}
