"""What can be learnt from policies without being told of a single call: their snapshots.

Policies count what they decide. The difference between two looks at their totals is the traffic in
between, without durations; their states are facts about the service. The circuit breaker knows best
which calls failed, then the retry; a pipeline with neither tells of refusals and fallbacks only.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from holdfast._core.snapshots import (
    BulkheadSnapshot,
    CircuitSnapshot,
    FallbackSnapshot,
    RetrySnapshot,
)
from holdfast._core.states import State
from holdfast.errors import ConfigurationError
from holdfast.health.judge import Fact
from holdfast.health.statuses import Status
from holdfast.health.traffic import Counts
from holdfast.policies.base import Policy
from holdfast.policies.bulkhead import Bulkhead
from holdfast.policies.circuit_breaker import CircuitBreaker
from holdfast.policies.fallback import Fallback
from holdfast.policies.retry import Retry

TELLING: Final = (CircuitBreaker, Retry, Bulkhead, Fallback)
"""Policies whose snapshots say something about a service."""

MOST_WATCHED: Final = 100
"""Policies per component."""


class Sight(NamedTuple):
    """One look at the policies: totals since they were made, and facts."""

    totals: Counts
    facts: tuple[Fact, ...]


class Watched:
    """The policies of one component; to watch another one is to be replaced."""

    __slots__ = ("_parts", "_sources")

    def __init__(self, parts: tuple[Policy, ...] = (), sources: tuple[Policy, ...] = ()) -> None:
        self._parts = parts
        self._sources = sources
        """Of each pipeline the policy that counts its calls."""

    def adding(self, policy: Policy) -> Watched:
        """These, and a policy or those of a pipeline; one that is among them already is not twice.

        Raises:
            ConfigurationError: there is nothing to see in it, or it is one too many.
        """
        parts = [part for part in policy._parts() if isinstance(part, TELLING)]
        if not parts:
            raise ConfigurationError(
                f"policy must be or contain a CircuitBreaker, Retry, Bulkhead or Fallback,"
                f" not {policy!r}: the others say nothing about a service"
            )
        known = dict.fromkeys([*self._parts, *parts])
        if len(known) > MOST_WATCHED:
            raise ConfigurationError(
                f"policy {policy!r} is one too many: {MOST_WATCHED} policies of one component can"
                " be watched. Keyed pipelines are better recorded call by call"
            )
        breakers = [part for part in parts if isinstance(part, CircuitBreaker)]
        retries = [part for part in parts if isinstance(part, Retry)]
        sources = dict.fromkeys([*self._sources, *(breakers or retries)[:1]])
        return Watched(tuple(known), tuple(sources))

    def look(self) -> Sight:
        """The policies now. Takes their locks, and may tell listeners."""
        sources = self._sources
        ok = failed = rejected = fallbacks = 0
        facts: list[Fact] = []
        for policy in self._parts:
            shot = policy.snapshot()
            if isinstance(shot, CircuitSnapshot):
                rejected += shot.rejected_total
                facts += _circuit(shot)
                if policy in sources:
                    ok += shot.successes_total
                    failed += shot.failures_total
            elif isinstance(shot, RetrySnapshot):
                if policy in sources:
                    ok += shot.success_without_retry + shot.success_with_retry
                    failed += shot.failed_without_retry + shot.failed_with_retry
            elif isinstance(shot, BulkheadSnapshot):
                rejected += shot.rejected_total
                if shot.active >= shot.limit and shot.queued >= shot.max_queue:
                    facts.append(Fact(Status.DEGRADED, f"bulkhead {shot.name!r} is full"))
            elif isinstance(shot, FallbackSnapshot):
                fallbacks += shot.used_total
        return Sight(Counts(ok, failed, rejected, fallbacks), tuple(facts))


def _circuit(shot: CircuitSnapshot) -> list[Fact]:
    if shot.state is State.OPEN and shot.retry_in == 0:
        # Only a call closes it. Called unhealthy, the service might never get one again.
        return [Fact(Status.DEGRADED, f"circuit {shot.name!r} waits for a call to probe with")]
    if shot.state in (State.OPEN, State.ISOLATED):
        return [Fact(Status.UNHEALTHY, f"circuit {shot.name!r} is {shot.state.value}")]
    if shot.state is State.HALF_OPEN:
        return [Fact(Status.DEGRADED, f"circuit {shot.name!r} is half-open")]
    return []
