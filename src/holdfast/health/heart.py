"""Local health: does this process itself run on time?

A blocked event loop (or a starved thread, or a suspended machine) makes every call look slow and
many time out, whatever their servers do. So a heart beats on the loop. It knows when each beat is
due, and a beat that comes late measures how late everything else on the loop was.

A call that ends after a stall is often counted before the late beat arrives, since input is handled
before timers. Therefore also a beat that is merely overdue makes a sample late. Afterwards samples
that began before the loop had caught up are late, for they contain the stall.
"""

from __future__ import annotations

from math import inf

from holdfast._core import fork
from holdfast.health.snapshots import LocalSnapshot


class Heart:
    """Beats every `interval` seconds; a beat more than `stall` seconds late means a stall.

    A stall of at least ``interval + stall`` is always noticed, a shorter one if a beat falls in it.
    Only the thread that beats writes, each time single attributes; anybody may read.
    """

    __slots__ = (
        "__weakref__",
        "_last_stall",
        "_lateness",
        "_stalls",
        "_worst",
        "caught_up_at",
        "due",
        "interval",
        "overdue_at",
        "stall",
    )

    def __init__(self, interval: float, stall: float) -> None:
        self.interval = interval
        self.stall = stall
        self._lateness = 0.0
        self._worst = 0.0
        self._stalls = 0
        self._last_stall: float | None = None
        self.caught_up_at = -inf
        """What began before this moment was late, because of the latest stall."""
        self.stop()
        fork.watch(self)

    def start(self, now: float) -> None:
        """From now on beats are expected."""
        self.due = now + self.interval
        self.overdue_at = self.due + self.stall

    def stop(self) -> None:
        """No more beats are expected."""
        self.due = self.overdue_at = inf

    def beat(self, now: float) -> None:
        """The time is `now`; nothing happens before a beat is due."""
        if now < self.due:
            return
        self._lateness = now - self.due
        self._worst = max(self._worst, self._lateness)
        if now >= self.overdue_at:
            self._stalls += 1
            self._last_stall = now
            # What waited behind the stall needs a moment too.
            self.caught_up_at = now + self.stall
        self.start(now)

    def is_late(self, now: float, seconds: float = 0.0) -> bool:
        """Whether what took `seconds` until `now` was touched by a stall of ours."""
        return now >= self.overdue_at or now - seconds < self.caught_up_at

    def snapshot(self, now: float, discounted: int) -> LocalSnapshot:
        overdue = now >= self.overdue_at
        lateness = now - self.due if overdue else self._lateness
        return LocalSnapshot(
            watching=self.due != inf,
            stalled=overdue,
            lateness=lateness,
            worst_lateness=max(self._worst, lateness),
            stalls_total=self._stalls,
            last_stall_ago=None if self._last_stall is None else now - self._last_stall,
            discounted_total=discounted,
        )

    def _after_fork(self) -> None:
        """Whoever beat is not in the child."""
        self.stop()
