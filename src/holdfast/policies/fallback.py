"""The fallback: when the answer cannot be had, another one."""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Generator,
    Iterable,
)
from contextlib import contextmanager
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from holdfast._core.clock import Clock
from holdfast._core.fork import SharedLock
from holdfast._core.hub import EventHub
from holdfast._core.outcome import Rejection
from holdfast._core.validate import refuse
from holdfast.classify import classify
from holdfast.errors import Category, UnwantedResultError
from holdfast.policies.base import Inner, Policy, Reject, own_arguments, refuse_coroutine
from holdfast.policies.select import Which, matcher
from holdfast.policies.streams import AsyncSession, Session, guard, guard_async

if TYPE_CHECKING:
    from holdfast._core.snapshots import FallbackSnapshot

_ABSENT: Final[Any] = object()

_SHARED = SharedLock()
# All fallbacks: taken when one answers.


class Fallback(Policy):
    """Answer with something else when the call fails.

    Args:
        handler: called with the exception and then with the call's own arguments; what it returns
            is the answer. For a coroutine function it may be async. For a generator function it
            gives an iterable (for an async one, also an async iterable).
        name: for events and snapshots; default: the pipeline's.
        value: the answer, instead of a handler. The same object every time: do not change it.
        on: exceptions that are answered. Default: all categories but permanent and cancelled,
            refusals by policies further in included.
        on_result: a function that says of a result whether to answer in its place; the handler
            then gets a `UnwantedResultError` that carries it.
        clock, events: for tests and containers.

    Raises:
        ConfigurationError: neither or both of `handler` and `value` are given.

    If the handler raises too, its exception comes out, with the first one as its context. A stream
    is only replaced until its first item is out. Thread safe; cancellation is never answered.
    """

    kind = "fallback"
    __slots__ = (
        "_failed",
        "_handler",
        "_judge_result",
        "_matches",
        "_used",
    )

    def __init__(
        self,
        handler: Callable[..., Any] | None = None,
        name: str | None = None,
        *,
        value: Any = _ABSENT,
        on: Which | None = None,
        on_result: Callable[[Any], bool] | None = None,
        clock: Clock | None = None,
        events: EventHub | None = None,
    ) -> None:
        super().__init__(name, clock, events)
        if (handler is None) == (value is _ABSENT):
            raise refuse("handler", handler, "a function, unless value=... is given instead")
        if handler is not None and not callable(handler):
            raise refuse("handler", handler, "a function")
        self._handler = _constant(value) if handler is None else handler
        self._matches = None if on is None else matcher("on", on)
        self._judge_result = on_result
        self._used = 0
        self._failed = 0

    def snapshot(self) -> FallbackSnapshot:
        """The fallback's totals at this moment."""
        from holdfast._core.snapshots import FallbackSnapshot

        with _SHARED.lock:
            return FallbackSnapshot(self.name, self._used, self._failed)

    # -- the layers ----------------------------------------------------------------------------

    def _bind_sync(self, inner: Inner, reject: Reject) -> Inner:
        def answered(*args: Any, **kwargs: Any) -> Any:
            try:
                result = inner(*args, **kwargs)
                if result.__class__ is CoroutineType:
                    refuse_coroutine(result)
            except Exception as error:
                if not self._applies(error):
                    raise
                return self._answer(error, own_arguments(reject, args), kwargs)
            bad = self._unwanted(result)
            if bad is None:
                return result
            return self._answer(bad, own_arguments(reject, args), kwargs)

        return answered

    def _bind_async(self, inner: Inner, reject: Reject) -> Inner:
        async def answered(*args: Any, **kwargs: Any) -> Any:
            try:
                result = await inner(*args, **kwargs)
            except Exception as error:
                if not self._applies(error):
                    raise
                return await self._aanswer(error, own_arguments(reject, args), kwargs)
            bad = self._unwanted(result)
            if bad is None:
                return result
            return await self._aanswer(bad, own_arguments(reject, args), kwargs)

        return answered

    def _bind_generator(self, inner: Inner) -> Inner:
        return guard(inner, lambda call: _Answered(self, call))

    def _bind_async_generator(self, inner: Inner) -> Inner:
        return guard_async(inner, lambda call: _AsyncAnswered(self, call))

    # -- deciding and answering ----------------------------------------------------------------

    def _applies(self, error: Exception) -> bool:
        if self._matches is not None:
            try:
                return bool(self._matches(error))
            except Exception:
                self._complain("on")
        return classify(error) not in (Category.PERMANENT, Category.CANCELLED)

    def _unwanted(self, result: Any) -> Exception | None:
        """The error that a result stands for, if it is one to answer in its place."""
        if result.__class__ is Rejection:
            error: Exception = result.error
            return error if self._applies(error) else None
        if self._judge_result is not None:
            try:
                if self._judge_result(result):
                    return UnwantedResultError(result)
            except Exception:
                self._complain("on_result")
        return None

    def _answer(self, error: Exception, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with self._counted(error):
            answer = self._handler(error, *args, **kwargs)
            if answer.__class__ is CoroutineType:
                refuse_coroutine(answer)
            return answer

    async def _aanswer(
        self, error: Exception, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        with self._counted(error):
            answer = self._handler(error, *args, **kwargs)
            return await answer if inspect.isawaitable(answer) else answer

    @contextmanager
    def _counted(self, error: Exception) -> Generator[None]:
        """Count and tell how the handler fares; chain its exception to the first one."""
        try:
            yield
        except Exception as failure:  # not a finaliser's GeneratorExit: it must wait for no lock
            with _SHARED.lock:
                self._failed += 1
            if failure.__context__ is None and failure is not error:
                failure.__context__ = error
            raise
        with _SHARED.lock:
            self._used += 1
        if self._events.active:
            from holdfast._core.events import FallbackUsed

            self._events.emit(
                FallbackUsed(
                    name=self.name, at=self._clock.wall(), error_type=type(error).__qualname__
                )
            )


class _Answered(Session[Fallback]):
    def open(self) -> Any:
        try:
            return super().open()
        except Exception as error:
            if isinstance(error, StopIteration) or not self.policy._applies(error):
                raise
            answer = self.policy._answer(error, self.call.args, self.call.keywords)
            self.source = _items(answer)
            return next(self.source)


class _AsyncAnswered(AsyncSession[Fallback]):
    async def open(self) -> Any:
        try:
            return await super().open()
        except Exception as error:
            if isinstance(error, StopAsyncIteration) or not self.policy._applies(error):
                raise
            answer = await self.policy._aanswer(error, self.call.args, self.call.keywords)
            self.source = _aitems(answer)
            return await self.source.__anext__()


def _constant(value: Any) -> Callable[..., Any]:
    def answer(error: Exception, *args: Any, **kwargs: Any) -> Any:
        return value

    return answer


def _items(answer: Iterable[Any]) -> Generator[Any, Any, Any]:
    yield from answer


async def _aitems(answer: Iterable[Any] | AsyncIterable[Any]) -> AsyncGenerator[Any, Any]:
    if isinstance(answer, AsyncIterable):
        async for item in answer:
            yield item
    else:
        for item in answer:
            yield item
