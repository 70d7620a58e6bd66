"""The chaos twin of the shared tier misbehaves exactly as told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from holdfast.cache.entry import COUNTER
from holdfast.cache.port import APPLIED, TierError, Trouble
from holdfast.testing import VirtualClock
from holdfast.testing.contracts.tier import make_blob, make_put
from holdfast.testing.tiers import ChaosTier, MemoryTier, NullTier, Shelf

BLANK = make_blob(1, kind=COUNTER)

COMMANDS: dict[str, Callable[[ChaosTier], Awaitable[Any]]] = {
    "read": lambda tier: tier.read(["k"], []),
    "time": lambda tier: tier.time(),
    "nodes": lambda tier: tier.nodes(),
    "write": lambda tier: tier.write([make_put("k", 5)]),
    "raise_floor": lambda tier: tier.raise_floor("f", 5),
    "add": lambda tier: tier.add("n", 2, BLANK, None, 0),
    "lease": lambda tier: tier.lease("l", "token", 60.0),
    "release": lambda tier: tier.release("l", "token"),
}
WRITING = ("write", "raise_floor", "add", "lease", "release")


class Rig:
    def __init__(self, seed: int = 0) -> None:
        self.clock = VirtualClock()
        self.shelf = Shelf(self.clock)
        self.tier = ChaosTier(MemoryTier(self.shelf), clock=self.clock, seed=seed)


def play(test: Callable[[Rig], Coroutine[Any, Any, None]], **options: Any) -> None:
    rig = Rig(**options)
    rig.clock.run(test(rig))


@pytest.mark.parametrize("name", COMMANDS)
def test_an_error_stands_for_every_command(name: str) -> None:
    async def test(rig: Rig) -> None:
        rig.tier.error = TierError(Trouble.BUSY, "LOADING")
        with pytest.raises(TierError) as caught:
            await COMMANDS[name](rig.tier)
        assert caught.value.trouble is Trouble.BUSY
        assert str(caught.value) == "LOADING"
        assert caught.value is not rig.tier.error, "each failure is an exception of its own"
        assert len(rig.shelf) == 0
        assert rig.tier.commands == {name: 1}

    play(test)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_write_error_is_for_what_writes(name: str) -> None:
    async def test(rig: Rig) -> None:
        rig.tier.write_error = TierError(Trouble.WRITES_REFUSED, "OOM")
        if name in WRITING:
            with pytest.raises(TierError, match="OOM"):
                await COMMANDS[name](rig.tier)
        else:
            await COMMANDS[name](rig.tier)
        assert len(rig.shelf) == 0

    play(test)


def test_latency_is_paid_by_every_command() -> None:
    async def test(rig: Rig) -> None:
        rig.tier.latency = 0.5
        for number, command in enumerate(COMMANDS.values(), 1):
            await command(rig.tier)
            assert rig.clock.now() == pytest.approx(0.5 * number)

    play(test)


def test_a_lost_reply_is_carried_out_all_the_same() -> None:
    async def test(rig: Rig) -> None:
        rig.tier.lost_replies = 1.0
        with pytest.raises(TierError, match="the reply was lost"):
            await rig.tier.write([make_put("k", 5)])
        rig.tier.lost_replies = 0.0
        assert await rig.tier.write([make_put("k", 5)]) == [5]

    play(test)


def test_some_replies_are_lost_the_same_ones_each_time() -> None:
    async def lost(rig: Rig) -> list[bool]:
        rig.tier.lost_replies = 0.5
        seen = []
        for version in range(1, 30):
            try:
                await rig.tier.write([make_put("k", version)])
            except TierError:
                seen.append(True)
            else:
                seen.append(False)
        return seen

    runs = [Rig(seed) for seed in (3, 3, 4)]
    first, again, other = [rig.clock.run(lost(rig)) for rig in runs]
    assert first == again != other
    assert 5 < sum(first) < 25


def test_reads_lose_no_replies() -> None:
    async def test(rig: Rig) -> None:
        rig.tier.lost_replies = 1.0
        assert list((await rig.tier.read(["k"], [])).blobs) == [None]
        await rig.tier.time()

    play(test)


class TestFrozen:
    def test_a_read_waits_for_the_thaw(self) -> None:
        async def test(rig: Rig) -> None:
            rig.tier.freeze()
            assert rig.tier.frozen
            read = asyncio.ensure_future(rig.tier.read(["k"], []))
            await asyncio.sleep(100)
            assert not read.done()
            await rig.tier.thaw()
            assert list((await read).blobs) == [None]
            assert not rig.tier.frozen

        play(test)

    def test_a_write_that_nobody_waits_for_is_applied_at_the_thaw(self) -> None:
        async def test(rig: Rig) -> None:
            rig.tier.freeze()
            write = asyncio.ensure_future(rig.tier.write([make_put("k", 5)]))
            await asyncio.sleep(1)
            write.cancel()
            await asyncio.wait((write,))
            assert rig.shelf.get("k") is None
            await rig.tier.thaw()
            assert rig.shelf.get("k") == make_blob(5)

        play(test)

    def test_whoever_still_waits_for_a_write_has_lost_the_connection(self) -> None:
        async def test(rig: Rig) -> None:
            rig.tier.freeze()
            write = asyncio.ensure_future(rig.tier.write([make_put("k", 5)]))
            await asyncio.sleep(1)
            await rig.tier.thaw()
            with pytest.raises(TierError, match="connection lost"):
                await write
            assert rig.shelf.get("k") == make_blob(5)

        play(test)

    def test_late_packets_come_when_they_are_told_to(self) -> None:
        async def test(rig: Rig) -> None:
            rig.tier.freeze()
            write = asyncio.ensure_future(rig.tier.write([make_put("k", 5)]))
            await asyncio.sleep(1)
            write.cancel()
            await rig.tier.thaw(late=True)
            assert await rig.tier.write([make_put("k", 4)]) == [APPLIED]
            await rig.tier.deliver()
            assert rig.shelf.get("k") == make_blob(5)
            await rig.tier.deliver()

        play(test)

    def test_a_late_command_that_is_refused_holds_up_no_other(self) -> None:
        async def test(rig: Rig) -> None:
            await rig.tier.write([make_put("value", 9)])
            rig.tier.freeze()
            tasks = [
                asyncio.ensure_future(rig.tier.add("value", 1, BLANK, None, 0)),
                asyncio.ensure_future(rig.tier.write([make_put("k", 5)])),
            ]
            await asyncio.sleep(1)
            for task in tasks:
                task.cancel()
            await rig.tier.thaw()
            assert not rig.tier.frozen
            assert rig.shelf.get("k") == make_blob(5)

        play(test)


class TestSubscriptions:
    def test_a_cut_ends_them_with_an_error(self) -> None:
        async def test(rig: Rig) -> None:
            async with rig.tier.subscription("c") as notes:
                await rig.tier.write([make_put("k", 1, note=b"1")], "c")
                rig.shelf.cut_listeners()
                assert await anext(notes) == b"1"
                with pytest.raises(TierError, match="the subscription was cut"):
                    await anext(notes)

        play(test)

    def test_none_begins_while_redis_cannot_be_reached(self) -> None:
        async def test(rig: Rig) -> None:
            rig.tier.error = TierError(Trouble.UNREACHABLE, "gone")
            with pytest.raises(TierError, match="gone"):
                async with rig.tier.subscription("c"):
                    raise AssertionError("subscribed")

        play(test)

    def test_a_listener_that_left_is_told_nothing(self) -> None:
        async def test(rig: Rig) -> None:
            async with rig.tier.subscription("c"):
                pass
            assert rig.shelf._listeners == []

        play(test)


class TestShelf:
    def test_a_flush_loses_everything(self) -> None:
        shelf = Shelf(VirtualClock())
        shelf.put("a", b"1", None)
        shelf.put("b", b"2", 5.0)
        assert len(shelf) == 2
        shelf.flush()
        assert (len(shelf), shelf.get("a")) == (0, None)

    def test_time_to_live_is_that_of_its_clock(self) -> None:
        clock = VirtualClock()
        shelf = Shelf(clock)
        shelf.put("a", b"1", 5.0)
        shelf.replace("a", b"2")
        clock.advance(4.9)
        assert shelf.get("a") == b"2"
        clock.advance(0.1)
        assert shelf.get("a") is None
        assert len(shelf) == 0
        assert shelf.now() == clock.wall()

    def test_what_is_not_there_can_be_removed(self) -> None:
        Shelf().remove("a")


def test_the_twin_shows_what_it_stands_in_front_of() -> None:
    tier = ChaosTier(NullTier())
    assert (tier.address, tier.max_connections) == ("null", 4)
    assert tier.pool().limit == 4
    assert not tier.frozen
