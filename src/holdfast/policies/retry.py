"""The retry: once more, after a while, if that makes sense and the budget pays for it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextvars import ContextVar
from types import CoroutineType, TracebackType
from typing import Any

from holdfast._core.backoff import Backoff
from holdfast._core.budget import Budget
from holdfast._core.clock import Clock
from holdfast._core.deadline import LIMIT, passed
from holdfast._core.events import EventHub, RetryGaveUp, RetryScheduled
from holdfast._core.outcome import Rejection
from holdfast._core.plan import Plan, RetryOptions, Stop
from holdfast._core.tally import MOST_WINS, RetrySnapshot, RetryTally
from holdfast._core.validate import count, number, refuse
from holdfast.classify import classify, retry_after
from holdfast.errors import Category, RejectedError
from holdfast.policies.base import Inner, Policy, Reject, raise_rejection, refuse_coroutine
from holdfast.policies.select import Which, matcher
from holdfast.policies.streams import AsyncSession, Session, guard, guard_async

_log = logging.getLogger("holdfast")

RETRIED = frozenset({Category.TRANSIENT, Category.TIMEOUT, Category.OVERLOAD})
"""What is retried unless told otherwise."""

DEFAULT_BACKOFF = Backoff()

OWN_BUDGET = Budget()
"""Stands for "a budget of its own" in the signature of `Retry`; never drawn upon."""

_NOTE = "holdfast: retry "

_scope: ContextVar[list[bool] | None] = ContextVar("holdfast_retry", default=None)
"""Set while a retry makes attempts: [True], and [False] once that call is over.

The list outlives its call: a stale one is cheaper than resetting the variable, and a task that was
started inside an attempt, and copied the context, may retry again once the attempt is over.
"""


class Retry(Policy):
    """Repeat a call that failed in a way that may pass.

    Args:
        name: for errors, events and snapshots; default: the pipeline's.
        attempts: calls in total, the first one included; at least 1. Default 3.
        backoff: the waits between them; default `Backoff()`: full jitter below 0.1, 0.2, 0.4 …
            seconds, at most 10.
        on: exceptions that are retried. Default: transient, timeout and overload. A refusal by a
            Holdfast policy further in is only retried if its type is named here.
        on_result: a function that says of a result whether to try again. When no further attempt
            is made, the last result is returned.
        max_elapsed: seconds after which no new attempt is started; default None.
        max_retry_after: if the dependency asks to be left alone (Retry-After), that is honoured up
            to so many seconds; beyond, the retry gives up at once. Default 60.
        budget: a `RetryBudget` to share among everything that calls one dependency; default one of
            its own; None for no limit.
        retry_when_nested: also retry inside another retry's attempt. Default False: the inner one
            makes a single attempt, because nested attempts multiply.
        clock, events: for tests and containers.

    Raises:
        ConfigurationError: an option is out of its range.
        DeadlineExceededError: (from a protected call) the ambient deadline had passed before the
            first attempt.

    Whatever the callee raised last is re-raised as it is, with a note of what was tried. No wait
    reaches past the ambient `deadline`. A generator is only repeated until its first item is out.
    Thread safe; cancellation ends the call at once.
    """

    kind = "retry"
    __slots__ = (
        "_complained",
        "_matches",
        "_names_rejections",
        "_nested",
        "_options",
        "_retry_result",
        "_tally",
    )

    def __init__(
        self,
        name: str | None = None,
        *,
        attempts: int = 3,
        backoff: Backoff | None = None,
        on: Which | None = None,
        on_result: Callable[[Any], bool] | None = None,
        max_elapsed: float | None = None,
        max_retry_after: float = 60.0,
        budget: Budget | None = OWN_BUDGET,
        retry_when_nested: bool = False,
        clock: Clock | None = None,
        events: EventHub | None = None,
    ) -> None:
        super().__init__(name, clock, events)
        if backoff is None:
            backoff = DEFAULT_BACKOFF
        elif not isinstance(backoff, Backoff):
            raise refuse("backoff", backoff, "a Backoff")
        if budget is not None and not isinstance(budget, Budget):
            raise refuse("budget", budget, "a RetryBudget or None")
        self._options = RetryOptions(
            attempts=count("attempts", attempts),
            backoff=backoff,
            max_elapsed=(
                None if max_elapsed is None else number("max_elapsed", max_elapsed, above=0)
            ),
            max_retry_after=number("max_retry_after", max_retry_after, at_least=0),
            budget=Budget() if budget is OWN_BUDGET else budget,
        )
        self._matches = None if on is None else matcher("on", on)
        self._names_rejections = on is not None and _names_rejections(on)
        self._retry_result = on_result
        self._nested = retry_when_nested
        self._complained = False
        self._tally = RetryTally(self._options.budget)

    @property
    def budget(self) -> Budget | None:
        """The budget that pays for further attempts."""
        return self._options.budget

    @property
    def names_rejections(self) -> bool:
        """Whether `on` names refusals by policies further in, which are not retried otherwise."""
        return self._names_rejections

    def snapshot(self) -> RetrySnapshot:
        """The retry's totals and its budget at this moment."""
        return self._tally.snapshot(self.name)

    # -- the layers ----------------------------------------------------------------------------

    def _bind_sync(self, inner: Inner, reject: Reject) -> Inner:
        parts = (self, self._tally, inner, reject)

        def retrying(*args: Any, **kwargs: Any) -> Any:
            self, tally, inner, reject = parts
            if LIMIT.get() is not None:
                late = passed(self.name, self._clock)
                if late is not None:
                    return reject(self._tell_rejected(late))
            scope = _scope.get()
            nested = scope is not None and scope[0]
            if not nested:
                scope = [True]
                _scope.set(scope)
            started = 0.0 if self._options.max_elapsed is None else self._clock.now()
            call: _Call | None = None
            try:
                while True:
                    try:
                        result = inner(*args, **kwargs)
                        if result.__class__ is CoroutineType:
                            refuse_coroutine(result)
                    except Exception as error:
                        if call is None:
                            call = _Call(self, nested, started)
                        delay = call.after_error(error)
                        if delay is None:
                            real = call.real_error()
                            if real is not None:
                                raise real  # noqa: B904 - the refusal stays as its context
                            raise
                    else:
                        if call is None:
                            if self._retry_result is None and result.__class__ is not Rejection:
                                # As `RetryTally.first_try`, without the price of calling it.
                                wins = tally.wins
                                wins.append(None)
                                if len(wins) > MOST_WINS:
                                    tally.fold()
                                budget = tally.budget
                                if budget is not None and not budget.full:
                                    budget.deposit()
                                return result
                            if result.__class__ is Rejection and not self._names_rejections:
                                tally.over(1, ok=False)
                                return result
                            call = _Call(self, nested, started)
                        delay = call.after_result(result)
                        if delay is None:
                            real = call.real_error()
                            if real is not None:
                                raise real
                            return result
                    self._clock.sleep(delay)
            finally:
                if not nested:
                    scope[0] = False

        return retrying

    def _bind_async(self, inner: Inner, reject: Reject) -> Inner:
        parts = (self, self._tally, inner, reject)

        async def retrying(*args: Any, **kwargs: Any) -> Any:
            self, tally, inner, reject = parts
            if LIMIT.get() is not None:
                late = passed(self.name, self._clock)
                if late is not None:
                    return reject(self._tell_rejected(late))
            scope = _scope.get()
            nested = scope is not None and scope[0]
            if not nested:
                scope = [True]
                _scope.set(scope)
            started = 0.0 if self._options.max_elapsed is None else self._clock.now()
            call: _Call | None = None
            try:
                while True:
                    try:
                        result = await inner(*args, **kwargs)
                    except Exception as error:
                        if call is None:
                            call = _Call(self, nested, started)
                        delay = call.after_error(error)
                        if delay is None:
                            real = call.real_error()
                            if real is not None:
                                raise real  # noqa: B904 - the refusal stays as its context
                            raise
                    else:
                        if call is None:
                            if self._retry_result is None and result.__class__ is not Rejection:
                                # As `RetryTally.first_try`, without the price of calling it.
                                wins = tally.wins
                                wins.append(None)
                                if len(wins) > MOST_WINS:
                                    tally.fold()
                                budget = tally.budget
                                if budget is not None and not budget.full:
                                    budget.deposit()
                                return result
                            if result.__class__ is Rejection and not self._names_rejections:
                                tally.over(1, ok=False)
                                return result
                            call = _Call(self, nested, started)
                        delay = call.after_result(result)
                        if delay is None:
                            real = call.real_error()
                            if real is not None:
                                raise real
                            return result
                    await self._clock.asleep(delay)
            finally:
                if not nested:
                    scope[0] = False

        return retrying

    def _bind_generator(self, inner: Inner) -> Inner:
        return guard(inner, lambda call: _Repeated(self, call))

    def _bind_async_generator(self, inner: Inner) -> Inner:
        return guard_async(inner, lambda call: _AsyncRepeated(self, call))

    # -- the block form ------------------------------------------------------------------------

    def attempts(self) -> Attempts:
        """Repeat a block: ``for attempt in retry.attempts():`` and inside it ``with attempt:``.

        In async code ``async for`` and ``async with``. The block's error is swallowed while
        another attempt follows; the last one comes out. `on_result` does not apply.
        """
        return Attempts(self)

    # -- bookkeeping for the drivers -----------------------------------------------------------

    def _refuse_if_late(self) -> None:
        late = passed(self.name, self._clock)
        if late is not None:
            raise_rejection(self._tell_rejected(late))

    def _retries(self, error: Exception) -> bool:
        if self._matches is not None:
            try:
                return bool(self._matches(error)) and (
                    self._names_rejections or not isinstance(error, RejectedError)
                )
            except Exception:
                self._complain("on")
        return not isinstance(error, RejectedError) and classify(error) in RETRIED

    def _rejects_result(self, result: Any) -> bool:
        if self._retry_result is None:
            return False
        try:
            return bool(self._retry_result(result))
        except Exception:
            self._complain("on_result")
            return False

    def _complain(self, option: str) -> None:
        """Log, once, that a predicate of the user's raised; the defaults decide instead."""
        if not self._complained:
            self._complained = True
            _log.exception("%s of retry %r raised", option, self.name)


class _Call:
    """The bookkeeping of one call that did not succeed at once."""

    __slots__ = ("_nested", "_plan", "_real", "_reason", "_refused", "_retry")

    def __init__(self, retry: Retry, nested: bool, started: float) -> None:
        self._retry = retry
        self._nested = nested and not retry._nested
        self._plan = Plan(retry._options, started, retry._clock.random)
        self._reason = ""
        self._real: Exception | None = None
        self._refused = False

    def after_error(self, error: Exception) -> float | None:
        """Seconds to wait before the next attempt; None when the error is to come out."""
        retryable = not self._nested and self._retry._retries(error)
        delay = self._next(error, retryable, retry_after(error) if retryable else None)
        self._refused = isinstance(error, RejectedError)
        if not self._refused:
            self._real = error
        if delay is None and self._plan.failed > 1:
            self._annotate(error if self._real is None else self._real)
        return delay

    def real_error(self) -> Exception | None:
        """What the callee itself raised last, if a refusal further in ended the attempts.

        "Circuit open" on the very call that opened it would hide why.
        """
        real, self._real = self._real, None
        return real if self._refused else None

    def after_result(self, result: Any) -> float | None:
        """Seconds to wait before the next attempt; None when the result is good, or the last."""
        if isinstance(result, Rejection):
            retryable = not self._nested and (
                self._retry._names_rejections and self._retry._retries(result.error)
            )
            self._refused = True
            delay = self._next(result.error if retryable else None, retryable, result.retry_after)
            if delay is None and self._real is not None:
                self._annotate(self._real)
            return delay
        self._refused = False
        if self._retry._rejects_result(result):
            return self._next(None, not self._nested, None)
        self.succeeded()
        return None

    def succeeded(self) -> None:
        if self._plan.failed == 0:
            self._retry._tally.first_try()
        else:
            self._retry._tally.over(self._plan.failed + 1, ok=True)

    def _next(self, error: Exception | None, retryable: bool, asked: float | None) -> float | None:
        retry, plan = self._retry, self._plan
        step = plan.next(
            retry._clock.now(), retryable=retryable, retry_after=asked, deadline=LIMIT.get()
        )
        error_type = "result" if error is None else type(error).__qualname__
        if isinstance(step, Stop):
            self._reason = step.reason
            retry._tally.over(plan.failed, ok=False)
            if retry._events.active:
                retry._events.emit(
                    RetryGaveUp(
                        name=retry.name,
                        at=retry._clock.wall(),
                        attempts=plan.failed,
                        reason=step.reason,
                        error_type=error_type,
                    )
                )
            return None
        if retry._events.active:
            retry._events.emit(
                RetryScheduled(
                    name=retry.name,
                    at=retry._clock.wall(),
                    attempt=plan.failed,
                    delay=step.delay,
                    error_type=error_type,
                    category=None if error is None else classify(error),
                )
            )
        return step.delay

    def _annotate(self, error: Exception) -> None:
        """Say on the error what was tried, once, however often that same object is raised."""
        note = f"{_NOTE}{self._retry.name!r}: {self._plan.failed} attempts, then {self._reason}"
        notes: list[str] = getattr(error, "__notes__", [])
        for at, old in enumerate(notes):
            if old.startswith(f"{_NOTE}{self._retry.name!r}: "):
                notes[at] = note
                return
        error.add_note(note)


def _names_rejections(on: Which) -> bool:
    kinds = (on,) if isinstance(on, type) else on
    return isinstance(kinds, Iterable) and any(
        isinstance(kind, type) and issubclass(kind, RejectedError) for kind in kinds
    )


class Attempts:
    """The attempts of one block; see `Retry.attempts`."""

    def __init__(self, retry: Retry) -> None:
        self._retry = retry

    def __iter__(self) -> Iterator[Attempt]:
        clock = self._retry._clock
        attempt = Attempt(self._retry)
        while True:
            yield attempt
            if attempt.over():
                return
            clock.sleep(attempt.delay)

    async def __aiter__(self) -> AsyncIterator[Attempt]:
        clock = self._retry._clock
        attempt = Attempt(self._retry)
        while True:
            yield attempt
            if attempt.over():
                return
            await clock.asleep(attempt.delay)


class Attempt:
    """One attempt of a block: enter it with ``with`` or ``async with``."""

    def __init__(self, retry: Retry) -> None:
        retry._refuse_if_late()
        self._retry = retry
        scope = _scope.get()
        self._nested = scope is not None and scope[0]
        self._call = _Call(retry, self._nested, retry._clock.now())
        self._entered = False
        self._over = False
        self.number = 0
        """Which attempt this is, counted from 1."""
        self.delay = 0.0
        """Seconds to wait before the next attempt."""

    def over(self) -> bool:
        if not self._entered:
            raise RuntimeError(
                "an attempt was not entered: write `with attempt:` (in async code `async with "
                "attempt:`) inside the loop"
            )
        self._entered = False
        return self._over

    def __enter__(self) -> Attempt:
        self._entered = True
        self.number += 1
        self._scope = [True]
        if not self._nested:
            _scope.set(self._scope)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self._scope[0] = False
        if isinstance(error, Exception):
            delay = self._call.after_error(error)
            if delay is not None:
                self.delay = delay
                return True
            real = self._call.real_error()
            if real is not None:
                raise real
        elif error is None:
            self._call.succeeded()
        self._over = True
        return False

    async def __aenter__(self) -> Attempt:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        return self.__exit__(kind, error, trace)


class _Repeated(Session[Retry]):
    """A generator, made anew until its first item is out."""

    def open(self) -> Any:
        for attempt in self.policy.attempts():
            with attempt:
                try:
                    return super().open()
                except StopIteration as stop:
                    end = stop
        # Raised out here: an empty stream is a success, not an error of the attempt.
        raise end


class _AsyncRepeated(AsyncSession[Retry]):
    """The async twin of `_Repeated`."""

    async def open(self) -> Any:
        async for attempt in self.policy.attempts():
            async with attempt:
                try:
                    return await super().open()
                except StopAsyncIteration as stop:
                    end = stop
        raise end
