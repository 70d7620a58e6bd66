"""The machine of a check, step by step and through any history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast.errors import ConfigurationError
from holdfast.health.check import Check, Do
from holdfast.health.statuses import Status


def check_of(interval: float = 10.0, timeout: float = 2.0, jitter: float = 0.0) -> Check:
    return Check("db", lambda: None, interval=interval, timeout=timeout, jitter=jitter)


def poll(check: Check, now: float, dice: float = 0.5, *, late: bool = False) -> Do:
    return check.poll(now, lambda: dice, late=late)


def test_runs_at_once_and_then_every_interval() -> None:
    check = check_of()
    assert poll(check, 0.0) is Do.LAUNCH
    assert check.wake_at() == 2.0
    check.finish(0.5, None, late=False)
    assert check.wake_at() == 10.0
    assert poll(check, 9.9) is Do.NOTHING
    assert poll(check, 10.0) is Do.LAUNCH


def test_jitter_delays_the_first_run_and_lengthens_the_others() -> None:
    check = check_of(jitter=0.2)
    assert check.wake_at() < 0
    assert poll(check, 0.0, 0.5) is Do.NOTHING
    assert check.wake_at() == 1.0
    assert poll(check, 1.0, 0.25) is Do.LAUNCH
    check.finish(1.0, None, late=False)
    assert check.wake_at() == 1.0 + 10.5


def test_a_run_that_hangs_is_a_failure_for_as_long_as_it_does() -> None:
    check = check_of()
    poll(check, 0.0)
    assert poll(check, 1.9) is Do.NOTHING
    assert poll(check, 2.0) is Do.CANCEL
    assert check.fact(2.0) == (Status.DEGRADED, "its check failed (no answer within 2 s)")
    assert check.wake_at() == 10.0
    assert poll(check, 2.5) is Do.NOTHING
    assert poll(check, 10.0) is Do.NOTHING, "no second run"
    assert check.fact(10.0) == (
        Status.UNHEALTHY,
        "its check failed 2 times in a row (an earlier run still hangs)",
    )
    check.finish(11.0, None, late=False)
    assert check.snapshot(11.0).failures_in_a_row == 2, "what comes too late says nothing"
    assert poll(check, 20.0) is Do.LAUNCH
    check.finish(20.5, None, late=False)
    assert check.fact(20.5) == (Status.HEALTHY, "its check passed")
    shown = check.snapshot(21.0)
    assert (shown.ok, shown.failures_in_a_row, shown.error) == (True, 0, None)
    assert (shown.runs_total, shown.failures_total) == (2, 2)
    assert (shown.ago, shown.seconds, shown.running) == (0.5, 0.5, False)


def test_before_the_first_result_nothing_is_known() -> None:
    check = check_of()
    poll(check, 0.0)
    shown = check.snapshot(1.0)
    assert (shown.ok, shown.ago, shown.seconds, shown.running) == (None, None, None, True)
    assert check.fact(1.0) is None


def test_results_that_nobody_renews_lose_their_force() -> None:
    check = check_of(jitter=0.5)
    poll(check, 0.0, 0.0)
    check.finish(1.0, "ConnectionRefusedError", late=False)
    assert check.fact(1.0 + 32.0) == (Status.DEGRADED, "its check failed (ConnectionRefusedError)")
    assert check.fact(1.0 + 32.1) is None


@pytest.mark.parametrize(("error", "failures"), [("TimeoutError", 0), (None, 0)])
def test_a_stall_of_ours_is_not_held_against_it(error: str | None, failures: int) -> None:
    check = check_of()
    poll(check, 0.0)
    check.finish(5.0, error, late=True)
    assert check.snapshot(5.0).failures_total == failures
    assert check.snapshot(5.0).ok is (True if error is None else None)
    poll(check, 10.0)
    assert poll(check, 19.0, late=True) is Do.CANCEL
    assert poll(check, 20.0, late=True) is Do.NOTHING
    assert check.snapshot(20.0).failures_total == 0


def test_what_is_forgotten_never_was() -> None:
    check = check_of()
    poll(check, 0.0)
    check.forget()
    check.finish(1.0, "OSError", late=False)
    assert check.snapshot(1.0).ok is None
    assert poll(check, 10.0) is Do.LAUNCH


def test_a_child_has_no_run() -> None:
    check = check_of()
    poll(check, 0.0)
    check._after_fork()
    assert not check.snapshot(1.0).running
    assert poll(check, 10.0) is Do.LAUNCH


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"interval": 0}, "interval must be a finite number greater than 0, not 0"),
        ({"timeout": 0}, "timeout must be a finite number greater than 0, not 0"),
        ({"jitter": -0.1}, "jitter must be a finite number of at least 0, at most 1, not -0.1"),
        ({"jitter": 1.1}, "jitter must be a finite number of at least 0, at most 1, not 1.1"),
        ({"timeout": 11}, "timeout must be at most interval: 11 is greater than 10"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_of(**options)
    assert str(caught.value) == message
    check_of(timeout=10)


def generator() -> Any:
    yield


@pytest.mark.parametrize("fn", [generator, 5, int])
def test_what_is_no_function_is_refused(fn: Callable[[], Any]) -> None:
    with pytest.raises(TypeError):
        Check("db", fn, interval=1.0, timeout=1.0, jitter=0.0)


class CheckHistory(RuleBasedStateMachine):
    """Polled at any moments; runs end when they like. Counted apart, from what the driver sees."""

    def __init__(self) -> None:
        super().__init__()
        self.check = check_of(interval=10.0, timeout=4.0)
        self.now = 0.0
        self.began: float | None = None
        self.expired = False
        self.row = 0
        self.failures = 0
        self.runs = 0
        self.last_begin = -10.0

    @rule(step=st.integers(0, 30), late=st.booleans())
    def poll(self, step: int, late: bool) -> None:
        self.now += step / 2
        due = self.check.wake_at()
        todo = poll(self.check, self.now, late=late)
        if self.now < due:
            assert todo is Do.NOTHING
        if todo is Do.LAUNCH:
            assert self.began is None, "never two runs"
            assert self.now - self.last_begin >= 10
            self.began = self.last_begin = self.now
            self.expired = False
            self.runs += 1
        elif self.began is not None and not self.expired:
            assert (todo is Do.CANCEL) is (self.now >= self.began + 4)
            if todo is Do.CANCEL:
                self.expired = True
                self.fails(not late)
        else:
            assert todo is Do.NOTHING
            if self.began is not None and self.now >= due:
                self.fails(not late)

    @precondition(lambda self: self.began is not None)
    @rule(error=st.sampled_from([None, "OSError"]), late=st.booleans())
    def finish(self, error: str | None, late: bool) -> None:
        self.check.finish(self.now, error, late=late)
        if not self.expired and error is None:
            self.row = 0
        elif not self.expired:
            self.fails(not late)
        self.began = None

    def fails(self, counts: bool) -> None:
        self.row += counts
        self.failures += counts

    @invariant()
    def agrees(self) -> None:
        shown = self.check.snapshot(self.now)
        assert (shown.runs_total, shown.failures_total) == (self.runs, self.failures)
        assert (shown.failures_in_a_row, shown.running) == (self.row, self.began is not None)
        fact = self.check.fact(self.now)
        if fact is not None:
            assert (
                fact.status is [Status.HEALTHY, Status.DEGRADED, Status.UNHEALTHY][min(self.row, 2)]
            )


TestCheckHistory = CheckHistory.TestCase
