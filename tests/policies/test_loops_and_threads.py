"""Policies made at import time, shared by threads and event loops."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
import threading
import warnings
from collections import Counter
from typing import Any

import pytest

from holdfast import (
    Backoff,
    Bulkhead,
    CallTimeoutError,
    CircuitBreaker,
    Pipeline,
    ResilienceError,
    Retry,
    Timeout,
)
from holdfast._core.clock import Clock
from holdfast._core.events import CircuitChanged, EventHub
from holdfast._core.states import State
from holdfast.testing import VirtualClock

SHARED = Pipeline(
    "shared",
    Retry(attempts=2, backoff=Backoff(base=0.5, growth="constant", jitter="none")),
    CircuitBreaker(),
    Bulkhead(max_concurrent=1, max_queue=20),
    Timeout(10),
)


@SHARED
async def sleeping(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "slept"


@SHARED
def sleeping_thread(clock: VirtualClock, seconds: float) -> str:
    clock.sleep(seconds)
    return "slept"


def test_what_was_decorated_at_import_runs_in_one_loop_after_another(
    virtual_clock: VirtualClock,
) -> None:
    for _ in range(3):
        assert virtual_clock.run(sleeping(1)) == "slept"
        assert asyncio.run(sleeping(0)) == "slept"


def test_two_loops_and_plain_threads_share_one_queue_first_come_first_served(
    virtual_clock: VirtualClock,
) -> None:
    served: list[tuple[str, float]] = []

    def thread(name: str, start: float) -> None:
        virtual_clock.sleep(start)
        assert sleeping_thread(virtual_clock, 2) == "slept"
        served.append((name, virtual_clock.now()))

    def loop(name: str, *starts: float) -> None:
        async def one(start: float) -> None:
            await asyncio.sleep(start)
            assert await sleeping(2) == "slept"
            served.append((name, virtual_clock.now()))

        async def main() -> None:
            await asyncio.gather(*map(one, starts))

        virtual_clock.run(main())

    virtual_clock.run_threads(
        lambda: loop("loop A", 0, 0.3, 0.6),
        lambda: loop("loop B", 0.1, 0.4),
        lambda: thread("thread C", 0.2),
        lambda: thread("thread D", 0.5),
    )
    names = ["loop A", "loop B", "thread C", "loop A", "loop B", "thread D", "loop A"]
    assert served == [(name, 2.0 * (at + 1)) for at, name in enumerate(names)]
    assert SHARED.policies[2].snapshot().active == 0


def test_a_waiter_whose_loop_was_closed_does_not_swallow_the_place() -> None:
    bulkhead = Bulkhead(max_concurrent=1, max_queue=5)
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)  # the task is destroyed while it waits
    waiters = [loop.create_task(bulkhead.acall(asyncio.sleep, 0)) for _ in range(2)]

    async def behind() -> str:
        return "mine"

    async def main() -> None:
        async with bulkhead:
            await asyncio.to_thread(loop.run_until_complete, asyncio.sleep(0))
            loop.close()
            assert bulkhead.snapshot().queued == 2
            waiting = asyncio.create_task(bulkhead.acall(behind))
            await asyncio.sleep(0)
        assert await waiting == "mine"

    asyncio.run(main())
    assert bulkhead.snapshot().active == 0
    assert not any(waiter.done() for waiter in waiters)


def test_nothing_warns_in_debug_mode(
    virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """No result that was never retrieved, no coroutine that was never awaited."""
    caplog.set_level(logging.INFO, "asyncio")
    guarded = Pipeline(
        "guarded",
        Retry(attempts=3, backoff=Backoff(base=1)),
        CircuitBreaker(failure_threshold=3, reset_timeout=5),
        Bulkhead(max_concurrent=2, max_queue=2, max_wait=1),
        Timeout(2),
    )

    async def callee(number: int) -> int:
        await asyncio.sleep(number % 4)
        if number % 3 == 0:
            raise ConnectionResetError
        return number

    async def one(number: int) -> str:
        await asyncio.sleep(number / 4)
        try:
            await guarded.acall(callee, number)
        except Exception as error:
            return type(error).__name__
        return "ok"

    async def main() -> Counter[str]:
        unused = guarded.acall(callee, 1)
        unused.close()
        doomed = asyncio.create_task(one(3))
        await asyncio.sleep(1)
        doomed.cancel()
        return Counter(await asyncio.gather(*map(one, range(60))))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ends = virtual_clock.run(main(), debug=True)
    assert {"ok", "CircuitOpenError", "BulkheadFullError", "ConnectionResetError"} <= set(ends)
    assert [str(warning.message) for warning in caught] == []
    assert [record.getMessage() for record in caplog.records if record.levelno > 20] == []


def test_context_variables_are_those_of_the_caller() -> None:
    variable = contextvars.ContextVar("variable", default=0)

    async def callee() -> int:
        seen = variable.get()
        variable.set(seen + 1)
        return seen

    async def main() -> None:
        variable.set(5)
        assert await SHARED.acall(callee) == 5
        assert variable.get() == 6  # awaited in the same task, without a copy in between

    asyncio.run(main())


class Ticking:
    """A clock for real threads that advances with every look at it and never sleeps."""

    def __init__(self) -> None:
        ticks = itertools.count()
        self.clock = Clock(
            now=lambda: next(ticks) / 1000,
            wall=lambda: 0.0,
            sleep=lambda seconds: None,
            wait=lambda event, timeout: event.wait(30),
            random=lambda: 0.5,
        )


def test_eight_threads_and_two_loops_on_one_breaker() -> None:
    """Nothing is lost or counted twice, and every transition follows from one before it."""
    hub, clock = EventHub(), Ticking().clock
    changes: Counter[tuple[State, State]] = Counter()
    hub.subscribe(lambda event: changes.update([(event.source, event.target)]), CircuitChanged)
    breaker = CircuitBreaker(
        failure_rate=0.5,
        minimum_calls=5,
        window=1.0,
        reset_timeout=0.05,
        half_open_max_calls=3,
        clock=clock,
        events=hub,
    )
    bulkhead = Bulkhead(max_concurrent=6, max_queue=100, clock=clock, events=hub)
    guarded = Pipeline("guarded", breaker, bulkhead)
    inside, peaks, ends = [0], [0], Counter[str]()
    lock = threading.Lock()

    def act(number: int) -> None:
        if number % 7 == 0:
            raise ValueError("ignored")
        if number % 3 == 0 or number % 100 > 60:
            raise ConnectionResetError

    def enter(by: int) -> None:
        with lock:
            inside[0] += by
            peaks[0] = max(peaks[0], inside[0])

    def callee(number: int) -> None:
        enter(1)
        try:
            act(number)
        finally:
            enter(-1)

    async def acallee(number: int) -> None:
        enter(1)
        try:
            await asyncio.sleep(0)
            act(number)
        finally:
            enter(-1)

    def note(outcome: Any) -> None:
        end = "ok" if outcome.ok else type(outcome.error).__name__
        with lock:
            ends[end] += 1

    def plain() -> None:
        for number in range(400):
            note(guarded.try_call(callee, number))

    def with_loop() -> None:
        async def one(first: int) -> None:
            for number in range(first, 400, 10):
                note(await guarded.try_acall(acallee, number))

        async def main() -> None:
            await asyncio.gather(*map(one, range(10)))

        asyncio.run(main())

    threads = [threading.Thread(target=plain) for _ in range(8)]
    threads += [threading.Thread(target=with_loop) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    snapshot = breaker.snapshot()
    assert ends.total() == 10 * 400
    assert snapshot.rejected_total == ends["CircuitOpenError"] > 0
    assert snapshot.ignored_total >= ends["ValueError"]
    assert snapshot.successes_total <= ends["ok"]
    assert snapshot.failures_total <= ends["ConnectionResetError"]
    recorded = snapshot.successes_total + snapshot.failures_total + snapshot.late_total
    assert recorded == ends["ok"] + ends["ConnectionResetError"]
    assert (bulkhead.snapshot().active, bulkhead.snapshot().queued, inside) == (0, 0, [0])
    assert 1 < peaks[0] <= 6
    opened = changes[State.CLOSED, State.OPEN]
    asked = changes[State.OPEN, State.HALF_OPEN]
    failed = changes[State.HALF_OPEN, State.OPEN]
    closed = changes[State.HALF_OPEN, State.CLOSED]
    assert set(changes) <= {
        (State.CLOSED, State.OPEN),
        (State.OPEN, State.HALF_OPEN),
        (State.HALF_OPEN, State.OPEN),
        (State.HALF_OPEN, State.CLOSED),
    }
    state = breaker.state
    assert opened == closed + (state is not State.CLOSED)
    assert opened + failed == asked + (state is State.OPEN)
    assert asked == failed + closed + (state is State.HALF_OPEN)
    assert snapshot.transitions_total == changes.total()


def test_a_timeout_serves_two_loops_in_two_threads(virtual_clock: VirtualClock) -> None:
    timeout = Timeout(2)

    def loop(start: float) -> float:
        async def main() -> float:
            await asyncio.sleep(start)
            with pytest.raises(CallTimeoutError):
                await timeout.acall(asyncio.sleep, 60)
            return virtual_clock.now()

        return virtual_clock.run(main())

    assert virtual_clock.run_threads(lambda: loop(0), lambda: loop(0.5)) == [2.0, 2.5]
    assert timeout.snapshot().timed_out_total == 2


def test_a_refusal_does_not_leave_a_task_or_thread_behind() -> None:
    before = threading.active_count()

    async def main() -> None:
        breaker = CircuitBreaker()
        breaker.isolate("drill")
        with pytest.raises(ResilienceError):
            await breaker.acall(asyncio.sleep, 1)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())
    assert threading.active_count() == before
