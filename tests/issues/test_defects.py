"""Defects that were seen in real libraries of this kind: none of them is one of ours."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
import weakref

import pytest

from holdfast import (
    Backoff,
    Bulkhead,
    BulkheadFullError,
    CallTimeoutError,
    CircuitBreaker,
    CircuitOpenError,
    Pipeline,
    Retry,
    Timeout,
    classifier,
)
from holdfast._core.clock import Clock
from holdfast._core.events import EventHub
from holdfast._core.states import State
from holdfast.testing import VirtualClock

STEADY = Backoff(base=1.0, growth="constant", jitter="none")


def fail() -> None:
    raise ConnectionResetError("down")


async def afail() -> None:
    raise ConnectionResetError("down")


def succeed() -> str:
    return "ok"


async def asucceed() -> str:
    return "ok"


def trip(breaker: CircuitBreaker) -> None:
    while breaker.state is State.CLOSED:
        assert not breaker.try_call(fail).ok


# -- breaker -----------------------------------------------------------------------------------


def test_calls_of_several_threads_run_at_the_same_time(virtual_clock: VirtualClock) -> None:
    """A lock held during the user's call serialises every caller."""
    breaker = CircuitBreaker()
    virtual_clock.run_threads(*[lambda: breaker.call(virtual_clock.sleep, 1.0)] * 8)
    assert virtual_clock.now() == 1.0
    assert breaker.snapshot().successes_total == 8


def test_a_coroutine_from_a_sync_looking_callable_is_no_success() -> None:
    """A coroutine handed back by a sync-looking callable counts as a success at once."""
    breaker = CircuitBreaker(failure_threshold=10)
    for _ in range(10):
        with pytest.raises(TypeError, match=r"returned a coroutine .*acall"):
            breaker.call(lambda: afail())
    assert breaker.snapshot().successes_total == 0
    for _ in range(10):
        with pytest.raises(ConnectionResetError):
            asyncio.run(breaker.acall(lambda: afail()))
    assert breaker.state is State.OPEN


@pytest.mark.parametrize(
    "leaving", [KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit]
)
def test_leaving_is_not_failing(leaving: type[BaseException]) -> None:
    """KeyboardInterrupt, SystemExit, CancelledError, GeneratorExit count as failures."""
    breaker = CircuitBreaker(failure_threshold=1)

    def leave() -> None:
        raise leaving

    async def aleave() -> None:
        raise leaving

    with pytest.raises(leaving):
        breaker.call(leave)
    coroutine = breaker.acall(aleave)
    with pytest.raises(leaving):
        coroutine.send(None)
    with pytest.raises(leaving), breaker:
        raise leaving
    assert breaker.state is State.CLOSED
    assert breaker.snapshot().failures_total == 0
    assert breaker.snapshot().ignored_total == 3


def test_an_ignored_exception_does_not_reset_the_count() -> None:
    """An ignored exception resets the failure count."""
    breaker = CircuitBreaker(failure_threshold=3)
    for error in (OSError(), OSError(), ValueError(), OSError()):
        assert breaker.state is State.CLOSED

        def callee(error: Exception = error) -> None:
            raise error

        assert breaker.try_call(callee).error is error
    assert breaker.state is State.OPEN


def test_a_break_of_one_second_lasts_one_second() -> None:
    """Whole-second timestamps reopen a 1 s circuit after 0.24 s."""
    clock = VirtualClock(start=100.76, wall_start=1_000_000_000.76)
    breaker = CircuitBreaker(failure_threshold=1, reset_timeout=1.0, clock=clock)
    trip(breaker)
    clock.advance(0.99)
    assert breaker.try_call(succeed).rejected
    clock.advance(0.02)
    assert breaker.call(succeed) == "ok"


def test_a_block_checks_that_the_circuit_is_closed() -> None:
    """`with breaker:` never checks that the circuit is open."""
    breaker = CircuitBreaker(failure_threshold=1)
    with pytest.raises(ConnectionResetError), breaker:
        fail()
    with pytest.raises(CircuitOpenError), breaker:
        pytest.fail("the block was entered")

    async def main() -> None:
        async with breaker:
            pytest.fail("the block was entered")

    with pytest.raises(CircuitOpenError):
        asyncio.run(main())


def test_a_success_that_began_before_the_trip_closes_nothing(virtual_clock: VirtualClock) -> None:
    """A success that started before the trip closes the open circuit."""
    breaker = CircuitBreaker(failure_threshold=1)

    async def main() -> None:
        early = asyncio.create_task(breaker.acall(asyncio.sleep, 5))
        await asyncio.sleep(1)
        trip(breaker)
        await early

    virtual_clock.run(main())
    assert breaker.state is State.OPEN


def test_a_cancelled_probe_closes_nothing(virtual_clock: VirtualClock) -> None:
    """A cancelled probe closes the circuit."""
    breaker = CircuitBreaker(failure_threshold=1, reset_timeout=1)
    trip(breaker)
    virtual_clock.advance(1)

    async def main() -> None:
        probe = asyncio.create_task(breaker.acall(asyncio.sleep, 5))
        await asyncio.sleep(1)
        probe.cancel()
        await asyncio.wait([probe])

    virtual_clock.run(main())
    assert breaker.state is State.HALF_OPEN
    assert breaker.snapshot().probes == 0


@pytest.mark.parametrize("allowed", [1, 3, 100])
@pytest.mark.parametrize("sync", [True, False])
def test_half_open_admits_the_configured_number(
    virtual_clock: VirtualClock, allowed: int, sync: bool
) -> None:
    """No cap in half-open: 50 of 50 concurrent callers are let through."""
    breaker = CircuitBreaker(failure_threshold=1, reset_timeout=1, half_open_max_calls=allowed)
    trip(breaker)
    virtual_clock.advance(1)
    if sync:
        outcomes = virtual_clock.run_threads(
            *[lambda: breaker.try_call(virtual_clock.sleep, 1)] * 100
        )
    else:

        async def main():
            return await asyncio.gather(*(breaker.try_acall(asyncio.sleep, 1) for _ in range(100)))

        outcomes = virtual_clock.run(main())
    assert sum(outcome.ok for outcome in outcomes) == allowed
    assert sum(outcome.rejected for outcome in outcomes) == 100 - allowed
    assert breaker.state is State.CLOSED


def test_a_hung_probe_does_not_reject_everybody_for_ever(virtual_clock: VirtualClock) -> None:
    """A hung probe rejects everybody for ever; a denied asker renews the lease's expiry."""
    breaker = CircuitBreaker(failure_threshold=1, reset_timeout=1, probe_timeout=10)
    trip(breaker)
    virtual_clock.advance(1)

    async def main() -> float:
        hung = asyncio.create_task(breaker.acall(asyncio.Event().wait))
        began = virtual_clock.now()
        await asyncio.sleep(0.5)
        for _ in range(40):
            if (await breaker.try_acall(asucceed)).ok:
                break
            await asyncio.sleep(0.5)
        hung.cancel()
        return virtual_clock.now() - began

    assert virtual_clock.run(main()) == 10.0


def test_a_reset_timeout_of_zero_is_kept() -> None:
    """`reset_timeout=0` is silently replaced by the default."""
    breaker = CircuitBreaker(failure_threshold=1, reset_timeout=0)
    assert breaker.options.reset_timeout == 0
    trip(breaker)
    assert breaker.call(succeed) == "ok"


def test_functions_of_the_same_name_share_nothing() -> None:
    """A global registry keyed by function name collides and leaks."""
    breakers = []
    for _ in range(2):

        def everything(error: Exception) -> bool:
            return True

        breaker = CircuitBreaker("same", failure_threshold=1, on=everything)

        @breaker
        def callee() -> None:
            fail()

        breakers.append((breaker, callee))
    with pytest.raises(ConnectionResetError):
        breakers[0][1]()
    assert [breaker.state for breaker, _ in breakers] == [State.OPEN, State.CLOSED]
    gone = weakref.ref(everything)
    del breaker, callee, breakers, everything
    gc.collect()
    assert gone() is None


def test_another_breaker_of_the_same_name_closes_nothing() -> None:
    """A new instance closes the circuit for all."""
    breaker = CircuitBreaker("payments", failure_threshold=1)
    trip(breaker)
    assert CircuitBreaker("payments", failure_threshold=1).call(succeed) == "ok"
    assert breaker.state is State.OPEN


def test_a_raising_listener_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A raising listener or metrics sink loses the call's result, or strands the slot."""
    hub = EventHub()
    clock = VirtualClock()

    def listener(event: object) -> None:
        raise RuntimeError("no room for metrics")

    hub.subscribe(listener)
    guarded = Pipeline(
        "guarded",
        Retry(backoff=STEADY, clock=clock, events=hub),
        CircuitBreaker(
            failure_threshold=3, reset_timeout=1, probe_timeout=500, clock=clock, events=hub
        ),
        Bulkhead(max_concurrent=1, clock=clock, events=hub),
    )
    _, breaker, bulkhead = guarded.policies
    results = iter([ConnectionResetError(), ConnectionResetError(), "ok"])

    def callee() -> object:
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    assert guarded.call(callee) == "ok"
    with pytest.raises(ConnectionResetError):
        guarded.call(fail)
    assert breaker.state is State.OPEN
    clock.advance(1)
    assert guarded.call(succeed) == "ok"
    assert breaker.state is State.CLOSED
    assert bulkhead.snapshot().active == 0
    assert hub.failures >= 4
    assert len(caplog.records) == 1


def test_a_raising_classifier_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A raising classifier loses the call's result, or strands the slot."""

    @classifier
    def broken(error: BaseException) -> None:
        raise RuntimeError("cannot tell")

    try:
        guarded = Pipeline("guarded", CircuitBreaker(failure_threshold=2), Bulkhead())
        breaker, bulkhead = guarded.policies
        for _ in range(2):
            with pytest.raises(ConnectionResetError):
                guarded.call(fail)
    finally:
        classifier.forget(broken)
    assert breaker.state is State.OPEN
    assert bulkhead.snapshot().active == 0


@pytest.mark.parametrize("option", ["on", "success_on", "on_result"])
def test_a_raising_predicate_loses_nothing(
    option: str, virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A predicate that raises strands the probe's place, so that the circuit never recovers."""

    def broken(subject: object) -> bool:
        raise RuntimeError("cannot tell")

    breaker = CircuitBreaker(
        f"broken {option}", failure_threshold=1, reset_timeout=1, **{option: broken}
    )
    for _ in range(3):
        trip(breaker)
        virtual_clock.advance(1)
        assert breaker.call(succeed) == "ok"
        assert breaker.state is State.CLOSED
    assert len(caplog.records) == 1


def test_the_call_that_trips_raises_its_own_error() -> None:
    """The open error hides the original exception on the call that trips."""
    breaker = CircuitBreaker(failure_threshold=1)
    error = ConnectionResetError("the real one")

    def callee() -> None:
        raise error

    with pytest.raises(ConnectionResetError) as caught:
        breaker.call(callee)
    assert caught.value is error
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_rejections_log_nothing_and_share_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """A stack trace logged per rejected call pins a core during an outage."""
    caplog.set_level(logging.DEBUG)
    breaker = CircuitBreaker(failure_threshold=1)
    trip(breaker)
    errors = [breaker.try_call(succeed).error for _ in range(100)]
    for _ in range(100):
        with pytest.raises(CircuitOpenError):
            breaker.call(succeed)
    assert len({id(error) for error in errors}) == 100
    assert caplog.records == []


# -- bulkhead, timeout, retry ------------------------------------------------------------------


def test_cancelling_a_queued_waiter_leaks_no_place() -> None:
    """Cancelling a queued waiter leaks its permit for ever."""
    bulkhead = Bulkhead(max_concurrent=1, max_queue=1)

    async def main() -> None:
        async with bulkhead:
            waiter = asyncio.create_task(bulkhead.acall(asucceed))
            await asyncio.sleep(0)
            assert bulkhead.snapshot().queued == 1
            waiter.cancel()
            await asyncio.wait([waiter])
            assert bulkhead.snapshot().queued == 0
        assert await bulkhead.acall(asucceed) == "ok"

    asyncio.run(main())
    assert bulkhead.snapshot().active == 0


@pytest.mark.parametrize("grant_first", [True, False])
@pytest.mark.parametrize("successors", [0, 1])
def test_cancelling_a_waiter_as_it_is_granted_leaks_no_place(
    grant_first: bool, successors: int
) -> None:
    """A waiter cancelled at the instant it is granted leaks its permit: both orders."""
    bulkhead = Bulkhead(max_concurrent=1, max_queue=2)

    async def main() -> None:
        await bulkhead.__aenter__()
        waiter = asyncio.create_task(bulkhead.acall(asucceed))
        behind = [asyncio.create_task(bulkhead.acall(asucceed)) for _ in range(successors)]
        await asyncio.sleep(0)
        if grant_first:
            await bulkhead.__aexit__(None, None, None)
            waiter.cancel()
        else:
            waiter.cancel()
            await bulkhead.__aexit__(None, None, None)
        await asyncio.wait([waiter])
        assert waiter.cancelled()
        assert await asyncio.gather(*behind) == ["ok"] * successors
        assert bulkhead.snapshot().active == 0
        assert await bulkhead.acall(asucceed) == "ok"

    asyncio.run(main())


def test_decorating_needs_no_event_loop() -> None:
    """Decorating at import time needs a running loop."""
    seen: list[object] = []

    def like_an_import() -> None:
        everything = Pipeline(
            "everything", Retry(), CircuitBreaker(), Bulkhead(max_queue=1), Timeout(1)
        )
        seen.append(everything(asucceed))

    thread = threading.Thread(target=like_an_import)  # where there has never been a loop
    thread.start()
    thread.join()
    assert asyncio.run(seen[0]()) == "ok"  # type: ignore[operator]
    assert asyncio.run(seen[0]()) == "ok"  # type: ignore[operator]


def test_one_timeout_serves_two_tasks(virtual_clock: VirtualClock) -> None:
    """One timeout object shared by two tasks disables the first."""
    timeout = Timeout(2)

    async def main() -> None:
        async def one(start: float) -> float:
            await asyncio.sleep(start)
            with pytest.raises(CallTimeoutError):
                async with timeout:
                    await asyncio.sleep(60)
            return virtual_clock.now()

        async def other(start: float) -> float:
            await asyncio.sleep(start)
            with pytest.raises(CallTimeoutError):
                await timeout.acall(asyncio.sleep, 60)
            return virtual_clock.now()

        assert await asyncio.gather(one(0), one(1), other(0.5), other(1.5)) == [2, 3, 2.5, 3.5]

    virtual_clock.run(main())


def test_three_attempts_make_three_calls(virtual_clock: VirtualClock) -> None:
    """`attempts=3` makes four calls."""
    calls: list[float] = []

    def callee() -> None:
        calls.append(virtual_clock.now())
        fail()

    with pytest.raises(ConnectionResetError):
        Retry(attempts=3, backoff=STEADY).call(callee)
    assert calls == [0, 1, 2]


def test_calls_do_not_share_their_place_in_the_backoff(virtual_clock: VirtualClock) -> None:
    """Shared backoff iterators reset each other."""
    retry = Retry(attempts=4, backoff=Backoff(base=1, jitter="none"), budget=None)

    async def main() -> None:
        async def one(start: float) -> list[float]:
            await asyncio.sleep(start)
            calls: list[float] = []

            async def callee() -> None:
                calls.append(virtual_clock.now() - start)
                await afail()

            with pytest.raises(ConnectionResetError):
                await retry.acall(callee)
            return calls

        assert await asyncio.gather(one(0), one(0.5), one(2.5)) == [[0, 1, 3, 7]] * 3

    virtual_clock.run(main())


def test_overlapping_blocks_of_one_policy_are_kept_apart(virtual_clock: VirtualClock) -> None:
    """Context managers kept on the decorator are re-exited by other calls."""
    breaker = CircuitBreaker(failure_threshold=1, reset_timeout=1, half_open_max_calls=2)
    bulkhead = Bulkhead(max_concurrent=2)
    trip(breaker)
    virtual_clock.advance(1)

    async def main() -> None:
        async def block(start: float, end: float) -> None:
            await asyncio.sleep(start)
            async with breaker, bulkhead:
                await asyncio.sleep(end - start)

        await asyncio.gather(block(0, 3), block(1, 2))

    virtual_clock.run(main())
    assert breaker.state is State.CLOSED
    assert breaker.snapshot().late_total == 0
    assert bulkhead.snapshot().active == 0


def test_retry_does_not_sleep_through_an_open_circuit(virtual_clock: VirtualClock) -> None:
    """Retry outside a breaker sleeps through `CircuitOpen` for 15 s."""
    breaker = CircuitBreaker(failure_threshold=1, reset_timeout=15)
    guarded = Pipeline("guarded", Retry(attempts=5, backoff=STEADY), breaker)
    trip(breaker)
    with pytest.raises(CircuitOpenError):
        guarded.call(succeed)
    assert virtual_clock.now() == 0


def test_a_long_retry_after_is_never_shortened(virtual_clock: VirtualClock) -> None:
    """Retry-After larger than the cap is shortened and retried too early."""
    error = ConnectionResetError("busy")
    error.retry_after = 120  # type: ignore[attr-defined]
    calls: list[float] = []

    def callee() -> None:
        calls.append(virtual_clock.now())
        if len(calls) == 1:
            raise error

    with pytest.raises(ConnectionResetError):
        Retry(max_retry_after=60, backoff=Backoff(cap=5)).call(callee)
    assert calls == [0]
    calls.clear()
    Retry(max_retry_after=120, backoff=Backoff(cap=5)).call(callee)
    assert calls == [0, 120]


def test_three_nested_layers_of_three_attempts_make_three_calls(
    virtual_clock: VirtualClock,
) -> None:
    """Three nested layers of 3 attempts make 27 to 45 calls."""
    calls: list[float] = []

    @Retry(backoff=STEADY)
    @Retry(backoff=STEADY)
    @Retry(backoff=STEADY)
    def callee() -> None:
        calls.append(virtual_clock.now())
        fail()

    with pytest.raises(ConnectionResetError):
        callee()
    assert calls == [0, 1, 2]


def test_the_callees_timeout_error_is_not_ours() -> None:
    """The callee's own TimeoutError is relabelled as ours."""
    timeout = Timeout(5)
    error = TimeoutError("the callee's")

    async def callee() -> None:
        await asyncio.sleep(0)
        raise error

    with pytest.raises(TimeoutError) as caught:
        asyncio.run(timeout.acall(callee))
    assert caught.value is error
    assert timeout.snapshot().timed_out_total == 0


def test_a_place_is_taken_until_the_work_has_really_ended(virtual_clock: VirtualClock) -> None:
    """The semaphore is freed on timeout while the work still runs."""
    guarded = Pipeline("guarded", Bulkhead(max_concurrent=1), Timeout(2))
    bulkhead, timeout = guarded.policies

    async def stubborn() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(3)  # it cleans up

    async def main() -> None:
        work = asyncio.create_task(guarded.acall(stubborn))
        await asyncio.sleep(4)
        assert timeout.snapshot().timed_out_total == 0
        assert bulkhead.snapshot().active == 1
        with pytest.raises(BulkheadFullError):
            await guarded.acall(asucceed)
        with pytest.raises(CallTimeoutError):
            await work
        assert virtual_clock.now() == 5
        assert bulkhead.snapshot().active == 0

    virtual_clock.run(main())


def test_work_left_behind_in_threads_is_counted_and_bounded() -> None:
    """The same in thread mode, where the work cannot be ended: then its number is bounded."""
    release = threading.Event()
    impatient = Clock(wait=lambda event, seconds: False)
    timeout = Timeout(2, sync="thread", max_abandoned=2, clock=impatient)
    for _ in range(2):
        with pytest.raises(CallTimeoutError):
            timeout.call(release.wait)
    assert timeout.snapshot().abandoned == 2
    assert timeout.try_call(succeed).rejected
    release.set()
    for thread in threading.enumerate():
        if thread.name == "holdfast-timeout":
            thread.join()
    assert timeout.snapshot().abandoned == 0


def test_nothing_is_imported_to_talk_to_a_server() -> None:
    """Constructor or every call fails when Redis is down: decisions use local state only."""
    before = set(sys.modules)
    breaker = CircuitBreaker(failure_threshold=1)
    trip(breaker)
    assert breaker.try_call(succeed).rejected
    assert not {name for name in set(sys.modules) - before if name.split(".")[0] == "redis"}
