"""The timeout: an end to waiting.

Async code is cancelled where it waits. Sync code cannot be: the default is cooperative, in that
the limit becomes the ambient deadline for whatever looks at it, and a thread mode exists for code
that looks at nothing.

A coroutine is stepped once before anything is armed. Most calls that answer from memory never
suspend, and then cost no timer; the limit counts from the first suspension.
"""

from __future__ import annotations

import asyncio
import threading
import types
from collections.abc import Awaitable, Callable, Generator
from contextvars import Token, copy_context
from functools import partial
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, get_args

from holdfast._core.clock import Clock
from holdfast._core.deadline import LIMIT, passed
from holdfast._core.fork import SharedLock
from holdfast._core.hub import EventHub
from holdfast._core.outcome import Rejection
from holdfast._core.validate import count, number, refuse
from holdfast.errors import CallTimeoutError
from holdfast.policies import blocks
from holdfast.policies.base import (
    Inner,
    Policy,
    Reject,
    awaited,
    raise_rejection,
    refuse_coroutine,
)
from holdfast.policies.streams import AsyncSession, Session, guard, guard_async
from holdfast.policies.timers import start

if TYPE_CHECKING:
    from holdfast._core.snapshots import TimeoutSnapshot

SyncMode = Literal["deadline", "thread"]


_SHARED = SharedLock()
# All timeouts: taken when one runs out.


class Timeout(Policy):
    """Give a call `seconds`, then raise `CallTimeoutError`.

    Args:
        seconds: the limit, above 0. A nearer ambient deadline shortens it. For other policies
            inside it in a pipeline the limit is the ambient deadline, so that retries and queues
            do not plan past it.
        name: for errors, events and snapshots; default: the pipeline's.
        sync: what happens to sync functions, which nothing can interrupt. ``"deadline"``
            (default) sets the ambient deadline and lets the function finish: it must look at
            `time_left()`, or hand it to its client, and a result that comes late is still
            returned. ``"thread"`` runs it in a thread of its own and leaves that behind when time
            is up; context variables go with it.
        max_abandoned: in thread mode, threads left behind that may still run; at that number
            calls are refused instead of starting another. Default 16.
        clock, events: for tests and containers. Async limits run on the event loop's time.

    Raises:
        ConfigurationError: an option is out of its range.
        CallTimeoutError: (from a protected call) our timer ran out. A TimeoutError that the callee
            raises comes out as it is.
        DeadlineExceededError: (likewise) the ambient deadline had passed before the call began.

    For an async generator the limit is on each wait for an item, never on the consumer; sync
    generators get the limit as deadline for each item. Thread safe. Cancelling the call cancels
    the callee; a cancellation from outside always wins over ours.
    """

    kind = "timeout"
    __slots__ = ("_abandoned", "_max_abandoned", "_sync", "_timed_out", "seconds")

    def __init__(
        self,
        seconds: float,
        name: str | None = None,
        *,
        sync: SyncMode = "deadline",
        max_abandoned: int = 16,
        clock: Clock | None = None,
        events: EventHub | None = None,
    ) -> None:
        super().__init__(name, clock, events)
        self.seconds = number("seconds", seconds, above=0)
        if sync not in get_args(SyncMode):
            raise refuse("sync", sync, "'deadline' or 'thread'")
        self._sync = sync
        self._max_abandoned = count("max_abandoned", max_abandoned)
        self._abandoned = 0
        self._timed_out = 0

    def snapshot(self) -> TimeoutSnapshot:
        """The timeout at this moment."""
        from holdfast._core.snapshots import TimeoutSnapshot

        with _SHARED.lock:
            return TimeoutSnapshot(self.name, self.seconds, self._timed_out, self._abandoned)

    # -- the layers ----------------------------------------------------------------------------

    def _bind_sync(self, inner: Inner, reject: Reject) -> Inner:
        clock, seconds = self._clock, self.seconds

        def limited(*args: Any, **kwargs: Any) -> Any:
            at = clock.now() + seconds
            outer = LIMIT.get()
            if outer is not None and outer < at:
                at = outer
                late = passed(self.name, clock)
                if late is not None:
                    return reject(self._tell_rejected(late))
            token = LIMIT.set(at)
            try:
                result = inner(*args, **kwargs)
                if result.__class__ is CoroutineType:
                    refuse_coroutine(result)
                return result
            finally:
                LIMIT.reset(token)

        def threaded(*args: Any, **kwargs: Any) -> Any:
            late = passed(self.name, clock)
            if late is not None:
                return reject(self._tell_rejected(late))
            return self._in_thread(inner, args, kwargs, reject)

        return threaded if self._sync == "thread" else limited

    def _bind_async(self, inner: Inner, reject: Reject) -> Inner:
        return self._bind_limit(inner, reject, publish=False)

    def _bind_limit(self, inner: Inner, reject: Reject, *, publish: bool) -> Inner:
        """The async layer; with `publish` the limit is the ambient deadline of what is inside."""

        async def limited(*args: Any, **kwargs: Any) -> Any:
            limit: Any = None if LIMIT.get() is None else self._left()
            if limit.__class__ is Rejection:
                return reject(limit)
            token = None
            if publish:
                token = LIMIT.set(self._clock.now() + (self.seconds if limit is None else limit))
            try:
                coroutine = inner(*args, **kwargs)
                if coroutine.__class__ is not CoroutineType:
                    coroutine = awaited(coroutine)
                try:
                    pending = coroutine.send(None)
                except StopIteration as done:
                    return done.value
                return await self._watch(coroutine, pending, limit)
            finally:
                if token is not None:
                    _reset(token)

        return limited

    def _bind_generator(self, inner: Inner) -> Inner:
        if self._sync == "thread":
            raise TypeError("a timeout in thread mode cannot protect a generator function")
        run = self._bind_sync(_resume, raise_rejection)
        return guard(inner, lambda call: _Limited(run, call))

    def _bind_async_generator(self, inner: Inner) -> Inner:
        run = self._bind_async(_resume, raise_rejection)
        return guard_async(inner, lambda call: _AsyncLimited(run, call))

    def _left(self) -> float | Rejection | None:
        """Seconds until the ambient deadline, if it is nearer than our own limit."""
        late = passed(self.name, self._clock)
        if late is not None:
            return self._tell_rejected(late)
        outer = LIMIT.get()
        left = self.seconds if outer is None else outer - self._clock.now()
        return left if left < self.seconds else None

    # -- waiting, with the timer running -------------------------------------------------------

    @types.coroutine
    def _watch(
        self, coroutine: Any, pending: Any, limit: float | None = None
    ) -> Generator[Any, Any, Any]:
        """Drive a coroutine, which has suspended once with `pending`, until it ends or we do."""
        shared = limit is None
        if limit is None:
            limit = self.seconds
        watch = start(limit, shared=shared)
        claimed = False
        try:
            while True:
                try:
                    sent = yield pending
                except GeneratorExit:
                    coroutine.close()
                    raise
                except BaseException as thrown:
                    pending = coroutine.throw(thrown)
                else:
                    if sent is None:
                        return (yield from coroutine)  # pyright: ignore[reportUnknownVariableType]
                    pending = coroutine.send(sent)
        except StopIteration as done:
            return done.value
        except asyncio.CancelledError as error:
            if watch.fired:
                claimed = True
                if watch.is_ours():
                    raise self._expired(limit) from error
            raise
        finally:
            watch.stop()
            if watch.fired and not claimed:
                watch.task.uncancel()

    def _expired(self, limit: float) -> CallTimeoutError:
        """Count and tell that time is up; the error to raise."""
        with _SHARED.lock:
            self._timed_out += 1
        if self._events.active:
            from holdfast._core.events import CallTimedOut

            self._events.emit(CallTimedOut(name=self.name, at=self._clock.wall(), seconds=limit))
        return CallTimeoutError(self.name, limit)

    def _in_thread(
        self, inner: Inner, args: tuple[Any, ...], kwargs: dict[str, Any], reject: Reject
    ) -> Any:
        """Run the call in a thread of its own and leave that behind when time is up."""
        with _SHARED.lock:
            if self._abandoned >= self._max_abandoned:
                full = Rejection("timeout", self.name, "too many abandoned calls still run")
            else:
                full = None
        if full is not None:
            return reject(self._tell_rejected(full))
        limit = self.seconds
        outer = LIMIT.get()
        if outer is not None:
            limit = min(limit, outer - self._clock.now())
        work = _Work(inner, args, kwargs, self._clock.now() + limit)
        thread = threading.Thread(
            target=self._work_off, args=(work,), name=f"holdfast-{self.name}", daemon=True
        )
        thread.start()
        try:
            self._clock.wait(work.finished, limit)
        finally:
            with _SHARED.lock:
                if not work.done:
                    work.abandoned = True
                    self._abandoned += 1
        if work.abandoned:
            raise self._expired(limit)
        if work.error is not None:
            raise work.error
        if work.result.__class__ is CoroutineType:
            refuse_coroutine(work.result)
        return work.result

    def _work_off(self, work: _Work) -> None:
        work.run()
        with _SHARED.lock:
            work.done = True
            if work.abandoned:
                self._abandoned -= 1
        work.finished.set()

    # -- the block form ------------------------------------------------------------------------

    async def __aenter__(self) -> None:
        late = passed(self.name, self._clock)
        if late is not None:
            raise_rejection(self._tell_rejected(late))
        outer, now = LIMIT.get(), self._clock.now()
        at = now + self.seconds
        limit = self.seconds
        if outer is not None and outer < at:
            at, limit = outer, outer - now
        watch = start(limit, shared=limit == self.seconds)
        blocks.push(self, (watch, limit, LIMIT.set(at)))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        entry = blocks.pop(self)
        if entry is None:
            raise RuntimeError(f"timeout {self.name!r} was entered in another task")
        watch, limit, token = entry
        watch.stop()
        _reset(token)
        if watch.fired and watch.is_ours() and isinstance(error, asyncio.CancelledError):
            raise self._expired(limit) from error


class _Work:
    """A call on its way through a thread."""

    def __init__(self, fn: Inner, args: tuple[Any, ...], kwargs: dict[str, Any], at: float) -> None:
        self._context = copy_context()
        self._context.run(LIMIT.set, at)
        self._call = partial(fn, *args, **kwargs)
        self.finished = threading.Event()
        self.done = False
        self.abandoned = False
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self._context.run(self._call)
        except BaseException as error:
            self.error = error


def _resume(resume: Callable[..., Any], *argument: Any) -> Any:
    return resume(*argument)


def _reset(token: Token[float | None]) -> None:
    try:
        LIMIT.reset(token)
    except ValueError:
        # The collector finalised the coroutine in somebody else's context.
        pass


class _Limited(Session[Inner]):
    def step(self, resume: Callable[..., Any], *argument: Any) -> Any:
        return self.policy(resume, *argument)


class _AsyncLimited(AsyncSession[Inner]):
    async def step(self, resume: Callable[..., Awaitable[Any]], *argument: Any) -> Any:
        return await self.policy(resume, *argument)
