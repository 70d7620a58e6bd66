"""The second floor in figures: who answered, how well, and what was left for the user service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from holdfast.cli.demo.figures import (
    STEADY_FOR,
    Answer,
    Kind,
    Reading,
    Record,
    between,
    load,
    peak,
    percentile,
    recovery,
    share,
    share_from,
)
from holdfast.cli.demo.report import plain
from holdfast.cli.demo.schedule import Schedule
from holdfast.cli.demo.targets import Target

PROMPT_ENOUGH = 0.05
"""Seconds; or what a cache takes that is well, on a machine that makes this more."""

NOTICED_WITHIN = 1.0
"""Seconds after the freeze from which on it should not be felt any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A stretch of a run: shares of all its requests, and the load that the user service saw.

    An error comes from nobody, so `redis`, `memory`, `user_service` and `errors` make 1.
    """

    requests: int
    usable: float
    degraded: float
    stale: float
    errors: float
    p50: float
    p99: float
    redis: float
    memory: float
    user_service: float
    load: float
    peak_load: float

    @property
    def hits(self) -> float:
        """The share of requests that the cache answered."""
        return self.redis + self.memory

    def as_data(self) -> dict[str, object]:
        """Plain data, the names with their units."""
        values: dict[str, float] = asdict(self)
        for name, unit in (
            ("p50", "seconds"),
            ("p99", "seconds"),
            ("load", "per_second"),
            ("peak_load", "per_second"),
        ):
            values[f"{name}_{unit}"] = values.pop(name)
        values["hits"] = self.hits
        return {name: plain(value) for name, value in values.items()}


def stretch(
    answers: Sequence[Answer], readings: Sequence[Reading], begin: float, end: float
) -> Stretch:
    """The figures from one time to another."""
    these = between(answers, begin, end)
    latencies = [answer.latency for answer in these]
    full, degraded, errors = (share(these, kind) for kind in Kind)
    return Stretch(
        requests=len(these),
        usable=full + degraded,
        degraded=degraded,
        stale=sum(answer.stale for answer in these) / len(these) if these else 0.0,
        errors=errors,
        p50=percentile(latencies, 0.50),
        p99=percentile(latencies, 0.99),
        redis=share_from(these, "redis"),
        memory=share_from(these, "memory"),
        user_service=share_from(these, "user service"),
        load=load(readings, begin, end),
        peak_load=peak(readings, begin, end),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheFigures:
    """One variant: the run as a whole, by phase, and what the targets are about.

    `recovery` is how many seconds after the thaw all was well again; None if it was not in the
    `watched` seconds after it. `reconnection` is how many seconds after the restart Redis gave its
    first answer; None if it gave none in that phase.
    """

    whole: Stretch
    phases: Mapping[str, Stretch]
    p99_frozen: float
    recovery: float | None
    watched: float
    reconnection: float | None

    def as_data(self) -> dict[str, object]:
        """Plain data."""
        return self.whole.as_data() | {
            "p99_frozen_seconds": plain(self.p99_frozen),
            "recovery_seconds": plain(self.recovery),
            "reconnection_seconds": plain(self.reconnection),
            "phases": {name: phase.as_data() for name, phase in self.phases.items()},
        }


def figures(record: Record, schedule: Schedule) -> CacheFigures:
    """The figures of a run that is over."""
    answers, readings = record.answers, record.readings
    frozen, thawed = schedule.of("frozen")
    killed, _ = schedule.of("killed")
    settled = between(answers, frozen + NOTICED_WITHIN, thawed)
    restart, flush = schedule.of("empty")
    by_redis = [a.due for a in between(answers, restart, flush) if a.source == "redis"]
    return CacheFigures(
        whole=stretch(answers, readings, 0.0, schedule.seconds),
        phases={
            phase.name: stretch(answers, readings, start, start + phase.seconds)
            for start, phase in schedule.starts()
        },
        p99_frozen=percentile((answer.latency for answer in settled), 0.99),
        recovery=recovery(answers, thawed, killed),
        watched=max(0.0, killed - thawed - STEADY_FOR),
        reconnection=min(by_redis) - restart if by_redis else None,
    )


def _peak(of: CacheFigures) -> float:
    return of.phases["flushed"].peak_load


def _healthy(bare: CacheFigures) -> float:
    return max(PROMPT_ENOUGH, bare.phases["healthy"].p99)


TARGETS: tuple[Target[CacheFigures], ...] = (
    Target("usable", "≥ 99 %", lambda own: own.whole.usable, lambda bare: 0.99, at_least=True),
    Target("p99", "≤ 0.5 s", lambda own: own.whole.p99, lambda bare: 0.5),
    Target("frozen", "≤ healthy*", lambda own: own.p99_frozen, _healthy),
    Target("load", "≤ ¼ of bare", _peak, lambda bare: _peak(bare) / 4),
    Target("recovery", "≤ 2.5 s", lambda own: own.recovery, lambda bare: 2.5),
)
