"""What the tests of the cache under faults share: servers, a cache in a hurry, and steady load."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from holdfast.cache import ResilientCache, TierState
from holdfast.testing.valkey import ValkeyServer

needs_server = pytest.mark.skipif(
    ValkeyServer.missing_reason() is not None, reason=str(ValkeyServer.missing_reason())
)

PROBE = 0.1
"""Seconds between the probes of a cache in a hurry."""


@pytest.fixture(scope="module", params=["valkey", "redis"])
def running(request: pytest.FixtureRequest) -> Generator[ValkeyServer]:
    """A server of each kind that is installed."""
    binary = None if request.param == "valkey" else shutil.which("redis-server")
    if request.param == "redis" and binary is None:
        pytest.skip("there is no redis-server on the search path")
    with ValkeyServer(binary) as server:
        yield server


@pytest.fixture
def server(running: ValkeyServer) -> Generator[ValkeyServer]:
    """A server that runs and is empty, whatever the last test did to it."""
    yield running
    try:
        running.thaw()
        running.flush()
    except (OSError, RuntimeError):
        running.restart()


@asynccontextmanager
async def caching(url: str, **options: Any) -> AsyncGenerator[ResilientCache]:
    """A cache that probes often."""
    async with ResilientCache(url, **{"probe_interval": PROBE, **options}) as cache:
        yield cache


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test, for half a minute at most. It must leave no task behind."""

    async def main() -> None:
        async with asyncio.timeout(30):
            await test
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left

    asyncio.run(main())


async def reaches(cache: ResilientCache, state: TierState, within: float = 5.0) -> float:
    """Wait until the cache is in this state; the seconds that took."""
    began = time.monotonic()
    while cache.state is not state:
        assert time.monotonic() - began < within, f"still {cache.state} after {within} s"
        await asyncio.sleep(0.002)
    return time.monotonic() - began


async def until(true: Callable[[], Awaitable[bool]], within: float = 5.0) -> None:
    """Wait until something holds."""
    began = time.monotonic()
    while not await true():
        assert time.monotonic() - began < within, "it never came about"
        await asyncio.sleep(0.01)


@dataclass
class Load:
    """What a steady load has met: seconds from the intended start of each call to its end."""

    times: list[float] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    lag: float = 0.0
    """The latest that the event loop came to a call: this machine's doing, not the cache's."""
    cpu: float = 0.0
    """Seconds of CPU that this process took per call."""

    def quantile(self, share: float) -> float:
        return sorted(self.times)[int(share * (len(self.times) - 1))]


async def load(call: Callable[[int], Awaitable[Any]], *, rate: float, seconds: float) -> Load:
    """Call `rate` times a second, whether earlier calls have ended or not; errors are raised."""
    seen = Load()
    loop = asyncio.get_running_loop()

    async def one(number: int, due: float) -> None:
        seen.lag = max(seen.lag, loop.time() - due)
        seen.answers.append(await call(number))
        seen.times.append(loop.time() - due)

    cpu, start = time.process_time(), loop.time()
    tasks = []
    for number in range(int(rate * seconds)):
        due = start + number / rate
        await asyncio.sleep(due - loop.time())
        tasks.append(asyncio.create_task(one(number, due)))
    await asyncio.gather(*tasks)
    seen.cpu = (time.process_time() - cpu) / len(tasks)
    return seen
