"""The cache while replies are cut off or damaged, and while its callers leave in droves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from holdfast.cache import ResilientCache, Status, Tier, TierState, WriteStatus
from holdfast.testing import Corrupt, DataLimit, FaultProxy, Reset, Slicer, Toxic, ValkeyServer

from .places import caching, needs_server, reaches, run, running, server, until

__all__ = ["running", "server"]
pytestmark = needs_server

LARGE = "x" * 20_000
"""So that a reply comes in pieces."""


class TestCutOff:
    @pytest.mark.parametrize(
        "make",
        [Reset, DataLimit, lambda at: Slicer(1 + at // 100, 0.0)],
        ids=["reset", "closed", "sliced"],
    )
    def test_a_value_is_whole_or_not_there(
        self, server: ValkeyServer, make: Callable[[int], Toxic]
    ) -> None:
        async def test(proxy: FaultProxy) -> None:
            url = f"redis://{proxy.host}:{proxy.port}"
            async with caching(url, compression=False, fallback_to_memory=False) as cache:
                values = {f"k{number}": f"{number}{LARGE}" for number in range(5)}
                await cache.set_many(values)
                for at in (0, 1, 7, 1000, 19_999, 30_000, 100_000):
                    with proxy.toxic(make(at)):
                        found = await asyncio.gather(*(cache.lookup(key) for key in values))
                    for key, one in zip(values, found, strict=True):
                        assert one.value in (values[key], None)
                        whole = one.status is Status.HIT
                        assert (one.value is not None) is whole
                        assert whole or one.status is Status.UNAVAILABLE
                await reaches(cache, TierState.UP)
                assert await cache.get_many(values) == values

        with FaultProxy(("127.0.0.1", server.port)) as proxy:
            run(test(proxy))

    def test_a_write_that_may_have_been_applied_is_settled(self, server: ValkeyServer) -> None:
        """The server gets the command; its reply is lost."""

        async def test(proxy: FaultProxy) -> None:
            url = f"redis://{proxy.host}:{proxy.port}"
            async with caching(url) as cache, caching(server.url) as other:
                await cache.set("a", 0)
                for number in range(1, 6):
                    with proxy.toxic(Reset(0)):
                        assert await cache.set("a", number) is WriteStatus.QUEUED
                        assert await cache.get("a") == number
                    await reaches(cache, TierState.UP)
                    await _settled(cache)
                    assert await other.get("a") == number
                # What others wrote after the lost reply is not overwritten by its repetition.
                with proxy.toxic(Reset(0)):
                    assert await cache.set("a", "older") is WriteStatus.QUEUED
                    await asyncio.sleep(0.01)
                    assert await other.set("a", "newer") is WriteStatus.APPLIED
                await reaches(cache, TierState.UP)
                await _settled(cache)
                assert await other.get("a") == "newer"
                assert await cache.get("a") == "newer"

        with FaultProxy(("127.0.0.1", server.port)) as proxy:
            run(test(proxy))


class TestDamaged:
    def test_in_place_is_a_counted_miss_and_removed(self, server: ValkeyServer) -> None:
        async def test() -> None:
            async with caching(server.url, name="writer") as writer:
                for number in range(20):
                    await writer.set(f"k{number}", "value")
            chosen = random.Random(1)
            async with caching(server.url, name="reader") as reader:
                for number in range(20):
                    full = f"holdfast::k:k{number}"
                    blob = bytearray(server.command("GET", full))
                    blob[chosen.randrange(len(blob))] ^= 1 << chosen.randrange(8)
                    server.command("SET", full, bytes(blob))
                    assert (await reader.lookup(f"k{number}")).value in (None, "value")
                (figures,) = reader.snapshot().namespaces
                assert figures.foreign == figures.misses == 20
                await asyncio.sleep(0.05)
                # What is removed leaves a tombstone; a version "from the future" is left alone.
                assert await reader.set("k0", "again") is WriteStatus.APPLIED
                assert await reader.get("k0") == "again"

        run(test())

    def test_on_the_way_is_never_served(self, server: ValkeyServer) -> None:
        async def test(proxy: FaultProxy) -> None:
            url = f"redis://{proxy.host}:{proxy.port}"
            async with caching(url, fallback_to_memory=False, compression=False) as cache:
                values = {f"k{number}": f"{number}{LARGE}" for number in range(5)}
                await cache.set_many(values)
                async with caching(url, name="cold", fallback_to_memory=False) as cold:
                    with proxy.toxic(Corrupt(1e-5)):
                        for _ in range(10):
                            found = await asyncio.gather(*(cold.lookup(key) for key in values))
                            for key, one in zip(values, found, strict=True):
                                assert one.value in (values[key], None)

        with FaultProxy(("127.0.0.1", server.port)) as proxy:
            run(test(proxy))


class TestCancellationStorm:
    def test_ten_thousand_cancelled_callers(self, server: ValkeyServer) -> None:
        async def test() -> None:
            async with caching(server.url, probe_interval=1.0) as cache:
                keys = [f"key-{number}" for number in range(100)]
                await cache.set_many({key: key for key in keys})
                chosen = random.Random(7)
                cancelled = 0
                await asyncio.sleep(0.05)
                before = len(asyncio.all_tasks())
                while cancelled < 10_000:
                    tasks = [
                        asyncio.create_task(_use(cache, chosen, chosen.choice(keys)))
                        for _ in range(250)
                    ]
                    for _ in range(chosen.randrange(6)):
                        await asyncio.sleep(0)
                    for task in chosen.sample(tasks, 200):
                        cancelled += task.cancel()
                    for answer in await asyncio.gather(*tasks, return_exceptions=True):
                        assert answer is None or isinstance(answer, asyncio.CancelledError), answer
                await asyncio.sleep(0.05)
                shown = cache.snapshot().redis
                assert shown is not None
                assert shown.pool is not None
                assert (shown.pool.in_use, shown.pool.dropped_total) == (0, 0)
                assert shown.pool.open <= shown.pool.limit
                assert len(asyncio.all_tasks()) == before
                assert cache.state is TierState.UP
                found = await asyncio.gather(*(cache.lookup(key) for key in keys))
                assert [one.value for one in found] == keys
                assert {one.tier for one in found} == {Tier.REDIS}

        run(test())


async def _use(cache: ResilientCache, chosen: random.Random, key: str) -> None:
    """Whatever is answered has to be the answer to this."""
    draw = chosen.random()
    if draw < 0.6:
        assert await cache.get(key) == key
    elif draw < 0.8:
        others = [key, "key-1", "key-2"]
        assert await cache.get_many(others) == {other: other for other in others}
    elif draw < 0.95:
        assert await cache.set(key, key) is WriteStatus.APPLIED
    else:

        async def load() -> Any:
            await asyncio.sleep(0)
            return key

        assert await cache.get_or_set(f"loaded-{key}", load) == key


async def _settled(cache: ResilientCache) -> None:
    await until(lambda: _owes_nothing(cache))


async def _owes_nothing(cache: ResilientCache) -> bool:
    return not cache.snapshot().journal.intents
