"""How a good response gets to where it is kept, without delaying whoever got it.

Each is stored in a task that belongs to the refresher: bounded in number and time, awaited at the
end. What is lost at the bound is only freshness: the response that is kept stays a little older.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import copy_context
from dataclasses import dataclass
from threading import RLock
from typing import Any, Final

from holdfast._core import fork
from holdfast._core.clock import Clock
from holdfast._core.deadline import LIMIT
from holdfast._core.hub import EventHub
from holdfast.degradation.last_good import BlockingLastGood, LastGood, MemoryLastGood
from holdfast.policies.timeout import Timeout

_log = logging.getLogger("holdfast")

MOST_REFRESHES: Final = 64
"""Responses being stored at a time. Beyond, a success does not refresh what is kept."""

STORE_LIMIT: Final = 5.0
"""Seconds for storing one response, which is also the longest that closing waits."""


@dataclass(frozen=True, slots=True)
class RefreshSnapshot:
    """How keeping good responses goes: under way now, and totals since the beginning.

    `skipped_total` counts successes whose key was just being stored, or for which there was no
    place; what is kept is then a little older than it could be.
    """

    pending: int
    stored_total: int
    failed_total: int
    skipped_total: int


class Refresher:
    """Stores good responses in tasks of its own. Thread safe; tasks belong to their event loop."""

    def __init__(self, store: LastGood, clock: Clock, events: EventHub) -> None:
        self._store = store
        self._limit = Timeout(STORE_LIMIT, "last-good", clock=clock, events=events)
        self._complained = False
        self._stored = self._failed = self._skipped = 0
        self._after_fork()
        fork.watch(self)

    def _after_fork(self) -> None:
        self._lock = RLock()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def refresh(self, key: str, value: Any, ttl: float) -> None:
        """Keep this response, soon."""
        if isinstance(self._store, MemoryLastGood):
            self.refresh_now(self._store, key, value, ttl)
            return
        with self._lock:
            if key in self._tasks or len(self._tasks) >= MOST_REFRESHES:
                self._forget_closed_loops()
            if key in self._tasks or len(self._tasks) >= MOST_REFRESHES:
                self._skipped += 1
                return
            context = copy_context()
            context.run(LIMIT.set, None)  # the request's deadline is not ours
            loop = asyncio.get_running_loop()
            task = loop.create_task(
                self._put(key, value, ttl), name="holdfast-last-good", context=context
            )
            self._tasks[key] = task
        task.add_done_callback(lambda done: self._done(key, done))

    def refresh_now(self, store: BlockingLastGood, key: str, value: Any, ttl: float) -> None:
        """Keep this response before going on: in memory, which takes no time, or in sync code."""
        try:
            store.put_now(key, value, ttl)
        except Exception as error:
            self._complain(error)
        else:
            with self._lock:
                self._stored += 1

    async def drain(self) -> None:
        """Wait for everything that this event loop is storing."""
        loop = asyncio.get_running_loop()
        while True:
            with self._lock:
                mine = [task for task in self._tasks.values() if task.get_loop() is loop]
            if not mine:
                return
            try:
                await asyncio.wait(mine)
            except asyncio.CancelledError:
                for task in mine:
                    task.cancel()
                raise
            # Their callbacks, which forget them, come after us.
            with self._lock:
                self._tasks = {key: task for key, task in self._tasks.items() if not task.done()}

    def snapshot(self) -> RefreshSnapshot:
        """The numbers at this moment."""
        with self._lock:
            return RefreshSnapshot(len(self._tasks), self._stored, self._failed, self._skipped)

    async def _put(self, key: str, value: Any, ttl: float) -> None:
        try:
            await self._limit.acall(self._store.put, key, value, ttl)
        except Exception as error:
            self._complain(error)
        else:
            with self._lock:
                self._stored += 1

    def _complain(self, error: Exception) -> None:
        with self._lock:
            self._failed += 1
            first, self._complained = not self._complained, True
        if first:
            # The type only: the key and the value may be in the text.
            _log.warning(
                "a good response could not be kept (%s); further failures are only counted",
                type(error).__qualname__,
            )

    def _done(self, key: str, task: asyncio.Task[None]) -> None:
        with self._lock:
            if self._tasks.get(key) is task:
                del self._tasks[key]

    def _forget_closed_loops(self) -> None:
        """Tasks of a loop that was closed will never end; the lock is held."""
        self._tasks = {
            key: task for key, task in self._tasks.items() if not task.get_loop().is_closed()
        }
