"""The cache while Redis says nothing, or takes too long: frozen, black-holed, slow."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from holdfast.cache import ResilientCache, Status, Tier, TierState, WriteStatus
from holdfast.testing import FaultProxy, Latency, ValkeyServer, black_hole

from .places import PROBE, caching, load, needs_server, reaches, run, running, server, until

__all__ = ["running", "server"]
pytestmark = needs_server

RATE = 200
TIMEOUT = 0.25
MARGIN = 0.05
"""Seconds that a call may take beyond the deadline of its command."""
KEYS = [f"user:{number}" for number in range(20)]


async def filled(cache: ResilientCache) -> None:
    await cache.set_many({key: key for key in KEYS})


def look(cache: ResilientCache) -> Any:
    return lambda number: cache.lookup(KEYS[number % len(KEYS)])


class TestFrozen:
    def test_under_load_nobody_waits_longer_than_a_command_may_take(
        self, server: ValkeyServer
    ) -> None:
        async def test() -> None:
            async with caching(server.url, command_timeout=TIMEOUT) as cache:
                await filled(cache)
                up = await load(look(cache), rate=RATE, seconds=0.7)
                assert {found.tier for found in up.answers} == {Tier.REDIS}

                server.freeze()
                caught = await load(look(cache), rate=RATE, seconds=0.7)
                assert max(caught.times) <= TIMEOUT + MARGIN + caught.lag
                assert {found.status for found in caught.answers} == {Status.HIT}
                assert cache.state is TierState.DOWN

                down = await load(look(cache), rate=RATE, seconds=0.7)
                assert down.quantile(0.99) <= 0.002 + down.lag
                assert down.cpu <= up.cpu
                assert {found.tier for found in down.answers} == {Tier.MEMORY}
                assert all(found.degraded for found in down.answers)

                server.thaw()
                assert await reaches(cache, TierState.UP) <= PROBE + 1
                assert (await cache.lookup(KEYS[0])).tier is Tier.REDIS

        run(test())

    def test_a_write_is_queued_and_told_later(self, server: ValkeyServer) -> None:
        async def test() -> None:
            async with (
                caching(server.url, command_timeout=0.1) as cache,
                caching(server.url, command_timeout=0.1) as other,
            ):
                await cache.set_many({"kept": 1, "deleted": 1})
                assert await other.get_many(["kept", "deleted"]) == {"kept": 1, "deleted": 1}
                server.freeze()
                began = time.monotonic()
                assert await cache.set("kept", 2) is WriteStatus.QUEUED
                assert await cache.delete("deleted") is WriteStatus.QUEUED
                assert time.monotonic() - began < 1
                assert await cache.get_many(["kept", "deleted"]) == {"kept": 2}
                await reaches(cache, TierState.DOWN)
                server.thaw()
                await reaches(cache, TierState.UP)
                await reaches(other, TierState.UP)
                assert await other.get_many(["kept", "deleted"]) == {"kept": 2}
                assert cache.snapshot().journal.intents == 0

        run(test())

    def test_closing_does_not_hang(self, server: ValkeyServer) -> None:
        async def test() -> None:
            async with caching(server.url) as cache:
                await filled(cache)
                server.freeze()
                await cache.set("a", 1)
                began = time.monotonic()
            assert time.monotonic() - began < 1.5

        run(test())


class TestNotEvenConnected:
    def test_a_black_hole_costs_no_more_than_a_frozen_server(self) -> None:
        async def test(url: str) -> None:
            async with caching(url, command_timeout=TIMEOUT) as cache:
                caught = await load(look(cache), rate=RATE, seconds=0.8)
                assert max(caught.times) <= TIMEOUT + MARGIN + caught.lag
                assert {found.status for found in caught.answers} == {Status.UNAVAILABLE}
                assert cache.state is TierState.DOWN
                down = await load(look(cache), rate=RATE, seconds=0.5)
                assert down.quantile(0.99) <= 0.002 + down.lag
                assert await cache.set("a", 1) is WriteStatus.QUEUED
                assert await cache.get("a") == 1

        with black_hole() as (host, port):
            run(test(f"redis://{host}:{port}"))


class TestSlow:
    def test_replies_that_come_too_late_take_it_down_and_back(self, server: ValkeyServer) -> None:
        async def test(proxy: FaultProxy) -> None:
            url = f"redis://{proxy.host}:{proxy.port}"
            async with caching(url, command_timeout=0.1) as cache:
                await filled(cache)
                with proxy.toxic(Latency(0.3)):
                    caught = await load(look(cache), rate=RATE, seconds=0.7)
                    assert max(caught.times) <= 0.1 + MARGIN + caught.lag
                    assert {found.status for found in caught.answers} == {Status.HIT}
                    assert cache.state is TierState.DOWN
                    assert "0.1 s" in str(cache.snapshot().redis)
                await reaches(cache, TierState.UP)

        with FaultProxy(("127.0.0.1", server.port)) as proxy:
            run(test(proxy))

    def test_replies_that_are_slow_but_in_time_are_waited_for(self, server: ValkeyServer) -> None:
        async def test(proxy: FaultProxy) -> None:
            async with caching(f"redis://{proxy.host}:{proxy.port}") as cache:
                await filled(cache)
                with proxy.toxic(Latency(0.05)):
                    slow = await load(look(cache), rate=RATE, seconds=0.5)
                assert {found.tier for found in slow.answers} == {Tier.REDIS}
                assert cache.state is TierState.UP

        with FaultProxy(("127.0.0.1", server.port)) as proxy:
            run(test(proxy))

    def test_paused_writes_leave_reads_alone(self, server: ValkeyServer) -> None:
        async def test() -> None:
            async with caching(server.url) as cache:
                await filled(cache)
                server.command("CLIENT", "PAUSE", 1200, "WRITE")
                for number in range(3):
                    assert await cache.set("new", number) is WriteStatus.QUEUED
                    assert (await cache.lookup(KEYS[0])).tier is Tier.REDIS
                assert await cache.get("new") == 2
                assert cache.state is TierState.UP
                await until(lambda: _owes_nothing(cache))
                assert (await cache.lookup("new")).tier is Tier.REDIS

        run(test())


class TestOurOwnLoopStalls:
    def test_that_is_not_charged_to_redis(self, server: ValkeyServer) -> None:
        async def test() -> None:
            async with caching(server.url) as cache:
                await filled(cache)
                dropped = cache.snapshot().redis.pool.dropped_total  # type: ignore[union-attr]
                for _ in range(6):
                    looks = [asyncio.ensure_future(cache.lookup(key)) for key in KEYS]
                    await asyncio.sleep(0)  # they are under way now
                    await asyncio.sleep(0)
                    time.sleep(0.35)  # noqa: ASYNC251 - the stall
                    found = await asyncio.gather(*looks)
                    assert {one.tier for one in found} == {Tier.REDIS}
                assert cache.state is TierState.UP
                shown = cache.snapshot().redis
                assert shown is not None
                assert shown.pool is not None
                assert shown.pool.dropped_total == dropped
                assert shown.reads.failures_total == 0

        run(test())


async def _owes_nothing(cache: ResilientCache) -> bool:
    return not cache.snapshot().journal.intents
