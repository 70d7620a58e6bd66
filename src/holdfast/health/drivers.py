"""What keeps a started monitor going: one task, or one thread, and the runs of its checks.

`Rounds` says what is due; the two drivers only wait, launch and clean up. Sync checks run in a
daemon thread of their own under either driver: nothing can interrupt them, and a pool would be full
of those that hang. Async checks are tasks of the monitor's loop, cancelled when their time is up.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from threading import Event, Thread, current_thread
from types import CoroutineType
from typing import Any, Final

from holdfast._core.clock import Clock
from holdfast.health.check import Check, Do
from holdfast.health.heart import Heart
from holdfast.policies.base import refuse_coroutine

LONGEST_NAP: Final = 1.0
"""Seconds after which a driver looks again, whatever it was told: a check may have come."""

PATIENCE: Final = 1.0
"""Seconds that stopping waits for what was told to end."""

FALSE: Final = "it returned False"


class Rounds:
    """What is due, and when to come again. Used by one driver."""

    def __init__(
        self,
        clock: Clock,
        heart: Heart,
        checks: Callable[[], list[Check]],
        evaluate: Callable[[float], None],
        interval: float,
    ) -> None:
        self.clock = clock
        self.heart = heart
        self._checks = checks
        self._evaluate = evaluate
        self._interval = interval
        self._evaluate_at = clock.now() + interval

    def go(self, launch: Callable[[Check], None], cancel: Callable[[Check], None]) -> float:
        """Do what is due; seconds until something else is."""
        now = self.clock.now()
        self.heart.beat(now)
        late = self.heart.is_late(now)
        checks = self._checks()
        for check in checks:
            todo = check.poll(now, self.clock.random, late=late)
            if todo is Do.LAUNCH:
                launch(check)
            elif todo is Do.CANCEL:
                cancel(check)
        if now >= self._evaluate_at:
            self._evaluate_at = now + self._interval
            self._evaluate(now)
        wake_at = min(
            self.heart.due, self._evaluate_at, now + LONGEST_NAP, *(c.wake_at() for c in checks)
        )
        return max(0.0, wake_at - self.clock.now())

    def finished(self, check: Check, error: str | None) -> None:
        """A run of `check` ended by itself."""
        now = self.clock.now()
        check.finish(now, error, late=self.heart.is_late(now, check.timeout))


class Driver(ABC):
    """Goes round until it is stopped."""

    def __init__(self, rounds: Rounds) -> None:
        self._rounds = rounds

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether it still goes round."""

    def _launch(self, check: Check) -> None:
        """Run a sync check in a thread of its own."""

        def run() -> None:
            error = None
            try:
                result: Any = check.fn()
                if result.__class__ is CoroutineType:
                    refuse_coroutine(result)
                if result is False:
                    error = FALSE
            except BaseException as raised:
                error = type(raised).__qualname__
            self._rounds.finished(check, error)

        try:
            Thread(target=run, name=f"holdfast-check-{check.name}", daemon=True).start()
        except RuntimeError:
            # No thread is to be had, which says nothing about the service.
            check.forget()

    @abstractmethod
    def _cancel(self, check: Check) -> None:
        """The time of a run is up."""


class ThreadDriver(Driver):
    """Goes round in a thread."""

    def __init__(self, rounds: Rounds) -> None:
        super().__init__(rounds)
        self._halt = Event()
        self._thread = Thread(target=self.run, name="holdfast-health", daemon=True)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def run(self) -> None:
        """Go round, blocking this thread, until `stop` is called."""
        rounds = self._rounds
        rounds.heart.start(rounds.clock.now())
        try:
            while not self._halt.is_set():
                rounds.clock.wait(self._halt, rounds.go(self._launch, self._cancel))
        finally:
            rounds.heart.stop()

    def _cancel(self, check: Check) -> None:
        pass  # nothing can interrupt a thread

    def stop(self) -> None:
        """End the thread; waits for it, unless called from it."""
        self._halt.set()
        if self._thread.is_alive() and self._thread is not current_thread():
            self._thread.join(PATIENCE)


class TaskDriver(Driver):
    """Goes round in a task of the running loop."""

    def __init__(self, rounds: Rounds) -> None:
        super().__init__(rounds)
        self._tasks: dict[Check, asyncio.Task[None]] = {}
        # Now, as the loop may block before the task has its first turn.
        rounds.heart.start(rounds.clock.now())
        self._task = asyncio.create_task(self._run(), name="holdfast-health")
        # Also for a task that is cancelled before its first turn.
        self._task.add_done_callback(lambda _: rounds.heart.stop())

    @property
    def alive(self) -> bool:
        return not self._task.done()

    async def _run(self) -> None:
        rounds = self._rounds
        try:
            while True:
                await rounds.clock.asleep(rounds.go(self._launch, self._cancel))
        finally:
            rounds.heart.stop()
            for task in self._tasks.values():
                task.cancel()

    async def stop(self) -> None:
        """Cancel what runs, and wait for it."""
        self._task.cancel()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.wait([self._task, *self._tasks.values()], timeout=PATIENCE)

    def _launch(self, check: Check) -> None:
        if not check.is_async:
            super()._launch(check)
            return
        task = asyncio.create_task(self._attempt(check), name=f"holdfast-check-{check.name}")
        self._tasks[check] = task
        task.add_done_callback(lambda _: self._tasks.pop(check, None))

    def _cancel(self, check: Check) -> None:
        # None: a thread, which nothing can interrupt.
        task = self._tasks.get(check)
        if task is not None:
            task.cancel()

    async def _attempt(self, check: Check) -> None:
        error = None
        try:
            if await check.fn() is False:
                error = FALSE
        except Exception as raised:
            error = type(raised).__qualname__
        except BaseException as raised:
            task = asyncio.current_task()
            if not isinstance(raised, asyncio.CancelledError) or (task and task.cancelling()):
                check.forget()
                raise
            # Something inside was cancelled, not the check: the service's affair.
            error = type(raised).__qualname__
        self._rounds.finished(check, error)
