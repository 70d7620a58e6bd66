"""Gates as layers: what circuit breaker, bulkhead and every later gate have in common.

A gate admits a call and is told how it ended; it never touches the call itself. So one driver
serves all gates, and two neighbouring gates share one layer, because a coroutine per layer costs
more than the decisions in it. For the same reason the driver takes over the innermost `Timeout`.

A driver closes over one tuple rather than several variables: thousands of keyed pipelines are bound
at a time, and each variable of a closure takes a cell.
"""

from __future__ import annotations

from abc import abstractmethod
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, Protocol

from holdfast._core.deadline import LIMIT
from holdfast._core.outcome import Rejection
from holdfast.policies.base import (
    Inner,
    Policy,
    Reject,
    awaited,
    raise_rejection,
    refuse_coroutine,
)
from holdfast.policies.streams import AsyncSession, Session, guard, guard_async

if TYPE_CHECKING:
    from holdfast.policies.timeout import Timeout

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
        return one_gate(self, inner, reject)

    def _bind_async(self, inner: Inner, reject: Reject) -> Inner:
        return one_gate_async(self, inner, reject, None)

    def _bind_generator(self, inner: Inner) -> Inner:
        return guard(inner, lambda call: _Passage(self, call))

    def _bind_async_generator(self, inner: Inner) -> Inner:
        return guard_async(inner, lambda call: _AsyncPassage(self, call))

    # A stream is admitted once and settled once. Gates that care about its first item override.

    def _first_item(self, permit: Any) -> Any:
        """The stream's first item is out: the permit to settle with."""
        return permit


def one_gate(gate: Gate, inner: Inner, reject: Reject) -> Inner:
    """`inner` behind one gate."""
    parts = (gate, gate._machine, inner, reject)

    def guarded(*args: Any, **kwargs: Any) -> Any:
        gate, hot, inner, reject = parts
        permit = hot.take()
        if permit is None:
            permit = gate._admit()
            if permit is None:
                permit = gate._wait()
            if permit.__class__ is Rejection:
                return reject(permit)
        try:
            result = inner(*args, **kwargs)
            if result.__class__ is CoroutineType:
                refuse_coroutine(result)
        except BaseException as error:
            gate._failed(permit, error)
            raise
        if result.__class__ is Rejection:
            gate._failed(permit, None)
            return result
        news = hot.give_back(permit, result)
        if news is not None:
            gate._news(news)
        return result

    return guarded


def two_gates(outer: Gate, gate: Gate, inner: Inner, reject: Reject) -> Inner:
    """`inner` behind `gate` behind `outer`."""
    parts = (outer, outer._machine, gate, gate._machine, inner, reject)

    def guarded(*args: Any, **kwargs: Any) -> Any:
        outer, outer_hot, gate, hot, inner, reject = parts
        held = outer_hot.take()
        if held is None:
            held = outer._admit()
            if held is None:
                held = outer._wait()
            if held.__class__ is Rejection:
                return reject(held)
        permit = hot.take()
        if permit is None:
            permit = _second(outer, held, gate)
            if permit.__class__ is Rejection:
                return reject(permit)
        try:
            result = inner(*args, **kwargs)
            if result.__class__ is CoroutineType:
                refuse_coroutine(result)
        except BaseException as error:
            gate._failed(permit, error)
            outer._failed(held, error)
            raise
        if result.__class__ is Rejection:
            gate._failed(permit, None)
            outer._failed(held, None)
            return result
        news = hot.give_back(permit, result)
        if news is not None:
            gate._news(news)
        news = outer_hot.give_back(held, result)
        if news is not None:
            outer._news(news)
        return result

    return guarded


def one_gate_async(gate: Gate, inner: Inner, reject: Reject, timeout: Timeout | None) -> Inner:
    """`inner` behind one gate, and inside `timeout`, if one is given."""
    parts = (gate, gate._machine, inner, reject, timeout)

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        gate, hot, inner, reject, timeout = parts
        permit = hot.take()
        if permit is None:
            permit = gate._admit()
            if permit is None:
                permit = await gate._await()
            if permit.__class__ is Rejection:
                return reject(permit)
        try:
            if timeout is None:
                result = await inner(*args, **kwargs)
            else:
                limit: Any = None if LIMIT.get() is None else timeout._left()
                if limit.__class__ is Rejection:
                    result = reject(limit)
                else:
                    coroutine = inner(*args, **kwargs)
                    if coroutine.__class__ is not CoroutineType:
                        coroutine = awaited(coroutine)
                    try:
                        pending = coroutine.send(None)
                    except StopIteration as end:
                        result = end.value
                    else:
                        result = await timeout._watch(coroutine, pending, limit)
        except BaseException as error:
            gate._failed(permit, error)
            raise
        if result.__class__ is Rejection:
            gate._failed(permit, None)
            return result
        news = hot.give_back(permit, result)
        if news is not None:
            gate._news(news)
        return result

    return guarded


def two_gates_async(
    outer: Gate, gate: Gate, inner: Inner, reject: Reject, timeout: Timeout | None
) -> Inner:
    """`inner` behind `gate` behind `outer`; `timeout` as in `one_gate_async`."""
    parts = (outer, outer._machine, gate, gate._machine, inner, reject, timeout)

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        outer, outer_hot, gate, hot, inner, reject, timeout = parts
        held = outer_hot.take()
        if held is None:
            held = outer._admit()
            if held is None:
                held = await outer._await()
            if held.__class__ is Rejection:
                return reject(held)
        permit = hot.take()
        if permit is None:
            permit = await _second_async(outer, held, gate)
            if permit.__class__ is Rejection:
                return reject(permit)
        try:
            if timeout is None:
                result = await inner(*args, **kwargs)
            else:
                limit: Any = None if LIMIT.get() is None else timeout._left()
                if limit.__class__ is Rejection:
                    result = reject(limit)
                else:
                    coroutine = inner(*args, **kwargs)
                    if coroutine.__class__ is not CoroutineType:
                        coroutine = awaited(coroutine)
                    try:
                        pending = coroutine.send(None)
                    except StopIteration as end:
                        result = end.value
                    else:
                        result = await timeout._watch(coroutine, pending, limit)
        except BaseException as error:
            gate._failed(permit, error)
            outer._failed(held, error)
            raise
        if result.__class__ is Rejection:
            gate._failed(permit, None)
            outer._failed(held, None)
            return result
        news = hot.give_back(permit, result)
        if news is not None:
            gate._news(news)
        news = outer_hot.give_back(held, result)
        if news is not None:
            outer._news(news)
        return result

    return guarded


def _second(outer: Gate, held: Any, gate: Gate) -> Any:
    """A permit or `Rejection` of the second gate; without a permit the first is let go."""
    try:
        permit = gate._admit()
        if permit is None:
            permit = gate._wait()
    except BaseException as error:
        outer._failed(held, error)
        raise
    if permit.__class__ is Rejection:
        outer._failed(held, None)
    return permit


async def _second_async(outer: Gate, held: Any, gate: Gate) -> Any:
    """The async twin of `_second`."""
    try:
        permit = gate._admit()
        if permit is None:
            permit = await gate._await()
    except BaseException as error:
        outer._failed(held, error)
        raise
    if permit.__class__ is Rejection:
        outer._failed(held, None)
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
