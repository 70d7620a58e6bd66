"""The hard questions of failover, each with its answer; two processes, one Redis."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from cache.world import DOWN, SETTLED, World, until, virtual
from holdfast.cache import (
    CacheDataLost,
    CacheJournalOverflowed,
    CacheReplayed,
    CacheTierChanged,
    CacheUnavailableError,
    Status,
    Tier,
    TierState,
    WriteStatus,
)
from holdfast.cache.entry import KIND_MASK, TOMBSTONE
from holdfast.cache.lifeline import CONFIGURATION_PAUSE
from holdfast.cache.port import TierError, Trouble

APPLIED, QUEUED, FAILED = WriteStatus.APPLIED, WriteStatus.QUEUED, WriteStatus.FAILED


def trouble(kind: Trouble, reason: str = "") -> TierError:
    return TierError(kind, reason or str(kind))


class TestADeleteDuringTheOutage:
    @virtual
    async def test_holds_here_at_once_and_everywhere_afterwards(self, world: World) -> None:
        (one, network), (two, _) = world.process(), world.process()
        await one.set("k", 1, ttl=None)
        await world.take_down(one, network)
        assert await one.delete("k") is QUEUED
        found = await one.lookup("k")
        assert (found.status, found.degraded) == (Status.MISS, True)
        assert await two.get("k") == 1, "nobody could tell the other process"
        await world.bring_up(one, network)
        for cache in (one, two):
            found = await cache.lookup("k")
            assert (found.status, found.degraded) == (Status.MISS, False)

    @virtual
    async def test_is_owed_for_the_longest_life_that_was_written(self, world: World) -> None:
        cache, network = world.process()
        await cache.set("k", 1, ttl=7200)
        await world.take_down(cache, network)
        await cache.delete("k")
        await asyncio.sleep(7000)
        assert cache.snapshot().journal.intents == 1
        await asyncio.sleep(300)
        assert cache.snapshot().journal.intents == 0
        assert cache.snapshot().journal.forgotten_total == 1

    @virtual
    async def test_is_owed_for_an_hour_at_least(self, world: World) -> None:
        cache, network = world.process()
        await cache.set("k", 1, ttl=5)
        await world.take_down(cache, network)
        await cache.delete("k")
        await asyncio.sleep(3500)
        assert cache.snapshot().journal.intents == 1
        await asyncio.sleep(200)
        assert cache.snapshot().journal.intents == 0

    @virtual
    async def test_that_must_be_in_force_everywhere_raises_and_stays_owed(
        self, world: World
    ) -> None:
        (one, network), (two, _) = world.process(), world.process()
        await one.set("session", 1)
        await world.take_down(one, network)
        with pytest.raises(CacheUnavailableError, match=r"delete needs Redis.*connection refused"):
            await one.delete("session", require_redis=True)
        with pytest.raises(CacheUnavailableError, match="delete_many"):
            await one.delete_many(["session"], require_redis=True)
        with pytest.raises(CacheUnavailableError, match="clear"):
            await one.clear(require_redis=True)
        await world.bring_up(one, network)
        assert await two.get("session") is None

    @virtual
    async def test_is_told_before_any_value(self, world: World) -> None:
        cache, network = world.process()
        await cache.set_many(dict.fromkeys("abcd", 1))
        await world.take_down(cache, network)
        told: list[str] = []
        inner = network.inner.write

        async def listen(puts: Any, channel: str = "") -> list[int]:
            told.extend(put.key[-1] for put in puts)
            return await inner(puts, channel)

        network.inner.write = listen  # type: ignore[method-assign]
        await cache.set("a", 2)
        await cache.delete("b")
        await cache.set("c", 2)
        await cache.delete("d")
        await world.bring_up(cache, network)
        assert told == ["b", "d", "a", "c"]


class TestAWriteDuringTheOutage:
    @virtual
    async def test_is_a_hit_here_and_is_told_later_with_the_time_that_is_left(
        self, world: World
    ) -> None:
        (one, network), (two, _) = world.process(), world.process()
        await world.take_down(one, network)
        assert await one.set("k", 1, ttl=60) is QUEUED
        found = await one.lookup("k")
        assert (found.status, found.value, found.tier) == (Status.HIT, 1, Tier.MEMORY)
        assert found.degraded
        assert await two.get("k") is None
        await asyncio.sleep(20)
        await world.bring_up(one, network)
        left = await two.ttl("k")
        assert left is not None
        assert 36 < left < 40
        replayed = world.told(CacheReplayed)
        assert [(event.applied, event.superseded) for event in replayed] == [(1, 0)]

    @virtual
    async def test_yields_to_what_another_process_wrote_meanwhile(self, world: World) -> None:
        (one, network), (two, _) = world.process(), world.process()
        await world.take_down(one, network)
        await one.set("k", "older")
        await asyncio.sleep(1)
        assert await two.set("k", "newer") is APPLIED
        await world.bring_up(one, network)
        assert await one.get("k") == await two.get("k") == "newer"
        replayed = world.told(CacheReplayed)
        assert [(event.applied, event.superseded) for event in replayed] == [(0, 1)]

    @virtual
    async def test_that_has_outlived_itself_is_told_as_a_deletion(self, world: World) -> None:
        (one, network), (two, _) = world.process(), world.process()
        await two.set("k", "old", ttl=None)
        await world.take_down(one, network)
        await one.set("k", "new", ttl=5)
        await asyncio.sleep(10)
        await world.bring_up(one, network)
        blob = world.shelf.get("holdfast::k:k")
        assert blob is not None
        assert blob[3] & KIND_MASK == TOMBSTONE
        assert (await two.lookup("k")).status is Status.MISS
        assert (await one.lookup("k")).status is Status.MISS

    @virtual
    async def test_only_the_newest_of_a_key_is_owed(self, world: World) -> None:
        cache, network = world.process()
        await world.take_down(cache, network)
        for number in range(50):
            await cache.set("k", number)
        assert cache.snapshot().journal.intents == 1
        await world.bring_up(cache, network)
        assert await cache.get("k") == 49

    @virtual
    async def test_many_are_told_in_portions(self, world: World) -> None:
        cache, network = world.process()
        await world.take_down(cache, network)
        await cache.set_many({f"k{number}": "x" * 100 for number in range(700)})
        assert cache.snapshot().journal.intents == 700
        before = network.commands.get("write", 0)
        await world.bring_up(cache, network)
        assert cache.snapshot().journal.intents == 0
        assert network.commands["write"] - before == 4
        assert len(await cache.get_many([f"k{number}" for number in range(700)])) == 700

    @virtual
    async def test_large_values_go_one_by_one(self, world: World) -> None:
        cache, network = world.process(journal_bytes=1 << 21)
        await world.take_down(cache, network)
        for key in "abc":
            assert await cache.set(key, "x" * 200_000, compression=False) is QUEUED
        before = network.commands.get("write", 0)
        await world.bring_up(cache, network)
        assert network.commands["write"] - before == 3

    @virtual
    async def test_require_redis_writes_nothing_that_is_not_confirmed(self, world: World) -> None:
        (one, network), (two, _) = world.process(), world.process()
        await one.set("k", "old")
        await world.take_down(one, network)
        with pytest.raises(CacheUnavailableError, match="set needs Redis"):
            await one.set("k", "new", require_redis=True)
        with pytest.raises(CacheUnavailableError, match="set_many needs Redis"):
            await one.set_many({"m": "new"}, require_redis=True)
        assert (await one.lookup("k")).status is Status.MISS, "neither the old nor the new"
        await world.bring_up(one, network)
        assert await two.get_many(["k", "m"]) == {}


class TestAValueThatIsOwedForLong:
    """Redis keeps a version for a minute at least. Nobody knows what it has forgotten since."""

    @virtual
    async def test_takes_the_place_of_an_older_one(self, world: World) -> None:
        (one, network), (two, _) = world.process(), world.process()
        await two.set("k", "old", ttl=None)
        await world.take_down(one, network)
        await one.set("k", "new", ttl=None)
        await asyncio.sleep(600)
        await world.bring_up(one, network)
        assert await two.get("k") == "new"

    @virtual
    async def test_does_not_bring_back_what_was_overwritten_and_has_ended(
        self, world: World
    ) -> None:
        (one, network), (two, _) = world.process(), world.process()
        await world.take_down(one, network)
        await one.set("k", "older", ttl=None)
        await asyncio.sleep(1)
        await two.set("k", "newer", ttl=5)
        await two.set("deleted", 1)
        await asyncio.sleep(600)
        await world.bring_up(one, network)
        assert cache_owes(one) == 0
        assert (await one.lookup("k")).status is Status.MISS
        assert (await two.lookup("k")).status is Status.MISS

    @virtual
    async def test_nor_what_has_ended_a_moment_ago(self, world: World) -> None:
        (one, network), (two, _) = world.process(), world.process()
        await world.take_down(one, network)
        await one.set("k", "older", ttl=None)
        await asyncio.sleep(1)
        await two.set("k", "newer", ttl=5)
        await asyncio.sleep(20)
        await world.bring_up(one, network)
        assert (await one.lookup("k")).status is Status.MISS

    @virtual
    async def test_stays_owed_if_redis_cannot_say_what_it_has(self, world: World) -> None:
        (one, network), (two, _) = world.process(), world.process()
        await two.set("k", "old", ttl=None)
        await world.take_down(one, network)
        await one.set("k", "new", ttl=None)
        await asyncio.sleep(600)
        inner = network.inner.read

        async def fail(*_: Any) -> Any:
            raise DOWN

        network.inner.read = fail  # type: ignore[method-assign,assignment]
        network.error = None
        await asyncio.sleep(5)
        assert cache_owes(one) == 1
        network.inner.read = inner  # type: ignore[method-assign]
        await asyncio.sleep(5)
        assert cache_owes(one) == 0
        assert await two.get("k") == "new"


class TestAWriteThatTimedOut:
    @virtual
    async def test_whose_reply_was_lost_is_settled_by_its_version(self, world: World) -> None:
        (one, network), (two, _) = world.process(), world.process()
        network.lost_replies = 1.0
        assert await one.set("k", 1) is QUEUED
        network.lost_replies = 0.0
        assert await two.get("k") == 1, "it was applied after all"
        assert await one.get("k") == 1
        await asyncio.sleep(SETTLED)
        assert cache_owes(one) == 0
        assert await one.get("k") == 1

    @virtual
    async def test_and_arrives_late_does_not_undo_a_newer_one(self, world: World) -> None:
        (one, network), (two, _) = world.process(), world.process()
        network.freeze()
        assert await one.set("k", "early") is QUEUED
        await network.thaw(late=True)
        await asyncio.sleep(SETTLED)
        await two.set("k", "late")
        await network.deliver()
        assert await one.get("k") == await two.get("k") == "late"

    @virtual
    async def test_and_arrives_late_does_not_undo_a_deletion(self, world: World) -> None:
        (one, network), (two, _) = world.process(), world.process()
        network.freeze()
        assert await one.set("k", "early") is QUEUED
        await network.thaw(late=True)
        await asyncio.sleep(SETTLED)
        await two.delete("k")
        await asyncio.sleep(30)
        await network.deliver()
        assert await two.get("k") is None

    @virtual
    async def test_a_clearing_whose_reply_was_lost(self, world: World) -> None:
        (one, network), (two, _) = world.process(), world.process()
        await one.set("k", 1)
        network.lost_replies = 1.0
        assert await one.clear() is QUEUED
        network.lost_replies = 0.0
        assert await one.set("k", 2) is APPLIED
        await asyncio.sleep(SETTLED)
        assert cache_owes(one) == 0
        assert await one.get("k") == await two.get("k") == 2


class TestTooMuchIsOwed:
    @virtual
    async def test_a_value_that_does_not_fit_is_owed_as_a_deletion(self, world: World) -> None:
        (one, network), (two, _) = world.process(journal_bytes=1 << 16), world.process()
        await two.set("k", "old", ttl=None)
        await world.take_down(one, network)
        assert await one.set("k", "x" * 100_000, compression=False) is FAILED
        assert (await one.lookup("k")).status is Status.MISS
        await world.bring_up(one, network)
        assert (await two.lookup("k")).status is Status.MISS, "the old value is not served"
        assert one.snapshot().journal.demoted_total == 1

    @virtual
    async def test_too_many_keys_clear_the_namespace(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        (one, network), (two, _) = world.process(journal_keys=3), world.process()
        users, other = two.namespace("users"), two.namespace("other")
        await users.set_many(dict.fromkeys("abcdef", 1), ttl=None)
        await other.set("k", 1, ttl=None)
        await world.take_down(one, network)
        for key in "abcd":
            assert await one.namespace("users").delete(key) is QUEUED
        assert one.snapshot().journal.floors == 1
        assert [event.namespace for event in world.told(CacheJournalOverflowed)] == ["users"]
        assert "the journal is full" in caplog.text
        await world.bring_up(one, network)
        assert await users.get_many(list("abcdef")) == {}
        assert await other.get("k") == 1
        assert cache_owes(one) == 0

    @virtual
    async def test_the_journal_never_takes_more_than_its_bytes(self, world: World) -> None:
        cache, network = world.process(journal_bytes=1 << 16, journal_keys=50)
        await world.take_down(cache, network)
        for number in range(400):
            size = 10 + number * 37 % 5000
            await cache.namespace(f"n{number % 3}").set(f"k{number}", "x" * size)
            journal = cache.snapshot().journal
            assert journal.bytes <= journal.max_bytes == 1 << 16
            assert journal.intents <= 50
            assert journal.floors <= 3
        assert cache.snapshot().journal.overflowed_total > 0


class TestSeveralProcesses:
    @virtual
    async def test_a_copy_is_a_hit_for_its_time_as_a_stand_in_then_stale(
        self, world: World
    ) -> None:
        (one, network), (two, _) = world.process(standin_ttl=30, stale_ttl=60), world.process()
        await two.set("k", "old", ttl=1000)
        assert await one.get("k") == "old"
        await world.take_down(one, network)
        await two.set("k", "new")
        found = await one.lookup("k")
        assert (found.status, found.value, found.degraded) == (Status.HIT, "old", True)
        await asyncio.sleep(30)
        found = await one.lookup("k")
        assert (found.status, found.value, found.degraded) == (Status.STALE, "old", True)
        assert await one.get("k") == "old", "stale_ttl asked for it"
        await world.bring_up(one, network)
        found = await one.lookup("k")
        assert (found.value, found.tier, found.degraded) == ("new", Tier.REDIS, False)

    @virtual
    async def test_an_unconfirmed_copy_is_no_value_where_nobody_asked_for_stale_ones(
        self, world: World
    ) -> None:
        cache, network = world.process(standin_ttl=30)
        await cache.set("k", 1, ttl=1000)
        await world.take_down(cache, network)
        await asyncio.sleep(31)
        assert (await cache.lookup("k")).status is Status.STALE
        assert await cache.get("k") is None
        assert not await cache.exists("k")
        assert await cache.get_many(["k"]) == {}

    @virtual
    async def test_what_was_written_here_is_confirmed_only_for_so_long(self, world: World) -> None:
        cache, network = world.process(standin_ttl=30)
        await world.take_down(cache, network)
        await cache.set("k", 1, ttl=1000)
        await asyncio.sleep(29)
        assert (await cache.lookup("k")).status is Status.HIT
        await asyncio.sleep(2)
        assert (await cache.lookup("k")).status is Status.STALE

    @virtual
    async def test_memory_cannot_tell_a_miss_from_what_it_does_not_know(self, world: World) -> None:
        cache, network = world.process()
        await world.take_down(cache, network)
        found = await cache.lookup("never heard of")
        assert (found.status, found.degraded) == (Status.UNAVAILABLE, True)
        assert await cache.get("never heard of", "default") == "default"

    @virtual
    async def test_who_wants_no_stand_in_gets_none(self, world: World) -> None:
        cache, network = world.process()
        await cache.set("k", 1)
        await world.take_down(cache, network)
        found = await cache.lookup("k", fallback_to_memory=False)
        assert (found.status, found.value) == (Status.UNAVAILABLE, None)
        assert await cache.get("k", fallback_to_memory=False) is None
        assert await cache.get_many(["k"], fallback_to_memory=False) == {}
        assert await cache.get("k") == 1
        assert await cache.set("k", 2, fallback_to_memory=False) is FAILED
        assert (await cache.lookup("k")).status is Status.MISS, "the old value is not the truth"
        assert await cache.set("owed", 1) is QUEUED
        assert (await cache.lookup("owed", fallback_to_memory=False)).status is Status.UNAVAILABLE

    @virtual
    async def test_time_to_live_ends_in_an_outage_too(self, world: World) -> None:
        cache, network = world.process()
        await cache.set_many({"gone": 1}, ttl=10)
        await cache.set("stale", 1, ttl=10, stale_ttl=100)
        await world.take_down(cache, network)
        await asyncio.sleep(10)
        assert (await cache.lookup("gone")).status is Status.UNAVAILABLE
        assert (await cache.lookup("stale")).status is Status.STALE
        assert await cache.get("stale") == 1
        await asyncio.sleep(100)
        assert (await cache.lookup("stale")).status is Status.UNAVAILABLE


class TestAReadDuringTheOutage:
    @virtual
    async def test_sees_what_was_written_while_it_was_under_way(self, world: World) -> None:
        cache, network = world.process()
        await cache.set("k", "old")
        network.latency = 0.1
        reading = asyncio.ensure_future(cache.lookup("k"))
        await asyncio.sleep(0.05)
        network.write_error = DOWN
        network.latency = 0.0
        assert await cache.set("k", "new") is QUEUED
        found = await reading
        assert (found.value, found.degraded) == ("new", True)

    @virtual
    async def test_does_not_see_what_was_cleared_while_it_was_under_way(self, world: World) -> None:
        cache, network = world.process()
        await cache.set("k", "old")
        network.freeze()
        reading = asyncio.ensure_future(cache.lookup("k"))
        await asyncio.sleep(0.05)
        assert await cache.clear() is QUEUED
        assert (await reading).status is Status.UNAVAILABLE

    @virtual
    async def test_does_not_see_what_is_owed_and_has_ended(self, world: World) -> None:
        cache, network = world.process()
        await world.take_down(cache, network)
        await cache.set("k", 1, ttl=5)
        await asyncio.sleep(6)
        found = await cache.lookup("k")
        assert (found.status, found.degraded) == (Status.MISS, True)


class TestRedisComesBackEmpty:
    @virtual
    async def test_memory_serves_what_it_has_and_says_so(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What another process wrote, and was only read here."""
        (one, _), (two, _), (three, _) = (world.process() for _ in range(3))
        await one.set("k", 1, ttl=100)
        assert await two.get("k") == 1
        await seen_by(two)
        world.shelf.flush()
        found = await two.lookup("k")
        assert (found.status, found.value, found.tier) == (Status.HIT, 1, Tier.MEMORY)
        assert found.degraded
        await asyncio.sleep(1)
        # It is not given back: whoever has no copy does not know how old it is.
        assert (await three.lookup("k")).status is Status.MISS
        assert [event.namespace for event in world.told(CacheDataLost)] == [""]
        assert "Redis has lost namespace ''" in caplog.text
        assert two.snapshot().namespaces[0].stood_in == 1
        await asyncio.sleep(30)
        assert (await two.lookup("k")).status is Status.MISS

    @virtual
    async def test_what_is_owed_does_not_replace_what_was_lost_with_it(self, world: World) -> None:
        """A newer value was confirmed to another process, and went down with the data."""
        (one, network), (two, _) = world.process(), world.process()
        await seen_by(one)
        await world.take_down(one, network)
        assert await one.set("k", "queued") is QUEUED
        assert await one.delete("gone") is QUEUED
        assert await two.set("k", "newer") is APPLIED
        world.shelf.flush()
        await world.bring_up(one, network)
        assert cache_owes(one) == 0
        for cache in (one, two):
            found = await cache.lookup("k")
            assert found.value in (None, "newer")
            assert found.value is None or found.degraded
        assert one.snapshot().journal.demoted_total == 1

    @virtual
    async def test_a_loss_that_another_process_noticed_first_is_noticed_too(
        self, world: World
    ) -> None:
        """It has given the namespace a floor again, so that nothing seems to be missing."""
        (one, network), (two, _) = world.process(), world.process()
        for cache in (one, two):
            await seen_by(cache)
            await asyncio.sleep(1)
        await world.take_down(one, network)
        assert await one.set("k", "queued") is QUEUED
        assert await two.set("k", "newer") is APPLIED
        world.shelf.flush()
        await seen_by(two)
        await world.bring_up(one, network)
        assert (await one.lookup("k")).value is None
        assert (await two.lookup("k")).value in (None, "newer")
        assert len(world.told(CacheDataLost)) == 2

    @virtual
    async def test_two_that_give_a_namespace_its_first_floor_at_once_lose_nothing(
        self, world: World
    ) -> None:
        processes = [world.process() for _ in range(6)]
        for _, network in processes:
            network.latency = 0.05
        await asyncio.gather(*(cache.get("a") for cache, _ in processes))
        await asyncio.sleep(0.2)
        for cache, _ in processes:
            await cache.get("a")
            await asyncio.sleep(0.2)
            await cache.get("a")
        assert world.told(CacheDataLost) == []

    @virtual
    async def test_each_loss_is_told_once(self, world: World) -> None:
        cache, _ = world.process()
        await cache.set_many(dict.fromkeys("abcd", 1))
        await seen_by(cache)
        for losses in (1, 2):
            world.shelf.flush()
            await asyncio.gather(*(cache.get(key) for key in "abcd"))
            await asyncio.sleep(0.1)
            await cache.get_many(list("abcd"))
            await asyncio.sleep(0.1)
            assert len(world.told(CacheDataLost)) == losses

    @virtual
    async def test_a_read_from_before_the_floor_was_raised_is_no_loss(self, world: World) -> None:
        cache, network = world.process()
        inner = network.inner.read
        slow = True

        async def read(keys: Any, floors: Any) -> Any:
            nonlocal slow
            waits, slow = slow, False
            found = await inner(keys, floors)
            await asyncio.sleep(0.1 if waits else 0.0)
            return found

        network.inner.read = read  # type: ignore[method-assign]
        first = asyncio.ensure_future(cache.get("a"))
        await asyncio.sleep(0.01)
        await cache.get("b")
        await first
        assert world.told(CacheDataLost) == []

    @virtual
    async def test_what_stands_in_does_not_hide_a_newer_write(self, world: World) -> None:
        (one, _), (two, _) = world.process(), world.process()
        await one.set("k", "old")
        await seen_by(one)
        world.shelf.flush()
        await two.get("other")
        await two.set("k", "new")
        assert await one.get("k") == "new"
        assert await two.get("k") == "new"

    @virtual
    async def test_a_copy_that_was_not_confirmed_lately_does_not_stand_in(
        self, world: World
    ) -> None:
        cache, _ = world.process(standin_ttl=30)
        await cache.set("k", 1, ttl=1000)
        await asyncio.sleep(31)
        await seen_by(cache)
        world.shelf.flush()
        assert (await cache.lookup("k")).status is Status.MISS

    @virtual
    async def test_a_deleted_key_does_not_come_back_by_the_process_that_deleted_it(
        self, world: World
    ) -> None:
        cache, _ = world.process()
        await cache.set("k", 1)
        await cache.delete("k")
        await seen_by(cache)
        world.shelf.flush()
        assert (await cache.lookup("k")).status is Status.MISS

    @virtual
    async def test_a_cleared_namespace_stays_cleared(self, world: World) -> None:
        """The floor is lost with the rest, and is raised again."""
        (one, _), (two, _) = world.process(), world.process()
        await one.set("k", 1)
        await two.get("k")
        await one.clear()
        await two.get("k")
        world.shelf.flush()
        for cache in (one, two, one, two):
            assert (await cache.lookup("k")).status is Status.MISS
            await asyncio.sleep(0.1)
        floor = world.shelf.get("holdfast::floor")
        assert floor is not None
        assert int.from_bytes(floor, "big") > 1

    @virtual
    async def test_the_origin_is_asked_once_not_by_everybody(self, world: World) -> None:
        (one, _), (two, _) = world.process(), world.process()
        loads = 0

        async def load() -> int:
            nonlocal loads
            loads += 1
            await asyncio.sleep(0.1)
            return loads

        await one.get_or_set("cold", load)
        await asyncio.sleep(40)
        world.shelf.flush()
        await asyncio.gather(
            *(cache.get_or_set("cold", load) for cache in (one, two) for _ in range(100))
        )
        assert loads == 2


class TestKindsOfTrouble:
    @pytest.mark.parametrize("kind", [Trouble.UNREACHABLE, Trouble.BUSY])
    @virtual
    async def test_an_outage_is_noticed_after_four_commands(
        self, world: World, kind: Trouble
    ) -> None:
        cache, network = world.process()
        await cache.set("k", 1)
        network.error = trouble(kind)
        assert await cache.get("k") == 1
        await world.state(cache, TierState.DOWN)
        assert world.clock.now() < 1.0
        before = sum(network.commands.values())
        for _ in range(100):
            assert await cache.get("k") == 1
        assert sum(network.commands.values()) == before, "nobody asks a Redis that is down"
        await world.bring_up(cache, network)

    @virtual
    async def test_a_frozen_redis_costs_a_call_its_deadline_and_then_nothing(
        self, world: World
    ) -> None:
        cache, network = world.process()
        await cache.set("k", 1)
        network.freeze()
        started = world.clock.now()
        assert await cache.get("k") == 1
        assert world.clock.now() - started == pytest.approx(0.25)
        await world.state(cache, TierState.DOWN)
        started = world.clock.now()
        assert await cache.get("k") == 1
        assert world.clock.now() == started

    @pytest.mark.parametrize("reason", ["OOM: full", "READONLY: a replica"])
    @virtual
    async def test_refused_writes_wait_while_reads_go_on(self, world: World, reason: str) -> None:
        (one, network), (two, _) = world.process(), world.process()
        await one.set("k", "old")
        network.write_error = trouble(Trouble.WRITES_REFUSED, reason)
        assert await one.set("k", "new") is QUEUED
        assert await one.delete("other") is QUEUED
        assert one.state is TierState.UP
        await two.set("by two", 2)
        found = await one.lookup("by two")
        assert (found.value, found.tier, found.degraded) == (2, Tier.REDIS, False)
        assert await one.get("k") == "new"
        assert await two.get("k") == "old"
        seen = one.snapshot().redis
        assert seen is not None
        assert seen.reason == reason
        await asyncio.sleep(20)
        assert one.state is TierState.UP
        assert network.commands["write"] < 40, "it is asked about once a second"
        network.write_error = None
        await asyncio.sleep(SETTLED)
        assert cache_owes(one) == 0
        assert await two.get("k") == "new"
        assert await one.set("k", "newer") is APPLIED
        assert world.told(CacheTierChanged) == []

    @pytest.mark.parametrize(
        "reason",
        ["WRONGPASS: configuration, not an outage", "DENIED: the server is in protected mode"],
    )
    @virtual
    async def test_configuration_is_an_alarm_and_is_asked_again_after_half_a_minute(
        self, world: World, caplog: pytest.LogCaptureFixture, reason: str
    ) -> None:
        cache, network = world.process()
        await cache.set("k", 1)
        network.error = trouble(Trouble.CONFIGURATION, reason)
        assert await cache.get("k") == 1
        assert (await cache.lookup("k")).degraded
        assert str(cache.state) == "down", "at once"
        asked = sum(network.commands.values())
        await asyncio.sleep(CONFIGURATION_PAUSE - 1)
        assert sum(network.commands.values()) <= asked + 1
        (event,) = world.told(CacheTierChanged)
        assert (event.target, event.configuration, event.reason) == (TierState.DOWN, True, reason)
        alarms = [one for one in caplog.records if one.levelno == logging.ERROR]
        assert [one.getMessage() for one in alarms] == [f"cache 'cache': Redis is down: {reason}"]
        network.error = None
        await asyncio.sleep(2.5)
        assert cache.state is TierState.UP
        assert not world.told(CacheTierChanged)[-1].configuration

    @virtual
    async def test_the_word_alone_is_no_alarm(self, world: World) -> None:
        cache, network = world.process()
        network.error = trouble(Trouble.UNREACHABLE, "connection refused at configuration.internal")
        await world.state(cache, TierState.DOWN)
        (event,) = world.told(CacheTierChanged)
        assert not event.configuration

    @pytest.mark.parametrize("kind", [Trouble.POOL, Trouble.REFUSED])
    @virtual
    async def test_what_is_not_the_fault_of_redis_never_takes_it_down(
        self, world: World, kind: Trouble
    ) -> None:
        cache, network = world.process()
        await cache.set("k", 1)
        network.error = trouble(kind)
        for _ in range(20):
            found = await cache.lookup("k")
            assert (found.value, found.degraded) == (1, True)
        await asyncio.sleep(5)
        assert cache.state is TierState.UP
        assert network.commands["time"] < 150, "the monitor does not run wild"
        network.error = None
        assert not (await cache.lookup("k")).degraded

    @virtual
    async def test_a_write_for_which_there_was_no_connection_is_owed(self, world: World) -> None:
        cache, network = world.process()
        network.write_error = trouble(Trouble.POOL)
        assert await cache.set("k", 1) is QUEUED
        network.write_error = None
        await asyncio.sleep(SETTLED)
        assert cache_owes(cache) == 0

    @virtual
    async def test_a_server_that_refuses_writes_without_a_known_reason_holds_them(
        self, world: World
    ) -> None:
        cache, network = world.process()
        await cache.set("k", 1)
        network.write_error = trouble(Trouble.REFUSED)
        assert await cache.set("k", 2) is QUEUED
        assert await cache.delete("m") is QUEUED
        assert await cache.get("k") == 2
        before = network.commands["write"]
        await asyncio.sleep(25)
        assert network.commands["write"] == before, "asked again every 30 s at most"
        assert cache.state is TierState.UP
        network.write_error = None
        await asyncio.sleep(10)
        assert cache_owes(cache) == 0
        assert (await cache.lookup("k")).tier == "redis"

    @virtual
    async def test_a_breaker_held_closed_by_hand_keeps_asking_but_not_without_pause(
        self, world: World
    ) -> None:
        cache, network = world.process()
        await cache.set("k", 1)
        cache._inside.engine.lifeline.reads.breaker.force_closed("by hand")
        network.error = DOWN
        await asyncio.sleep(5)
        assert cache.state is TierState.UP
        assert network.commands["time"] < 150


class TestTheWayBack:
    @virtual
    async def test_each_change_of_state_is_told_once(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache, network = world.process()
        caplog.set_level(logging.INFO, "holdfast")
        await world.take_down(cache, network)
        await asyncio.sleep(10)
        await world.bring_up(cache, network)
        await asyncio.sleep(10)
        changes = [(event.source, event.target) for event in world.told(CacheTierChanged)]
        assert changes == [
            (TierState.UP, TierState.DOWN),
            (TierState.DOWN, TierState.RECOVERING),
            (TierState.RECOVERING, TierState.UP),
        ]
        assert all(event.name == "cache" for event in world.told(CacheTierChanged))
        lines = [one.getMessage() for one in caplog.records]
        assert lines[0] == "cache 'cache': Redis is down: connection refused"
        assert lines[1].startswith("cache 'cache': Redis is up again after 1")
        assert len(lines) == 2

    @virtual
    async def test_is_over_within_a_probe_and_a_second(self, world: World) -> None:
        cache, network = world.process(probe_interval=1.0)
        await world.take_down(cache, network)
        await asyncio.sleep(10)
        network.error = None
        started = world.clock.now()
        await world.state(cache, TierState.UP)
        assert world.clock.now() - started < 2.0

    @virtual
    async def test_a_recovery_that_fails_leads_down_again(self, world: World) -> None:
        cache, network = world.process()
        await world.take_down(cache, network)
        await cache.set("k", 1)
        network.error, network.write_error = None, DOWN
        inner = network.inner.time

        async def once() -> float:
            network.error = DOWN
            return await inner()

        network.inner.time = once  # type: ignore[method-assign]
        await asyncio.sleep(2)
        network.inner.time = inner  # type: ignore[method-assign]
        assert [event.target for event in world.told(CacheTierChanged)][:3] == [
            TierState.DOWN,
            TierState.RECOVERING,
            TierState.DOWN,
        ]
        assert cache_owes(cache) == 1
        await world.bring_up(cache, network)
        assert cache_owes(cache) == 0

    @virtual
    async def test_a_redis_that_reads_but_does_not_write_comes_up_and_owes_on(
        self, world: World
    ) -> None:
        (one, network), (two, _) = world.process(), world.process()
        await two.set("k", "old", ttl=None)
        await world.take_down(one, network)
        await one.set("k", "new")
        network.error, network.write_error = None, trouble(Trouble.WRITES_REFUSED)
        await world.state(one, TierState.UP)
        assert cache_owes(one) == 1
        found = await one.lookup("k")
        assert (found.value, found.degraded) == ("new", True), "what is owed is not read from Redis"
        assert await one.get_many(["k"]) == {"k": "new"}
        network.write_error = None
        await asyncio.sleep(SETTLED)
        assert cache_owes(one) == 0
        assert await two.get("k") == "new"

    @virtual
    async def test_writes_that_were_held_before_the_outage_go_out_after_it(
        self, world: World
    ) -> None:
        (one, network), (two, _) = world.process(), world.process()
        network.write_error = trouble(Trouble.WRITES_REFUSED)
        await one.set("k", 1)
        await world.take_down(one, network)
        await world.bring_up(one, network)
        assert cache_owes(one) == 0
        assert await two.get("k") == 1
        assert await one.set("k", 2) is APPLIED

    @virtual
    async def test_a_clearing_that_redis_does_not_take_yet_stays_owed(self, world: World) -> None:
        (one, network), (two, _) = world.process(), world.process()
        await two.set("k", 1)
        await one.get("k")
        await world.take_down(one, network)
        await one.clear()
        network.error, network.write_error = None, trouble(Trouble.WRITES_REFUSED)
        await world.state(one, TierState.UP)
        assert cache_owes(one) == 1
        assert (await one.lookup("k")).status is Status.MISS
        assert await two.get("k") == 1
        network.write_error = None
        await asyncio.sleep(SETTLED)
        assert cache_owes(one) == 0
        assert (await two.lookup("k")).status is Status.MISS

    @virtual
    async def test_a_defect_does_not_end_the_watch(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache, network = world.process()
        await cache.set("k", 1)
        forget = cache._inside.engine.journal.forget
        calls = 0

        def stumble(now: float) -> None:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise ZeroDivisionError
            forget(now)

        engine = cache._inside.engine
        monitor = cache._monitor
        watch = monitor._watch

        async def stumbling(interval: float) -> float:
            stumble(0.0)
            return await watch(interval)

        monitor._watch = stumbling  # type: ignore[method-assign]
        await asyncio.sleep(5)
        assert "the monitor of cache 'cache' stumbled" in caplog.text
        assert calls > 2
        assert engine.lifeline.state is TierState.UP
        await world.take_down(cache, network)
        await world.bring_up(cache, network)

    @virtual
    async def test_a_probe_cut_off_by_closing_does_not_block_the_next_watch(
        self, world: World
    ) -> None:
        cache, network = world.process()
        network.freeze()
        await world.state(cache, TierState.DOWN)
        # Until a probe is under way, which hangs.
        before = network.commands["time"]
        await until(lambda: network.commands["time"] > before)
        await cache.aclose()
        await network.thaw()
        await world.state(cache, TierState.UP)

    @virtual
    async def test_a_replay_cut_off_by_closing_does_not_block_the_next_one(
        self, world: World
    ) -> None:
        cache, network = world.process(command_timeout=5.0)
        network.write_error = trouble(Trouble.WRITES_REFUSED)
        await cache.set("k", 1)
        inner = network.inner.write
        hung = asyncio.Event()

        async def hang(*_: Any) -> Any:
            hung.set()
            await asyncio.sleep(60)

        network.write_error = None
        network.inner.write = hang  # type: ignore[method-assign,assignment]
        await hung.wait()
        await cache.aclose()
        network.inner.write = inner  # type: ignore[method-assign]
        await cache.get("k")
        await asyncio.sleep(SETTLED)
        assert cache_owes(cache) == 0


class TestClosing:
    @virtual
    async def test_tells_what_is_owed(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        (one, network), (two, _) = world.process(probe_interval=100), world.process()
        network.lost_replies = 1.0
        network.write_error = DOWN
        assert await one.set("k", 1) is QUEUED
        network.write_error, network.lost_replies = None, 0.0
        await one.aclose()
        assert await two.get("k") == 1
        assert caplog.records == []

    @virtual
    async def test_takes_a_second_at_most_and_says_what_is_lost(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache, network = world.process(command_timeout=5.0)
        network.write_error = trouble(Trouble.WRITES_REFUSED)
        await cache.set_many({"a": 1, "b": 2})
        network.write_error = None
        network.latency = 60.0
        started = world.clock.now()
        await cache.aclose()
        assert world.clock.now() - started <= 1.0
        assert "closed with 2 writes that Redis was never told of" in caplog.text

    @virtual
    async def test_while_down_nothing_is_tried(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache, network = world.process()
        await world.take_down(cache, network)
        await cache.set("a", 1)
        caplog.clear()
        started = world.clock.now()
        await cache.aclose()
        await cache.aclose()
        assert world.clock.now() == started
        assert "closed with 1 writes" in caplog.text

    @virtual
    async def test_a_closed_cache_opens_again_and_still_owes(self, world: World) -> None:
        cache, network = world.process()
        await world.take_down(cache, network)
        await cache.set("a", 1)
        await cache.aclose()
        network.error = None
        assert await cache.get("a") == 1
        await world.state(cache, TierState.UP)
        assert cache_owes(cache) == 0


async def seen_by(cache: Any) -> None:
    """Have the process see that Redis has its namespace, as each read does."""
    await cache.get("something else")
    await asyncio.sleep(0.01)


def cache_owes(cache: Any) -> int:
    journal = cache.snapshot().journal
    return int(journal.intents + journal.floors)
