"""What the side protected by Holdfast must reach, judged in the same run as the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

F = TypeVar("F")
"""The figures of a variant, which are others on each floor."""

JUDGED = "holdfast"
YARDSTICK = "bare"


@dataclass(frozen=True, slots=True)
class Target(Generic[F]):
    """A bound for one figure."""

    name: str
    states: str
    value: Callable[[F], float | None]
    bound: Callable[[F], float]
    at_least: bool = False
    """The bound, made from the figures of the bare variant, is a lower one."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a target was met, and by what."""

    target: Target[Any]
    value: float | None
    bound: float
    met: bool


def judge(variants: Mapping[str, F], targets: Sequence[Target[F]]) -> tuple[Verdict, ...]:
    """Hold the protected variant against each target; a figure that is missing misses it."""
    return tuple(_judge(target, variants[JUDGED], variants[YARDSTICK]) for target in targets)


def _judge(target: Target[F], own: F, bare: F) -> Verdict:
    value, bound = target.value(own), target.bound(bare)
    # Comparisons with NaN are false: what could not be measured is not met.
    met = value is not None and (value >= bound if target.at_least else value <= bound)
    return Verdict(target, value, bound, met)
