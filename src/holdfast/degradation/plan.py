"""Which step is asked next, and for how long: the plan of one call.

A deadline is shared out as it is used up. Each step may take its share of what is *left*, by
default half, so a first step that hangs always leaves something for those behind it; one that
fails quickly leaves nearly everything. The last step that takes time may use all there is. Fixed
values take no time, so the deadline does not concern them.
"""

from __future__ import annotations

from typing import Any, Final

from holdfast._core.outcome import Rejection
from holdfast.degradation.served import Cause, Level, cause_of
from holdfast.degradation.step import FallbackStep

LADDER: Final = (Level.PRIMARY, Level.CACHED, Level.STATIC, Level.PARTIAL)
"""The levels of steps that do not say theirs, by place; the last one for all that follow."""

_LAST: Final = len(LADDER) - 1

DEFAULT_SHARE: Final = 0.5


class ChainPlan:
    """The steps of one call in their order, and what became of those before. Not thread safe.

    Attributes:
        level: of the step that `next` gave last.
        limit: seconds for it; None for no limit.
        causes: why the steps before did not answer.
    """

    __slots__ = ("_at", "_steps", "causes", "level", "limit")

    level: Level
    limit: float | None

    def __init__(self, steps: tuple[FallbackStep[Any], ...]) -> None:
        self._steps = steps
        self._at = -1
        self.causes: list[Cause] = []

    def next(self, now: float, deadline: float | None) -> FallbackStep[Any] | None:
        """The step to ask now; None when there is no more. `deadline` is a moment, as `now`."""
        steps, at = self._steps, self._at
        while (at := at + 1) < len(steps):
            step = steps[at]
            self._at, self.limit = at, step.timeout
            if deadline is not None and not step.static:
                left = deadline - now
                if left <= 0 or left < step.needs:
                    reason = "the deadline has passed" if left <= 0 else "too little time is left"
                    refused = Rejection("deadline", step.name, reason, 0.0)
                    self.causes.append(cause_of(step.name, refused.error))
                    continue
                share = max(left * self._share(step), step.needs)
                self.limit = share if step.timeout is None else min(step.timeout, share)
            if step.level is not None:
                self.level = step.level
            else:
                self.level = Level.STATIC if step.static else LADDER[min(at, _LAST)]
            return step
        return None

    def failed(self, error: Exception) -> None:
        """The step that `next` gave last did not answer."""
        self.causes.append(cause_of(self._steps[self._at].name, error))

    def _share(self, step: FallbackStep[Any]) -> float:
        if step.share is not None:
            return step.share
        more = any(not later.static for later in self._steps[self._at + 1 :])
        return DEFAULT_SHARE if more else 1.0
