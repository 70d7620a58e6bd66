"""The retry: once more, after a while, if that makes sense and the budget pays for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

from holdfast._core.backoff import Backoff
from holdfast._core.budget import Budget
from holdfast._core.clock import Clock
from holdfast._core.deadline import passed
from holdfast._core.hub import EventHub
from holdfast._core.plan import RetryOptions
from holdfast._core.tally import RetryTally
from holdfast._core.validate import count, number, refuse
from holdfast.classify import classify
from holdfast.errors import Category, RejectedError
from holdfast.policies.attempts import Attempts
from holdfast.policies.base import Inner, Policy, Reject, raise_rejection
from holdfast.policies.drivers import drive, drive_async
from holdfast.policies.select import Which, matcher
from holdfast.policies.streams import AsyncSession, Session, guard, guard_async

if TYPE_CHECKING:
    from holdfast._core.snapshots import RetrySnapshot

RETRIED = frozenset({Category.TRANSIENT, Category.TIMEOUT, Category.OVERLOAD})
"""What is retried unless told otherwise."""

DEFAULT_BACKOFF = Backoff()

OWN_BUDGET = Budget()
"""Stands for "a budget of its own" in the signature of `Retry`; never drawn upon."""


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
        self._tally = RetryTally(self._options.budget)

    @property
    def budget(self) -> Budget | None:
        """The budget that pays for further attempts."""
        return self._options.budget

    @property
    def names_rejections(self) -> bool:
        """Whether `on` names refusals by policies further in, which are not retried otherwise."""
        return self._names_rejections

    @property
    def _takes_refusals(self) -> bool:
        """Whether a refusal ends a call at once and there is nobody to be told."""
        return not self._names_rejections and not self._events.active

    def snapshot(self) -> RetrySnapshot:
        """The retry's totals and its budget at this moment."""
        return self._tally.snapshot(self.name)

    # -- the layers ----------------------------------------------------------------------------

    def _bind_sync(self, inner: Inner, reject: Reject) -> Inner:
        return drive(self, None, None, inner, reject)

    def _bind_async(self, inner: Inner, reject: Reject) -> Inner:
        return drive_async(self, None, None, None, inner, reject)

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


def _names_rejections(on: Which) -> bool:
    named = cast("Iterable[object]", on if isinstance(on, Iterable) else (on,))
    return any(isinstance(kind, type) and issubclass(kind, RejectedError) for kind in named)


class _Repeated(Session[Retry]):
    """A generator, made anew until its first item is out."""

    def open(self) -> Any:
        end = StopIteration()
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
        end = StopAsyncIteration()
        async for attempt in self.policy.attempts():
            async with attempt:
                try:
                    return await super().open()
                except StopAsyncIteration as stop:
                    end = stop
        raise end
