"""What became of the calls of one chain, and its degraded periods.

An outage is one thing to tell, not one per call. A period begins with the first answer that is
degraded or missing. It ends with the first full answer for which the last such one is `CALM`
seconds past, so that a dependency that fails every other call is one long period.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import RLock
from typing import Final

from holdfast._core import fork
from holdfast._core.clock import Clock
from holdfast._core.hub import EventHub
from holdfast.degradation.served import Cause, Level, Served

_log = logging.getLogger("holdfast")

CALM: Final = 30.0
"""Seconds without a degraded answer, after which a full one ends the period."""

MOST_STEPS: Final = 64
"""Step names that a chain's figures tell apart; further ones count as `OTHERS`."""

OTHERS: Final = "(others)"

MOST_PLAIN: Final = 1_000
"""Full answers that may lie on the list before they are counted: a few kilobytes."""


@dataclass(frozen=True, slots=True)
class StepSnapshot:
    """How often a step (or a part) answered, failed, and was skipped."""

    name: str
    served_total: int
    failed_total: int
    skipped_total: int


@dataclass(frozen=True, slots=True)
class ChainSnapshot:
    """The calls of one chain since the beginning.

    `calls_total` is the sum of `served_total`, by level, and of `failed_total`; cancelled calls and
    errors that `on` lets out are not among them. `degraded_for` is how long the degraded period has
    lasted, in seconds; None while there is none.
    """

    name: str
    calls_total: int
    served_total: dict[Level, int]
    failed_total: int
    degraded_for: float | None
    steps: tuple[StepSnapshot, ...]


class ChainTally:
    """Counts the calls of one chain, and tells and logs its periods. Thread safe.

    A full answer while all is well, as almost all are, takes no lock: it is an entry on `plain`,
    which an append adds atomically, and which is counted now and then.
    """

    __slots__ = (
        "__weakref__",
        "_bad_calls",
        "_clock",
        "_events",
        "_failed",
        "_last_bad",
        "_levels",
        "_lock",
        "_name",
        "_plain",
        "_since",
        "_steps",
    )

    def __init__(self, name: str, clock: Clock, events: EventHub) -> None:
        self._name = name
        self._clock = clock
        self._events = events
        # Reentrant: the collector may finalise a forgotten call in the middle of counting.
        self._lock = RLock()
        self._levels = dict.fromkeys(Level, 0)
        self._plain: list[str] = []
        self._failed = 0
        self._steps: dict[str, list[int]] = {}
        self._since: float | None = None
        self._last_bad = 0.0
        self._bad_calls = 0
        fork.watch(self)

    def plain(self, step: str) -> bool:
        """A call was answered in full by its first step; False if that needs `served`."""
        if self._since is not None:
            return False
        plain = self._plain
        plain.append(step)
        if len(plain) > MOST_PLAIN:
            with self._lock:
                self._fold()
        return True

    def served(
        self, served: Served[object], answered: Iterable[str], causes: Sequence[Cause]
    ) -> None:
        """A call was answered, by these steps or parts; the causes are those of the others."""
        bad, ended = served.degraded, None
        with self._lock:
            self._fold()
            self._levels[served.level] += 1
            for step in answered:
                self._step(step)[0] += 1
            if causes:
                self._count(causes)
            began = bad and self._bad()
            if self._since is not None and not bad:
                ended = self._good()
        if bad:
            self._tell_fallback(served.causes)
        if began:
            self._tell_begin(served.level, served.step, served.causes)
        elif ended is not None:
            self._tell_end(served, *ended)

    def failed(self, causes: Sequence[Cause]) -> None:
        """A call was not answered."""
        with self._lock:
            self._fold()
            self._failed += 1
            self._count(causes)
            began = self._bad()
        if began:
            self._tell_begin(None, None, causes)

    def snapshot(self) -> ChainSnapshot:
        """The numbers at this moment."""
        now = self._clock.now()
        with self._lock:
            self._fold()
            return ChainSnapshot(
                name=self._name,
                calls_total=sum(self._levels.values()) + self._failed,
                served_total=dict(self._levels),
                failed_total=self._failed,
                degraded_for=None if self._since is None else now - self._since,
                steps=tuple(StepSnapshot(name, *counts) for name, counts in self._steps.items()),
            )

    # The lock is held in these.

    def _fold(self) -> None:
        """Count what lies on the list."""
        plain = self._plain[:]
        del self._plain[: len(plain)]
        self._levels[Level.PRIMARY] += len(plain)
        for step, times in Counter(plain).items():
            self._step(step)[0] += times

    def _step(self, name: str) -> list[int]:
        counts = self._steps.get(name)
        if counts is None:
            if len(self._steps) >= MOST_STEPS:
                name = OTHERS
            counts = self._steps.setdefault(name, [0, 0, 0])
        return counts

    def _count(self, causes: Iterable[Cause]) -> None:
        for cause in causes:
            self._step(cause.step)[2 if cause.skipped else 1] += 1

    def _bad(self) -> bool:
        """Whether a period begins with this answer."""
        self._last_bad = self._clock.now()
        self._bad_calls += 1
        if self._since is not None:
            return False
        self._since = self._last_bad
        return True

    def _good(self) -> tuple[float, int] | None:
        """The length and the bad calls of the period that ends with this answer, if it does."""
        now = self._clock.now()
        if self._since is None or now - self._last_bad < CALM:
            return None
        ended = (now - self._since, self._bad_calls)
        self._since, self._bad_calls = None, 0
        return ended

    # The lock is not held in these.

    def _tell_fallback(self, causes: Sequence[Cause]) -> None:
        first = _first_error(causes)
        # Without a cause of its own the answer contains a degraded one, which was told already.
        if first is not None and self._events.active:
            from holdfast._core.events import FallbackUsed

            self._events.emit(
                FallbackUsed(name=self._name, at=self._clock.wall(), error_type=first)
            )

    def _tell_begin(self, level: Level | None, step: str | None, causes: Sequence[Cause]) -> None:
        first = _first_error(causes)
        _log.warning(
            "%r is degraded: %s%s",
            self._name,
            "no answer" if level is None else f"{level} by {step!r}",
            "" if first is None else f", because of {first}",
        )
        self._emit(True, level, step, first, None, 1)

    def _tell_end(self, served: Served[object], seconds: float, calls: int) -> None:
        _log.info(
            "%r is served in full again after %.3g s, in which %d answers were degraded or missing",
            self._name,
            seconds,
            calls,
        )
        self._emit(False, served.level, served.step, None, seconds, calls)

    def _emit(
        self,
        degraded: bool,
        level: Level | None,
        step: str | None,
        error_type: str | None,
        seconds: float | None,
        calls: int,
    ) -> None:
        if self._events.active:
            from holdfast.degradation.events import DegradationChanged

            self._events.emit(
                DegradationChanged(
                    name=self._name,
                    at=self._clock.wall(),
                    degraded=degraded,
                    level=level,
                    step=step,
                    error_type=error_type,
                    seconds=seconds,
                    calls=calls,
                )
            )

    def _after_fork(self) -> None:
        self._lock = RLock()


def _first_error(causes: Sequence[Cause]) -> str | None:
    return type(causes[0].error).__qualname__ if causes else None
