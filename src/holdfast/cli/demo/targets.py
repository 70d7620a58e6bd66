"""What the side protected by Holdfast must reach, judged in the same run as the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from holdfast.cli.demo.figures import Figures

JUDGED = "holdfast"
YARDSTICK = "bare"


@dataclass(frozen=True, slots=True)
class Target:
    """A bound for one figure."""

    name: str
    states: str
    value: Callable[[Figures], float | None]
    bound: Callable[[Figures], float]
    at_least: bool = False
    """The bound, made from the figures of the bare variant, is a lower one."""


TARGETS = (
    Target("usable", "≥ 99 %", lambda own: own.usable, lambda bare: 0.99, at_least=True),
    Target("p99", "≤ 1 s", lambda own: own.p99, lambda bare: 1.0),
    Target("load", "≤ ¼ of bare", lambda own: own.load_outage, lambda bare: bare.load_outage / 4),
    Target("recovery", "≤ 3 s", lambda own: own.recovery, lambda bare: 3.0),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a target was met, and by what."""

    target: Target
    value: float | None
    bound: float
    met: bool


def judge(
    variants: Mapping[str, Figures], targets: Sequence[Target] = TARGETS
) -> tuple[Verdict, ...]:
    """Hold the protected variant against each target; a figure that is missing misses it."""
    return tuple(_judge(target, variants[JUDGED], variants[YARDSTICK]) for target in targets)


def _judge(target: Target, own: Figures, bare: Figures) -> Verdict:
    value, bound = target.value(own), target.bound(bare)
    # Comparisons with NaN are false: what could not be measured is not met.
    met = value is not None and (value >= bound if target.at_least else value <= bound)
    return Verdict(target, value, bound, met)
