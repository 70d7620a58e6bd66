"""What circuit breaker, bulkhead and every later gate have in common.

A gate admits a call and is told how it ended; it never touches the call itself. So one driver
serves all gates.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Final, Protocol

from holdfast._core.outcome import Rejection
from holdfast.policies.base import (
    Inner,
    Policy,
    Reject,
    raise_rejection,
)
from holdfast.policies.drivers import drive, drive_async
from holdfast.policies.streams import AsyncSession, Session, guard, guard_async

if TYPE_CHECKING:
    pass

NO_RESULT: Final = object()
"""What a block or a stream ends with: there is nothing to judge."""


class Hot(Protocol):
    """The everyday path of a gate."""

    def take(self) -> Any:
        """A permit if there is nothing to consider; else None, and `Gate._admit` is asked."""

    def give_back(self, permit: Any, result: Any, /) -> Any:
        """The call of this permit returned this result. An answer is for `Gate._news`."""


class Gate(Policy):
    """A policy that admits or refuses calls and learns from how they end."""

    __slots__ = ()

    @property
    @abstractmethod
    def _machine(self) -> Hot:
        """Who takes and settles permits on the everyday path, without a frame in between."""

    @abstractmethod
    def _admit(self) -> Any:
        """A permit, a `Rejection`, or None if the call has to wait."""

    def _wait(self) -> Any:
        """Block the thread until there is a permit or a `Rejection`."""
        raise AssertionError("only gates with a queue let callers wait")  # pragma: no cover

    async def _await(self) -> Any:
        """Suspend the task until there is a permit or a `Rejection`."""
        raise AssertionError("only gates with a queue let callers wait")  # pragma: no cover

    @abstractmethod
    def _failed(self, permit: Any, error: BaseException | None) -> None:
        """The call raised, was cancelled or was finalised; None: refused further in."""

    def _news(self, news: Any) -> None:
        """Act on what settling a permit gave."""

    def _settle(self, permit: Any, result: Any) -> None:
        """The call returned, off the everyday path."""
        news = self._machine.give_back(permit, result)
        if news is not None:
            self._news(news)

    def _enter(self) -> Any:
        """A permit, or raise the refusal."""
        permit = self._machine.take()
        if permit is None:
            permit = self._admit()
            if permit is None:
                permit = self._wait()
            if permit.__class__ is Rejection:
                raise_rejection(permit)
        return permit

    async def _aenter(self) -> Any:
        """The async twin of `_enter`."""
        permit = self._machine.take()
        if permit is None:
            permit = self._admit()
            if permit is None:
                permit = await self._await()
            if permit.__class__ is Rejection:
                raise_rejection(permit)
        return permit

    def _bind_sync(self, inner: Inner, reject: Reject) -> Inner:
        return drive(None, None, self, inner, reject)

    def _bind_async(self, inner: Inner, reject: Reject) -> Inner:
        return drive_async(None, None, self, None, inner, reject)

    def _bind_generator(self, inner: Inner) -> Inner:
        return guard(inner, lambda call: _Passage(self, call))

    def _bind_async_generator(self, inner: Inner) -> Inner:
        return guard_async(inner, lambda call: _AsyncPassage(self, call))

    # A stream is admitted once and settled once. Gates that care about its first item override.

    def _first_item(self, permit: Any) -> Any:
        """The stream's first item is out: the permit to settle with."""
        return permit


class _Passage(Session[Gate]):
    """A stream through a gate."""

    _permit: Any = None

    def open(self) -> Any:
        self._permit = self.policy._enter()
        item = super().open()
        self._permit = self.policy._first_item(self._permit)
        return item

    def end(self, error: BaseException | None) -> None:
        if self._permit is None:
            return
        if error is None:
            self.policy._settle(self._permit, NO_RESULT)
        else:
            self.policy._failed(self._permit, error)


class _AsyncPassage(AsyncSession[Gate]):
    """The async twin of `_Passage`."""

    _permit: Any = None

    async def open(self) -> Any:
        self._permit = await self.policy._aenter()
        item = await super().open()
        self._permit = self.policy._first_item(self._permit)
        return item

    def end(self, error: BaseException | None) -> None:
        if self._permit is None:
            return
        if error is None:
            self.policy._settle(self._permit, NO_RESULT)
        else:
            self.policy._failed(self._permit, error)
