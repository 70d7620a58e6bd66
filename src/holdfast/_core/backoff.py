"""How long to wait before the next attempt: a growth curve and a jitter.

The curve gives a ceiling per attempt; the jitter picks a point below it, so that clients which
failed together do not come back together. Formulas and the comparison of the four jitters: Marc
Brooker, *Exponential Backoff and Jitter*, AWS Architecture Blog, 2015. Full jitter is the default,
because it makes the fewest calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from holdfast._core.validate import number, refuse

Growth = Literal["constant", "linear", "exponential"]
Jitter = Literal["none", "full", "equal", "decorrelated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """A schedule of delays, in seconds; immutable and shareable.

    Args:
        base: the first ceiling, above 0. Default 0.1.
        cap: no delay is ever longer than this, at least `base`. Default 10.
        growth: how the ceiling rises with the attempt: ``constant`` (base), ``linear``
            (base × attempt) or ``exponential`` (base × factor^(attempt−1)).
        factor: what ``exponential`` multiplies by, at least 1. Default 2.
        jitter: ``none`` takes the ceiling, ``full`` anything from 0 to it, ``equal`` its upper
            half, ``decorrelated`` anything from `base` to a multiple of the delay before.

    Raises:
        ConfigurationError: an option is out of its range.
    """

    base: float = 0.1
    cap: float = 10.0
    growth: Growth = "exponential"
    factor: float = 2.0
    jitter: Jitter = "full"

    def __post_init__(self) -> None:
        number("base", self.base, above=0)
        number("cap", self.cap, at_least=self.base)
        number("factor", self.factor, at_least=1)
        for name, value, kind in (
            ("growth", self.growth, Growth),
            ("jitter", self.jitter, Jitter),
        ):
            if value not in get_args(kind):
                raise refuse(name, value, "one of " + ", ".join(get_args(kind)))

    def ceiling(self, attempt: int) -> float:
        """The longest delay after failed attempt number `attempt`, counted from 1."""
        if self.growth == "constant":
            return self.base
        if self.growth == "linear":
            return min(self.cap, self.base * attempt)
        # 2.0**1024 overflows a float; far before that every ceiling has met its cap.
        try:
            return min(self.cap, self.base * self.factor ** (attempt - 1))
        except OverflowError:
            return self.cap

    def delay(self, attempt: int, previous: float | None, random: Callable[[], float]) -> float:
        """Seconds to wait after failed attempt number `attempt`, counted from 1.

        `previous` is the delay before (None at first); only ``decorrelated`` looks at it. `random`
        draws from [0, 1).
        """
        if self.jitter == "decorrelated":
            reach = self._reach(self.base if previous is None else previous)
            return min(self.cap, self.base + random() * (reach - self.base))
        ceiling = self.ceiling(attempt)
        if self.jitter == "none":
            return ceiling
        if self.jitter == "full":
            return random() * ceiling
        return ceiling / 2 + random() * ceiling / 2

    def _reach(self, previous: float) -> float:
        """How far decorrelated jitter may go; every growth starts at three times the base."""
        if self.growth == "constant":
            return 3 * self.base
        if self.growth == "linear":
            return previous + 2 * self.base
        return 3 * previous
