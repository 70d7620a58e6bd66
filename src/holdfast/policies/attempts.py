"""What a retry keeps about one call, and the block form that shows its attempts one by one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any

from holdfast._core.deadline import LIMIT
from holdfast._core.outcome import Rejection
from holdfast._core.plan import Plan, Stop, Wait
from holdfast.classify import classify, retry_after
from holdfast.errors import RejectedError

if TYPE_CHECKING:
    from holdfast.policies.retry import Retry

_NOTE = "holdfast: retry "

SCOPE: ContextVar[list[bool] | None] = ContextVar("holdfast_retry", default=None)
"""Set while a retry makes attempts: [True], and [False] once that call is over.

The list outlives its call: a stale one is cheaper than resetting the variable, and a task that was
started inside an attempt, and copied the context, may retry again once the attempt is over.
"""


class Call:
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
            delay = self._next(result, retryable, result.retry_after)
            if delay is None and self._plan.failed > 1:
                self._annotate(result.error if self._real is None else self._real)
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

    def _next(
        self, cause: Exception | Rejection | None, retryable: bool, asked: float | None
    ) -> float | None:
        retry, plan = self._retry, self._plan
        step = plan.next(
            retry._clock.now(), retryable=retryable, retry_after=asked, deadline=LIMIT.get()
        )
        if isinstance(step, Stop):
            self._reason = step.reason
            retry._tally.over(plan.failed, ok=False)
        if retry._events.active:
            self._tell(step, cause.error if isinstance(cause, Rejection) else cause)
        return None if isinstance(step, Stop) else step.delay

    def _tell(self, step: Wait | Stop, error: Exception | None) -> None:
        from holdfast._core.events import RetryGaveUp, RetryScheduled

        name, at, failed = self._retry.name, self._retry._clock.wall(), self._plan.failed
        error_type = "result" if error is None else type(error).__qualname__
        if isinstance(step, Stop):
            self._retry._events.emit(
                RetryGaveUp(
                    name=name, at=at, attempts=failed, reason=step.reason, error_type=error_type
                )
            )
            return
        self._retry._events.emit(
            RetryScheduled(
                name=name,
                at=at,
                attempt=failed,
                delay=step.delay,
                error_type=error_type,
                category=None if error is None else classify(error),
            )
        )

    def _annotate(self, error: Exception) -> None:
        """Say on the error what was tried, once, however often that same object is raised."""
        note = f"{_NOTE}{self._retry.name!r}: {self._plan.failed} attempts, then {self._reason}"
        notes: list[str] = getattr(error, "__notes__", [])
        for at, old in enumerate(notes):
            if old.startswith(f"{_NOTE}{self._retry.name!r}: "):
                notes[at] = note
                return
        error.add_note(note)


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
        scope = SCOPE.get()
        self._nested = scope is not None and scope[0]
        self._call = Call(retry, self._nested, retry._clock.now())
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
            SCOPE.set(self._scope)
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
