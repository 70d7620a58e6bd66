"""The recent calls of one service: counts and latencies, in a ring of ten slices of time.

The slices are kept apart and added up on demand, latencies by merging sketches, which loses
nothing. A call leaves between 0.9 windows and one window after it was recorded. Slices without
calls do not exist, so a quiet service weighs next to nothing.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from holdfast._core.sketch import Sketch
from holdfast._core.validate import refuse
from holdfast.health.calls import CallOutcome
from holdfast.health.snapshots import TrafficSnapshot

SLICES: Final = 10


class Counts(NamedTuple):
    """Calls by how they ended."""

    ok: int
    failed: int
    rejected: int
    fallbacks: int

    @property
    def calls(self) -> int:
        """Calls that reached the service and tell something about it."""
        return self.ok + self.failed

    @property
    def offered(self) -> int:
        """Those, and the ones that a policy refused."""
        return self.calls + self.rejected

    @property
    def error_rate(self) -> float | None:
        return self.failed / self.calls if self.calls else None

    @property
    def rejection_rate(self) -> float | None:
        return self.rejected / self.offered if self.offered else None

    @property
    def fallback_rate(self) -> float | None:
        # A fallback may also have answered calls that count as nothing here.
        return min(1.0, self.fallbacks / self.offered) if self.offered else None


class View(NamedTuple):
    """The window at one moment. Whoever holds it may take time to look."""

    window: float
    counts: Counts
    ignored: int
    discounted: int
    sketches: list[Sketch]

    def latencies(self) -> Sketch:
        """The durations of the calls, as a sketch of its own."""
        merged = Sketch()
        for sketch in self.sketches:
            merged.merge(sketch)
        return merged

    def snapshot(self) -> TrafficSnapshot:
        counts, sketch = self.counts, self.latencies()
        return TrafficSnapshot(
            window=self.window,
            calls=counts.calls,
            failures=counts.failed,
            rejected=counts.rejected,
            fallbacks=counts.fallbacks,
            ignored=self.ignored,
            discounted=self.discounted,
            error_rate=counts.error_rate,
            rejection_rate=counts.rejection_rate,
            fallback_rate=counts.fallback_rate,
            p50=sketch.quantile(0.5),
            p95=sketch.quantile(0.95),
            p99=sketch.quantile(0.99),
        )


class _Slice:
    __slots__ = (
        "discounted",
        "failed",
        "fallbacks",
        "ignored",
        "number",
        "ok",
        "rejected",
        "sketch",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.ok = self.failed = self.rejected = self.fallbacks = 0
        self.ignored = self.discounted = 0
        self.sketch: Sketch | None = None

    def add(self, seconds: float) -> None:
        if self.sketch is None:
            self.sketch = Sketch()
        self.sketch.add(seconds)


class Traffic:
    """The calls of the last `window` seconds. Not thread safe: whoever owns it holds its lock."""

    __slots__ = ("_length", "_slices", "window")

    def __init__(self, window: float) -> None:
        self.window = window
        self._length = window / SLICES
        self._slices: deque[_Slice] = deque()

    def record(
        self, now: float, outcome: CallOutcome, seconds: float | None, *, fallback: bool, late: bool
    ) -> None:
        """Count one call.

        A `late` one is never counted against the service: only that it succeeded counts.
        """
        part = self._slice(now)
        if outcome == "success":
            if seconds is not None and not late:
                part.add(seconds)  # first, for it may be refused
            part.ok += 1
        elif outcome == "ignored":
            part.ignored += 1
        elif outcome not in ("failure", "rejected"):
            raise refuse("outcome", outcome, "'success', 'failure', 'rejected' or 'ignored'")
        elif late:
            part.discounted += 1
        elif outcome == "failure":
            if seconds is not None:
                part.add(seconds)
            part.failed += 1
        else:
            part.rejected += 1
        part.fallbacks += fallback

    def absorb(self, now: float, counts: Counts, *, late: bool) -> None:
        """Count many calls at once, whose durations are not known."""
        part = self._slice(now)
        part.ok += counts.ok
        part.fallbacks += counts.fallbacks
        if late:
            part.discounted += counts.failed + counts.rejected
        else:
            part.failed += counts.failed
            part.rejected += counts.rejected

    def counts(self, now: float) -> Counts:
        """The calls in the window."""
        parts = self._current(now)
        return Counts(
            sum(part.ok for part in parts),
            sum(part.failed for part in parts),
            sum(part.rejected for part in parts),
            sum(part.fallbacks for part in parts),
        )

    def view(self, now: float) -> View:
        """What is in the window, to be read without the lock."""
        counts, parts = self.counts(now), self._slices
        sketches = [part.sketch for part in parts if part.sketch is not None]
        if sketches and sketches[-1] is parts[-1].sketch:
            # Only the newest slice goes on changing.
            sketches[-1] = sketches[-1].copy()
        return View(
            self.window,
            counts,
            sum(part.ignored for part in parts),
            sum(part.discounted for part in parts),
            sketches,
        )

    def _current(self, now: float) -> deque[_Slice]:
        """The slices inside the window, after letting go of the others."""
        slices, newest = self._slices, int(now // self._length)
        while slices and slices[0].number <= newest - SLICES:
            slices.popleft()
        if slices and slices[-1].number > newest + SLICES:
            # Only a test that puts another clock under a living monitor turns time back so far.
            slices.clear()
        return slices

    def _slice(self, now: float) -> _Slice:
        number = int(now // self._length)
        if self._slices and 0 <= self._slices[-1].number - number <= SLICES:
            # Also for who read the clock before, and got the lock after, somebody else.
            return self._slices[-1]
        slices = self._current(now)
        part = _Slice(number)
        slices.append(part)
        return part
