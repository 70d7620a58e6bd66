"""How the calls of a retry ended, by the four outcomes that resilience4j made customary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast._core.budget import Budget
from holdfast._core.fork import SharedLock

if TYPE_CHECKING:
    from holdfast._core.snapshots import RetrySnapshot


_SHARED = SharedLock()
# All tallies: taken once in a thousand calls, and when something fails.

MOST_WINS = 1000
"""Unfolded successes that may lie on the list: a few kilobytes."""


class RetryTally:
    """Counts finished calls and lets each success pay into the budget. Thread safe.

    A call that succeeds at its first attempt, as almost all do, takes no lock: it is an entry on
    `wins`, which an append adds atomically, and which is folded into a number now and then.
    Drivers do that themselves, as in `first_try`.
    """

    __slots__ = (
        "_attempts",
        "_failed_once",
        "_failed_repeatedly",
        "_succeeded_late",
        "_succeeded_once",
        "budget",
        "wins",
    )

    def __init__(self, budget: Budget | None) -> None:
        self.budget = budget
        self.wins: list[None] = []
        self._succeeded_once = 0
        self._succeeded_late = 0
        self._failed_once = 0
        self._failed_repeatedly = 0
        self._attempts = 0

    def first_try(self) -> None:
        """A call succeeded at its first attempt."""
        self.wins.append(None)
        if len(self.wins) > MOST_WINS:
            self.fold()
        if self.budget is not None and not self.budget.full:
            self.budget.deposit()

    def fold(self) -> None:
        """Turn the entries on `wins` into a number."""
        with _SHARED.lock:
            count = len(self.wins)
            del self.wins[:count]
            self._succeeded_once += count

    def over(self, attempts: int, *, ok: bool) -> None:
        """A call that had at least one failed attempt is over after so many attempts."""
        with _SHARED.lock:
            self._attempts += attempts
            if ok:
                self._succeeded_late += 1
            elif attempts > 1:
                self._failed_repeatedly += 1
            else:
                self._failed_once += 1
        if ok and self.budget is not None:
            self.budget.deposit()

    def snapshot(self, name: str) -> RetrySnapshot:
        from holdfast._core.snapshots import RetrySnapshot

        self.fold()
        with _SHARED.lock:
            counts = (
                self._succeeded_once,
                self._succeeded_late,
                self._failed_once,
                self._failed_repeatedly,
            )
            attempts = self._attempts + self._succeeded_once
        budget = None if self.budget is None else self.budget.snapshot()
        return RetrySnapshot(name, sum(counts), attempts, *counts, budget)
