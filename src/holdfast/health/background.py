"""Starting and stopping what keeps a monitor going, once at a time, in a task or in a thread."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from holdfast._core import fork
from holdfast.errors import ConfigurationError
from holdfast.health.check import Check
from holdfast.health.drivers import Driver, Rounds, TaskDriver, ThreadDriver


class Background:
    """At most one driver. Thread safe.

    `rounds` makes what a driver needs; `checks` gives the checks there are; with `idle` there is
    nothing to do but those.
    """

    __slots__ = ("__weakref__", "_checks", "_idle", "_lock", "_rounds", "_started", "driver")

    def __init__(
        self, rounds: Callable[[], Rounds], checks: Callable[[], list[Check]], *, idle: bool
    ) -> None:
        self._rounds = rounds
        self._checks = checks
        self._idle = idle
        self._after_fork()
        fork.watch(self)

    def _after_fork(self) -> None:
        """Whoever ran is not in the child."""
        self._lock = Lock()
        self._started = False
        self.driver: Driver | None = None

    def start_thread(self) -> None:
        """Run in a thread of its own."""
        with self._lock:
            if self._begin():
                _refuse_async(self._checks())
                driver = self.driver = ThreadDriver(self._rounds())
                driver.start()
            self._started = True

    def start_task(self) -> None:
        """Run in a task of the running loop."""
        with self._lock:
            if self._begin():
                self.driver = TaskDriver(self._rounds())
            self._started = True

    def take(self) -> Driver | None:
        """The driver, if there is one, for the caller to stop; then another may be started."""
        with self._lock:
            driver, self.driver, self._started = self.driver, None, False
            return driver

    def admit(self, check: Check) -> None:
        """Refuse a check that would never be run."""
        with self._lock:
            if self._started and self.driver is None:
                raise ConfigurationError(
                    f"the check of {check.name!r} comes too late: without a heartbeat, register"
                    " the first check before the monitor is started"
                )
            if isinstance(self.driver, ThreadDriver):
                _refuse_async([check])

    def _begin(self) -> bool:
        """Whether a driver is needed; refused if there is one. The lock is held."""
        if self._started and (self.driver is None or self.driver.alive):
            raise ConfigurationError("this monitor is started already: stop it first")
        return not self._idle or bool(self._checks())


def _refuse_async(checks: list[Check]) -> None:
    for check in checks:
        if check.is_async:
            raise ConfigurationError(
                f"the check of {check.name!r} is async and needs an event loop: start the monitor"
                " with `async with monitor`"
            )
