"""The retry's machine: after a failed attempt, wait how long, or stop and why.

A plan is made for one call, at its first failure, and shared with nobody. The order of the
questions matters: whether another attempt makes sense at all, whether there is time for it, and
only then whether the budget pays for it, so that no token is spent on an attempt that is not made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from holdfast._core.backoff import Backoff
from holdfast._core.budget import Budget


@dataclass(frozen=True, slots=True)
class RetryOptions:
    """How often, how long and at whose expense; see `Retry`."""

    attempts: int
    backoff: Backoff
    max_elapsed: float | None
    max_retry_after: float
    budget: Budget | None


@dataclass(frozen=True, slots=True)
class Wait:
    """Make another attempt after `delay` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class Stop:
    """Make no further attempt, because of `reason`."""

    reason: str


class Plan:
    """The attempts of one call. Not thread safe, and need not be."""

    __slots__ = ("_options", "_random", "_started", "delay", "failed")

    def __init__(self, options: RetryOptions, started: float, random: Callable[[], float]) -> None:
        self._options = options
        self._started = started
        self._random = random
        self.failed = 0
        """Attempts that have failed so far."""
        self.delay: float | None = None
        """The last wait, in seconds."""

    def next(
        self,
        now: float,
        *,
        retryable: bool,
        retry_after: float | None = None,
        deadline: float | None = None,
    ) -> Wait | Stop:
        """What to do after the attempt that just failed.

        `retry_after` is the wait that the dependency asked for; `deadline` the moment on the
        monotonic clock by which the call must be over.
        """
        options = self._options
        self.failed += 1
        if not retryable:
            return Stop("this error is not retried")
        if self.failed >= options.attempts:
            return Stop("attempts used up")
        delay = options.backoff.delay(self.failed, self.delay, self._random)
        if retry_after is not None:
            # Coming back earlier than asked would only be refused again.
            if retry_after > options.max_retry_after:
                return Stop(f"asked to stay away for {retry_after:.3g} s")
            delay = max(delay, retry_after)
        if deadline is not None and now + delay >= deadline:
            return Stop("the deadline leaves no time for another attempt")
        if options.max_elapsed is not None and now + delay - self._started > options.max_elapsed:
            return Stop("max_elapsed leaves no time for another attempt")
        if options.budget is not None and not options.budget.withdraw(now):
            return Stop("the retry budget is used up")
        self.delay = delay
        return Wait(delay)
