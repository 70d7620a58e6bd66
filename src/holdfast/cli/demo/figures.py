"""What was measured, and the figures made of it.

The load is open: requests are due at fixed times whether earlier ones were answered or not, as
with users who do not know of each other. A latency counts from the time at which a request was
due, so a stall shows in every request it delayed, not just in the one that hit it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

PROMPT = 1.0
"""Seconds; an answer that takes longer is late."""

STEADY_FOR = 1.0
STEADY_SHARE = 0.95
"""Recovered: for this many seconds, this share of the answers is full and prompt again."""


class Kind(Enum):
    """What a user got."""

    FULL = "full"
    DEGRADED = "degraded"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Answer:
    """One request: when it was due, and what came of it how many seconds after that."""

    due: float
    latency: float
    kind: Kind

    @property
    def well(self) -> bool:
        """Whether it is as if nothing had happened."""
        return self.kind is Kind.FULL and self.latency <= PROMPT


@dataclass(frozen=True, slots=True)
class Reading:
    """How many requests the user service had seen at a time."""

    at: float
    seen: int


@dataclass(slots=True)
class Record:
    """All that is known of one variant; it grows while the demo runs."""

    answers: list[Answer] = field(default_factory=list[Answer])
    readings: list[Reading] = field(default_factory=list[Reading])


@dataclass(frozen=True, slots=True)
class Figures:
    """One variant in figures: shares from 0 to 1, times in seconds, loads in requests per second.

    `recovery` is None when the variant did not recover in the `watched` seconds after the outage.
    """

    requests: int
    full: float
    degraded: float
    errors: float
    p50: float
    p99: float
    load_healthy: float
    load_outage: float
    recovery: float | None
    watched: float

    @property
    def usable(self) -> float:
        """The share of answers that a user can work with."""
        return self.full + self.degraded

    @property
    def load_factor(self) -> float:
        """The load during the outage in relation to the healthy one."""
        return self.load_outage / self.load_healthy if self.load_healthy else math.nan


def figures(record: Record, outage: tuple[float, float], end: float) -> Figures:
    """The figures of a run that lasted until `end`."""
    begins, ends = outage
    answers = record.answers
    latencies = [answer.latency for answer in answers]
    full, degraded, errors = (share(answers, kind) for kind in Kind)
    return Figures(
        requests=len(answers),
        full=full,
        degraded=degraded,
        errors=errors,
        p50=percentile(latencies, 0.50),
        p99=percentile(latencies, 0.99),
        load_healthy=load(record.readings, 0.0, begins),
        load_outage=load(record.readings, begins, ends),
        recovery=recovery(answers, ends, end),
        watched=max(0.0, end - ends - STEADY_FOR),
    )


def share(answers: Sequence[Answer], kind: Kind) -> float:
    """The share of the answers that are of a kind; 0 of none."""
    return sum(answer.kind is kind for answer in answers) / len(answers) if answers else 0.0


def percentile(values: Iterable[float], rank: float) -> float:
    """The smallest value that at least the share `rank` of all values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(rank * len(ordered)) - 1)] if ordered else math.nan


def load(readings: Sequence[Reading], begin: float, end: float) -> float:
    """Requests per second between two times, read off a counter that was read at other times."""
    return (_seen(readings, end) - _seen(readings, begin)) / (end - begin)


def _seen(readings: Sequence[Reading], at: float) -> float:
    """The counter at a time: on the line between the readings around it."""
    before = Reading(0.0, 0)
    for after in readings:
        if after.at >= at:
            span = after.at - before.at
            return before.seen + (after.seen - before.seen) * (
                (at - before.at) / span if span else 1
            )
        before = after
    return before.seen


def recovery(answers: Iterable[Answer], back: float, end: float) -> float | None:
    """Seconds from `back` to the first request from which on all is well again."""
    after = sorted((answer for answer in answers if answer.due >= back), key=lambda a: a.due)
    for at, first in enumerate(after):
        if first.due + STEADY_FOR > end:
            break
        if first.well:
            next_ones = [a.well for a in after[at:] if a.due < first.due + STEADY_FOR]
            if sum(next_ones) >= STEADY_SHARE * len(next_ones):
                return first.due - back
    return None
