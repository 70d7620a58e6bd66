"""The bulkhead: so many calls at a time, a bounded queue, and no more.

One dependency that hangs can then take `max_concurrent` callers with it, not all of them.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING

from holdfast._core.clock import Clock
from holdfast._core.deadline import LIMIT, passed
from holdfast._core.hub import EventHub
from holdfast._core.outcome import Rejection
from holdfast._core.permits import Permits, Place, Waiter
from holdfast._core.signal import Signal
from holdfast._core.validate import count, number
from holdfast.policies.gate import Gate, Hot

if TYPE_CHECKING:
    from holdfast._core.snapshots import BulkheadSnapshot


class Bulkhead(Gate):
    """Let at most `max_concurrent` calls run at a time; queue a few, refuse the rest.

    Args:
        name: for errors, events and snapshots; default: the pipeline's.
        max_concurrent: calls that may run at a time, at least 1. Default 10.
        max_queue: calls that may wait for a place, first come first served. Default 0.
        max_wait: seconds that a call may wait; default None, until its deadline if it has one.
        clock, events: for tests and containers.

    Raises:
        ConfigurationError: an option is out of its range.
        BulkheadFullError: (from a protected call) no place, and none in the queue or not in time.
        DeadlineExceededError: (likewise) the deadline passed while the call waited.

    One bulkhead counts the calls of all threads and event loops together. A generator holds its
    place until it ends. Thread safe; a waiter that is cancelled leaves the queue, and a place that
    was just being handed to it goes to the next.
    """

    kind = "bulkhead"
    __slots__ = ("_max_wait", "_permits")

    def __init__(
        self,
        name: str | None = None,
        *,
        max_concurrent: int = 10,
        max_queue: int = 0,
        max_wait: float | None = None,
        clock: Clock | None = None,
        events: EventHub | None = None,
    ) -> None:
        super().__init__(name, clock, events)
        self._permits = Permits(
            count("max_concurrent", max_concurrent), count("max_queue", max_queue, at_least=0)
        )
        self._max_wait = None if max_wait is None else number("max_wait", max_wait, at_least=0)

    def snapshot(self) -> BulkheadSnapshot:
        """The bulkhead at this moment."""
        self._wake(self._permits.take_orphans())
        return self._permits.snapshot(self.name)

    def resize(self, *, max_concurrent: int | None = None, max_queue: int | None = None) -> None:
        """Change the bounds while running; calls that already run or wait are left alone."""
        permits = self._permits
        limit = permits.limit if max_concurrent is None else count("max_concurrent", max_concurrent)
        queue = (
            permits.max_queue if max_queue is None else count("max_queue", max_queue, at_least=0)
        )
        self._wake(permits.resize(limit, queue))

    # -- the gate ------------------------------------------------------------------------------

    @property
    def _machine(self) -> Hot:
        return self._permits

    def _admit(self) -> Place | Rejection | None:
        late = passed(self.name, self._clock)
        if late is not None:
            return self._tell_rejected(late)
        if self._permits.orphans:
            self._wake(self._permits.take_orphans())
            place = self._permits.take()
            if place is not None:
                return place
        if self._permits.max_queue:
            return None
        self._permits.count_rejection()
        return self._refuse("full")

    def _failed(self, permit: Place, error: BaseException | None) -> None:
        if isinstance(error, GeneratorExit):
            self._wake(self._permits.orphan(permit))
        else:
            self._hand_on(self._permits.give_back(permit))

    # -- the block forms -----------------------------------------------------------------------

    def __enter__(self) -> None:
        self._enter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # All places are alike, so a block need not remember which one it has.
        self._failed(self._permits.place, error)

    async def __aenter__(self) -> None:
        await self._aenter()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._failed(self._permits.place, error)

    # -- waiting for a place -------------------------------------------------------------------

    def _wait(self) -> Place | Rejection:
        """Join the queue, blocking the thread."""
        granted = Signal()
        waiter = Waiter(granted.set)
        if not self._permits.enqueue(waiter):
            return self._refuse("full")
        self._hand_on(None)
        if waiter.granted is None:
            try:
                self._clock.wait(granted, self._patience())
            except BaseException as error:
                self._give_up(waiter, error)
                raise
        return self._arrive(waiter)

    async def _await(self) -> Place | Rejection:
        """Join the queue, suspending the task."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        waiter = Waiter(lambda: _resolve_from_anywhere(loop, future))
        if not self._permits.enqueue(waiter):
            return self._refuse("full")
        self._hand_on(None)
        if waiter.granted is None:
            patience = self._patience()
            timer = None if patience is None else loop.call_later(patience, _resolve, future)
            try:
                await future
            except BaseException as error:
                self._give_up(waiter, error)
                raise
            finally:
                if timer is not None:
                    timer.cancel()
        return self._arrive(waiter)

    def _patience(self) -> float | None:
        """Seconds that this call may wait."""
        limit = LIMIT.get()
        if limit is None:
            return self._max_wait
        left = max(0.0, limit - self._clock.now())
        return left if self._max_wait is None else min(left, self._max_wait)

    def _arrive(self, waiter: Waiter) -> Place | Rejection:
        """The wait is over, one way or the other."""
        late = passed(self.name, self._clock)
        if waiter.granted is not None and late is None:
            return waiter.granted
        self._hand_on(self._permits.abandon(waiter, rejected=True))
        # The grant may have come between the end of the wait and now: abandon passed it on.
        return self._refuse("waited too long") if late is None else self._tell_rejected(late)

    def _refuse(self, reason: str) -> Rejection:
        return self._tell_rejected(Rejection("bulkhead", self.name, reason))

    # -- giving places back --------------------------------------------------------------------

    def _give_up(self, waiter: Waiter, error: BaseException) -> None:
        if isinstance(error, GeneratorExit):
            self._wake(self._permits.orphan(waiter))
        else:
            self._hand_on(self._permits.abandon(waiter))

    def _news(self, news: Waiter) -> None:
        self._hand_on(news)

    def _hand_on(self, waiter: Waiter | None) -> None:
        """Wake whoever was granted a place, and take in what finalisers left."""
        if waiter is not None:
            self._wake([waiter])
        if self._permits.orphans:
            self._wake(self._permits.take_orphans())

    def _wake(self, waiters: list[Waiter]) -> None:
        while waiters:
            waiter = waiters.pop()
            try:
                waiter.wake()
            except RuntimeError:
                # Its event loop is closed: nobody will ever use that place.
                heir = self._permits.abandon(waiter)
                if heir is not None:
                    waiters.append(heir)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _resolve_from_anywhere(loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> None:
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if here is loop:
        _resolve(future)
    else:
        loop.call_soon_threadsafe(_resolve, future)
