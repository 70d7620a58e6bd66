"""Near caches: memory answers by itself, but only while it hears of what others write."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cache.world import DOWN, SETTLED, World, gathered, until, virtual
from holdfast.cache import ResilientCache, Status, Tier, TierState
from holdfast.cache.engine import note_of, read_note
from holdfast.testing.tiers import ChaosTier


async def near(world: World, **options: Any) -> tuple[ResilientCache, ChaosTier]:
    """A process with a near cache that listens."""
    cache, network = world.process(mode="near", **options)
    await cache.get("to begin with")
    await until(lambda: bool(cache.snapshot().listening))
    return cache, network


class TestHits:
    @virtual
    async def test_cost_no_command(self, world: World) -> None:
        cache, network = await near(world)
        await cache.set("k", [1, 2], ttl=100)
        await asyncio.sleep(60)
        before = network.commands["read"]
        found = await cache.lookup("k")
        assert (found.value, found.tier, found.degraded) == ([1, 2], Tier.MEMORY, False)
        assert await cache.get("k") == [1, 2]
        assert await cache.get_many(["k"]) == {"k": [1, 2]}
        assert cache.glance("k") == [1, 2]
        assert network.commands["read"] == before

    @virtual
    async def test_what_was_read_once_need_not_be_read_again(self, world: World) -> None:
        (one, network), (two, _) = await near(world), world.process()
        await two.set("k", 1)
        assert await one.get("k") == 1
        before = network.commands["read"]
        assert await one.get("k") == 1
        assert network.commands["read"] == before

    @virtual
    async def test_end_with_the_time_to_live(self, world: World) -> None:
        cache, _ = await near(world)
        await cache.set("k", 1, ttl=10)
        await asyncio.sleep(9.9)
        assert (await cache.lookup("k")).tier is Tier.MEMORY
        await asyncio.sleep(0.2)
        assert (await cache.lookup("k")).status is Status.MISS

    @virtual
    async def test_what_comes_back_is_a_value_of_its_own(self, world: World) -> None:
        cache, _ = await near(world)
        value = [1]
        await cache.set("k", value)
        value.append(2)
        (await cache.get("k")).append(3)
        assert await cache.get("k") == [1]


class TestOthers:
    @virtual
    async def test_write_and_the_copy_goes(self, world: World) -> None:
        (one, _), (two, _) = await near(world), await near(world)
        await one.set("k", "old")
        assert await two.get("k") == "old"
        await two.set("k", "new")
        await asyncio.sleep(0.001)
        assert await one.get("k") == "new"

    @virtual
    async def test_delete_and_the_copy_goes(self, world: World) -> None:
        (one, _), (two, _) = await near(world), world.process(mode="near")
        await one.set("k", "old")
        await two.delete("k")
        await asyncio.sleep(0.001)
        assert (await one.lookup("k")).status is Status.MISS

    @virtual
    async def test_clear_a_namespace_and_all_its_copies_go(self, world: World) -> None:
        (one, _), (two, _) = await near(world), await near(world)
        users, others = one.namespace("users"), one.namespace("others")
        await users.set_many({"a": 1, "b": 2})
        await others.set("a", 3)
        await two.namespace("users").clear()
        await asyncio.sleep(0.001)
        assert await users.get_many(["a", "b"]) == {}
        assert (await others.lookup("a")).tier is Tier.MEMORY

    @virtual
    async def test_clear_a_namespace_that_nobody_here_knows(self, world: World) -> None:
        (one, _), (two, _) = await near(world), await near(world)
        await two.namespace("elsewhere").clear()
        await two.set("x:floor", 1)
        await asyncio.sleep(0.001)
        assert await one.get("x:floor") == 1

    @virtual
    async def test_hear_nothing_of_values(self, world: World) -> None:
        cache, _ = await near(world)
        notes: list[bytes] = []
        publish = world.shelf.publish

        def listen(channel: str, note: bytes) -> None:
            notes.append(note)
            publish(channel, note)

        world.shelf.publish = listen  # type: ignore[method-assign]
        await cache.set("k", "a secret value")
        (note,) = notes
        told = read_note(note)
        assert told is not None
        assert told[1] == "holdfast::k:k"
        assert b"secret" not in note

    @virtual
    async def test_own_notes_drop_nothing(self, world: World) -> None:
        cache, network = await near(world)
        await cache.set("k", 1)
        await asyncio.sleep(0.01)
        before = network.commands["read"]
        assert await cache.get("k") == 1
        assert network.commands["read"] == before

    @virtual
    async def test_a_standby_cache_publishes_nothing_and_near_ones_do(self, world: World) -> None:
        cache, _ = world.process()
        assert cache._inside.engine.channel == ""
        assert (await near(world))[0]._inside.engine.channel == "holdfast::floor:notes"

    @pytest.mark.parametrize("note", [b"", b"too short"[:8], b"12345678\xff\xfe", b"12345678"])
    @virtual
    async def test_what_is_no_note_is_passed_over(self, world: World, note: bytes) -> None:
        cache, _ = await near(world)
        await cache.set("k", 1)
        world.shelf.publish(cache._inside.engine.channel, note)
        await asyncio.sleep(0.01)
        assert cache.snapshot().listening
        assert (await cache.lookup("k")).tier is Tier.MEMORY

    def test_a_note_is_read_as_it_was_written(self) -> None:
        assert read_note(note_of(2**64 - 1, "ключ:k:☃")) == (2**64 - 1, "ключ:k:☃")


class TestRaces:
    @virtual
    async def test_a_note_that_overtakes_a_read_keeps_its_reply_out(self, world: World) -> None:
        (one, network), (two, _) = await near(world), await near(world)
        await two.set("k", "old")
        inner = network.inner.read

        async def slow(keys: Any, floors: Any) -> Any:
            found = await inner(keys, floors)
            await asyncio.sleep(0.1)
            return found

        network.inner.read = slow  # type: ignore[method-assign]
        reading = asyncio.ensure_future(one.get("k"))
        await asyncio.sleep(0.05)
        await two.set("k", "new")
        assert await reading in ("old", None), "what was the truth when it was read; else a miss"
        network.inner.read = inner  # type: ignore[method-assign]
        assert await one.get("k") == "new"

    @virtual
    async def test_a_reply_from_before_the_subscription_is_not_believed_for_long(
        self, world: World
    ) -> None:
        (one, network), (two, _) = await near(world), world.process()
        await two.set("k", "old")
        inner = network.inner.read

        async def slow(keys: Any, floors: Any) -> Any:
            found = await inner(keys, floors)
            await asyncio.sleep(0.2)
            return found

        network.inner.read = slow  # type: ignore[method-assign]
        reading = asyncio.ensure_future(one.get("k"))
        await asyncio.sleep(0.05)
        world.shelf.cut_listeners()
        await two.set("k", "new")
        await reading
        await until(lambda: bool(one.snapshot().listening))
        network.inner.read = inner  # type: ignore[method-assign]
        assert await one.get("k") == "new"


class TestSubscriptionLost:
    @virtual
    async def test_memory_is_not_believed_until_it_stands_again(self, world: World) -> None:
        (one, network), (two, _) = await near(world), world.process()
        await one.set("k", "old")
        world.shelf.cut_listeners()
        await until(lambda: not one.snapshot().listening)
        await two.set("k", "new")
        found = await one.lookup("k")
        assert (found.value, found.tier) == ("new", Tier.REDIS)
        await until(lambda: bool(one.snapshot().listening))
        await one.get("k")
        before = network.commands["read"]
        assert await one.get("k") == "new"
        assert network.commands["read"] == before

    @virtual
    async def test_copies_from_before_are_confirmed_one_by_one(self, world: World) -> None:
        (one, network), (two, _) = await near(world), world.process()
        await one.set_many({"a": 1, "b": 1})
        world.shelf.cut_listeners()
        await until(lambda: not one.snapshot().listening)
        await two.set("a", 2)
        await until(lambda: bool(one.snapshot().listening))
        before = network.commands["read"]
        assert await one.get_many(["a", "b"]) == {"a": 2, "b": 1}
        assert network.commands["read"] == before + 1
        assert await one.get_many(["a", "b"]) == {"a": 2, "b": 1}
        assert network.commands["read"] == before + 1

    @virtual
    async def test_a_subscription_that_cannot_be_had_is_asked_for_again(self, world: World) -> None:
        cache, network = await near(world)

        def refuse(channel: str) -> Any:
            raise DOWN

        subscription = network.subscription
        network.subscription = refuse  # type: ignore[method-assign]
        world.shelf.cut_listeners()
        await asyncio.sleep(10)
        assert not cache.snapshot().listening
        assert cache.state is TierState.UP
        network.subscription = subscription  # type: ignore[method-assign]
        await until(lambda: bool(cache.snapshot().listening))


class TestOutage:
    @virtual
    async def test_down_and_up_again(self, world: World) -> None:
        (one, network), (two, _) = await near(world), world.process()
        await one.set_many({"k": "old", "mine": 1})
        await world.take_down(one, network)
        assert not one.snapshot().listening
        found = await one.lookup("k")
        assert (found.value, found.degraded, found.tier) == ("old", True, Tier.MEMORY)
        await two.set("k", "new")
        await one.set("mine", 2)
        await world.bring_up(one, network)
        assert await one.get("k") == "new"
        assert await two.get("mine") == 2
        await asyncio.sleep(SETTLED)
        assert one.snapshot().listening
        assert (await one.lookup("mine")).tier in (Tier.MEMORY, Tier.REDIS)

    @virtual
    async def test_there_is_one_subscription_however_often_it_goes_down(self, world: World) -> None:
        cache, network = await near(world)
        for _ in range(3):
            await world.take_down(cache, network)
            await world.bring_up(cache, network)
        await asyncio.sleep(SETTLED)
        assert len(world.shelf._listeners) == 1

    @virtual
    async def test_or_is_closed_while_down(self, world: World) -> None:
        cache, network = await near(world)
        await world.take_down(cache, network)
        await cache.aclose()
        await cache.get("k")
        await world.bring_up(cache, network)
        await asyncio.sleep(SETTLED)
        assert len(world.shelf._listeners) == 1
        await cache.aclose()
        assert world.shelf._listeners == []
        assert not cache.snapshot().listening

    @virtual
    async def test_what_is_owed_is_not_answered_by_an_older_copy(self, world: World) -> None:
        cache, network = await near(world)
        await cache.set_many({"k": "old", "d": "old"})
        network.lost_replies = 1.0
        await cache.set("k", "new")
        await cache.delete("d")
        assert await cache.get("k") == "new"
        assert await cache.get("d") is None
        assert await gathered(cache.get("k"), cache.get("d")) == ["new", None]
