"""What was measured, and the arithmetic that all floors make their figures with.

The load is open: requests are sent at fixed times whether earlier ones were answered or not, as
with users who do not know of each other. So a stall of a task board shows in every request that it
delayed, not just in the one that hit it. A latency counts from the time at which a request was
due, so waiting anywhere shows, be it here.
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

PEAK_OVER = 1.0
"""Seconds; the load of a moment is that of so long from it on."""
PEAK_STEP = 0.1


class Kind(Enum):
    """What a user got."""

    FULL = "full"
    DEGRADED = "degraded"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Answer:
    """One request: when it was due, and what came of it how many seconds after it was sent.

    `source` is who knew the answer, as far as that was said: ``"redis"``, ``"memory"``, ``"user
    service"``; `stale` is whether it said that it was past its time.
    """

    due: float
    latency: float
    kind: Kind
    source: str = ""
    stale: bool = False

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
    """All that is known of one variant; it grows while the demo runs.

    `late` is by how many seconds a request was sent later than it was due, at most: time that this
    machine took and no variant.
    """

    answers: list[Answer] = field(default_factory=list[Answer])
    readings: list[Reading] = field(default_factory=list[Reading])
    late: float = 0.0


def between(answers: Iterable[Answer], begin: float, end: float) -> list[Answer]:
    """Those that were due from one time until before another."""
    return [answer for answer in answers if begin <= answer.due < end]


def share(answers: Sequence[Answer], kind: Kind) -> float:
    """The share of the answers that are of a kind; 0 of none."""
    return sum(answer.kind is kind for answer in answers) / len(answers) if answers else 0.0


def share_from(answers: Sequence[Answer], *sources: str) -> float:
    """The share of the answers that one of these knew; 0 of none."""
    return sum(a.source in sources for a in answers) / len(answers) if answers else 0.0


def percentile(values: Iterable[float], rank: float) -> float:
    """The smallest value that at least the share `rank` of all values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(rank * len(ordered)) - 1)] if ordered else math.nan


def load(readings: Sequence[Reading], begin: float, end: float) -> float:
    """Requests per second between two times, read off a counter that was read at other times."""
    return (_seen(readings, end) - _seen(readings, begin)) / (end - begin)


def peak(readings: Sequence[Reading], begin: float, end: float) -> float:
    """The highest load in any `PEAK_OVER` seconds of a stretch; of all of a shorter one."""
    steps = max(0, math.floor((end - begin - PEAK_OVER) / PEAK_STEP))
    moments = (begin + step * PEAK_STEP for step in range(steps + 1))
    return max(load(readings, at, min(at + PEAK_OVER, end)) for at in moments)


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
