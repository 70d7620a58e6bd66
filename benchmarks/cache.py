"""Caches: a hit in memory, and gets from a real Valkey over loopback TCP.

The server is a child process, so client and server share the machine, and a figure is the time that
passes, the server's part included. That flatters nobody who is slow: the server's part is the same
for all, or smaller for who asks it less often.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

from benchmarks.cache_contenders import MEMORY, REDIS, Contender, Make
from benchmarks.harness import measured, no_collector
from benchmarks.result import Result
from holdfast.testing.valkey import ValkeyServer

KEYS = [f"user:{number}" for number in range(1000)]
AT_ONCE = 50
THOUSAND = 1000

Work = Callable[[Contender, int], Awaitable[object]]
"""Does so many operations, or a few more."""


@dataclass(frozen=True)
class CacheScenario:
    """One kind of use, by each contender in turn."""

    name: str
    title: str
    contenders: Mapping[str, Make]
    work: Work
    reference: str

    def run(self, rounds: int) -> Result:
        with _opened(self.name, self.contenders) as (runner, opened):
            samplers = {
                name: partial(_sample, runner, self.work, contender)
                for name, contender in opened.items()
            }
            samples = measured(samplers, rounds)
        return Result(self.name, self.title, "µs", self.reference, samples)


class Thousand:
    """A thousand gets at once, of a client that has just been made: who answers, over how many."""

    name = "cache-1000"

    def run(self, rounds: int) -> Result:
        connections: dict[str, list[float]] = {}
        left_out: dict[str, str] = {}
        for name, make in REDIS.items():
            with _opened(self.name, {name: make}) as (runner, opened):
                runner.run(_at_once(opened[name], THOUSAND))
                answers = runner.run(_at_once(opened[name], THOUSAND))
                pool = _connections()
            errors = [answer for answer in answers if isinstance(answer, Exception)]
            if errors:
                left_out[name] = f"{len(errors)} of {THOUSAND} raise {type(errors[0]).__name__}"
            else:
                connections[name] = [pool]
        return Result(
            self.name,
            f"{THOUSAND} gets at once",
            "connections",
            "holdfast",
            connections,
            left_out=left_out,
        )


# -- the server ------------------------------------------------------------------------------------

_server: ValkeyServer | None = None


def _running() -> ValkeyServer:
    """The server, started when the first scenario needs it; it ends with this process."""
    global _server
    if _server is None:
        _server = ValkeyServer()
        _server.start()
    return _server


def _connections() -> float:
    return float(_running().info("connected_clients")) - 1  # the one that asks


@contextmanager
def _opened(
    scenario: str, contenders: Mapping[str, Make]
) -> Iterator[tuple[asyncio.Runner, dict[str, Contender]]]:
    """The contenders, each with its keys in a database of its own, and the loop they live on."""
    server = _running()
    server.flush()
    with asyncio.Runner() as runner:
        opened: dict[str, Contender] = {}
        try:
            for number, (name, make) in enumerate(contenders.items()):
                opened[name] = runner.run(_made(make, server.port, number))
                if not runner.run(opened[name].keeps(KEYS)):
                    raise AssertionError(f"{scenario}: {name} must give back what it was given")
            yield runner, opened
        finally:
            for contender in opened.values():
                runner.run(_closed(contender))


async def _made(make: Make, port: int, database: int) -> Contender:
    # On the loop, where some look for it as soon as they are made.
    return make("127.0.0.1", port, database)


async def _closed(contender: Contender) -> None:
    await contender.close()


# -- what is done ----------------------------------------------------------------------------------


def _sample(runner: asyncio.Runner, work: Work, contender: Contender, loops: int) -> float:
    async def timed() -> float:
        with no_collector():
            start = perf_counter()
            await work(contender, loops)
            return perf_counter() - start

    return runner.run(timed())


async def _get_one_by_one(contender: Contender, loops: int) -> None:
    get = contender.get
    for number in range(loops):
        await get(KEYS[number % len(KEYS)])


async def _get_at_once(contender: Contender, loops: int) -> None:
    await _closed_loop(contender.get, loops)


async def _set_at_once(contender: Contender, loops: int) -> None:
    await _closed_loop(contender.set, loops)


async def _closed_loop(act: Callable[[str], Awaitable[Any]], loops: int) -> None:
    async def one(first: int) -> None:
        for number in range(first, loops, AT_ONCE):
            await act(KEYS[number % len(KEYS)])

    await asyncio.gather(*(one(first) for first in range(AT_ONCE)))


async def _get_hundred(contender: Contender, loops: int) -> None:
    hundred = KEYS[:100]
    for _ in range(loops):
        await contender.get_many(hundred)


async def _at_once(contender: Contender, number: int) -> list[Any]:
    gets = [contender.get(KEYS[n % len(KEYS)]) for n in range(number)]
    return await asyncio.gather(*gets, return_exceptions=True)


SCENARIOS = (
    CacheScenario(
        "cache-memory", "a hit in memory, one at a time", MEMORY, _get_one_by_one, "cashews"
    ),
    CacheScenario(
        "cache-gets", f"a get from Redis, {AT_ONCE} at once", REDIS, _get_at_once, "redis-py"
    ),
    CacheScenario(
        "cache-get", "a get from Redis, one at a time", REDIS, _get_one_by_one, "redis-py"
    ),
    CacheScenario("cache-get-many", "100 keys from Redis", REDIS, _get_hundred, "redis-py"),
    CacheScenario(
        "cache-sets", f"a set to Redis, {AT_ONCE} at once", REDIS, _set_at_once, "redis-py"
    ),
    Thousand(),
)
