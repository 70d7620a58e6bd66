"""Judging the recent past of one component: which status it looks like, and why, in a sentence.

The evidence is the traffic in the window, what the policies around the service say (`Fact`), and
the last results of its check. The worst of it is the reading.

A threshold that was crossed is only left again at four fifths of it. A figure that trembles around
the threshold therefore cannot carry the status to and fro, however slowly it trembles.

What is too little to judge is not turned into a verdict: a few calls that all succeeded are a good
sign, a few with failures among them are no sign at all. They take a good name away in time, but not
a bad one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from holdfast.health.options import HealthOptions
from holdfast.health.statuses import SEVERITY, Status
from holdfast.health.traffic import Counts, Traffic

RELEASE: Final = 0.8
"""The share of a threshold below which a status is left that was entered above it."""

_HAIR = 1e-9
"""Four fifths of 0.1 must be 0.08 in binary floats too."""


class Fact(NamedTuple):
    """What a policy or a check says of a component: how bad that is, and a sentence."""

    status: Status
    sentence: str


class Reading(NamedTuple):
    """What the recent past looks like."""

    status: Status
    reason: str


def judge(
    traffic: Traffic, facts: Iterable[Fact], status: Status, options: HealthOptions, now: float
) -> Reading:
    """The reading of a component that is in `status` now."""
    counts = traffic.counts(now)
    window = f"{options.window:g} s"
    facts = tuple(facts)
    bad = [*_findings(traffic, counts, status, options, now, window)]
    bad += [fact for fact in facts if SEVERITY[fact.status]]
    if bad:
        worst = max((fact.status for fact in bad), key=SEVERITY.__getitem__)
        return Reading(worst, "; ".join(fact.sentence for fact in bad))
    summary = _summary(counts, window)
    if counts.calls and (not counts.failed or counts.calls >= options.minimum_calls):
        return Reading(Status.HEALTHY, summary)
    good = [fact.sentence for fact in facts if fact.status is Status.HEALTHY]
    if good:
        return Reading(Status.HEALTHY, "; ".join([*good, summary]))
    if counts.offered:
        held = status if SEVERITY[status] else Status.UNKNOWN
        return Reading(held, f"{summary}, too few to judge")
    return Reading(Status.UNKNOWN, summary)


def _findings(
    traffic: Traffic,
    counts: Counts,
    status: Status,
    options: HealthOptions,
    now: float,
    window: str,
) -> Iterator[Fact]:
    """What is wrong with the traffic."""

    def level(value: float | None, degraded: float | None, unhealthy: float | None) -> Status:
        for target, limit in ((Status.UNHEALTHY, unhealthy), (Status.DEGRADED, degraded)):
            if value is not None and limit is not None:
                held = SEVERITY[status] >= SEVERITY[target]
                if value >= (limit * RELEASE - _HAIR if held else limit):
                    return target
        return Status.HEALTHY

    if counts.calls >= options.minimum_calls:
        found = level(counts.error_rate, options.degraded_error_rate, options.unhealthy_error_rate)
        if found is not Status.HEALTHY:
            yield Fact(found, _summary(counts, window))
    if options.degraded_latency is not None or options.unhealthy_latency is not None:
        sketch = traffic.view(now).latencies()
        if sketch.count >= options.minimum_calls:
            p95 = sketch.quantile(0.95) or 0.0
            found = level(p95, options.degraded_latency, options.unhealthy_latency)
            if found is not Status.HEALTHY:
                yield Fact(found, f"1 call in 20 took {p95:.3g} s or longer in {window}")
    if counts.offered >= options.minimum_calls:
        for rate, limit, what in (
            (counts.rejection_rate, options.degraded_rejection_rate, "refused by policies"),
            (counts.fallback_rate, options.degraded_fallback_rate, "answered by a fallback"),
        ):
            if level(rate, limit, None) is not Status.HEALTHY:
                yield Fact(
                    Status.DEGRADED,
                    f"{_share(rate)} of {counts.offered} calls were {what} in {window}",
                )


def _summary(counts: Counts, window: str) -> str:
    if counts.calls:
        return f"{_share(counts.error_rate)} of {counts.calls} calls failed in {window}"
    if counts.rejected:
        return f"all {counts.rejected} calls were refused in {window}"
    return f"no traffic in {window}"


def _share(rate: float | None) -> str:
    return f"{100 * (rate or 0.0):.3g} %"
