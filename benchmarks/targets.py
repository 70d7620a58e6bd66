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
    Target("cache hit in memory", "cache-memory", 0.3, "cashews"),
    Target("50 gets at once: 4.5 x as fast", "cache-gets", 1 / 4.5, "redis-py"),
    Target("50 gets at once: 7 x as fast", "cache-gets", 1 / 7, "cashews"),
    Target("50 gets at once: 7 x as fast", "cache-gets", 1 / 7, "aiocache"),
    Target("one get at a time", "cache-get", 1.2, "redis-py"),
    Target("100 keys, decoded", "cache-get-many", 1.5, "redis-py"),
    Target("1,000 gets at once", "cache-1000", 4.0),
    Target("chain, decorated: added", "chain", 3.0, ours="decorated"),
    Target("chain, steps made once: added", "chain", 3.0, ours="steps in a tuple"),
    Target("an answer of a chain", "chain-memory", 120.0, ours="one answer"),
    Target("left of an answer", "chain-memory", 2.0, ours="left of it"),
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
