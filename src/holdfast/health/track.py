"""Telling the monitor of each call: a layer that measures and lets everything through."""

from __future__ import annotations

from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any

from holdfast._core.clock import Clock
from holdfast._core.outcome import Rejection
from holdfast.health.calls import outcome_of
from holdfast.policies import blocks
from holdfast.policies.base import Inner, Policy, Reject, refuse_coroutine
from holdfast.policies.streams import AsyncSession, Session, guard, guard_async

if TYPE_CHECKING:
    from holdfast.health.component import Component
    from holdfast.health.snapshots import TrafficSnapshot


class Track(Policy):
    """Record how each call of a service ends and how long it takes; made by `HealthMonitor.track`.

    A decorator, a block (``with``, ``async with``), or a policy in a pipeline: in front it sees
    what the caller gets, refusals included, at the end each attempt. Cancelled calls are not
    recorded. Of a generator the time until its first item counts. Thread safe; it changes no result
    and no error.
    """

    kind = "track"
    __slots__ = ("_component",)

    def __init__(self, component: Component, clock: Clock) -> None:
        super().__init__(component.name, clock, None)
        self._component = component

    def snapshot(self) -> TrafficSnapshot:
        """The traffic of the service at this moment."""
        return self._component.traffic(self._clock.now())

    # -- the layers ----------------------------------------------------------------------------

    def _bind_sync(self, inner: Inner, reject: Reject) -> Inner:
        clock = self._clock

        def tracked(*args: Any, **kwargs: Any) -> Any:
            started = clock.now()
            try:
                result = inner(*args, **kwargs)
                if result.__class__ is CoroutineType:
                    refuse_coroutine(result)
            except Exception as error:
                self._ended(started, error)
                raise
            self._returned(started, result)
            return result

        return tracked

    def _bind_async(self, inner: Inner, reject: Reject) -> Inner:
        clock = self._clock

        async def tracked(*args: Any, **kwargs: Any) -> Any:
            started = clock.now()
            try:
                result = await inner(*args, **kwargs)
            except Exception as error:
                self._ended(started, error)
                raise
            self._returned(started, result)
            return result

        return tracked

    def _bind_generator(self, inner: Inner) -> Inner:
        return guard(inner, lambda call: _Tracked(self, call))

    def _bind_async_generator(self, inner: Inner) -> Inner:
        return guard_async(inner, lambda call: _AsyncTracked(self, call))

    # -- the block forms -----------------------------------------------------------------------

    def __enter__(self) -> None:
        blocks.push(self, self._clock.now())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        started = blocks.pop(self)
        # None: it was entered in another context, and nobody knows when.
        if started is not None:
            self._ended(started, error)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)

    # -- recording -----------------------------------------------------------------------------

    def _returned(self, started: float, result: Any) -> None:
        now = self._clock.now()
        rejected = result.__class__ is Rejection
        self._component.record(now, "rejected" if rejected else "success", now - started)

    def _ended(
        self, started: float, error: BaseException | None, waited: float | None = None
    ) -> None:
        """A call ended, which took `waited` seconds, by default until now."""
        # Whoever cancelled it knows why; it says nothing about the service.
        if error is None or isinstance(error, Exception):
            now = self._clock.now()
            self._component.record(
                now, outcome_of(error), now - started if waited is None else waited
            )


class _Tracked(Session[Track]):
    _waited: float | None = None

    def open(self) -> Any:
        self._started = self.policy._clock.now()
        item = super().open()
        self._waited = self.policy._clock.now() - self._started
        return item

    def end(self, error: BaseException | None) -> None:
        if isinstance(error, GeneratorExit) and self._waited is not None:
            error = None  # a consumer that stops early after an item saw the service deliver
        self.policy._ended(self._started, error, self._waited)


class _AsyncTracked(AsyncSession[Track]):
    """The async twin of `_Tracked`."""

    _waited: float | None = None

    async def open(self) -> Any:
        self._started = self.policy._clock.now()
        item = await super().open()
        self._waited = self.policy._clock.now() - self._started
        return item

    def end(self, error: BaseException | None) -> None:
        if isinstance(error, GeneratorExit) and self._waited is not None:
            error = None
        self.policy._ended(self._started, error, self._waited)
