"""What a cache shows of itself: figures that add up, and nothing that is private."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from cache.world import DOWN, World, virtual
from holdfast.cache import CacheTierChanged, TierState
from holdfast.cache.port import TierError, Trouble
from holdfast.errors import ResilienceError

SECRET = "hunter2-and-more"


class TestFigures:
    @virtual
    async def test_of_a_namespace_add_up(self, world: World) -> None:
        cache, network = world.process(stale_ttl=60)
        users = cache.namespace("users")
        await users.set("k", 1)
        await users.set("brief", 1, ttl=1)
        await users.get_many(["k", "none"])
        await users.get("k")
        await users.get_or_set("absent", lambda: None)
        await users.get("absent")
        await asyncio.sleep(1.5)
        await users.lookup("brief")
        await world.take_down(cache, network)
        await users.get("k")
        await users.get("never heard of")
        await users.set("m", 1)
        await users.set("n", 1, fallback_to_memory=False)
        seen = {one.name: one for one in cache.snapshot().namespaces}["users"]
        assert (seen.hits_redis, seen.hits_memory, seen.stale) == (3, 1, 1)
        assert (seen.misses, seen.unavailable, seen.absent) == (2, 1, 1)
        assert (seen.applied, seen.queued, seen.failed) == (3, 1, 1)
        assert (seen.loads, seen.load_failures, seen.joined, seen.foreign) == (1, 0, 0, 0)
        assert seen.hit_ratio == pytest.approx(4 / 8)

    @virtual
    async def test_without_any_look_up_there_is_no_ratio(self, world: World) -> None:
        (seen,) = world.memory().snapshot().namespaces
        assert seen.hit_ratio is None

    @virtual
    async def test_of_a_cache_in_memory(self, world: World) -> None:
        cache = world.memory(name="mine", memory_bytes=1 << 20)
        await cache.set("k", 1)
        seen = cache.snapshot()
        assert (seen.name, seen.mode, seen.state, seen.redis) == (
            "mine",
            "memory",
            TierState.NONE,
            None,
        )
        assert (seen.memory.entries, seen.memory.max_bytes) == (1, 1 << 20)
        assert not seen.listening
        assert (seen.journal.intents, seen.loading) == (0, 0)

    @virtual
    async def test_of_redis(self, world: World) -> None:
        cache, network = world.process(name="mine")
        before = cache.snapshot().redis
        assert before is not None
        assert (before.pool, before.nodes, before.probe_latency) == (None, (), None)
        network.latency = 0.01
        await cache.set("k", 1)
        await cache.get("k")
        await asyncio.sleep(2.5)
        seen = cache.snapshot().redis
        assert seen is not None
        assert (seen.state, seen.reason) == (TierState.UP, None)
        assert (seen.reads.name, seen.writes.name) == ("mine.read", "mine.write")
        assert (seen.read_commands_total, seen.write_commands_total) == (1, 1)
        assert seen.pool is not None
        assert seen.pool.limit == 4
        assert [node.role for node in seen.nodes] == ["primary"]
        assert seen.probe_latency == pytest.approx(0.01)
        assert seen.read_latency.count == 1
        assert seen.read_latency.p50 == pytest.approx(0.01, rel=0.02)
        assert seen.write_latency.count == 1
        network.error = DOWN
        await world.state(cache, TierState.DOWN)
        await asyncio.sleep(5)
        seen = cache.snapshot().redis
        assert seen is not None
        assert (seen.state, seen.reason) == (TierState.DOWN, "connection refused")
        assert seen.in_state == pytest.approx(5, abs=0.1)

    @virtual
    async def test_a_look_at_the_servers_that_fails_leaves_the_last_one(self, world: World) -> None:
        cache, network = world.process()

        async def fail() -> Any:
            raise TierError(Trouble.REFUSED, "no such command")

        network.inner.nodes = fail  # type: ignore[method-assign]
        await cache.get("k")
        await asyncio.sleep(15)
        seen = cache.snapshot().redis
        assert seen is not None
        assert (seen.nodes, seen.state) == ((), TierState.UP)
        assert network.commands["nodes"] == 2, "each tenth probe"

    @virtual
    async def test_answers_from_memory_are_timed_now_and_then(self, world: World) -> None:
        cache, network = world.process()
        await cache.set("k", 1)
        await world.take_down(cache, network)
        before = cache.snapshot().memory_latency.count
        for _ in range(200):
            await cache.get("k")
        assert 3 <= cache.snapshot().memory_latency.count - before <= 4

    @virtual
    async def test_of_the_journal(self, world: World) -> None:
        cache, network = world.process(journal_bytes=1 << 20, journal_keys=7)
        await world.take_down(cache, network)
        await cache.set("k", 1)
        await asyncio.sleep(4)
        await cache.delete("m")
        await cache.namespace("users").clear()
        seen = cache.snapshot().journal
        assert (seen.intents, seen.floors, seen.max_bytes, seen.max_intents) == (2, 1, 1 << 20, 7)
        assert seen.oldest == pytest.approx(4)
        assert seen.queued_total == 2
        await world.bring_up(cache, network)
        assert cache.snapshot().journal.settled_total == 2


class TestNothingPrivate:
    @virtual
    async def test_is_shown_or_logged_or_told(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        cache, network = world.process(journal_bytes=1 << 16, journal_keys=2, stale_ttl=60)
        users = cache.namespace("users")
        shown: list[str] = []

        async def attempt(work: Any) -> None:
            try:
                shown.append(repr(type(await work)))
            except (ResilienceError, ValueError, TypeError, OSError) as error:
                shown.extend((str(error), repr(error), str(error.__cause__)))
                shown.extend(getattr(error, "__notes__", ()))

        async def load() -> Any:
            raise OSError("gone")

        long_key = "k" * 50 + SECRET
        await users.set("k", SECRET)
        await users.get("seen")
        await asyncio.sleep(0.01)
        world.shelf.put("holdfast:users:k:foreign", SECRET.encode(), None)
        await users.get("foreign")
        world.shelf.flush()
        await users.get("k")
        await attempt(users.set(long_key, {SECRET: object()}))
        await attempt(users.set(long_key, SECRET * 100_000))
        await attempt(users.get("k", type=int))
        await attempt(users.incr("k"))
        await attempt(users.get_or_set("other", load))
        network.lost_replies = 0.5
        await users.set_many({f"k{number}": SECRET for number in range(9)})
        await world.take_down(cache, network)
        for number in range(9):
            await users.set(f"k{number}", SECRET)
            await users.delete(f"k{number}")
        await attempt(users.delete("k", require_redis=True))
        await users.set("owed", SECRET)
        shown += [repr(cache.snapshot()), repr(cache), repr(users)]
        engine = cache._inside.engine
        shown += [repr(intent.entry) for intent in engine.journal.intents.values()]
        shown += [repr(node.value.entry) for node in engine.memory.store.nodes.values()]
        network.lost_replies = 0.0
        await world.bring_up(cache, network)
        shown += [repr(event) for event in world.events]
        shown += [record.getMessage() for record in caplog.records]
        assert len(shown) > 20
        assert not [line for line in shown if SECRET in line]


class TestListeners:
    @virtual
    async def test_that_raise_break_nothing(self, world: World) -> None:
        cache, network = world.process()

        def raises(event: object) -> None:
            raise ZeroDivisionError

        world.hub.subscribe(raises, CacheTierChanged)
        await world.take_down(cache, network)
        await world.bring_up(cache, network)
        assert world.hub.failures == 3
