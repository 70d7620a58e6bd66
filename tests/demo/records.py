"""Made-up measurements, so that the arithmetic of the demo is tested without running it."""

from __future__ import annotations

from holdfast.cli.demo.figures import Answer, Figures, Kind, Reading, Record
from holdfast.cli.demo.schedule import Schedule


def steady(schedule: Schedule, *, rate: int = 20, during: Kind, latency: float = 0.02) -> Record:
    """Full answers outside the outage, `during` inside, and one call per request throughout."""
    begins, ends = schedule.outage
    record = Record()
    for number in range(int(rate * schedule.seconds)):
        due = number / rate
        kind = during if begins <= due < ends else Kind.FULL
        record.answers.append(Answer(due, latency, kind))
    record.readings = [Reading(at / 2, int(rate * at / 2)) for at in range(int(2 * ends) + 4)]
    return record


def some_figures(**changes: float | None) -> Figures:
    """Figures that meet every target, apart from the changes."""
    values: dict[str, float | None] = {
        "requests": 800,
        "full": 0.45,
        "degraded": 0.55,
        "errors": 0.0,
        "p50": 0.02,
        "p99": 0.4,
        "load_healthy": 20.0,
        "load_outage": 1.5,
        "recovery": 0.9,
        "watched": 11.0,
    }
    return Figures(**(values | changes))  # type: ignore[arg-type]
