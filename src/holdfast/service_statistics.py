"""What became of the calls under one name, counted apart from the policies that protect them.

Policies count what they decide; this counts what the caller got. Every call ends in exactly one of
four ways: success, failure (by the category of its error), rejected (a policy refused to start it,
or to start it again), cancelled. Durations are those of calls that reached the operation and were
not cut short by their caller: refusals are fast, and would make an outage look like good service.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from threading import RLock

from holdfast._core import fork
from holdfast._core.clock import Clock
from holdfast._core.sketch import Sketch
from holdfast.classify import classify
from holdfast.errors import Category, RejectedError

_log = logging.getLogger("holdfast")


@dataclass(frozen=True, slots=True)
class ServiceStatistics:
    """The calls of one name under one kind of protection, since the beginning or the last reset.

    `calls` is the sum of `successes`, of all `failures`, of `rejected` and of `cancelled`.
    `attempts` counts how often the operation was started. `p50`, `p95` and `p99` are seconds from
    call to end, waits included, within 1 %; None before the first. `last_error` is the type of the
    last error that was no refusal, `last_error_at` its Unix time.
    """

    name: str
    kind: str
    calls: int
    attempts: int
    successes: int
    failures: dict[Category, int]
    rejected: int
    cancelled: int
    p50: float | None
    p95: float | None
    p99: float | None
    last_error: str | None
    last_error_at: float | None


class Tally:
    """Counts the calls of one name. Thread safe; recording never raises."""

    __slots__ = (
        "__weakref__",
        "_attempts",
        "_cancelled",
        "_clock",
        "_complained",
        "_failures",
        "_kind",
        "_last_error",
        "_last_error_at",
        "_lock",
        "_name",
        "_rejected",
        "_sketch",
        "_successes",
    )

    def __init__(self, name: str, kind: str, clock: Clock) -> None:
        self._name = name
        self._kind = kind
        self._clock = clock
        self._complained = False
        # Reentrant: at any allocation the collector may finalise a forgotten call, which ends here.
        self._lock = RLock()
        self.reset()
        fork.watch(self)

    def reset(self) -> None:
        """Forget everything so far."""
        with self._lock:
            self._attempts = 0
            self._successes = 0
            self._failures: dict[Category, int] = {}
            self._rejected = 0
            self._cancelled = 0
            self._sketch: Sketch | None = None
            self._last_error: str | None = None
            self._last_error_at: float | None = None

    def record(self, attempts: int, started: float, error: BaseException | None) -> None:
        """One call ended after so many attempts; `started` is by the clock's ``now()``."""
        try:
            self._record(attempts, self._clock.now() - started, error)
        except Exception:
            # Numbers about a call must never cost its result.
            if not self._complained:
                self._complained = True
                _log.exception(
                    "the statistics of %s %r miss a part of a call", self._kind, self._name
                )

    def _record(self, attempts: int, seconds: float, error: BaseException | None) -> None:
        rejected = isinstance(error, RejectedError)
        failure = isinstance(error, Exception) and not rejected
        category = classify(error) if error is not None and failure else Category.UNKNOWN
        with self._lock:
            self._attempts += attempts
            self._rejected += rejected
            if error is None:
                self._successes += 1
            elif failure:
                self._failures[category] = self._failures.get(category, 0) + 1
                self._last_error = type(error).__qualname__
                self._last_error_at = self._clock.wall()
            elif not rejected:
                self._cancelled += 1
            if attempts and (error is None or failure):
                if self._sketch is None:
                    self._sketch = Sketch()
                self._sketch.add(seconds)

    def snapshot(self) -> ServiceStatistics:
        """The numbers at this moment."""
        with self._lock:
            sketch = Sketch() if self._sketch is None else self._sketch
            failures = dict(self._failures)
            return ServiceStatistics(
                name=self._name,
                kind=self._kind,
                calls=self._successes + sum(failures.values()) + self._rejected + self._cancelled,
                attempts=self._attempts,
                successes=self._successes,
                failures=failures,
                rejected=self._rejected,
                cancelled=self._cancelled,
                p50=sketch.quantile(0.5),
                p95=sketch.quantile(0.95),
                p99=sketch.quantile(0.99),
                last_error=self._last_error,
                last_error_at=self._last_error_at,
            )

    def _after_fork(self) -> None:
        self._lock = RLock()
