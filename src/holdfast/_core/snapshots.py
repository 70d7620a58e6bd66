"""What each policy shows of itself: frozen, and plain enough to be sent anywhere.

Dashboards, metrics, health and logs render these and never look inside. Loaded when the first
snapshot is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from holdfast._core.circuit_types import Override
from holdfast._core.states import State


@dataclass(frozen=True, slots=True)
class BudgetSnapshot:
    """What a budget holds: tokens now, its capacity, and how often it paid or refused."""

    tokens: float
    capacity: float
    granted: int
    refused: int


@dataclass(frozen=True, slots=True)
class RetrySnapshot:
    """A retry's totals since the beginning, by how calls ended, and what its budget holds."""

    name: str
    calls_total: int
    attempts_total: int
    success_without_retry: int
    success_with_retry: int
    failed_without_retry: int
    failed_with_retry: int
    budget: BudgetSnapshot | None


@dataclass(frozen=True, slots=True)
class CircuitSnapshot:
    """A circuit at one moment.

    `calls`, `failures` and `slow` stand in the window now, the totals count since the beginning.
    `failure_ratio` is None below the minimum of calls. Times are in seconds: `in_state` so far,
    `retry_in` until the next probe.
    """

    name: str
    state: State
    era: int
    in_state: float
    calls: int
    failures: int
    slow: int
    failure_ratio: float | None
    retry_in: float | None
    probes: int
    consecutive_opens: int
    successes_total: int
    failures_total: int
    ignored_total: int
    rejected_total: int
    would_reject_total: int
    late_total: int
    transitions_total: int
    override: Override | None


@dataclass(frozen=True, slots=True)
class BulkheadSnapshot:
    """A bulkhead at one moment: places and queue now, totals since the beginning."""

    name: str
    active: int
    limit: int
    queued: int
    max_queue: int
    rejected_total: int
    waited_total: int
    longest_queue: int


@dataclass(frozen=True, slots=True)
class TimeoutSnapshot:
    """A timeout's limit, how often it ran out, and the threads left behind that still run."""

    name: str
    seconds: float
    timed_out_total: int
    abandoned: int


@dataclass(frozen=True, slots=True)
class FallbackSnapshot:
    """How often the fallback answered, and how often it failed to."""

    name: str
    used_total: int
    failed_total: int


@dataclass(frozen=True, slots=True)
class PipelineSnapshot:
    """The snapshots of a pipeline's policies, outermost first."""

    name: str
    policies: tuple[Any, ...]
