"""Delays: every growth with every jitter, by the published formulas."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast._core.backoff import Backoff, Growth, Jitter
from holdfast.errors import ConfigurationError


def die(value: float) -> Any:
    return lambda: value


@pytest.mark.parametrize(
    ("growth", "ceilings"),
    [
        ("constant", [0.5, 0.5, 0.5, 0.5, 0.5]),
        ("linear", [0.5, 1.0, 1.5, 2.0, 2.0]),
        ("exponential", [0.5, 1.5, 2.0, 2.0, 2.0]),
    ],
)
def test_ceilings_grow_up_to_the_cap(growth: Growth, ceilings: list[float]) -> None:
    backoff = Backoff(base=0.5, cap=2.0, growth=growth, factor=3.0)
    assert [backoff.ceiling(attempt) for attempt in range(1, 6)] == ceilings


@pytest.mark.parametrize(
    ("jitter", "delays"),
    [
        ("none", [4.0, 4.0, 4.0]),
        ("full", [0.0, 1.0, 3.0]),
        ("equal", [2.0, 2.5, 3.5]),
        # From the base, 1, to three times the delay before, 9.
        ("decorrelated", [1.0, 3.0, 7.0]),
    ],
)
def test_jitters_pick_their_part_of_the_ceiling(jitter: Jitter, delays: list[float]) -> None:
    backoff = Backoff(base=1.0, jitter=jitter)
    assert [backoff.delay(3, 3.0, die(value)) for value in (0.0, 0.25, 0.75)] == delays


@pytest.mark.parametrize(
    ("growth", "reach"), [("constant", 6.0), ("linear", 9.0), ("exponential", 15.0)]
)
def test_decorrelated_jitter_follows_the_growth(growth: Growth, reach: float) -> None:
    backoff = Backoff(base=2.0, cap=100, growth=growth, jitter="decorrelated")
    assert backoff.delay(2, 5.0, die(0.5)) == 2 + (reach - 2) / 2


@pytest.mark.parametrize("growth", ["constant", "linear", "exponential"])
def test_decorrelated_jitter_starts_at_three_times_the_base(growth: Growth) -> None:
    backoff = Backoff(base=1.0, cap=100, growth=growth, jitter="decorrelated")
    assert backoff.delay(1, None, die(0.5)) == 2.0


@given(
    growth=st.sampled_from(["constant", "linear", "exponential"]),
    jitter=st.sampled_from(["none", "full", "equal", "decorrelated"]),
    base=st.floats(0.001, 10),
    reach=st.floats(1, 100),
    factor=st.floats(1, 10),
    attempts=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=30),
)
def test_delays_stay_between_zero_and_the_cap(
    growth: Growth,
    jitter: Jitter,
    base: float,
    reach: float,
    factor: float,
    attempts: list[float],
) -> None:
    backoff = Backoff(base=base, cap=base * reach, growth=growth, jitter=jitter, factor=factor)
    previous = None
    for attempt, value in enumerate(attempts, 1):
        previous = backoff.delay(attempt, previous, die(value))
        assert 0 <= previous <= backoff.cap
        if jitter == "decorrelated":
            assert previous >= base
        else:
            assert previous <= backoff.ceiling(attempt) <= backoff.cap


@pytest.mark.parametrize("factor", [2, 2.0])
@pytest.mark.parametrize("attempt", [1024, 5000])
def test_far_beyond_any_float_the_ceiling_is_the_cap(factor: float, attempt: int) -> None:
    assert Backoff(cap=7, factor=factor).ceiling(attempt) == 7


def test_defaults() -> None:
    assert Backoff() == Backoff(base=0.1, cap=10.0, growth="exponential", factor=2.0, jitter="full")
    assert Backoff(base=2, cap=2, factor=1).ceiling(9) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base": 0}, "base must be a finite number greater than 0, not 0"),
        ({"cap": 0.05}, "cap must be a finite number of at least 0.1, not 0.05"),
        ({"factor": 0.9}, "factor must be a finite number of at least 1, not 0.9"),
        (
            {"growth": "quadratic"},
            "growth must be one of constant, linear, exponential, not 'quadratic'",
        ),
        ({"jitter": None}, "jitter must be one of none, full, equal, decorrelated, not None"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Backoff(**options)
    assert str(caught.value) == message
