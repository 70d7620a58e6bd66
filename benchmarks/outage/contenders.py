"""Four ways to keep a record in Redis, each as its documentation says, without further options.

A record is read through the cache: from it, or else from the origin and into it. When a record
changes at the origin, it is deleted from the cache.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiocache
import cashews
import redis.asyncio as redis_py

from holdfast.cache import ResilientCache

TTL = 60

Record = dict[str, Any]
Load = Callable[[str], Awaitable[Record]]


@dataclass(frozen=True)
class Contender:
    read: Callable[[str], Awaitable[Record]]
    delete: Callable[[str], Awaitable[Any]]
    close: Callable[[], Awaitable[Any]]


Make = Callable[[str, int, Load], Contender]


def holdfast(host: str, port: int, load: Load) -> Contender:
    cache = ResilientCache(f"redis://{host}:{port}", ttl=TTL)

    async def read(key: str) -> Record:
        record: Record = await cache.get_or_set(key, partial(load, key))
        return record

    return Contender(read, cache.delete, cache.aclose)


def bare_redis(host: str, port: int, load: Load) -> Contender:
    client: Any = redis_py.Redis(host=host, port=port)

    async def read(key: str) -> Record:
        found = await client.get(key)
        if found is not None:
            record: Record = json.loads(found)
            return record
        record = await load(key)
        await client.set(key, json.dumps(record), ex=TTL)
        return record

    return Contender(read, client.delete, client.aclose)


def cashews_cache(host: str, port: int, load: Load) -> Contender:
    cache = cashews.Cache()
    cache.setup(f"redis://{host}:{port}")

    @cache(ttl=TTL, key="{key}")
    async def read(key: str) -> Record:
        return await load(key)

    return Contender(read, cache.delete, cache.close)


def aiocache_cache(host: str, port: int, load: Load) -> Contender:
    @aiocache.cached(
        ttl=TTL,
        cache=aiocache.Cache.REDIS,
        key_builder=lambda function, key: key,
        endpoint=host,
        port=port,
    )
    async def read(key: str) -> Record:
        return await load(key)

    return Contender(read, read.cache.delete, read.cache.close)


CONTENDERS: dict[str, Make] = {
    "holdfast": holdfast,
    "redis-py": bare_redis,
    "cashews": cashews_cache,
    "aiocache": aiocache_cache,
}
