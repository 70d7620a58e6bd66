"""The bulkhead: so many calls at a time, a bounded queue, and no more.

One dependency that hangs can then take `max_concurrent` callers with it, not all of them.
"""

from __future__ import annotations

import asyncio
from threading import Event
from types import TracebackType
from typing import Any

from holdfast._core.clock import Clock
from holdfast._core.deadline import LIMIT, passed
from holdfast._core.events import EventHub
from holdfast._core.outcome import Rejection
from holdfast._core.permits import BulkheadSnapshot, Permits, Place, Waiter
from holdfast._core.validate import count, number
from holdfast.policies.base import (
    UNUSUAL,
    Inner,
    Policy,
    Reject,
    check_unusual,
    raise_rejection,
)
from holdfast.policies.streams import AsyncSession, Session, guard, guard_async


class Bulkhead(Policy):
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

    # -- the layers ----------------------------------------------------------------------------

    def _bind_sync(self, inner: Inner, reject: Reject) -> Inner:
        permits = self._permits
        take, give_back = permits.take, permits.give_back

        def guarded(*args: Any, **kwargs: Any) -> Any:
            place: Place | Rejection | None = take()
            if place is None:
                place = self._wait()
                if isinstance(place, Rejection):
                    return reject(place)
            try:
                result = inner(*args, **kwargs)
                if result.__class__ in UNUSUAL:
                    check_unusual(result)
            except BaseException as error:
                self._leave(place, error)
                raise
            waiter = give_back(place)
            if waiter is not None or permits.orphans:
                self._hand_on(waiter)
            return result

        return guarded

    def _bind_async(self, inner: Inner, reject: Reject) -> Inner:
        permits = self._permits
        take, give_back = permits.take, permits.give_back

        async def guarded(*args: Any, **kwargs: Any) -> Any:
            place: Place | Rejection | None = take()
            if place is None:
                place = await self._await()
                if isinstance(place, Rejection):
                    return reject(place)
            try:
                result = await inner(*args, **kwargs)
            except BaseException as error:
                self._leave(place, error)
                raise
            waiter = give_back(place)
            if waiter is not None or permits.orphans:
                self._hand_on(waiter)
            return result

        return guarded

    def _bind_generator(self, inner: Inner) -> Inner:
        return guard(inner, lambda call: _Housed(self, call))

    def _bind_async_generator(self, inner: Inner) -> Inner:
        return guard_async(inner, lambda call: _AsyncHoused(self, call))

    # -- the block forms -----------------------------------------------------------------------

    def __enter__(self) -> None:
        self._enter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave(self._permits.place, error)

    async def __aenter__(self) -> None:
        await self._aenter()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave(self._permits.place, error)

    def _enter(self) -> Place:
        place = self._permits.take() or self._wait()
        return raise_rejection(place) if isinstance(place, Rejection) else place

    async def _aenter(self) -> Place:
        place = self._permits.take() or await self._await()
        return raise_rejection(place) if isinstance(place, Rejection) else place

    # -- waiting for a place -------------------------------------------------------------------

    def _wait(self) -> Place | Rejection:
        """Join the queue, blocking the thread."""
        late = passed(self.name, self._clock)
        if late is not None:
            return self._tell_rejected(late)
        event = Event()
        waiter = Waiter(event.set)
        if not self._permits.enqueue(waiter):
            return self._refuse("full")
        if waiter.granted is None:
            try:
                self._clock.wait(event, self._patience())
            except BaseException as error:
                self._give_up(waiter, error)
                raise
        return self._arrive(waiter)

    async def _await(self) -> Place | Rejection:
        """Join the queue, suspending the task."""
        late = passed(self.name, self._clock)
        if late is not None:
            return self._tell_rejected(late)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        waiter = Waiter(lambda: _resolve_from_anywhere(loop, future))
        if not self._permits.enqueue(waiter):
            return self._refuse("full")
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

    def _leave(self, place: Place, error: BaseException | None) -> None:
        if isinstance(error, GeneratorExit):
            self._wake(self._permits.orphan(place))
        else:
            self._hand_on(self._permits.give_back(place))

    def _give_up(self, waiter: Waiter, error: BaseException) -> None:
        if isinstance(error, GeneratorExit):
            self._wake(self._permits.orphan(waiter))
        else:
            self._hand_on(self._permits.abandon(waiter))

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


class _Housed(Session[Bulkhead]):
    _place: Place | None = None

    def open(self) -> Any:
        self._place = self.policy._enter()
        return super().open()

    def end(self, error: BaseException | None) -> None:
        if self._place is not None:
            self.policy._leave(self._place, error)


class _AsyncHoused(AsyncSession[Bulkhead]):
    _place: Place | None = None

    async def open(self) -> Any:
        self._place = await self.policy._aenter()
        return await super().open()

    def end(self, error: BaseException | None) -> None:
        if self._place is not None:
            self.policy._leave(self._place, error)
