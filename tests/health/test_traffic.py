"""The window of traffic against a list of every call."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, cast, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import ConfigurationError
from holdfast.health.calls import CallOutcome, outcome_of
from holdfast.health.traffic import SLICES, Counts, Traffic

OUTCOMES = list(get_args(CallOutcome))
calls = st.tuples(
    st.integers(0, 30),
    st.sampled_from(OUTCOMES),
    st.none() | st.sampled_from([0.001, 0.01, 1.0]),
    st.booleans(),
    st.booleans(),
)


@given(st.lists(calls, max_size=60), st.integers(0, 30))
def test_agrees_with_a_list_of_calls(rows: list[Any], pause: int) -> None:
    """In quarters of a slice: whole slices leave together."""
    traffic = Traffic(10.0)
    now = Fraction(0)
    kept: list[tuple[int, Any]] = []
    for step, outcome, seconds, fallback, late in rows:
        now += Fraction(step, 4)
        traffic.record(float(now), outcome, seconds, fallback=fallback, late=late)
        kept.append((int(now), (outcome, seconds, fallback, late)))
    now += Fraction(pause, 4)
    inside = [call for at, call in kept if at > int(now) - SLICES]

    def number(wanted: str, *, late: bool | None = None) -> int:
        return sum(o == wanted and late in (None, was) for o, _, _, was in inside)

    shown = traffic.view(float(now)).snapshot()
    assert shown.calls == number("success") + number("failure", late=False)
    assert shown.failures == number("failure", late=False)
    assert shown.rejected == number("rejected", late=False)
    assert shown.discounted == number("failure", late=True) + number("rejected", late=True)
    assert shown.ignored == number("ignored")
    assert shown.fallbacks == sum(fallback for _, _, fallback, _ in inside)
    assert shown.error_rate == (shown.failures / shown.calls if shown.calls else None)
    known = sorted(
        seconds
        for o, seconds, _, late in inside
        if seconds is not None and not late and o in ("success", "failure")
    )
    assert traffic.view(float(now)).latencies().count == len(known)
    if known:
        assert shown.p50 == pytest.approx(known[(len(known) - 1) // 2], rel=0.01)
        assert shown.p99 == pytest.approx(known[int(0.99 * (len(known) - 1))], rel=0.01)
    else:
        assert (shown.p50, shown.p95, shown.p99) == (None, None, None)


def test_a_call_leaves_between_nine_tenths_and_the_whole_of_the_window() -> None:
    traffic = Traffic(60.0)
    traffic.record(5.9, "failure", None, fallback=False, late=False)
    assert traffic.counts(59.9).failed == 1
    assert traffic.counts(60.0).failed == 0


def test_memory_is_that_of_ten_slices() -> None:
    traffic = Traffic(10.0)
    for second in range(1000):
        traffic.record(float(second), "success", 0.1, fallback=False, late=False)
        assert len(traffic._slices) <= SLICES
    assert traffic.counts(999.0).ok == SLICES


def test_a_view_stays_as_it_was_taken() -> None:
    traffic = Traffic(10.0)
    for second in (1.0, 2.0):
        traffic.record(second, "success", second, fallback=False, late=False)
    view = traffic.view(2.0)
    traffic.record(2.5, "failure", 9.0, fallback=False, late=False)
    traffic.record(3.5, "ignored", None, fallback=False, late=False)
    assert (view.counts.calls, view.latencies().maximum) == (2, 2.0)
    later = traffic.view(3.5)
    assert (later.counts.calls, later.latencies().maximum, later.ignored) == (3, 9.0, 1)


def test_threads_that_arrive_in_another_order_count_too() -> None:
    traffic = Traffic(10.0)
    traffic.record(5.0, "success", None, fallback=False, late=False)
    traffic.record(3.5, "success", None, fallback=False, late=False)
    assert traffic.counts(5.0).ok == 2
    assert len(traffic._slices) == 1


def test_another_clock_begins_anew() -> None:
    traffic = Traffic(10.0)
    traffic.record(1e6, "failure", None, fallback=False, late=False)
    assert traffic.counts(3.0) == Counts(0, 0, 0, 0)
    traffic.record(3.0, "success", None, fallback=False, late=False)
    assert traffic.counts(3.0) == Counts(1, 0, 0, 0)


def test_shares_of_nothing_are_unknown_and_no_share_exceeds_one() -> None:
    nothing = Counts(0, 0, 0, 0)
    assert (nothing.error_rate, nothing.rejection_rate, nothing.fallback_rate) == (None,) * 3
    assert Counts(1, 0, 1, 5).fallback_rate == 1
    assert Counts(1, 1, 2, 1).offered == 4
    assert Counts(1, 1, 2, 1).rejection_rate == 0.5


@pytest.mark.parametrize("late", [False, True])
def test_an_unknown_outcome_is_refused_and_not_counted(late: bool) -> None:
    traffic = Traffic(10.0)
    with pytest.raises(ConfigurationError, match=r"outcome must be 'success'.*not 'fine'"):
        traffic.record(0.0, cast(Any, "fine"), None, fallback=True, late=late)
    assert traffic.counts(0.0) == Counts(0, 0, 0, 0)


@pytest.mark.parametrize("outcome", ["success", "failure"])
@pytest.mark.parametrize("seconds", [float("nan"), float("inf")])
def test_a_duration_that_is_no_number_is_refused_and_not_counted(
    outcome: CallOutcome, seconds: float
) -> None:
    traffic = Traffic(10.0)
    with pytest.raises(ConfigurationError, match="seconds must be a finite number"):
        traffic.record(0.0, outcome, seconds, fallback=False, late=False)
    assert traffic.counts(0.0).calls == 0


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "success"),
        (ConnectionResetError(), "failure"),
        (TimeoutError(), "failure"),
        (RuntimeError(), "failure"),
        (ValueError(), "ignored"),
        (KeyboardInterrupt(), "ignored"),
    ],
)
def test_errors_count_as_they_do_for_breakers(
    error: BaseException | None, outcome: CallOutcome
) -> None:
    assert outcome_of(error) == outcome


def test_a_refusal_is_rejected() -> None:
    from holdfast import CircuitOpenError

    assert outcome_of(CircuitOpenError("circuit_breaker", "db", "open")) == "rejected"
