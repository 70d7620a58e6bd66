"""Timeouts of sync code: a deadline to look at, or a thread that is left behind."""

from __future__ import annotations

import contextvars
import threading
from typing import Any

import pytest

from holdfast import (
    CallTimeoutError,
    DeadlineExceededError,
    RejectedError,
    Timeout,
    deadline,
    time_left,
)
from holdfast._core.clock import Clock
from holdfast.testing import VirtualClock

# -- sync: the deadline --------------------------------------------------------------------------


def test_a_sync_call_is_told_its_deadline(virtual_clock: VirtualClock) -> None:
    timeout = Timeout(5)
    assert timeout.call(time_left) == 5
    with deadline(2):
        assert timeout.call(time_left) == 2
    with deadline(60):
        assert timeout.call(time_left) == 5
    assert time_left() is None


# -- sync: threads -------------------------------------------------------------------------------

IMPATIENT = Clock(wait=lambda event, seconds: False)
"""Waiting is over before the thread has even begun."""
PATIENT = Clock(wait=lambda event, seconds: event.wait(30))


def ended(name: str) -> None:
    """Join the threads of a timeout."""
    for thread in threading.enumerate():
        if thread.name == f"holdfast-{name}":
            thread.join(30)
            assert not thread.is_alive()


def test_thread_mode_runs_the_call_elsewhere_with_its_context() -> None:
    variable = contextvars.ContextVar("variable", default="outside")
    timeout = Timeout(5, "elsewhere", sync="thread", clock=PATIENT)

    def callee(argument: int, *, option: int) -> tuple[str, str, int]:
        seen = variable.get()
        variable.set("changed in there")
        left = time_left()
        assert left is not None
        assert 0 < left <= 5
        return threading.current_thread().name, seen, argument + option

    variable.set("inside")
    assert timeout.call(callee, 1, option=2) == ("holdfast-elsewhere", "inside", 3)
    assert variable.get() == "inside"
    assert time_left() is None


@pytest.mark.parametrize("error", [KeyError("its own"), SystemExit(3)])
def test_thread_mode_raises_the_callees_error_itself(error: BaseException) -> None:
    def callee() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        Timeout(5, sync="thread", clock=PATIENT).call(callee)
    assert caught.value is error


def test_thread_mode_leaves_a_late_call_behind() -> None:
    release = threading.Event()
    timeout = Timeout(2, "late", sync="thread", max_abandoned=2, clock=IMPATIENT)
    for abandoned in (1, 2):
        with pytest.raises(CallTimeoutError, match="within 2 s"):
            timeout.call(release.wait)
        assert timeout.snapshot().abandoned == abandoned
    with pytest.raises(RejectedError, match="too many abandoned calls") as caught:
        timeout.call(release.wait)
    assert caught.value.policy == "timeout"
    assert timeout.try_call(release.wait).rejected
    release.set()
    ended("late")
    assert timeout.snapshot().abandoned == 0
    assert timeout.snapshot().timed_out_total == 2


def test_a_call_that_ends_as_its_time_is_up_counts() -> None:
    """The wait says no, but the result is there."""
    timeout = Timeout(2, sync="thread", clock=Clock(wait=lambda event, seconds: not event.wait(30)))
    assert timeout.call(lambda: "in time") == "in time"
    assert timeout.snapshot().abandoned == 0


def test_thread_mode_and_deadlines() -> None:
    waits: list[float] = []
    moment = 100.0

    def wait(event: Any, seconds: Any) -> bool:
        waits.append(seconds)
        return event.wait(30)

    clock = Clock(now=lambda: moment, wait=wait)
    timeout = Timeout(5, sync="thread", clock=clock)
    with deadline(2, clock=clock):
        assert timeout.call(lambda: time_left(clock=clock)) == 2
    assert timeout.call(lambda: time_left(clock=clock)) == 5
    assert waits == [2, 5]
    with deadline(0, clock=clock), pytest.raises(DeadlineExceededError):
        timeout.call(lambda: None)


def test_an_interrupted_wait_leaves_the_call_behind() -> None:
    release = threading.Event()

    def interrupt(event: object, seconds: object) -> bool:
        raise KeyboardInterrupt

    timeout = Timeout(2, "interrupted", sync="thread", clock=Clock(wait=interrupt))
    with pytest.raises(KeyboardInterrupt):
        timeout.call(release.wait)
    assert timeout.snapshot().abandoned == 1
    release.set()
    ended("interrupted")
    assert timeout.snapshot().abandoned == 0
    assert timeout.snapshot().timed_out_total == 0
