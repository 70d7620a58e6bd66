"""Checks for options: each failure names the parameter, the value and what is allowed."""

from __future__ import annotations

import sys

from holdfast.errors import ConfigurationError


def refuse(name: str, value: object, allowed: str) -> ConfigurationError:
    """The error for a parameter that cannot work, ready to be raised."""
    return ConfigurationError(f"{name} must be {allowed}, not {value!r}")


def number(
    name: str,
    value: float,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
) -> float:
    """`value` as a float if it is a finite number inside the bounds; booleans are refused."""
    wanted = "a finite number"
    if above is not None:
        wanted += f" greater than {above:g}"
    if at_least is not None:
        wanted += f" of at least {at_least:g}"
    if at_most is not None:
        wanted += f", at most {at_most:g}"
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        # True also for what is not a number, and for an int beyond any float.
        or not abs(value) <= sys.float_info.max
        or (above is not None and value <= above)
        or (at_least is not None and value < at_least)
        or (at_most is not None and value > at_most)
    ):
        raise refuse(name, value, wanted)
    return float(value)


def count(name: str, value: int, *, at_least: int = 1, at_most: int | None = None) -> int:
    """`value` if it is a whole number inside the bounds; booleans are refused."""
    wanted = f"a whole number of at least {at_least}"
    if at_most is not None:
        wanted += f", at most {at_most}"
    if (
        isinstance(value, bool)
        or not isinstance(value, int)
        or value < at_least
        or (at_most is not None and value > at_most)
    ):
        raise refuse(name, value, wanted)
    return value


def text(name: str, value: str, *, limit: int = 200) -> str:
    """`value` if it is a printable, non-empty string no longer than `limit` characters."""
    if not isinstance(value, str) or not value or len(value) > limit or not value.isprintable():
        raise refuse(name, value, f"a printable, non-empty string of at most {limit} characters")
    return value
