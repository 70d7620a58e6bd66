"""Writing and deleting while all is nearly well: versions, batches, deadlines, foreign blobs."""

from __future__ import annotations

import asyncio
import logging
from math import inf
from typing import Any

import pytest

from cache.world import DOWN, World, gathered, virtual
from holdfast import deadline
from holdfast.cache import (
    CacheEncodeError,
    CacheForeignFound,
    PayloadTooLargeError,
    ResilientCache,
    Status,
    Tier,
    WriteStatus,
)
from holdfast.cache.entry import VALUE, Entry
from holdfast.cache.envelope import pack
from holdfast.cache.namespace import MISSING
from holdfast.cache.writing import GUARD

APPLIED, QUEUED, FAILED = WriteStatus.APPLIED, WriteStatus.QUEUED, WriteStatus.FAILED


class TestVersions:
    @virtual
    async def test_a_write_comes_after_whatever_is_there(self, world: World) -> None:
        """Also where the other process's clock is ahead: a caller's write is repeated above it."""
        (one, _), (two, _) = world.process(), world.process()
        await two.get("k")
        ahead = one._inside.engine.versions.issue(world.clock.wall() + 5)
        key = "holdfast::k:k"
        world.shelf.put(key, pack(Entry(b"\x01", VALUE, ahead, raw_size=1), key), None)
        assert await two.set("k", 2) is APPLIED
        assert await one.get("k") == await two.get("k") == 2

    @virtual
    async def test_a_deletion_remains_for_a_minute(self, world: World) -> None:
        cache, _ = world.process()
        await cache.set("k", 1, ttl=None)
        await cache.delete("k")
        assert world.shelf.get("holdfast::k:k") is not None
        assert (await cache.lookup("k")).status is Status.MISS
        await asyncio.sleep(GUARD)
        assert world.shelf.get("holdfast::k:k") is None

    @virtual
    async def test_writes_at_once_all_agree_in_the_end(self, world: World) -> None:
        caches = [world.process()[0] for _ in range(4)]
        for round_ in range(5):
            await gathered(
                *(cache.set("k", (round_, number)) for number, cache in enumerate(caches))
            )
            found = {str(await cache.get("k")) for cache in caches}
            assert len(found) == 1

    @virtual
    async def test_a_forked_child_numbers_its_versions_anew(self, world: World) -> None:
        cache, _ = world.process()
        engine = cache._inside.engine
        parent = engine.versions.issue(1.0) & 0xFFF
        engine._after_fork()
        assert engine.versions.issue(1.0) & 0xFFF != parent


class TestBatches:
    @virtual
    async def test_gets_of_one_turn_are_one_command(self, world: World) -> None:
        cache, network = world.process()
        await cache.set_many({f"k{number}": number for number in range(400)})
        await settled(cache)
        before = network.commands["read"]
        found = await gathered(*(cache.get(f"k{number}") for number in range(400)))
        assert found == list(range(400))
        assert network.commands["read"] - before == 1
        assert network.commands["write"] == 1

    @virtual
    async def test_sets_of_one_turn_are_one_command(self, world: World) -> None:
        cache, network = world.process()
        users = cache.namespace("users")
        statuses = await gathered(
            *(cache.set(f"k{number}", number) for number in range(100)),
            *(users.set(f"k{number}", -number) for number in range(100)),
            *(cache.delete(f"d{number}") for number in range(100)),
        )
        assert set(statuses) == {APPLIED}
        assert network.commands["write"] == 1
        assert await cache.get("k7") == 7
        assert await users.get("k7") == -7

    @virtual
    async def test_one_key_asked_twice_is_one_key(self, world: World) -> None:
        cache, network = world.process()
        await cache.set("k", 1)
        await settled(cache)
        asked: list[Any] = []
        inner = network.inner.read

        async def read(keys: Any, floors: Any) -> Any:
            asked.append((list(keys), list(floors)))
            return await inner(keys, floors)

        network.inner.read = read  # type: ignore[method-assign]
        assert await gathered(*(cache.get("k") for _ in range(10))) == [1] * 10
        assert asked == [(["holdfast::k:k"], ["holdfast::floor"])]
        assert await cache.get_many(["k", "k", "none"]) == {"k": 1}

    @virtual
    async def test_never_more_commands_under_way_than_connections(self, world: World) -> None:
        cache, network = world.process(command_timeout=10.0)
        await cache.get("settle")
        under_way = most = 0
        through = network._through

        async def watched(name: str, command: Any, *, writes: bool) -> Any:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            try:
                return await through(name, command, writes=writes)
            finally:
                under_way -= 1

        network._through = watched  # type: ignore[method-assign]
        network.latency = 0.01
        work: list[Any] = []
        for number in range(2000):
            work += [cache.get(f"k{number}"), cache.set(f"k{number}", 1)]
        work += [cache.incr(f"n{number}") for number in range(20)]
        await gathered(*work)
        assert 3 <= most <= network.max_connections == 4

    @virtual
    async def test_many_keys_go_in_several_commands(self, world: World) -> None:
        cache, network = world.process()
        keys = {f"k{number}": number for number in range(1200)}
        assert set((await cache.set_many(keys)).values()) == {APPLIED}
        assert network.commands["write"] == 3
        await settled(cache)
        before = network.commands["read"]
        assert await cache.get_many(keys) == keys
        assert network.commands["read"] - before == 3
        assert set((await cache.delete_many(keys)).values()) == {APPLIED}
        assert await cache.get_many(keys) == {}

    @virtual
    async def test_nothing_is_nothing(self, world: World) -> None:
        cache, network = world.process()
        assert await cache.get_many([]) == {}
        assert await cache.set_many({}) == {}
        assert await cache.delete_many([]) == {}
        assert "write" not in network.commands


class TestAllOrNothing:
    @virtual
    async def test_one_value_that_cannot_be_encoded_keeps_all_back(self, world: World) -> None:
        for cache in (world.process()[0], world.memory()):
            await cache.set("a", "old")
            with pytest.raises(CacheEncodeError, match="key 'b'"):
                await cache.set_many({"a": "new", "b": object(), "c": "new"})
            with pytest.raises(PayloadTooLargeError, match="key 'c'"):
                await cache.set_many({"a": "new", "c": "x" * (1 << 20)})
            assert await cache.get_many(["a", "b", "c"]) == {"a": "old"}

    @virtual
    async def test_one_bad_key_keeps_all_back(self, world: World) -> None:
        cache, _ = world.process()
        await cache.set("a", "old")
        with pytest.raises(ValueError, match="at least 1 character"):
            await cache.set_many({"a": "new", "": "new"})
        with pytest.raises(ValueError, match="at least 1 character"):
            await cache.delete_many(["a", ""])
        assert await cache.get("a") == "old"


class TestDeadlines:
    @virtual
    async def test_a_read_waits_no_longer_than_its_caller(self, world: World) -> None:
        cache, network = world.process(stale_ttl=10)
        await cache.set("k", 1)
        network.latency = 0.2
        started = world.clock.now()
        with deadline(0.05, clock=world.clock):
            found = await cache.lookup("k")
        assert world.clock.now() - started == pytest.approx(0.05)
        assert (found.value, found.tier, found.degraded) == (1, Tier.MEMORY, True)

    @virtual
    async def test_a_read_after_the_deadline_does_not_wait(self, world: World) -> None:
        cache, network = world.process()
        await cache.set("k", 1)
        network.latency = 0.2
        with deadline(0.0, clock=world.clock):
            started = world.clock.now()
            assert await cache.get("k") == 1
            assert (await cache.lookup("other")).status is Status.UNAVAILABLE
            assert world.clock.now() == started

    @virtual
    async def test_a_far_deadline_changes_nothing(self, world: World) -> None:
        cache, network = world.process()
        await cache.set("k", 1)
        network.latency = 0.2
        with deadline(10.0, clock=world.clock):
            assert not (await cache.lookup("k")).degraded

    @virtual
    async def test_a_write_whose_caller_left_holds_here_all_the_same(self, world: World) -> None:
        cache, network = world.process()
        await cache.set_many({"k": "old", "m": "old"})
        inner = network.inner.write

        async def slow(puts: Any, channel: str = "") -> list[int]:
            await asyncio.sleep(0.2)
            return await inner(puts, channel)

        network.inner.write = slow  # type: ignore[method-assign]
        with deadline(0.05, clock=world.clock):
            assert await cache.set("k", "new") is QUEUED
            assert set((await cache.set_many({"m": "new"})).values()) == {QUEUED}
        found = await cache.lookup("k")
        assert (found.value, found.degraded) == ("new", True), "no read before one's own write"
        assert (await cache.lookup("m")).value == "new"
        await asyncio.sleep(1)
        assert cache.snapshot().journal.intents == 0
        assert await cache.get_many(["k", "m"]) == {"k": "new", "m": "new"}

    @virtual
    async def test_impatient_callers_do_not_take_redis_down(self, world: World) -> None:
        cache, _ = world.process()
        with deadline(0.0, clock=world.clock):
            for _ in range(20):
                with pytest.raises(Exception, match="the caller's deadline has passed"):
                    await cache.incr("n")
                await cache.get("k")
        await asyncio.sleep(0.1)
        assert await cache.set("k", 1) is APPLIED
        assert cache._inside.engine.lifeline.writes.flows

    @virtual
    async def test_a_stalled_loop_is_no_outage(self, world: World) -> None:
        cache, network = world.process()
        await cache.set("k", 1)
        network.latency = 0.1
        asyncio.get_running_loop().call_later(0.05, world.clock.advance, 0.6)
        found = await cache.lookup("k")
        assert (found.value, found.degraded) == (1, False)


class TestCancellation:
    @virtual
    async def test_of_one_call_harms_no_other(self, world: World) -> None:
        cache, network = world.process()
        await cache.set_many({f"k{number}": number for number in range(30)})
        network.latency = 0.01
        tasks = [asyncio.ensure_future(cache.get(f"k{number}")) for number in range(30)]
        await asyncio.sleep(0.005)
        for task in tasks[::3]:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        for number, value in enumerate(done):
            if number % 3:
                assert value == number
            else:
                assert isinstance(value, asyncio.CancelledError)

    @virtual
    async def test_of_a_write_leaves_it_on_its_way(self, world: World) -> None:
        cache, network = world.process()
        network.latency = 0.1
        task = asyncio.ensure_future(cache.set("k", 1))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.sleep(0.2)
        assert await cache.get("k") == 1

    @virtual
    async def test_closing_answers_who_waits(self, world: World) -> None:
        cache, network = world.process()
        await cache.set("k", 1)
        network.latency = 0.2
        read = asyncio.ensure_future(cache.lookup("k"))
        write = asyncio.ensure_future(cache.set("m", 1))
        await asyncio.sleep(0.05)
        network.write_error = DOWN
        await cache.aclose()
        found = await read
        assert (found.value, found.degraded) == (1, True)
        assert await write is QUEUED


class TestForeign:
    @pytest.mark.parametrize(
        ("blob", "reason", "left"),
        [
            (b"somebody else's", "foreign", False),
            (b"", "foreign", False),
            (b"\xf5H\x01\x00" + bytes(36), "checksum", False),
            (b"\xf5H\x02" + bytes(60), "format", True),
        ],
    )
    @virtual
    async def test_is_a_counted_miss(
        self, world: World, blob: bytes, reason: str, left: bool
    ) -> None:
        cache, _ = world.process()
        world.shelf.put("holdfast::k:k", blob, None)
        found = await cache.lookup("k")
        assert (found.status, found.value, found.degraded) == (Status.MISS, None, False)
        await asyncio.sleep(0.1)
        assert (world.shelf.get("holdfast::k:k") == blob) is left
        assert [(event.namespace, event.reason) for event in world.told(CacheForeignFound)] == [
            ("", reason)
        ]
        (figures,) = cache.snapshot().namespaces
        assert (figures.foreign, figures.misses) == (1, 1)

    @virtual
    async def test_is_a_miss_among_many(self, world: World) -> None:
        cache, _ = world.process()
        await cache.set_many({"a": 1, "b": 2})
        world.shelf.put("holdfast::k:b", b"garbage", None)
        assert await cache.get_many(["a", "b"]) == {"a": 1}
        await asyncio.sleep(0.1)
        assert await cache.set("b", 3) is APPLIED
        assert await cache.get("b") == 3

    @virtual
    async def test_a_payload_that_does_not_decode_is_a_miss(self, world: World) -> None:
        cache, _ = world.process()
        key = "holdfast::k:k"
        version = cache._inside.engine.next_version()
        world.shelf.put(key, pack(Entry(b"\xc1", VALUE, version, raw_size=1), key), None)
        assert await cache.get("k", "default") == "default"
        assert await cache.get_many(["k"]) == {}
        assert await cache.get_many(["k"]) == {}
        assert (await cache.lookup("k")).status is Status.MISS
        (figures,) = cache.snapshot().namespaces
        assert figures.foreign == 4

    @virtual
    async def test_planted_in_memory_it_is_a_miss_too(self, world: World) -> None:
        cache = world.memory()
        engine = cache._inside.engine
        entry = Entry(b"\xc1", VALUE, engine.next_version(), inf, inf, raw_size=1)
        engine.keep(cache._space, "holdfast::k:k", entry, engine.era)
        assert await cache.get("k", "default") == "default"
        assert await cache.get_many(["k"]) == {}
        assert cache.glance("k") is MISSING


class TestTrouble:
    @virtual
    async def test_a_tier_that_breaks_its_promise_is_an_outage(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache, network = world.process()
        await cache.set("k", 1)

        async def broken(*_: Any) -> Any:
            raise ZeroDivisionError("s3cret")

        network.read = network.write = broken  # type: ignore[method-assign,assignment]
        with caplog.at_level(logging.ERROR):
            found = await cache.lookup("k")
            assert (found.value, found.degraded) == (1, True)
            assert await cache.set("k", 2) is QUEUED
        assert "failed in an unforeseen way" in caplog.text

    @pytest.mark.parametrize("most", [1, 2])
    @virtual
    async def test_too_few_connections_are_refused_each_time(self, world: World, most: int) -> None:
        cache, network = world.process()
        network.inner.max_connections = most  # type: ignore[misc]
        for _ in range(2):
            with pytest.raises(ValueError, match="max_connections must be at least 3"):
                await cache.get("k")
        network.inner.max_connections = 3  # type: ignore[misc]
        assert await cache.get("k") is None


class TestBounds:
    @virtual
    async def test_memory_never_takes_more_than_its_bytes(self, world: World) -> None:
        for cache in (
            world.memory(memory_bytes=1 << 16, stale_bytes=1 << 14),
            world.process(memory_bytes=1 << 16, stale_bytes=1 << 14)[0],
        ):
            for number in range(600):
                size = number * 61 % 3000
                await cache.set(f"k{number}", "x" * size, ttl=1 + number % 7, stale_ttl=5)
                if number % 50 == 0:
                    await asyncio.sleep(1)
                memory = cache.snapshot().memory
                assert memory.bytes <= memory.max_bytes == 1 << 16
                assert memory.stale_bytes <= memory.max_stale_bytes == 1 << 14
            assert cache.snapshot().memory.evictions_total > 0

    @virtual
    async def test_the_latest_versions_are_remembered_in_bounds(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("holdfast.cache.engine.MOST_REMEMBERED", 10)
        cache, _ = world.process()
        for number in range(30):
            await cache.delete(f"k{number}")
        assert len(cache._inside.engine._latest) == 10

    @virtual
    async def test_memory_is_swept_without_being_asked(self, world: World) -> None:
        for cache in (world.memory(), world.process()[0]):
            await cache.set_many({f"k{number}": number for number in range(100)}, ttl=5)
            assert cache.snapshot().memory.entries == 100
            await asyncio.sleep(10)
            assert cache.snapshot().memory.entries == 0


class TestSharedClock:
    @virtual
    async def test_is_that_of_redis_however_wrong_the_local_one_is(self, world: World) -> None:
        cache, _ = world.process()
        world.shelf.now = lambda: world.clock.wall() + 3600  # type: ignore[method-assign]
        await cache.get("k")
        await asyncio.sleep(0.1)
        assert cache._inside.engine.shared_now() == pytest.approx(world.clock.wall() + 3600)
        await cache.set("k", 1, ttl=10)
        assert await cache.ttl("k") == pytest.approx(10)
        await asyncio.sleep(9.9)
        assert await cache.get("k") == 1
        await asyncio.sleep(0.2)
        assert await cache.get("k") is None

    @virtual
    async def test_a_slow_answer_does_not_move_it(self, world: World) -> None:
        cache, network = world.process()
        await cache.get("k")
        await asyncio.sleep(0.1)
        network.latency = 0.2
        await asyncio.sleep(10)
        assert cache._inside.engine.shared_now() == pytest.approx(world.clock.wall(), abs=1e-6)


async def settled(cache: ResilientCache) -> None:
    """Let the process do what it does once with each namespace."""
    await cache.get("something else")
    await asyncio.sleep(0.01)
