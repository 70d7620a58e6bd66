"""Timers that calls share.

A timer of its own costs a call more than all other policies together, and almost none ever fires.
Calls with the same limit on the same event loop expire in the order in which they began, so one
queue and one armed timer, for its head, serve them all.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

MOST_QUEUES = 64
"""Different limits per loop that share timers; a program has a handful."""


class Watch:
    """One task that is to be cancelled at a certain moment, unless stopped before."""

    __slots__ = ("at", "cancelling", "fired", "source", "task")

    def __init__(
        self, task: asyncio.Task[Any], at: float, source: TimerQueue | asyncio.TimerHandle | None
    ) -> None:
        self.task = task
        self.at = at
        self.source = source
        self.cancelling = task.cancelling()
        self.fired = False

    def fire(self) -> None:
        self.fired = True
        self.task.cancel()

    def stop(self) -> None:
        source = self.source
        if isinstance(source, TimerQueue):
            # The armed timer stays; it finds out what is due when it fires, once per limit at most.
            source.watches.pop(self, None)
        elif source is not None:  # pragma: no branch - it is None for a moment in `start` only
            source.cancel()

    def is_ours(self) -> bool:
        """After firing: take our cancellation back; was it the only one?

        The same rule as `asyncio.timeout`: if somebody else cancelled the task too, that counts.
        """
        return self.task.uncancel() <= self.cancelling


class TimerQueue:
    """The watches of one loop that share one limit. Only used from that loop's thread."""

    __slots__ = ("armed", "loop", "watches")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.watches: dict[Watch, None] = {}
        self.armed = False

    def arm(self, at: float) -> None:
        self.armed = True
        self.loop.call_at(at, self._expire)

    def _expire(self) -> None:
        self.armed = False
        now = self.loop.time()
        for watch in list(self.watches):
            if watch.at > now:
                self.arm(watch.at)
                break
            # A finaliser may have stopped it a moment ago.
            if self.watches.pop(watch, watch) is None:
                watch.fire()


class _Local(threading.local):
    """The queues of the loop that runs in this thread."""

    here: tuple[asyncio.AbstractEventLoop | None, dict[float, TimerQueue]] = (None, {})


_local = _Local()


def start(limit: float, *, shared: bool) -> Watch:
    """Cancel the running task after `limit` seconds, unless the watch is stopped before.

    `shared` says that many calls have this limit, so that a common timer pays.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task(loop)
    if task is None:
        raise RuntimeError("a timeout needs a running asyncio task to cancel")
    owner, queues = _local.here
    if owner is not loop:
        queues = {}
        _local.here = (loop, queues)
    queue = queues.get(limit)
    if queue is None:
        if not shared or len(queues) >= MOST_QUEUES:
            watch = Watch(task, 0.0, None)
            watch.source = loop.call_later(limit, watch.fire)
            return watch
        queue = queues[limit] = TimerQueue(loop)
    at = loop.time() + limit
    watch = Watch(task, at, queue)
    queue.watches[watch] = None
    if not queue.armed:
        queue.arm(at)
    return watch
