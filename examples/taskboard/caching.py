"""Three ways to keep users in Redis: bare, by hand, and with Holdfast.

All three keep a user for the same time, which is drawn anew for each, so that they do not all end
at once. Each is a context manager that gives a `FindUser` around another one.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

from redis.asyncio import Redis
from redis.exceptions import RedisError

from holdfast.cache import ResilientCache, Status, Tier

from .users import FindUser, User


def kept_for() -> int:
    """Seconds."""
    return random.randint(2, 60)


def packed(user: User) -> str:
    return json.dumps({"id": user.id, "name": user.name})


def unpacked(text: bytes) -> User:
    return User(**json.loads(text), source="redis")


# -- as one writes it first ------------------------------------------------------------------------


@asynccontextmanager
async def bare(ask: FindUser, url: str) -> AsyncIterator[FindUser]:
    async with Redis.from_url(url) as redis:

        async def find_user(user_id: int) -> User:
            kept = await redis.get(f"user:{user_id}")
            if kept is not None:
                return unpacked(kept)
            user = await ask(user_id)
            await redis.set(f"user:{user_id}", packed(user), ex=kept_for())
            return user

        yield find_user


# -- as one writes it after the first outage: timeouts, and an error is a miss ---------------------


@asynccontextmanager
async def handmade(ask: FindUser, url: str) -> AsyncIterator[FindUser]:
    async with Redis.from_url(url, socket_timeout=0.5, socket_connect_timeout=0.5) as redis:

        async def find_user(user_id: int) -> User:
            try:
                kept = await redis.get(f"user:{user_id}")
            except RedisError:
                kept = None
            if kept is not None:
                return unpacked(kept)
            user = await ask(user_id)
            try:
                await redis.set(f"user:{user_id}", packed(user), ex=kept_for())
            except RedisError:
                pass
            return user

        yield find_user


# -- with Holdfast ---------------------------------------------------------------------------------


@asynccontextmanager
async def protected(ask: FindUser, url: str) -> AsyncIterator[FindUser]:
    # Who knows an older answer waits 20 ms for a newer one.
    async with ResilientCache(url, stale_ttl=60.0, soft_timeout=0.02) as cache:
        users = cache.namespace("users")

        async def find_user(user_id: int) -> User:
            async def load() -> dict[str, object]:
                user = await ask(user_id)
                return {"id": user.id, "name": user.name}

            found = await users.lookup_or_set(str(user_id), load, ttl=kept_for())
            user = User(**found.value)
            if found.tier is Tier.LOADER:
                return user
            stale = found.status is Status.STALE
            degraded = stale or found.degraded
            return replace(user, degraded=degraded, stale=stale, source=found.tier.value)

        yield find_user


VARIANTS: dict[str, Callable[[FindUser, str], AbstractAsyncContextManager[FindUser]]] = {
    "bare": bare,
    "handmade": handmade,
    "holdfast": protected,
}
