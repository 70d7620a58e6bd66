"""The cache while Redis dies, restarts empty, throws clients out, or is replaced by its replica."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from holdfast.cache import ResilientCache, Status, Tier, TierState, WriteStatus
from holdfast.testing import ValkeyServer
from holdfast.testing.topologies import sentinels

from .places import PROBE, caching, load, needs_server, reaches, run, running, server

__all__ = ["running", "server"]
pytestmark = needs_server


class TestKilled:
    def test_memory_stands_in_at_once_and_what_was_owed_is_told(self, server: ValkeyServer) -> None:
        async def test() -> None:
            async with caching(server.url) as cache:
                await cache.set_many({"kept": 1, "deleted": 1})
                server.kill()
                seen = await load(lambda _: cache.lookup("kept"), rate=200, seconds=0.5)
                assert {found.value for found in seen.answers} == {1}
                assert seen.quantile(0.5) <= 0.005 + seen.lag
                assert max(seen.times) <= 0.3 + seen.lag
                assert cache.state is TierState.DOWN
                assert "refused" in str(cache.snapshot().redis)
                assert await cache.delete("deleted") is WriteStatus.QUEUED
                assert await cache.set("new", 3) is WriteStatus.QUEUED
                missing = await cache.lookup("unknown")
                assert missing.status is Status.UNAVAILABLE

                server.restart()
                assert await reaches(cache, TierState.UP) <= PROBE + 1
                found = await cache.lookup("new")
                assert (found.value, found.tier) == (3, Tier.REDIS)
                assert await cache.get("deleted") is None
                assert cache.snapshot().journal.settled_total == 2

        run(test())

    def test_in_the_middle_of_commands(self, server: ValkeyServer) -> None:
        async def test() -> None:
            async with caching(server.url) as cache:
                await cache.set("a", 1)
                server.freeze()
                looks = [asyncio.ensure_future(cache.lookup("a")) for _ in range(10)]
                write = asyncio.ensure_future(cache.set("a", 2))
                await asyncio.sleep(0.02)
                began = time.monotonic()
                server.kill()
                assert await write is WriteStatus.QUEUED
                assert {(await look).value for look in looks} <= {1, 2}
                assert time.monotonic() - began < 0.2
                assert await cache.get("a") == 2
                server.restart()
                await reaches(cache, TierState.UP)
                assert await cache.get("a") == 2

        run(test())

    def test_a_restart_between_two_commands_is_not_noticed(self, server: ValkeyServer) -> None:
        async def test() -> None:
            async with caching(server.url, probe_interval=5.0) as cache:
                await cache.set("a", 1)
                server.restart()
                await asyncio.sleep(0.02)  # the loop sees the connections end
                assert await cache.set("b", 2) is WriteStatus.APPLIED
                assert cache.state is TierState.UP

        run(test())

    def test_killed_clients_come_back_by_themselves(self, server: ValkeyServer) -> None:
        async def test() -> None:
            async with caching(server.url) as cache:
                await cache.set("a", 1)
                for _ in range(20):
                    server.command("CLIENT", "KILL", "TYPE", "normal")
                    assert await cache.get("a") == 1
                    assert await cache.set("a", 1) in (WriteStatus.APPLIED, WriteStatus.QUEUED)
                await reaches(cache, TierState.UP)
                assert (await cache.lookup("a")).value == 1

        run(test())


class TestFlushed:
    def test_memory_stands_in_and_the_origin_hears_nothing(self, server: ValkeyServer) -> None:
        loads = 0

        async def load_user() -> int:
            nonlocal loads
            loads += 1
            await asyncio.sleep(0.02)
            return 7

        async def test() -> None:
            async with caching(server.url) as cache:
                keys = [f"user:{number}" for number in range(20)]
                for key in keys:
                    await cache.get_or_set(key, load_user)
                assert loads == len(keys)
                server.flush()
                found = await asyncio.gather(*(cache.get_or_set(key, load_user) for key in keys))
                assert found == [7] * len(keys)
                assert loads == len(keys)
                assert cache.snapshot().namespaces[0].stood_in >= len(keys)
                lookup = await cache.lookup(keys[0])
                assert (lookup.tier, lookup.degraded) == (Tier.MEMORY, True)

        run(test())

    def test_what_memory_may_not_keep_is_loaded_once(self, server: ValkeyServer) -> None:
        loads = 0

        async def load_user() -> int:
            nonlocal loads
            loads += 1
            await asyncio.sleep(0.05)
            return loads

        async def test() -> None:
            async with (
                caching(server.url, name="one", fallback_to_memory=False) as one,
                caching(server.url, name="two", fallback_to_memory=False) as two,
            ):
                assert await one.get_or_set("a", load_user) == 1
                server.flush()
                caches = [one, two] * 50
                found = await asyncio.gather(*(c.get_or_set("a", load_user) for c in caches))
                assert set(found) == {2}
                assert loads == 2

        run(test())

    def test_a_cleared_namespace_stays_cleared(self, server: ValkeyServer) -> None:
        async def test() -> None:
            async with caching(server.url) as cache:
                users = cache.namespace("users")
                await users.set("a", 1)
                assert await users.clear() is WriteStatus.APPLIED
                server.flush()
                assert await users.get("a") is None
                await users.set("a", 2)
                assert await users.get("a") == 2

        run(test())


class TestRecovery:
    def test_a_herd_does_not_reach_the_origin(self, server: ValkeyServer) -> None:
        """Ten times the load at the moment when Redis comes back, and comes back empty."""
        loads = 0

        async def load_user() -> int:
            nonlocal loads
            loads += 1
            await asyncio.sleep(0.05)
            return 7

        async def test() -> None:
            async with caching(server.url) as cache:
                keys = [f"user:{number}" for number in range(10)]
                for key in keys:
                    await cache.get_or_set(key, load_user)
                before = loads
                server.kill()
                look: Any = lambda number: cache.get_or_set(keys[number % 10], load_user)  # noqa: E731
                await load(look, rate=100, seconds=0.3)
                await reaches(cache, TierState.DOWN)
                server.restart()
                seen = await load(look, rate=1000, seconds=0.7)
                assert set(seen.answers) == {7}
                assert max(seen.times) <= 0.3 + seen.lag
                assert cache.state is TierState.UP
                # At most one load per key, where a copy was not confirmed any more.
                assert loads - before <= len(keys)

        run(test())


@pytest.mark.parametrize("freeze", [False, True], ids=["killed", "frozen"])
def test_failover_to_the_replica(freeze: bool) -> None:
    async def test() -> None:
        with sentinels() as group:
            async with caching(group.url) as cache:
                assert await cache.set("a", 1) is WriteStatus.APPLIED
                assert await cache.set("b", 1) is WriteStatus.APPLIED
                await asyncio.to_thread(_wait_for_replica, group.primary, group.replica)
                if freeze:
                    group.primary.freeze()
                else:
                    group.primary.kill()
                assert await cache.get("a") == 1
                assert await cache.set("a", 2) is WriteStatus.QUEUED
                assert await cache.delete("b") is WriteStatus.QUEUED
                await reaches(cache, TierState.DOWN)
                await reaches(cache, TierState.UP, within=15.0)
                found = await cache.lookup("a")
                assert (found.value, found.tier) == (2, Tier.REDIS)
                assert await cache.get("b") is None
                assert group.primary_port() == group.replica.port

    run(test())


def _wait_for_replica(primary: ValkeyServer, replica: ValkeyServer) -> None:
    give_up = time.monotonic() + 5
    while primary.info("master_repl_offset") != replica.info("master_repl_offset"):
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_without_any_redis_it_starts_and_works(server: ValkeyServer) -> None:
    async def test(cache: ResilientCache) -> None:
        async with cache:
            assert await cache.set("a", 1) is WriteStatus.QUEUED
            assert await cache.get("a") == 1
            await reaches(cache, TierState.DOWN)
            server.restart()
            await reaches(cache, TierState.UP)
            assert (await cache.lookup("a")).tier is Tier.REDIS

    server.kill()
    run(test(ResilientCache(server.url, probe_interval=PROBE)))
