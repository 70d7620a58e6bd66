"""Checks: what they let through and what they say about the rest."""

from __future__ import annotations

import math
import sys
from decimal import Decimal
from typing import Any

import pytest

from holdfast._core.validate import count, number, refuse, text
from holdfast.errors import ConfigurationError, ResilienceError


def test_a_refusal_names_parameter_value_and_what_is_allowed() -> None:
    error = refuse("size", "x", "a number")
    assert str(error) == "size must be a number, not 'x'"
    assert isinstance(error, (ResilienceError, ValueError))


@pytest.mark.parametrize("value", [1, 1.5, 2.0])
def test_numbers_become_floats(value: float) -> None:
    checked = number("n", value, above=0.5, at_least=1, at_most=2)
    assert checked == value
    assert type(checked) is float


def test_the_largest_float_is_a_number() -> None:
    assert number("n", sys.float_info.max) == sys.float_info.max


@pytest.mark.parametrize(
    "value", [True, False, None, "1", math.nan, math.inf, -math.inf, Decimal(1), [], 10**400]
)
def test_what_is_no_finite_number_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^n must be a finite number, not "):
        number("n", value)


@pytest.mark.parametrize(
    ("bounds", "value", "allowed"),
    [
        ({"above": 0}, 0, "a finite number greater than 0"),
        ({"above": 0}, -1, "a finite number greater than 0"),
        ({"at_least": 0.5}, 0.25, "a finite number of at least 0.5"),
        ({"at_most": 1}, 1.25, "a finite number, at most 1"),
        ({"above": 0, "at_most": 1}, 2, "a finite number greater than 0, at most 1"),
    ],
)
def test_numbers_outside_of_the_bounds_are_refused(
    bounds: dict[str, float], value: float, allowed: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        number("n", value, **bounds)
    assert str(caught.value) == f"n must be {allowed}, not {value!r}"


@pytest.mark.parametrize("value", [3, 4, 5])
def test_counts_inside_of_the_bounds(value: int) -> None:
    assert count("n", value, at_least=3, at_most=5) == value


@pytest.mark.parametrize("value", [2, 6, True, 4.0, "4", None])
def test_counts_outside_of_the_bounds_are_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        count("n", value, at_least=3, at_most=5)
    assert str(caught.value) == f"n must be a whole number of at least 3, at most 5, not {value!r}"


def test_counts_start_at_one_and_have_no_upper_bound_unless_given() -> None:
    assert count("n", 10**30) == 10**30
    assert count("n", 1) == 1
    for value in (0, True):
        with pytest.raises(ConfigurationError) as caught:
            count("n", value)
        assert str(caught.value) == f"n must be a whole number of at least 1, not {value!r}"


def test_text_is_printable_and_not_too_long() -> None:
    assert text("name", "größe 1", limit=7) == "größe 1"
    assert len(text("name", "x" * 200)) == 200


@pytest.mark.parametrize("value", ["", "a\nb", "\x00", "x" * 201, None, 5, b"x"])
def test_other_text_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        text("name", value)
    allowed = "a printable, non-empty string of at most 200 characters"
    assert str(caught.value) == f"name must be {allowed}, not {value!r}"
