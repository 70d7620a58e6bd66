"""The machine of one active check: when to run it, when to give it up, and what its results say.

A check is asked for every `interval` seconds and has `timeout` seconds, which are no more than the
interval. There is never more than one run. A run that does not end is a failure once its time is
up, and another one at each moment when the next would have been due; the next is started when it is
gone at last. So a check that hangs costs one thread or task, for however long it hangs.

One failure is a hint (degraded), two in a row are a finding (unhealthy). Results that nobody renews
lose their force.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from threading import Lock
from typing import Any

from holdfast._core import fork
from holdfast._core.validate import number
from holdfast.errors import ConfigurationError
from holdfast.health.judge import Fact
from holdfast.health.snapshots import CheckSnapshot
from holdfast.health.statuses import Status
from holdfast.policies.kinds import Kind, kind_of


class Do(Enum):
    """What the driver has to do about a check now."""

    NOTHING = "nothing"
    LAUNCH = "launch"
    CANCEL = "cancel"


class Check:
    """One active check. Thread safe."""

    __slots__ = (
        "__weakref__",
        "_began",
        "_due",
        "_ended",
        "_error",
        "_expired",
        "_failures",
        "_failures_in_a_row",
        "_lock",
        "_runs",
        "_seconds",
        "fn",
        "interval",
        "is_async",
        "jitter",
        "name",
        "timeout",
    )

    def __init__(
        self, name: str, fn: Callable[[], Any], *, interval: float, timeout: float, jitter: float
    ) -> None:
        kind = kind_of(fn)
        if kind not in (Kind.SYNC, Kind.ASYNC):
            raise TypeError(f"a check is a function, sync or async, not a {kind.value}")
        self.name = name
        self.fn = fn
        self.is_async = kind is Kind.ASYNC
        self.interval = number("interval", interval, above=0)
        self.timeout = number("timeout", timeout, above=0)
        self.jitter = number("jitter", jitter, at_least=0, at_most=1)
        if timeout > interval:
            raise ConfigurationError(
                f"timeout must be at most interval: {timeout:g} is greater than {interval:g}"
            )
        self._due: float | None = None
        self._ended: float | None = None
        self._seconds = 0.0
        self._error: str | None = None
        self._runs = 0
        self._failures = 0
        self._failures_in_a_row = 0
        self._after_fork()
        fork.watch(self)

    def _after_fork(self) -> None:
        """Whoever ran it is not in the child."""
        self._lock = Lock()
        self._began: float | None = None
        self._expired = False

    def poll(self, now: float, random: Callable[[], float], *, late: bool) -> Do:
        """What to do now. `random` is uniform in [0, 1); `late`: this process has just stalled."""
        with self._lock:
            if self._due is None:
                # Processes that start together need not check together.
                self._due = now + self.interval * self.jitter * random()
            due = now >= self._due
            if due:
                self._due = now + self.interval * (1 + self.jitter * random())
            if self._began is None:
                if not due:
                    return Do.NOTHING
                self._began, self._expired = now, False
                self._runs += 1
                return Do.LAUNCH
            if not self._expired and now >= self._began + self.timeout:
                self._expired = True
                if not late:
                    self._count(f"no answer within {self.timeout:g} s", now, now - self._began)
                return Do.CANCEL
            if due and not late:
                self._count("an earlier run still hangs", now, now - self._began)
            return Do.NOTHING

    def wake_at(self) -> float:
        """When `poll` has something to say at the latest."""
        with self._lock:
            if self._due is None:
                return float("-inf")
            if self._began is None or self._expired:
                return self._due
            return min(self._due, self._began + self.timeout)

    def finish(self, now: float, error: str | None, *, late: bool) -> None:
        """The run ended; `error` is the type of what it raised.

        Nothing is learnt from one whose time was up before, nor from a failure during a stall.
        """
        with self._lock:
            began, self._began = self._began, None
            if began is None or self._expired or (late and error is not None):
                return
            self._count(error, now, now - began)

    def forget(self) -> None:
        """The run was given up before its time: it never was."""
        with self._lock:
            self._began = None

    def _count(self, error: str | None, now: float, seconds: float) -> None:
        """The lock is held."""
        self._ended, self._seconds, self._error = now, seconds, error
        if error is None:
            self._failures_in_a_row = 0
        else:
            self._failures += 1
            self._failures_in_a_row += 1

    def fact(self, now: float) -> Fact | None:
        """What the latest results say; None if there are none, or none of late."""
        with self._lock:
            lasts = 2 * self.interval * (1 + self.jitter) + self.timeout
            if self._ended is None or now - self._ended > lasts:
                return None
            if self._error is None:
                return Fact(Status.HEALTHY, "its check passed")
            row, error = self._failures_in_a_row, self._error
        if row == 1:
            return Fact(Status.DEGRADED, f"its check failed ({error})")
        return Fact(Status.UNHEALTHY, f"its check failed {row} times in a row ({error})")

    def snapshot(self, now: float) -> CheckSnapshot:
        with self._lock:
            ended = self._ended
            return CheckSnapshot(
                interval=self.interval,
                timeout=self.timeout,
                ok=None if ended is None else self._error is None,
                failures_in_a_row=self._failures_in_a_row,
                error=self._error,
                ago=None if ended is None else now - ended,
                seconds=None if ended is None else self._seconds,
                running=self._began is not None,
                runs_total=self._runs,
                failures_total=self._failures,
            )
