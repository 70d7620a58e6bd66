"""Made-up measurements, so that the arithmetic of the demo is tested without running it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.cli.demo.cache_figures import CacheFigures, Stretch
from holdfast.cli.demo.calls import Figures, outage
from holdfast.cli.demo.figures import Answer, Kind, Reading, Record
from holdfast.cli.demo.schedule import Schedule


def steady(schedule: Schedule, *, rate: int = 20, during: Kind, latency: float = 0.02) -> Record:
    """Full answers outside the outage, `during` inside, and one call per request throughout."""
    begins, ends = outage(schedule)
    record = Record()
    for number in range(int(rate * schedule.seconds)):
        due = number / rate
        kind = during if begins <= due < ends else Kind.FULL
        record.answers.append(Answer(due, latency, kind))
    record.readings = [Reading(at / 2, int(rate * at / 2)) for at in range(int(2 * ends) + 4)]
    return record


def some_figures(**changes: float | None) -> Figures:
    """Figures that meet every target, apart from the changes."""
    values: dict[str, Any] = {
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
    return Figures(**(values | changes))


def cached(
    schedule: Schedule,
    *,
    rate: int = 20,
    load: int,
    during: Mapping[str, tuple[Kind, str]],
    latency: float = 0.01,
) -> Record:
    """Full answers by Redis, but in the phases `during`, and `load` loads per second."""
    record = Record()
    for number in range(int(rate * schedule.seconds)):
        due = number / rate
        kind, source = during.get(schedule.at(due).name, (Kind.FULL, "redis"))
        record.answers.append(Answer(due, latency, kind, source))
    record.readings = [
        Reading(at / 2, load * at // 2) for at in range(int(2 * schedule.seconds) + 2)
    ]
    return record


def some_stretch(**changes: float) -> Stretch:
    """A stretch in which all is well, apart from the changes."""
    values: dict[str, Any] = {
        "requests": 300,
        "usable": 1.0,
        "degraded": 0.0,
        "stale": 0.0,
        "errors": 0.0,
        "p50": 0.004,
        "p99": 0.03,
        "redis": 0.95,
        "memory": 0.0,
        "user_service": 0.05,
        "load": 2.0,
        "peak_load": 4.0,
    }
    return Stretch(**(values | changes))


def some_cache_figures(
    *,
    whole: Mapping[str, float] | None = None,
    flush_peak: float = 4.0,
    p99_frozen: float = 0.02,
    recovery: float | None = 0.7,
    reconnection: float | None = 1.1,
) -> CacheFigures:
    """Figures that meet every target, apart from the changes."""
    names = ("healthy", "frozen", "thawed", "killed", "empty", "flushed")
    phases = {name: some_stretch() for name in names}
    phases["flushed"] = some_stretch(peak_load=flush_peak)
    return CacheFigures(
        whole=some_stretch(**(whole or {})),
        phases=phases,
        p99_frozen=p99_frozen,
        recovery=recovery,
        watched=4.3,
        reconnection=reconnection,
    )
