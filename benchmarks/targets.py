"""What the project promises about its speed and size, as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmarks.footprint import STANDARD_LIBRARY
from benchmarks.result import Result


@dataclass(frozen=True)
class Target:
    """At most `limit`: times `to` if there is one, else in the scenario's unit."""

    what: str
    scenario: str
    limit: float
    to: str | None = None
    ours: str = "holdfast"


@dataclass(frozen=True)
class Verdict:
    what: str
    ours: float
    limit: float
    unit: str

    @property
    def met(self) -> bool:
        return self.ours <= self.limit


TARGETS = (
    Target("async full stack, returns at once", "async-stack", 0.22, "nopanic"),
    Target("async full stack, returns at once", "async-stack", 0.08, "hand-written"),
    Target("async full stack, suspends: added", "async-stack-suspending", 0.35, "nopanic"),
    Target("sync retry + breaker + bulkhead", "sync-stack", 0.5, "nopanic"),
    Target("breaker alone, sync", "breaker-sync", 0.6, "nopanic"),
    Target("open circuit", "open-circuit", 0.5, "holdfast acall", ours="holdfast try_acall"),
    Target("10,000 keyed pipelines", "memory", 30.0),
    Target("import holdfast", "import", 1.6, STANDARD_LIBRARY),
)


def judge(results: Mapping[str, Result], targets: Iterable[Target] = TARGETS) -> list[Verdict]:
    """A verdict for every target whose scenario was run."""
    return [
        _verdict(target, results[target.scenario])
        for target in targets
        if target.scenario in results
    ]


def _verdict(target: Target, result: Result) -> Verdict:
    if target.to is None:
        return Verdict(target.what, result.median(target.ours), target.limit, result.unit)
    ratio = result.ratio(target.ours, target.to)
    return Verdict(target.what, ratio, target.limit, f"× {target.to}")
