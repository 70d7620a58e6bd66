"""Whatever becomes of a probe or of the holder of a place, others get through again."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from holdfast import Bulkhead, CircuitBreaker, Fallback, Pipeline
from holdfast._core.permits import Permits, Waiter
from holdfast._core.states import State
from holdfast.policies import fallback as fallback_module
from holdfast.testing import VirtualClock


def half_open(clock: VirtualClock, **options: Any) -> CircuitBreaker:
    """A breaker whose next call is its only probe."""
    breaker = CircuitBreaker(reset_timeout=1, **options)
    breaker.isolate("to be probed", ttl=1)
    clock.advance(1)
    assert breaker.state is State.HALF_OPEN
    return breaker


async def forever() -> None:
    await asyncio.Event().wait()


class Suspend:
    """Awaits for ever without any event loop."""

    def __await__(self) -> Any:
        yield


async def suspended() -> None:
    await Suspend()


def begun(policy: Any) -> Any:
    """A call that has begun and waits, and that nobody but the caller of this holds on to."""
    coroutine = policy.acall(suspended)
    coroutine.send(None)
    return coroutine


def still_answers(policy: Any) -> None:
    """A call gets through, and takes no real time to do so."""
    done = threading.Event()

    def call() -> None:
        policy.call(lambda: None)
        done.set()

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(10)
    assert done.is_set(), "the call did not get through"


def test_a_probe_that_is_cancelled(virtual_clock: VirtualClock) -> None:
    breaker = half_open(virtual_clock)

    async def main() -> None:
        for _ in range(3):
            probe = asyncio.create_task(breaker.acall(forever))
            await asyncio.sleep(0)
            assert (await breaker.try_acall(forever)).rejected
            probe.cancel()
            await asyncio.wait([probe])

    virtual_clock.run(main())
    breaker.call(lambda: None)
    assert breaker.state is State.CLOSED


def test_a_probe_that_hangs_and_comes_back_too_late(virtual_clock: VirtualClock) -> None:
    breaker = half_open(virtual_clock, probe_timeout=10)

    async def main() -> None:
        hung = asyncio.create_task(breaker.acall(asyncio.sleep, 60))
        await asyncio.sleep(9)
        assert (await breaker.try_acall(asyncio.sleep, 0)).rejected
        await asyncio.sleep(1)
        assert (await breaker.try_acall(asyncio.sleep, 0)).ok
        assert breaker.state is State.CLOSED
        await hung
        assert breaker.snapshot().late_total == 1

    virtual_clock.run(main())


def test_a_probe_that_is_garbage_collected(virtual_clock: VirtualClock) -> None:
    breaker = half_open(virtual_clock)
    probe = begun(breaker)
    assert breaker.try_call(lambda: None).rejected
    del probe
    gc.collect()
    assert breaker.snapshot().probes == 0
    breaker.call(lambda: None)
    assert breaker.state is State.CLOSED


def test_a_probe_that_is_garbage_collected_from_a_cycle(virtual_clock: VirtualClock) -> None:
    breaker = half_open(virtual_clock)
    cycle = [begun(breaker)]
    cycle.append(cycle)
    del cycle
    assert breaker.try_call(lambda: None).rejected
    gc.collect()
    assert breaker.snapshot().probes == 0
    breaker.call(lambda: None)


def test_a_holder_of_a_place_that_is_garbage_collected() -> None:
    bulkhead = Bulkhead(max_concurrent=1)
    cycle = [begun(bulkhead)]
    cycle.append(cycle)
    del cycle
    assert bulkhead.try_call(lambda: None).rejected
    gc.collect()
    assert bulkhead.snapshot().active == 0
    still_answers(bulkhead)


def test_a_waiter_whose_loop_was_closed() -> None:
    bulkhead = Bulkhead(max_concurrent=1, max_queue=2)

    def abandoned_loop() -> None:
        """A loop that stops in the middle: its tasks are neither finished nor cancelled."""
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda loop, context: None)
        waiter = loop.create_task(bulkhead.acall(forever))
        loop.run_until_complete(asyncio.sleep(0))
        assert not waiter.done()
        loop.close()

    with bulkhead:
        abandoned_loop()
    assert bulkhead.snapshot().active == 0, "the place was handed to a loop that is closed"
    still_answers(bulkhead)
    gc.collect()
    assert (bulkhead.snapshot().active, bulkhead.snapshot().queued) == (0, 0)


def test_two_gates_give_both_places_back_when_collected(virtual_clock: VirtualClock) -> None:
    breaker, bulkhead = half_open(virtual_clock), Bulkhead(max_concurrent=1)
    call = begun(Pipeline("guarded", breaker, bulkhead))
    assert (breaker.snapshot().probes, bulkhead.snapshot().active) == (1, 1)
    del call
    gc.collect()
    assert (breaker.snapshot().probes, bulkhead.snapshot().active) == (0, 0)


# -- finalised while the same thread holds the machine's lock ----------------------------------


def test_a_probe_collected_while_its_own_thread_decides(virtual_clock: VirtualClock) -> None:
    """The random number of a jittered break is drawn under the lock: there the collector runs."""
    breaker = CircuitBreaker(failure_threshold=1, reset_timeout=1, reset_jitter=1.0)
    abandoned: list[Any] = []

    def collect_and_draw() -> float:
        abandoned.clear()
        gc.collect()
        return 0.5

    breaker._circuit._random = collect_and_draw
    cycle = [begun(breaker)]
    cycle.append(cycle)
    abandoned.append(cycle)
    del cycle

    done = threading.Event()

    def fail() -> None:
        with pytest.raises(ConnectionResetError), breaker:
            raise ConnectionResetError
        done.set()

    thread = threading.Thread(target=fail, daemon=True)
    thread.start()
    thread.join(10)
    assert done.is_set(), "the finaliser waited for the lock that its own thread held"
    assert abandoned == []
    assert breaker.state is State.OPEN


def finalise_under(lock: Any, *calls: Any) -> None:
    """Finalise calls while this very thread holds the lock."""
    done = threading.Event()

    def finalise() -> None:
        with lock:
            for call in calls:
                call.close()
        done.set()

    thread = threading.Thread(target=finalise, daemon=True)
    thread.start()
    thread.join(10)
    assert done.is_set(), "a finaliser waited for the lock that its own thread held"


def test_an_orphaned_probe_is_taken_in_by_the_next_caller(virtual_clock: VirtualClock) -> None:
    breaker = half_open(virtual_clock)
    finalise_under(breaker._circuit._lock, begun(breaker))
    still_answers(breaker)
    assert breaker.state is State.CLOSED


def test_an_orphaned_place_is_taken_in_by_the_next_caller() -> None:
    bulkhead = Bulkhead(max_concurrent=1)
    finalise_under(bulkhead._permits._lock, begun(bulkhead))
    still_answers(bulkhead)
    assert bulkhead.snapshot().active == 0


def test_an_orphaned_place_serves_whoever_comes_next(virtual_clock: VirtualClock) -> None:
    """Also where a queue is kept, since somebody has once waited."""
    bulkhead = Bulkhead(max_concurrent=1, max_queue=1)

    async def main() -> None:
        await asyncio.gather(*(bulkhead.acall(asyncio.sleep, 1) for _ in range(2)))
        finalise_under(bulkhead._permits._lock, begun(bulkhead))
        bulkhead.resize(max_queue=0)
        assert bulkhead.call(lambda: "mine") == "mine"

    virtual_clock.run(main())
    assert bulkhead.snapshot().active == 0


def test_an_orphaned_place_goes_to_the_one_who_waits(virtual_clock: VirtualClock) -> None:
    bulkhead = Bulkhead(max_concurrent=2, max_queue=2)

    async def main() -> None:
        abandoned = begun(bulkhead)
        other = asyncio.create_task(bulkhead.acall(asyncio.sleep, 0.5))
        waiters = [asyncio.create_task(bulkhead.acall(asyncio.sleep, 1)) for _ in range(2)]
        await asyncio.sleep(0)
        finalise_under(bulkhead._permits._lock, abandoned)
        await asyncio.gather(other, *waiters)  # the other one comes by and finds the orphan
        assert virtual_clock.now() == 1.5

    virtual_clock.run(main())
    assert bulkhead.snapshot().active == 0


def test_an_orphaned_waiter_gets_no_place(virtual_clock: VirtualClock) -> None:
    bulkhead = Bulkhead(max_concurrent=1, max_queue=2)

    async def main() -> None:
        async with bulkhead:
            waiting = bulkhead.acall(forever)
            waiting.send(None)
            finalise_under(bulkhead._permits._lock, waiting)
            bulkhead.resize(max_queue=0)
            assert bulkhead.try_call(lambda: None).rejected
            bulkhead.resize(max_queue=1)
        assert bulkhead.snapshot().active == 0
        assert bulkhead.snapshot().queued == 0
        await bulkhead.acall(asyncio.sleep, 1)

    virtual_clock.run(main())


def test_a_stream_finalised_while_its_own_thread_decides(virtual_clock: VirtualClock) -> None:
    """It has delivered an item, so that closing it early is a success: but not at any price."""
    breaker = half_open(virtual_clock)

    @breaker
    def items() -> Any:
        yield 1
        yield 2

    stream = items()
    next(stream)
    assert breaker.snapshot().probes == 1
    finalise_under(breaker._circuit._lock, stream)
    assert breaker.snapshot().probes == 0
    still_answers(breaker)
    assert breaker.state is State.CLOSED


def test_finalised_while_news_of_the_circuit_wait_to_be_told(virtual_clock: VirtualClock) -> None:
    """Between a transition and the end of the decision there is news, and the lock is held."""
    breaker = CircuitBreaker(failure_threshold=1)
    call = begun(breaker)
    machine = breaker._circuit
    machine.fail(machine.era, virtual_clock.now())
    assert machine.outbox
    finalise_under(machine._lock, call)
    assert breaker.state is State.OPEN
    assert not machine.outbox


def test_a_fallback_finalised_while_its_own_thread_counts() -> None:
    fallback = Fallback(lambda error: suspended())

    @fallback
    async def fail() -> None:
        raise ConnectionResetError

    call: Any = fail()
    call.send(None)
    finalise_under(fallback_module._SHARED.lock, call)
    assert fallback.snapshot().used_total == 0


@pytest.mark.parametrize("sync", [True, False])
def test_a_place_orphaned_just_as_its_heir_joins_the_queue(
    sync: bool, virtual_clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bulkhead = Bulkhead(max_concurrent=1, max_queue=1)
    abandoned = begun(bulkhead)
    join = Permits.enqueue

    def joined_by_a_finaliser(permits: Permits, waiter: Waiter) -> bool:
        joined = join(permits, waiter)
        finalise_under(permits._lock, abandoned)
        return joined

    monkeypatch.setattr(Permits, "enqueue", joined_by_a_finaliser)
    if sync:
        assert bulkhead.call(lambda: "mine") == "mine"
    else:
        virtual_clock.run(bulkhead.acall(asyncio.sleep, 1))
    assert (bulkhead.snapshot().active, bulkhead.snapshot().waited_total) == (0, 1)


# -- forks -------------------------------------------------------------------------------------


def in_child(check: Callable[[], bool]) -> bool:
    """Whether `check` holds in a forked process; False too if it hangs or raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # later Pythons warn about threads
        child = os.fork()
    if child == 0:
        import signal

        signal.alarm(20)  # a child that hangs ends with an exit status that is not 0
        status = 1
        try:
            status = 0 if check() else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@needs_fork
def test_a_fork_in_the_middle_of_a_probe(virtual_clock: VirtualClock) -> None:
    breaker = half_open(virtual_clock)

    def probe() -> None:
        assert in_child(lambda: breaker.try_call(lambda: None).ok)
        assert breaker.snapshot().probes == 1

    breaker.call(probe)
    assert breaker.state is State.CLOSED


@needs_fork
def test_a_fork_while_every_place_is_taken() -> None:
    bulkhead = Bulkhead(max_concurrent=1, max_queue=1)

    def check() -> bool:
        free = bulkhead.snapshot().active == 0
        return free and bulkhead.try_call(lambda: bulkhead.snapshot().active).unwrap() == 1

    with bulkhead:
        assert in_child(check)
        assert bulkhead.snapshot().active == 1
    assert bulkhead.snapshot().active == 0


@needs_fork
def test_a_place_of_the_parent_is_not_given_back_in_the_child() -> None:
    bulkhead = Bulkhead(max_concurrent=1)
    answers: list[bool] = []

    def fork_inside() -> None:
        answers.append(in_child(leave))

    def leave() -> bool:
        call.close()  # the child unwinds the parent's call
        return bulkhead.snapshot().active == 0 and bulkhead.try_call(lambda: None).ok

    call = begun(bulkhead)
    fork_inside()
    assert answers == [True]
    assert bulkhead.snapshot().active == 1
    call.close()
    assert bulkhead.snapshot().active == 0


@needs_fork
def test_a_fork_while_another_thread_decides(virtual_clock: VirtualClock) -> None:
    breaker, bulkhead = half_open(virtual_clock), Bulkhead(max_concurrent=1)
    guarded = Pipeline("guarded", breaker, bulkhead)
    with breaker._circuit._lock, bulkhead._permits._lock:
        assert in_child(lambda: guarded.try_call(lambda: None).ok)
    still_answers(guarded)
