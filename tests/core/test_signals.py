"""Signal handlers that raise, finalisers that wake: what may happen at any moment."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from typing import Any

import pytest

from holdfast import Bulkhead, CircuitBreaker
from holdfast._core.clock import Clock, Waitable
from holdfast._core.signal import Signal


class Suspend:
    def __await__(self) -> Generator[None]:
        yield


async def suspended() -> None:
    await Suspend()


def test_a_handler_that_raises_while_waiting_for_a_lock_does_not_release_the_other_threads() -> (
    None
):
    """A lock released in `finally` although the wait for it was interrupted belonged to another."""
    breaker = CircuitBreaker()
    lock = breaker._circuit._lock
    held, done = threading.Event(), threading.Event()
    still_locked: list[bool] = []

    def holder() -> None:
        with lock:
            held.set()
            done.wait(5)
            still_locked.append(lock.locked())
            if not lock.locked():
                lock.acquire()

    def on_alarm(*_: Any) -> None:
        raise KeyboardInterrupt

    thread = threading.Thread(target=holder)
    thread.start()
    assert held.wait(5)
    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            breaker.snapshot()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        done.set()
        thread.join()
    assert still_locked == [True]
    assert breaker.snapshot().state == "closed", "and the lock can be had again"


def test_a_finaliser_may_wake_the_waiter_of_its_own_thread() -> None:
    """`threading.Event` would wait for its own lock if the collector ran inside of its `wait`."""

    def wait(granted: Waitable, timeout: float | None) -> bool:
        call.close()  # what the collector does, here in the middle of waiting
        return granted.wait(5)

    bulkhead = Bulkhead(max_concurrent=1, max_queue=1, clock=Clock(wait=wait))
    call = bulkhead.acall(suspended)
    call.send(None)
    assert bulkhead.call(lambda: "through") == "through"
    assert bulkhead.snapshot().active == 0


def test_a_signal_is_seen_by_every_wait_after_it_was_set() -> None:
    flag = Signal()
    assert not flag.wait(0)
    assert not flag.wait(-1), "no time left is no time, not for ever"
    flag.set()
    assert flag.wait(0)
    assert flag.wait()
    assert flag.wait(1e300), "longer than a lock can wait"


def test_a_signal_wakes_a_thread_that_waits() -> None:
    flag, seen = Signal(), []
    thread = threading.Thread(target=lambda: seen.append(flag.wait(5)))
    thread.start()
    flag.set()
    thread.join()
    assert seen == [True]
