"""A clock for tests: time jumps to the next wake-up as soon as nothing can run.

An hour of backoff passes in microseconds, always in the same order and with the same random
numbers. Everything that asks a `Clock` follows: hand the clock to a policy (``clock=clock``), or
install it for everything that was not given one (``with clock:``), also code that was decorated at
import time.

- Synchronous code just runs: ``sleep`` and ``wait`` move time at once.
- Several threads go through ``clock.run_threads(...)``: time moves when all of them wait.
- Coroutines go through ``clock.run(main())``: ``asyncio.sleep``, ``asyncio.timeout`` and
  ``loop.call_later`` follow as well, since the loop itself runs on virtual time.

Threads that block in real ways (a bare ``threading.Event.wait``, a socket) count as running, and
time waits for them.
"""

from __future__ import annotations

import asyncio
import math
import random
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Generic, TypeVar

from holdfast._core.clock import Clock, Waitable, installed
from holdfast._core.validate import number
from holdfast.testing.timeline import Parked, Timeline
from holdfast.testing.virtual_loop import VirtualLoop

T = TypeVar("T")

NEW_YEAR_2026 = 1_767_225_600.0

REAL_PATIENCE = 0.05
"""Real seconds a participant may be silent before another one due at the same moment may go on."""


class VirtualClock(Clock):
    """Time, waiting and seeded randomness under the control of a test.

    Args:
        start: what `now()` says at first, in seconds. Default 0.
        wall_start: what `wall()` says at first, in Unix seconds. Default 2026-01-01 00:00 UTC.
        seed: of `random()`, so that a run can be repeated. Default 0.

    ``with clock:`` makes it the clock of everything in the process that was not given one of its
    own; nested and repeated use is fine. A clock may be shared between threads and loops.

    Raises:
        ConfigurationError: `start` or `wall_start` is not a finite number.
    """

    def __init__(
        self, start: float = 0.0, *, wall_start: float = NEW_YEAR_2026, seed: int = 0
    ) -> None:
        start = number("start", start)
        offset = number("wall_start", wall_start) - start
        timeline = self._timeline = Timeline(start)
        self._installed: list[AbstractContextManager[None]] = []
        super().__init__(
            now=lambda: timeline.now,
            wall=lambda: timeline.now + offset,
            sleep=self._sleep,
            asleep=self._asleep,
            wait=self._wait,
            random=random.Random(seed).random,
        )

    def __enter__(self) -> VirtualClock:
        context = installed(self)
        context.__enter__()
        self._installed.append(context)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._installed.pop().__exit__(None, None, None)

    def advance(self, seconds: float) -> None:
        """Move time forward by `seconds`, at least 0, without running anything in between.

        Raises:
            ConfigurationError: `seconds` is negative or not finite.
        """
        self._timeline.advance(number("seconds", seconds, at_least=0))

    def run(self, main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
        """Run a coroutine to its end on a fresh loop on this clock, as ``asyncio.run`` does.

        Leftover tasks are cancelled and awaited, async generators and executor threads finished.

        Raises:
            DeadlockError: every task waits for something that will never happen.
            RuntimeError: an event loop is running in this thread already.
        """
        if asyncio._get_running_loop() is not None:
            raise RuntimeError("clock.run() was called from a running event loop: await instead")
        with asyncio.Runner(debug=debug, loop_factory=self.loop_factory) as runner:
            return runner.run(main)

    def loop_factory(self) -> asyncio.AbstractEventLoop:
        """A new event loop on this clock, for ``asyncio.Runner(loop_factory=...)``."""
        return VirtualLoop(self._timeline)

    def run_threads(self, *functions: Callable[[], T]) -> list[T]:
        """Run every function in a thread of its own; their results, in the order given.

        The threads share virtual time: it stands still while one of them works and jumps to the
        earliest wake-up when all of them wait on this clock. They take turns, started in the
        order given and resumed in the order of their wake-ups, so a run is repeatable; one that
        blocks outside the clock for 50 ms (a barrier, a lock) lets the next one that is due go on.

        Raises:
            DeadlockError: in a thread, when nobody can ever go on.
            BaseException: the first error, in the order given, once all functions have ended.
        """
        participants = [
            _Participant(self._timeline, function, f"run_threads-{number}")
            for number, function in enumerate(functions)
        ]
        for participant in participants:
            participant.thread.start()
        self._timeline.enter(*(participant.turn for participant in participants))
        with self._timeline.standing_aside():
            for participant in participants:
                self._join(participant.thread)
        return [participant.result() for participant in participants]

    def _join(self, thread: threading.Thread) -> None:
        """Wait for `thread`, and keep things going when a participant really blocks."""
        while thread.is_alive():
            moves = self._timeline.moves
            thread.join(REAL_PATIENCE)
            if moves == self._timeline.moves:
                self._timeline.nudge()

    def _sleep(self, seconds: float) -> None:
        seconds = number("seconds", seconds, at_least=0)
        _park_thread(self._timeline, self._timeline.now + seconds, lambda: False, "a sleep")

    def _wait(self, event: Waitable, timeout: float | None = None) -> bool:
        if event.wait(0):
            return True
        if timeout is None:
            until = math.inf
        elif timeout <= 0:
            return False
        else:
            until = self._timeline.now + timeout
        return _park_thread(self._timeline, until, lambda: event.wait(0), repr(event))

    async def _asleep(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if not isinstance(loop, VirtualLoop) or loop.timeline is not self._timeline:
            raise RuntimeError(
                "this coroutine sleeps on a VirtualClock but runs on another clock's event loop: "
                "run it with clock.run(...) or on a loop made by clock.loop_factory"
            )
        await asyncio.sleep(seconds)


class _Participant(Generic[T]):
    """A function of `run_threads`, its thread, its first turn and how it ended."""

    def __init__(self, timeline: Timeline, function: Callable[[], T], name: str) -> None:
        self._timeline = timeline
        self._function = function
        self._error: BaseException | None = None
        self._results: list[T] = []
        self._gate = threading.Event()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.turn = Parked(timeline.now, lambda: False, self._gate.set, lambda: name)

    def _run(self) -> None:
        self._gate.wait()
        try:
            with self._timeline.standing_in():
                self._results.append(self._function())
        except BaseException as error:
            self._error = error
        finally:
            self._timeline.end()

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._results[0]


def _park_thread(timeline: Timeline, until: float, ready: Callable[[], bool], what: str) -> bool:
    gate = threading.Event()
    name = threading.current_thread().name
    parked = Parked(until, ready, gate.set, lambda: f"thread {name!r} waits for {what}")
    return timeline.park(parked, gate.wait)
