"""Timers that calls share.

A timer of its own costs a call more than all other policies together, and almost none ever fires.
Calls with the same limit on the same event loop expire in the order in which they began, so one
queue and one armed timer, for its head, serve them all.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any


class Watch:
    """One task that is to be cancelled at a certain moment of its loop's time."""

    __slots__ = ("at", "cancelling", "fired", "task")

    def __init__(self, at: float, task: asyncio.Task[Any]) -> None:
        self.at = at
        self.task = task
        self.cancelling = task.cancelling()
        self.fired = False

    def fire(self) -> None:
        self.fired = True
        self.task.cancel()

    def is_ours(self) -> bool:
        """After firing: take our cancellation back; was it the only one?

        The same rule as `asyncio.timeout`: if somebody else cancelled the task too, that counts.
        """
        return self.task.uncancel() <= self.cancelling


class TimerQueue:
    """The watches of one loop that share one limit. Only used from that loop's thread."""

    __slots__ = ("_handle", "_limit", "_loop", "_watches")

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: float) -> None:
        self._loop = loop
        self._limit = limit
        self._watches: dict[Watch, None] = {}
        self._handle: asyncio.TimerHandle | None = None

    def start(self, task: asyncio.Task[Any]) -> Watch:
        """Cancel `task` after the limit, unless stopped before."""
        watch = Watch(self._loop.time() + self._limit, task)
        self._watches[watch] = None
        if self._handle is None:
            self._handle = self._loop.call_at(watch.at, self._expire)
        return watch

    def stop(self, watch: Watch) -> None:
        # The armed timer stays: it finds out what is due when it fires, once per limit at most.
        self._watches.pop(watch, None)

    def _expire(self) -> None:
        self._handle = None
        now = self._loop.time()
        for watch in list(self._watches):
            if watch.at > now:
                self._handle = self._loop.call_at(watch.at, self._expire)
                break
            del self._watches[watch]
            watch.fire()


class _Local(threading.local):
    loop: asyncio.AbstractEventLoop | None = None
    queues: dict[float, TimerQueue]


_local = _Local()

MOST_QUEUES = 64
"""Different limits per loop that share timers; a program has a handful."""


def queue_for(loop: asyncio.AbstractEventLoop, limit: float) -> TimerQueue:
    """The queue of the running loop for this limit."""
    if _local.loop is not loop:
        _local.loop = loop
        _local.queues = {}
    queue = _local.queues.get(limit)
    if queue is None:
        queue = TimerQueue(loop, limit)
        if len(_local.queues) < MOST_QUEUES:
            _local.queues[limit] = queue
    return queue
