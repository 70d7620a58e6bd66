"""The caches that are compared, each set up as its documentation says.

All of them keep the same small record. *redis-py* is the bare client: it gives back bytes and
decodes nothing. cashews pickles and aiocache writes JSON, which are their defaults; Holdfast packs
MessagePack with a checksum, and decodes.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiocache
import cashews
import redis.asyncio as redis_py

from holdfast.cache import ResilientCache

RECORD = {
    "id": 4711,
    "name": "Unknown User",
    "email": "unknown.user@example.org",
    "active": True,
    "score": 4.5,
}
"""What is kept under every key."""
PACKED = json.dumps(RECORD).encode()
TTL = 3600


@dataclass(frozen=True)
class Contender:
    """What one of them does with a key, several keys, a new value, and at the end."""

    get: Callable[[str], Awaitable[Any]]
    get_many: Callable[[Sequence[str]], Awaitable[Any]]
    set: Callable[[str], Awaitable[Any]]
    close: Callable[[], Awaitable[Any]]

    async def keeps(self, keys: Sequence[str]) -> bool:
        """Store the record under these keys; whether it comes back from each."""
        for key in keys:
            await self.set(key)
        found = [await self.get(keys[0]), *_values(await self.get_many(keys))]
        found = [json.loads(value) if isinstance(value, bytes) else value for value in found]
        return found == [RECORD] * (len(keys) + 1)


def _values(found: Any) -> list[Any]:
    return list(found.values()) if isinstance(found, dict) else list(found)


Make = Callable[[str, int, int], Contender]
"""Takes host, port and the number of a database of its own."""


def holdfast_redis(host: str, port: int, database: int) -> Contender:
    return _holdfast(ResilientCache(f"redis://{host}:{port}/{database}"))


def holdfast_memory(host: str, port: int, database: int) -> Contender:
    return _holdfast(ResilientCache())


def _holdfast(cache: ResilientCache) -> Contender:
    async def put(key: str) -> None:
        await cache.set(key, RECORD, ttl=TTL)

    return Contender(cache.get, cache.get_many, put, cache.aclose)


def bare_redis(host: str, port: int, database: int) -> Contender:
    client: Any = redis_py.Redis(host=host, port=port, db=database)

    async def put(key: str) -> None:
        await client.set(key, PACKED, ex=TTL)

    return Contender(client.get, client.mget, put, client.aclose)


def cashews_redis(host: str, port: int, database: int) -> Contender:
    return _cashews(f"redis://{host}:{port}/{database}")


def cashews_memory(host: str, port: int, database: int) -> Contender:
    return _cashews("mem://")


def _cashews(url: str) -> Contender:
    cache = cashews.Cache()
    cache.setup(url)

    async def get_many(keys: Sequence[str]) -> Any:
        return await cache.get_many(*keys)

    async def put(key: str) -> None:
        await cache.set(key, RECORD, expire=TTL)

    return Contender(cache.get, get_many, put, cache.close)


def aiocache_redis(host: str, port: int, database: int) -> Contender:
    return _aiocache(aiocache.RedisCache(endpoint=host, port=port, db=database))


def aiocache_memory(host: str, port: int, database: int) -> Contender:
    return _aiocache(aiocache.SimpleMemoryCache())


def _aiocache(cache: Any) -> Contender:
    async def put(key: str) -> None:
        await cache.set(key, RECORD, ttl=TTL)

    return Contender(cache.get, cache.multi_get, put, cache.close)


REDIS: dict[str, Make] = {
    "holdfast": holdfast_redis,
    "redis-py": bare_redis,
    "cashews": cashews_redis,
    "aiocache": aiocache_redis,
}
MEMORY: dict[str, Make] = {
    "holdfast": holdfast_memory,
    "cashews": cashews_memory,
    "aiocache": aiocache_memory,
}
