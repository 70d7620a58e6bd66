"""An asyncio event loop on virtual time.

An event loop asks its selector to wait for input, but no longer than until the next timer. That
question is the whole seam: here the selector looks for input without waiting and, if there is
none, parks the loop on the timeline, which jumps to the timer when nobody else is at work.

What really happens elsewhere keeps time from jumping. Jobs in executors are counted exactly. A
thread the loop knows nothing about may be about to call ``call_soon_threadsafe``: each gets one
second of real time in total before the loop stops waiting for it. Sockets get no such grace,
because an idle connection cannot be told from a slow one: real network I/O with other threads or
processes belongs on the real clock.
"""

from __future__ import annotations

import asyncio
import math
import select
import selectors
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from holdfast.testing.timeline import DeadlockError, Parked, Timeline

T = TypeVar("T")
Events = list[tuple[selectors.SelectorKey, int]]

STRANGER_PATIENCE = 1.0
"""Real seconds, in total, that the loop waits for a thread it knows nothing about."""
INPUT_PATIENCE = 5.0
"""Real seconds that a loop with open sockets and nothing else to do waits before it gives up."""
SLICE = 0.01


class VirtualLoop(asyncio.SelectorEventLoop):
    """A selector event loop whose time is that of a `Timeline`."""

    _scheduled: list[asyncio.TimerHandle]  # asyncio's heap of timers

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.strangers = _Strangers(timeline)
        self._pools: WeakKeyDictionary[Executor, _Pool] = WeakKeyDictionary()
        self._jobs: set[Future[Any]] = set()
        super().__init__(_Selector(self))
        self.set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))

    def time(self) -> float:
        return self.timeline.now

    @property
    def _clock_resolution(self) -> float:
        """asyncio runs timers up to this much early; here none is, and at any size of `now`."""
        return math.ulp(self.timeline.now)

    @_clock_resolution.setter
    def _clock_resolution(self, value: float) -> None:
        """asyncio's constructor sets the resolution of the real clock: not ours."""

    def next_timer(self) -> float:
        """When the next timer is due; infinity when there is none.

        asyncio hands its selector the difference to now only, and adding that back could round
        to just before the timer.
        """
        return self._scheduled[0].when() if self._scheduled else math.inf

    def run_forever(self) -> None:
        with self.timeline.taking_part():
            super().run_forever()

    def set_default_executor(  # type: ignore[override]
        self, executor: ThreadPoolExecutor
    ) -> None:
        super().set_default_executor(executor)
        self._workers = executor

    def run_in_executor(
        self, executor: Executor | None, func: Callable[..., T], *args: object
    ) -> asyncio.Future[T]:
        chosen = self._workers if executor is None else executor
        pool = self._pools.setdefault(chosen, _Pool(self.timeline, chosen))
        pool.begin()
        try:
            if isinstance(chosen, ThreadPoolExecutor):
                job = chosen.submit(self._as_participant, func, *args)
            else:
                job = chosen.submit(func, *args)
        except BaseException:
            pool.end()
            raise
        self._jobs.add(job)
        # Callbacks run in order: the loop is told of the result before the job stops counting.
        future = asyncio.wrap_future(job, loop=self)
        job.add_done_callback(lambda _: pool.end())
        job.add_done_callback(self._jobs.discard)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait for the jobs on virtual time, then end the worker threads, which are idle then."""
        if self._jobs:
            await asyncio.wait(
                [asyncio.wrap_future(job) for job in tuple(self._jobs)], timeout=timeout
            )
        self._workers.shutdown(wait=not self._jobs)

    def _as_participant(self, func: Callable[..., T], *args: object) -> T:
        self.strangers.known.setdefault(threading.current_thread(), math.inf)
        with self.timeline.standing_in():
            return func(*args)


class _Pool:
    """Counts an executor's jobs as participants: those that have, or will get, a worker.

    A job in the queue counts only when it is next in line for a worker. If all did, workers that
    sleep on the clock and keep others queued could never be woken.
    """

    def __init__(self, timeline: Timeline, executor: Executor) -> None:
        self._timeline = timeline
        self._capacity: float = getattr(executor, "_max_workers", math.inf)
        self._jobs = 0
        self._lock = threading.Lock()

    def begin(self) -> None:
        with self._lock:
            self._jobs += 1
            if self._jobs <= self._capacity:
                self._timeline.begin()

    def end(self) -> None:
        with self._lock:
            self._jobs -= 1
            if self._jobs < self._capacity:
                self._timeline.end()


class _Strangers:
    """Threads that appeared after the loop and that nobody told the timeline about."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self.known: WeakKeyDictionary[threading.Thread, float] = WeakKeyDictionary()
        """Real seconds spent on a thread; infinity for those that need no waiting."""
        for thread in threading.enumerate():
            self.known[thread] = math.inf

    def present(self) -> list[threading.Thread]:
        """The strangers that still have the loop's patience."""
        if threading.active_count() == 1:
            return []
        return [
            thread
            for thread in threading.enumerate()
            if self.known.get(thread, 0.0) < STRANGER_PATIENCE
            and not self._timeline.is_member(thread)
        ]

    def charge(self, threads: list[threading.Thread], seconds: float) -> None:
        for thread in threads:
            self.known[thread] = self.known.get(thread, 0.0) + seconds


class _Selector(selectors.DefaultSelector):
    """Waits on the timeline instead of in the operating system."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Events:
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        events = self._wait_for_strangers()
        if events:
            return events
        try:
            self._park()
        except DeadlockError:
            only_the_self_pipe = len(self.get_map()) == 1
            events = [] if only_the_self_pipe else super().select(INPUT_PATIENCE)
            if not events:
                raise
            return events
        return super().select(0)

    def _wait_for_strangers(self) -> Events:
        while strangers := self._loop.strangers.present():
            began = time.monotonic()
            events = super().select(SLICE)
            if events:
                return events
            self._loop.strangers.charge(strangers, time.monotonic() - began)
        return []

    def _park(self) -> None:
        loop, owner = self._loop, threading.get_ident()

        def wake() -> None:
            if threading.get_ident() != owner:
                loop.call_soon_threadsafe(lambda: None)

        loop.timeline.park(
            Parked(loop.next_timer(), lambda: self._has_input(0), wake, self._describe),
            self._has_input,
        )

    def _has_input(self, milliseconds: int | None = None) -> bool:
        """Whether there is input, without taking it away; any thread may ask."""
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return bool(poll.poll(milliseconds))

    def _describe(self) -> str:
        tasks = sorted(asyncio.all_tasks(self._loop), key=lambda task: task.get_name())
        return "an event loop whose tasks all wait:" + "".join(
            f"\n      {task.get_name()}: {_whereabouts(task)}" for task in tasks
        )


def _whereabouts(task: asyncio.Task[object]) -> str:
    stack = task.get_stack(limit=1)
    name = getattr(task.get_coro(), "__qualname__", repr(task.get_coro()))
    if not stack:
        return name
    return f"{name}, at {stack[-1].f_code.co_filename}:{stack[-1].f_lineno}"
