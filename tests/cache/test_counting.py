"""Counters: true among all processes, or an error."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any

import pytest

from cache.world import World, gathered, virtual
from holdfast.cache import (
    CacheCounterError,
    CacheUnavailableError,
    Signer,
    Status,
    Tier,
    WriteStatus,
)
from holdfast.cache.port import TierError, Trouble
from holdfast.errors import ConfigurationError
from holdfast.settings import Secret


class TestAdding:
    @virtual
    async def test_counts_from_nothing_up_and_down(self, world: World) -> None:
        for cache in (world.memory(), world.process()[0]):
            assert await cache.incr("n") == 1
            assert await cache.incr("n", 41) == 42
            assert await cache.incr("n", -50) == -8
            assert await cache.incr("n", 0) == -8
            assert await cache.get("n") == -8
            assert await cache.get("n", type=int) == -8
            assert await cache.exists("n")

    @virtual
    async def test_of_several_processes_all_count(self, world: World) -> None:
        (one, _), (two, _) = world.process(), world.process()
        await gathered(*(cache.incr("n") for cache in (one, two) for _ in range(50)))
        assert await one.get("n") == await two.get("n") == 100

    @virtual
    async def test_begins_anew_after_a_clearing_by_another_process(self, world: World) -> None:
        (one, _), (two, _) = world.process(), world.process()
        assert await two.incr("n", 3) == 3
        await asyncio.sleep(1)
        await one.clear()
        assert await two.incr("n") == 1
        assert await one.get("n") == 1

    @virtual
    async def test_keeps_the_time_to_live_that_it_began_with(self, world: World) -> None:
        for cache in (world.memory(), world.process()[0]):
            await cache.incr("n", ttl=100)
            await asyncio.sleep(60)
            await cache.incr("n", ttl=1000)
            left = await cache.ttl("n")
            assert left is not None
            assert left == pytest.approx(40, abs=0.01)
            await asyncio.sleep(41)
            assert await cache.incr("n", ttl=None) == 1
            assert await cache.ttl("n") == inf

    @virtual
    async def test_is_not_undone_by_a_touch(self, world: World) -> None:
        for cache in (world.memory(), world.process()[0]):
            await cache.incr("n", ttl=100)
            touched, counted = await gathered(cache.touch("n", ttl=1000), cache.incr("n"))
            assert (touched, counted) == (False, 2)
            assert await cache.get("n") == 2
            assert await cache.ttl("n") == pytest.approx(100)

    @virtual
    async def test_begins_anew_after_a_deletion_or_a_clearing(self, world: World) -> None:
        for cache in (world.memory(), world.process()[0]):
            await cache.incr("n", 5)
            await cache.delete("n")
            assert await cache.incr("n") == 1
            await cache.clear()
            assert await cache.incr("n") == 1
            assert await cache.get("n") == 1

    @virtual
    async def test_begins_anew_where_nothing_was_remembered_to_be(self, world: World) -> None:
        for cache in (world.memory(), world.process()[0]):
            await cache.get_or_set("n", lambda: None)
            assert await cache.incr("n", 3) == 3

    @virtual
    async def test_and_reading_in_near_mode(self, world: World) -> None:
        (one, _), (two, _) = world.process(mode="near"), world.process(mode="near")
        await gathered(one.get("n"), two.get("n"))
        await asyncio.sleep(0.1)
        assert await one.incr("n") == 1
        assert await one.get("n") == 1
        assert await one.incr("n") == 2
        assert await one.get("n") == 2


class TestRefused:
    @virtual
    async def test_what_is_no_counter(self, world: World) -> None:
        for cache in (world.memory(), world.process()[0]):
            await cache.set("k", "text")
            with pytest.raises(
                CacheCounterError, match=r"key 'k' cannot be added to: .*no counter"
            ):
                await cache.incr("k")
            assert await cache.get("k") == "text"

    @virtual
    async def test_what_is_somebody_elses(self, world: World) -> None:
        cache, _ = world.process()
        world.shelf.put("holdfast::k:k", bytes(3) + b"\x00" + b"somebody else's", None)
        with pytest.raises(CacheCounterError, match="no counter"):
            await cache.incr("k")

    @virtual
    async def test_what_has_gone_meanwhile(self, world: World) -> None:
        cache, network = world.process()

        async def refuse(*_: Any) -> Any:
            raise TierError(Trouble.REFUSED, "the key holds no counter")

        network.inner.add = refuse  # type: ignore[method-assign,assignment]
        with pytest.raises(CacheCounterError, match="no counter"):
            await cache.incr("k")

    @virtual
    async def test_a_value_past_its_end_is_in_nobodys_way(self, world: World) -> None:
        for cache in (world.memory(), world.process()[0]):
            await cache.set("k", "text", ttl=5)
            await asyncio.sleep(6)
            assert await cache.incr("k") == 1

    @pytest.mark.parametrize("sign", [1, -1])
    @virtual
    async def test_beyond_what_is_exact(self, world: World, sign: int) -> None:
        for cache in (world.memory(), world.process()[0]):
            await cache.incr("n", sign * (2**53 - 1))
            assert await cache.incr("n", sign) == sign * 2**53
            with pytest.raises(CacheCounterError, match=r"beyond ±2\*\*53"):
                await cache.incr("n", sign)
            assert await cache.get("n") == sign * 2**53

    @pytest.mark.parametrize("amount", [True, 1.0, "1", None, 2**53, -(2**53)])
    @virtual
    async def test_what_is_no_amount(self, world: World, amount: Any) -> None:
        for cache in (world.memory(), world.process()[0]):
            with pytest.raises(ConfigurationError, match="amount must be a whole number"):
                await cache.incr("n", amount)
            assert not await cache.exists("n")

    @virtual
    async def test_a_signed_counter(self, world: World) -> None:
        signer = Signer({"a": Secret("s" * 40)}, current="a")
        for cache in (world.memory(signer=signer), world.process(signer=signer)[0]):
            with pytest.raises(ConfigurationError, match="counters cannot be signed"):
                await cache.incr("n")


class TestWithoutRedis:
    @virtual
    async def test_there_is_no_stand_in(self, world: World) -> None:
        cache, network = world.process()
        await cache.incr("n")
        await world.take_down(cache, network)
        with pytest.raises(CacheUnavailableError, match=r"incr needs Redis.*connection refused"):
            await cache.incr("n")
        await world.bring_up(cache, network)
        assert await cache.incr("n") == 2

    @virtual
    async def test_a_lost_reply_is_an_error_and_may_have_counted(self, world: World) -> None:
        cache, network = world.process()
        network.lost_replies = 1.0
        with pytest.raises(CacheUnavailableError, match="the reply was lost"):
            await cache.incr("n")
        network.lost_replies = 0.0
        assert await cache.incr("n") == 2

    @virtual
    async def test_while_writes_are_held(self, world: World) -> None:
        cache, network = world.process()
        network.write_error = TierError(Trouble.WRITES_REFUSED, "OOM: full")
        await cache.set("k", 1)
        with pytest.raises(CacheUnavailableError, match="OOM: full"):
            await cache.incr("n")

    @virtual
    async def test_while_an_earlier_write_of_the_key_is_owed(self, world: World) -> None:
        cache, network = world.process(probe_interval=100)
        network.lost_replies = 1.0
        assert await cache.delete("n") is WriteStatus.QUEUED
        with pytest.raises(CacheUnavailableError, match="not confirmed yet"):
            await cache.incr("n")
        network.lost_replies = 0.0

    @virtual
    async def test_reading_one_has_a_stand_in(self, world: World) -> None:
        cache, network = world.process()
        await cache.incr("n", 7)
        await cache.get("n")
        await world.take_down(cache, network)
        found = await cache.lookup("n")
        assert (found.status, found.value, found.tier) == (Status.HIT, 7, Tier.MEMORY)
