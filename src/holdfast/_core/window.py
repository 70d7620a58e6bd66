"""The recent past in constant memory: how many calls, how many failed, how many were slow.

Both windows keep totals since the beginning, `ok`, `failed` and `slow`, and know what these were
where the window begins; what lies in between is the window. The time window notes the totals at
each edge of a ring of slices, so that recording and reading are O(1) and the past leaves slice by
slice. The count window keeps the kinds of the last n outcomes.

Between two edges plain successes are additions, which the owner may save up: before `edge`,
``window.ok += n`` is what n times ``record(OK, now)`` would do. Neither window is locked; the
circuit that owns one holds its lock.

A record is a small number: `OK`, or the sum of `FAILED` and `SLOW`.
"""

from __future__ import annotations

from typing import Final

OK: Final = 0
FAILED: Final = 1
SLOW: Final = 2


class Window:
    """Totals since the beginning, and since where the window begins."""

    __slots__ = ("_gone_failed", "_gone_ok", "_gone_slow", "edge", "failed", "ok", "slow")

    def __init__(self) -> None:
        self.ok = self._gone_ok = 0
        self.failed = self._gone_failed = 0
        self.slow = self._gone_slow = 0
        self.edge = float("-inf")
        """Before this moment a plain success may be recorded by adding 1 to `ok`."""

    @property
    def calls(self) -> int:
        """Calls in the window, as of the last record or `advance`."""
        return self.ok + self.failed - self._gone_ok - self._gone_failed

    @property
    def failures(self) -> int:
        return self.failed - self._gone_failed

    @property
    def slow_calls(self) -> int:
        return self.slow - self._gone_slow

    def record(self, kind: int, now: float) -> None:
        """Count one outcome."""
        if kind & FAILED:
            self.failed += 1
        else:
            self.ok += 1
        if kind & SLOW:
            self.slow += 1

    def advance(self, now: float) -> None:
        """Let go of what lies before the window."""

    def clear(self) -> None:
        """Begin the window here and now; the totals stay."""
        self._gone_ok = self.ok
        self._gone_failed = self.failed
        self._gone_slow = self.slow

    def take_over(self, other: Window) -> None:
        """Go on from the totals of `other`, with an empty window."""
        self.ok, self.failed, self.slow = other.ok, other.failed, other.slow
        self.clear()


class TimeWindow(Window):
    """Outcomes of the last `span` seconds, in `buckets` slices.

    An outcome leaves between `span` − one slice and `span` seconds after it was recorded.
    """

    __slots__ = ("_at", "_buckets", "_marks", "_newest", "_slice")

    def __init__(self, span: float, buckets: int = 10) -> None:
        super().__init__()
        self._slice = span / buckets
        self._buckets = buckets
        self._marks: list[tuple[int, int, int]] | None = None
        """Totals at the beginning of each slice, the oldest of which is where the window begins.

        None while nothing has happened: of thousands of circuits most are quiet.
        """
        self._at = 0
        self._newest = 0

    def record(self, kind: int, now: float) -> None:
        self.advance(now)
        super().record(kind, now)

    def advance(self, now: float) -> None:
        newest = int(now // self._slice)
        behind = self._newest - newest
        if 0 < behind <= self._buckets:
            # Somebody read the clock before, and got the lock after, somebody else.
            return
        self.edge = (newest + 1) * self._slice
        if behind == 0:
            return
        if behind > 0:
            # Only a test that puts another clock under a living circuit turns time back so far.
            self.clear()
        totals = (self.ok, self.failed, self.slow)
        if self._marks is None and any(totals):
            self._marks = [(0, 0, 0)] * self._buckets
        marks = self._marks
        if marks is not None:
            for _ in range(min(newest - self._newest, self._buckets)):
                # The new slice takes the place of the oldest; the next oldest begins the window.
                marks[self._at] = totals
                self._at = (self._at + 1) % self._buckets
            self._gone_ok, self._gone_failed, self._gone_slow = marks[self._at]
        self._newest = newest

    def clear(self) -> None:
        super().clear()
        totals = (self.ok, self.failed, self.slow)
        self._marks = [totals] * self._buckets if any(totals) else None


class CountWindow(Window):
    """The last `size` outcomes, however old."""

    __slots__ = ("_at", "_ring", "_size")

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._ring = bytearray()
        self._at = 0

    def record(self, kind: int, now: float) -> None:
        super().record(kind, now)
        ring = self._ring
        if len(ring) < self._size:
            ring.append(kind)
            return
        at = self._at
        gone = ring[at]
        ring[at] = kind
        self._at = at + 1 if at + 1 < self._size else 0
        if gone & FAILED:
            self._gone_failed += 1
        else:
            self._gone_ok += 1
        if gone & SLOW:
            self._gone_slow += 1

    def clear(self) -> None:
        super().clear()
        self._ring.clear()
        self._at = 0
