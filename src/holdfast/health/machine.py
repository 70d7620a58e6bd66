"""The machine that moves a component from one status to another, by readings in a row.

A row counts readings that ask for a way of the same rule, and ends with the first that does not.
Readings of one row may differ (degraded, unhealthy, degraded): the machine then goes to the one
nearest to where it is, because only so much is confirmed by all of them.

So between two changes lie at least as many readings as the rule of the later one asks for, whatever
the readings are. That is the bound on flapping.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from holdfast.health.options import HealthOptions
from holdfast.health.statuses import SEVERITY, WAYS, Rule, Status

MOST_CHANGES: Final = 50
"""Changes that the history of a component holds; the oldest go first."""


class Change(NamedTuple):
    """One change of status, at a time of the monotonic clock."""

    at: float
    source: Status
    target: Status
    reason: str


class StatusMachine:
    """The status of one component. Not thread safe: whoever owns it holds its lock."""

    __slots__ = ("_nearest", "_row", "_rule", "history", "options", "since", "status")

    def __init__(self, options: HealthOptions, now: float) -> None:
        self.options = options
        self.status = Status.UNKNOWN
        self.since = now
        self.history: deque[Change] = deque(maxlen=MOST_CHANGES)
        self._rule: Rule | None = None
        self._row = 0
        self._nearest = Status.UNKNOWN

    def read(self, reading: Status, reason: str, now: float) -> Change | None:
        """Take in one reading; the change it brought about, if any."""
        rule = WAYS.get((self.status, reading))
        if rule is None:
            self._rule = None
            return None
        if rule is not self._rule:
            self._rule, self._row, self._nearest = rule, 0, reading
        self._row += 1
        self._nearest = min(self._nearest, reading, key=self._distance)
        if self._row < self._needed(rule):
            return None
        change = Change(now, self.status, self._nearest, reason)
        self.status, self.since, self._rule = self._nearest, now, None
        self.history.append(change)
        return change

    def _distance(self, reading: Status) -> int:
        return abs(SEVERITY[reading] - SEVERITY[self.status])

    def _needed(self, rule: Rule) -> int:
        options = self.options
        if rule is Rule.WORSE:
            return options.worsen_after
        if rule is Rule.BETTER:
            return options.improve_after
        return options.quiet_after if rule is Rule.QUIET else 1
