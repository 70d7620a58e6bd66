"""Calls that are cancelled, anywhere: no place is lost, no task left, nothing learnt."""

from __future__ import annotations

import asyncio
import random

import pytest

from holdfast import (
    Backoff,
    Bulkhead,
    BulkheadFullError,
    CircuitBreaker,
    Pipeline,
    ResilienceError,
    Retry,
    Timeout,
)
from holdfast._core.states import State
from holdfast.testing import VirtualClock

GRID = 0.25
"""Everything happens on a grid of moments, so that grants, timers and cancellations coincide."""


class Chaos:
    """Callers of one pipeline whose callee takes, fails or hangs at random."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.inside = 0
        self.peak = 0
        self.cancelled = 0
        self.finished = 0
        self.guarded = Pipeline(
            "guarded",
            Retry(attempts=3, backoff=Backoff(base=GRID, growth="linear", jitter="none")),
            CircuitBreaker(
                failure_rate=0.9, minimum_calls=30, reset_timeout=2, half_open_max_calls=2
            ),
            Bulkhead(max_concurrent=4, max_queue=8, max_wait=8 * GRID),
            Timeout(6 * GRID),
        )

    async def callee(self) -> str:
        self.inside += 1
        self.peak = max(self.peak, self.inside)
        try:
            for _ in range(self.random.randrange(3)):
                await asyncio.sleep(self.random.choice((0, 0, GRID, 2 * GRID, 10 * GRID)))
            if self.random.random() < 0.3:
                raise ConnectionResetError("lost")
            return "ok"
        finally:
            self.inside -= 1

    async def caller(self) -> None:
        try:
            if self.random.random() < 0.2:
                async with self.guarded.policies[2], self.guarded.policies[3]:
                    await self.callee()
            else:
                await self.guarded.acall(self.callee)
        except (ResilienceError, ConnectionResetError):
            pass
        self.finished += 1

    async def cancel_one(self) -> None:
        """Start a caller and cancel it after a random number of moments or of loop turns."""
        await asyncio.sleep(GRID * self.random.randrange(1500))
        task = asyncio.create_task(self.caller())
        if self.random.random() < 0.5:
            await asyncio.sleep(GRID * self.random.randrange(10))
        for _ in range(self.random.randrange(8)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        self.cancelled += task.cancelled()


def test_ten_thousand_random_cancellations_leave_every_count_at_its_baseline(
    virtual_clock: VirtualClock,
) -> None:
    chaos = Chaos(seed=42)
    _, breaker, bulkhead, _ = chaos.guarded.policies

    async def main() -> None:
        await asyncio.gather(*(chaos.cancel_one() for _ in range(10_000)))
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert chaos.cancelled > 5_000
        assert chaos.finished > 1_000
        snapshot = bulkhead.snapshot()
        assert (snapshot.active, snapshot.queued) == (0, 0)
        assert snapshot.waited_total > 1_000
        assert breaker.snapshot().probes == 0
        await asyncio.sleep(3)

        # Every place can still be taken, and no more than those.
        gate = asyncio.Event()
        holders = [asyncio.create_task(bulkhead.acall(gate.wait)) for _ in range(4)]
        await asyncio.sleep(0)
        assert bulkhead.snapshot().active == 4
        bulkhead.resize(max_queue=0)
        with pytest.raises(BulkheadFullError):
            await bulkhead.acall(gate.wait)
        gate.set()
        await asyncio.gather(*holders)

    virtual_clock.run(main())
    assert chaos.inside == 0
    assert chaos.peak <= 4
    assert breaker.snapshot().probes == 0
    assert bulkhead.snapshot().active == 0


@pytest.mark.parametrize("turns", range(12))
def test_cancelled_after_any_number_of_turns(turns: int) -> None:
    """The same, systematically: one caller holds the place, one waits, each await point is hit."""
    guarded = Pipeline(
        "guarded",
        Retry(attempts=2, backoff=Backoff(base=1, jitter="none")),
        CircuitBreaker(),
        Bulkhead(max_concurrent=1, max_queue=1),
        Timeout(5),
    )
    _, breaker, bulkhead, _ = guarded.policies

    async def callee() -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        raise ConnectionResetError

    async def main() -> None:
        holder = asyncio.create_task(guarded.acall(callee))
        waiter = asyncio.create_task(guarded.acall(callee))
        for _ in range(turns):
            await asyncio.sleep(0)
        holder.cancel()
        waiter.cancel()
        await asyncio.wait([holder, waiter])
        assert holder.cancelled()
        assert waiter.cancelled()
        assert holder.cancelling() == waiter.cancelling() == 1

    VirtualClock().run(main())
    snapshot = bulkhead.snapshot()
    assert (snapshot.active, snapshot.queued) == (0, 0)
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize("timer_first", [True, False])
def test_a_wait_that_is_over_as_the_place_comes_free(
    virtual_clock: VirtualClock, timer_first: bool
) -> None:
    """Whichever is first, the waiter has the place or is refused, and nobody else loses it."""
    bulkhead = Bulkhead(max_concurrent=1, max_queue=1, max_wait=2)

    async def nothing() -> str:
        return "ok"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        await bulkhead.__aenter__()

        def give_back() -> None:
            bulkhead.__exit__(None, None, None)

        if not timer_first:
            loop.call_later(2, give_back)
        waiter = asyncio.create_task(bulkhead.try_acall(nothing))
        await asyncio.sleep(0)
        if timer_first:
            loop.call_later(2, give_back)
        outcome = await waiter
        assert outcome.ok or outcome.rejected
        await asyncio.sleep(0)
        assert bulkhead.snapshot().active == 0
        assert await bulkhead.acall(nothing) == "ok"

    virtual_clock.run(main())


def test_a_thread_that_is_interrupted_while_it_waits_leaves_the_queue() -> None:
    """Ctrl-C, or a worker's soft time limit, arrives in the queue."""

    def interrupt(event: object, seconds: object) -> bool:
        assert bulkhead.snapshot().queued == 1
        raise KeyboardInterrupt

    clock = VirtualClock()
    clock.wait = interrupt
    bulkhead = Bulkhead(max_concurrent=1, max_queue=1, clock=clock)
    wide = Bulkhead("wide")
    guarded = Pipeline("guarded", wide, bulkhead)
    with bulkhead:
        with pytest.raises(KeyboardInterrupt):
            bulkhead.call(lambda: None)
        with pytest.raises(KeyboardInterrupt):
            guarded.call(lambda: None)
        assert bulkhead.snapshot().queued == 0
        assert wide.snapshot().active == 0
    assert bulkhead.snapshot().active == 0


def test_a_place_that_comes_free_on_the_way_to_the_queue() -> None:
    """Between finding no place and joining the queue: whoever is first in line has it at once."""
    bulkhead = Bulkhead(max_concurrent=1, max_queue=1)
    place = bulkhead._wait()
    assert bulkhead.snapshot().active == 1
    bulkhead._failed(place, None)  # type: ignore[arg-type]

    async def main() -> None:
        assert await bulkhead._await() is place
        bulkhead._failed(place, None)  # type: ignore[arg-type]

    asyncio.run(main())
    assert bulkhead.snapshot().active == bulkhead.snapshot().waited_total == 0


def test_a_call_cancelled_in_backoff_makes_no_further_attempt(virtual_clock: VirtualClock) -> None:
    calls: list[float] = []
    retry = Retry(attempts=5, backoff=Backoff(base=4, growth="constant", jitter="none"))

    async def callee() -> None:
        calls.append(virtual_clock.now())
        raise ConnectionResetError

    async def main() -> None:
        task = asyncio.create_task(retry.acall(callee))
        await asyncio.sleep(5)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await asyncio.sleep(100)

    virtual_clock.run(main())
    assert calls == [0, 4]


@pytest.mark.parametrize("outer", ["breaker", "bulkhead"])
def test_cancelled_in_the_queue_of_the_inner_gate(virtual_clock: VirtualClock, outer: str) -> None:
    """What the outer gate had already given is given back."""
    first = (
        CircuitBreaker(failure_threshold=1, reset_timeout=1)
        if outer == "breaker"
        else Bulkhead("wide", max_concurrent=2)
    )
    inner = Bulkhead(max_concurrent=1, max_queue=1)
    guarded = Pipeline("guarded", first, inner)

    async def main() -> None:
        if isinstance(first, CircuitBreaker):
            first.isolate("to be probed", ttl=1)
            await asyncio.sleep(1)
        async with inner:
            waiter = asyncio.create_task(guarded.acall(asyncio.sleep, 1))
            await asyncio.sleep(0)
            assert inner.snapshot().queued == 1
            waiter.cancel()
            await asyncio.wait([waiter])
            assert waiter.cancelled()
        snapshot = first.snapshot()
        assert (snapshot.probes if outer == "breaker" else snapshot.active) == 0
        await guarded.acall(asyncio.sleep, 1)

    virtual_clock.run(main())
