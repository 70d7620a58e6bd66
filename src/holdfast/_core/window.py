"""The recent past in constant memory: how many calls, how many failed, how many were slow.

Two windows with one interface. The time window keeps a ring of buckets, each a slice of the
window; the newest bucket is counted into directly, the older ones stand in running sums, so that
recording and reading are O(1) and what is older than the window leaves slice by slice. The count
window keeps the last n outcomes. Both are not locked: the circuit that owns one holds its lock.

A record is a small number: `OK`, or the sum of `FAILED` and `SLOW`.
"""

from __future__ import annotations

from typing import Final, Protocol

OK: Final = 0
FAILED: Final = 1
SLOW: Final = 2


class Window(Protocol):
    """What a circuit needs from a window; after `advance(now)` the three counts are current."""

    calls: int
    failures: int
    slow: int

    def record(self, kind: int, now: float) -> None: ...
    def advance(self, now: float) -> None: ...
    def clear(self) -> None: ...


class TimeWindow:
    """Outcomes of the last `span` seconds, in `buckets` slices.

    An outcome leaves between `span` − one slice and `span` seconds after it was recorded.
    """

    __slots__ = ("_at", "_edge", "_newest", "_ring", "_slice", "calls", "failures", "slow")

    def __init__(self, span: float, buckets: int = 10) -> None:
        self._slice = span / buckets
        self._ring = [0, 0, 0] * buckets
        self.calls = 0
        self.failures = 0
        self.slow = 0
        self._at = 0
        self._newest = 0
        self._edge = float("-inf")

    def record(self, kind: int, now: float) -> None:
        if now >= self._edge:
            self.advance(now)
        ring = self._ring
        at = self._at
        ring[at] += 1
        self.calls += 1
        if kind:
            if kind & FAILED:
                ring[at + 1] += 1
                self.failures += 1
            if kind & SLOW:
                ring[at + 2] += 1
                self.slow += 1

    def advance(self, now: float) -> None:
        """Let the buckets leave that are older than the window."""
        if now < self._edge:
            return
        newest = int(now // self._slice)
        size = len(self._ring)
        steps = min(newest - self._newest, size // 3) if self.calls else 0
        for _ in range(steps):
            at = self._at = (self._at + 3) % size
            calls, failures, slow = self._ring[at : at + 3]
            if calls:
                self.calls -= calls
                self.failures -= failures
                self.slow -= slow
                self._ring[at : at + 3] = (0, 0, 0)
        self._newest = newest
        self._edge = (newest + 1) * self._slice

    def clear(self) -> None:
        if self.calls:
            self._ring = [0] * len(self._ring)
            self.calls = self.failures = self.slow = 0


class CountWindow:
    """The last `size` outcomes, however old."""

    __slots__ = ("_at", "_ring", "_size", "calls", "failures", "slow")

    def __init__(self, size: int) -> None:
        self._size = size
        self._ring = bytearray()
        self._at = 0
        self.calls = 0
        self.failures = 0
        self.slow = 0

    def record(self, kind: int, now: float) -> None:
        ring = self._ring
        if self.calls < self._size:
            ring.append(kind)
            self.calls += 1
        else:
            at = self._at
            gone = ring[at]
            ring[at] = kind
            self._at = at + 1 if at + 1 < self._size else 0
            self.failures -= gone & FAILED
            self.slow -= gone >> 1
        self.failures += kind & FAILED
        self.slow += kind >> 1

    def advance(self, now: float) -> None:
        """Nothing leaves with time alone."""

    def clear(self) -> None:
        self._ring.clear()
        self._at = 0
        self.calls = self.failures = self.slow = 0
