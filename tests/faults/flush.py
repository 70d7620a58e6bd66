"""What reaches the origin when Redis is flushed under load: with a cache, and with a bare client.

Source of the bound: Nishtala et al., *Scaling Memcache at Facebook*, NSDI 2013, where leases took
the peak of queries to the database from 17,000 to 1,300 a second, to 7.6 %, for keys that are prone
to thundering herds. Such keys are few and in great demand; so are these.

Four caches stand for four processes: each has its own memory and its own connections. The load is
open and follows Zipf's law. The unprotected clients are redis-py as it comes: get, else load and
set.
"""

from __future__ import annotations

import asyncio
import json
import time
from bisect import bisect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Any

import redis.asyncio as redis_py

from holdfast.cache import ResilientCache
from holdfast.testing import ValkeyServer

LIMIT = 1.3 / 17
PROCESSES = 4
KEYS = 16
RATE = 3000
ORIGIN = 0.1
SLOT = 0.1
"""Seconds over which the load of the origin is counted."""
TTL = 600

Read = Callable[[str], Awaitable[Any]]


@dataclass(frozen=True)
class Flushed:
    """What reached the origin after a flush: the most in a tenth of a second, and altogether."""

    peak: int
    loads: int
    reads: int


class Origin:
    """Counts when it is asked."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    async def load(self) -> dict[str, Any]:
        self.asked.append(time.monotonic())
        await asyncio.sleep(ORIGIN)
        return {"id": 4711, "name": "Unknown User"}

    def since(self, moment: float, reads: int) -> Flushed:
        asked = [at for at in self.asked if at >= moment]
        peak = max((sum(at <= one < at + SLOT for one in asked) for at in asked), default=0)
        return Flushed(peak, len(asked), reads)


async def protected(server: ValkeyServer, seconds: float, *, memory: bool) -> Flushed:
    """With caches, whose memory may or may not stand in."""
    origin = Origin()
    caches = [
        ResilientCache(server.url, name=f"process-{n}", ttl=TTL, fallback_to_memory=memory)
        for n in range(PROCESSES)
    ]
    try:
        reads = [_through(cache, origin) for cache in caches]
        return await _flush(server, origin, reads, seconds)
    finally:
        for cache in caches:
            await cache.aclose()


async def unprotected(server: ValkeyServer, seconds: float) -> Flushed:
    """With bare clients."""
    origin = Origin()
    clients: list[Any] = [
        redis_py.Redis(host="127.0.0.1", port=server.port, max_connections=RATE)
        for _ in range(PROCESSES)
    ]
    try:
        reads = [_aside(client, origin) for client in clients]
        return await _flush(server, origin, reads, seconds)
    finally:
        for client in clients:
            await client.aclose()


def _through(cache: ResilientCache, origin: Origin) -> Read:
    return lambda key: cache.get_or_set(key, origin.load)


def _aside(client: Any, origin: Origin) -> Read:
    async def read(key: str) -> Any:
        found = await client.get(key)
        if found is not None:
            return json.loads(found)
        record = await origin.load()
        await client.set(key, json.dumps(record), ex=TTL)
        return record

    return read


async def _flush(
    server: ValkeyServer, origin: Origin, reads: list[Read], seconds: float
) -> Flushed:
    """Warm up, flush, and go on for so long."""
    keys = [f"user:{number}" for number in range(KEYS)]
    for read in reads:
        await asyncio.gather(*map(read, keys))
    weights = list(accumulate(1 / rank for rank in range(1, KEYS + 1)))
    draw = Random(3)
    tasks: list[asyncio.Task[Any]] = []

    async def flow(duration: float) -> None:
        loop = asyncio.get_running_loop()
        start, done = loop.time(), 0
        while (passed := loop.time() - start) < duration:
            for number in range(done, due := int(passed * RATE)):
                key = keys[bisect(weights, draw.random() * weights[-1])]
                tasks.append(asyncio.create_task(reads[number % PROCESSES](key)))
            done = due
            await asyncio.sleep(0.001)

    await flow(seconds / 2)
    server.flush()
    flushed, before = time.monotonic(), len(tasks)
    await flow(seconds)
    await asyncio.gather(*tasks)
    return origin.since(flushed, len(tasks) - before)
