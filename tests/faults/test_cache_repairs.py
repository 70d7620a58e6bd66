"""What faults with real servers have brought to light, each on its own and without a server."""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast.cache import ResilientCache, Tier, TierState, WriteStatus
from holdfast.cache.batcher import Batcher
from holdfast.cache.port import TierError, Trouble
from holdfast.testing import VirtualClock
from holdfast.testing.tiers import ChaosTier, MemoryTier, Shelf


class Process:
    """A cache over a network of its own, on the virtual clock."""

    def __init__(self, clock: VirtualClock, shelf: Shelf, name: str, **options: Any) -> None:
        self.tier = ChaosTier(MemoryTier(shelf), clock=clock)
        self.cache = ResilientCache(tier=lambda: self.tier, clock=clock, name=name, **options)


def test_one_timer_serves_all_batches_of_a_batcher() -> None:
    clock = VirtualClock()

    async def main() -> None:
        async def run(questions: list[int]) -> list[int]:
            if 0 in questions:
                await asyncio.Event().wait()
            return questions

        batcher: Batcher[int, int] = Batcher(run, None, lanes=2, most=10, deadline=0.25)
        assert await batcher.ask(1) == 1
        stuck = [batcher.ask(0), batcher.ask_all([0, 0])]
        await asyncio.sleep(0.1)
        later = batcher.ask(0)
        asked = clock.now()
        assert (await stuck[0]).trouble is Trouble.TIMEOUT
        assert [error.trouble for error in await stuck[1]] == [Trouble.TIMEOUT] * 2
        assert clock.now() - asked <= 0.151
        assert (await later).trouble is Trouble.TIMEOUT
        assert 0.249 <= clock.now() - asked <= 0.251
        assert await batcher.ask(4) == 4
        await batcher.aclose()

    clock.run(main())


def test_a_stall_after_a_stall_is_forgiven_too() -> None:
    clock = VirtualClock()

    async def main() -> None:
        async def run(questions: list[int]) -> list[int]:
            await asyncio.sleep(0.1)
            return questions

        batcher: Batcher[int, int] = Batcher(run, None, lanes=1, most=10, deadline=0.05)
        asked = batcher.ask(1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        # Our own process is busy elsewhere whenever a timer is due.
        for _ in range(3):
            asyncio.get_running_loop().call_soon(clock.advance, 0.2)
            await asyncio.sleep(0)
        assert await asked == 1
        await batcher.aclose()

    clock.run(main())


def test_whoever_waits_is_let_go_at_once_when_redis_is_given_up() -> None:
    clock = VirtualClock()

    async def main() -> None:
        process = Process(clock, Shelf(clock), "one", command_timeout=0.25)
        cache, tier = process.cache, process.tier
        async with cache:
            await cache.set("a", 1)
            tier.freeze()
            early = [asyncio.ensure_future(cache.get("a")) for _ in range(3)]
            await asyncio.sleep(0.2)
            late = [
                asyncio.ensure_future(cache.get("a")),
                asyncio.ensure_future(cache.set("b", 2)),
            ]
            began = clock.now()
            # Four commands in a row have failed: nobody waits for a fifth.
            cache._inside.engine.lifeline.reads.breaker.isolate("given up")
            assert cache.state is TierState.UP
            assert await cache.get("a") == 1
            assert cache.state is TierState.DOWN
            assert [await one for one in early] == [1, 1, 1]
            assert await late[0] == 1
            assert await late[1] is WriteStatus.QUEUED
            assert clock.now() - began < 0.01
            await tier.thaw()

    clock.run(main())


def test_a_slow_answer_does_not_move_the_shared_clock() -> None:
    clock = VirtualClock()
    engine = Process(clock, Shelf(clock), "one").cache._inside.engine
    before = engine.shared_now() - clock.now()
    server = before + clock.now()
    # It was asked before it froze, and answered afterwards.
    engine.set_shared_clock(server, clock.now() - 0.3, clock.now())
    assert engine.shared_now() - clock.now() == before
    engine.set_shared_clock(server + 5.0, clock.now() - 0.001, clock.now())
    assert abs(engine.shared_now() - clock.now() - before - 5.0) <= 0.001
    engine.set_shared_clock(server - 5.0, clock.now() - 0.001, clock.now())
    assert abs(engine.shared_now() - clock.now() - before + 5.0) <= 0.001


def test_a_lease_that_was_taken_by_a_late_command_is_given_back() -> None:
    clock = VirtualClock()

    async def main() -> None:
        shelf = Shelf(clock)
        one = Process(clock, shelf, "one", command_timeout=0.1, probe_interval=0.5)
        two = Process(clock, shelf, "two", command_timeout=0.1, probe_interval=0.5)
        async with one.cache as cache, two.cache as other:
            await cache.set("a", 0)
            await other.get("a")
            # The server takes the lease, and nobody hears of it.
            one.tier.lost_replies = 1.0

            async def load() -> int:
                one.tier.error = TierError(Trouble.UNREACHABLE, "connection refused")
                await asyncio.sleep(2.0)
                assert cache.state is TierState.DOWN
                return 1

            assert await cache.get_or_set("k", load) == 1
            one.tier.error, one.tier.lost_replies = None, 0.0
            await asyncio.sleep(2.0)
            assert cache.state is TierState.UP
            await cache.delete("k")
            began = clock.now()
            assert await other.get_or_set("k", lambda: 2) == 2
            assert clock.now() - began < 1.0

    clock.run(main())


def test_memory_that_may_not_stand_in_fills_nothing_up_either() -> None:
    clock = VirtualClock()

    async def main() -> None:
        shelf = Shelf(clock)
        async with Process(clock, shelf, "one").cache as cache:
            await cache.set("a", 1)
            await cache.get("a")
            await asyncio.sleep(0.1)
            shelf.flush()
            assert await cache.get("a", fallback_to_memory=False) is None
            found = await cache.lookup("a", fallback_to_memory=False)
            assert (found.value, found.tier, found.degraded) == (None, Tier.REDIS, False)

    clock.run(main())


def test_errors_that_say_nothing_about_redis_open_no_breaker() -> None:
    clock = VirtualClock()

    async def main() -> None:
        async with Process(clock, Shelf(clock), "one").cache as cache:
            writes = cache._inside.engine.lifeline.writes
            for _ in range(10):
                writes.failed(writes.permit, TierError(Trouble.POOL, "Redis is down"))
            assert writes.flows

    clock.run(main())
