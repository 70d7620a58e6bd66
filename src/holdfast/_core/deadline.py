"""The ambient deadline: a moment after which nobody waits for the answer any more.

It travels in a context variable, so everything that a request calls, awaits or starts as a task
knows it. It cuts nothing off by itself. Those who consult it do not start what cannot finish:
retries do not sleep past it, queues do not wait past it, a `Timeout` becomes as short as what is
left. The error that comes out is then the last real one.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from holdfast._core.clock import AMBIENT, Clock
from holdfast._core.outcome import Rejection
from holdfast._core.validate import number

LIMIT: ContextVar[float | None] = ContextVar("holdfast_deadline", default=None)
"""The moment on the monotonic clock, or None."""


class Deadline:
    """A moment to be finished by; what `deadline()` gives to its block."""

    __slots__ = ("_clock", "at")

    def __init__(self, at: float, clock: Clock) -> None:
        self.at = at
        self._clock = clock

    def remaining(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.at - self._clock.now())

    @property
    def expired(self) -> bool:
        return self._clock.now() >= self.at


@contextmanager
def deadline(seconds: float, *, clock: Clock | None = None) -> Generator[Deadline]:
    """Give everything inside the block `seconds` (at least 0) to finish.

    Nested deadlines only ever shorten. For sync and async code alike (``with``, also inside
    coroutines). `clock` is for tests; it must then be the clock of the policies inside.

    Raises:
        ConfigurationError: `seconds` is not a number of at least 0.
    """
    clock = AMBIENT if clock is None else clock
    at = clock.now() + number("seconds", seconds, at_least=0)
    outer = LIMIT.get()
    if outer is not None:
        at = min(at, outer)
    token = LIMIT.set(at)
    try:
        yield Deadline(at, clock)
    finally:
        LIMIT.reset(token)


def time_left(*, clock: Clock | None = None) -> float | None:
    """Seconds left before the ambient deadline, never below 0; None when there is none.

    Made to be handed on: ``client.get(url, timeout=time_left())``.
    """
    limit = LIMIT.get()
    if limit is None:
        return None
    return max(0.0, limit - (AMBIENT if clock is None else clock).now())


def passed(name: str, clock: Clock) -> Rejection | None:
    """The refusal to start work whose deadline has passed; None when there is still time."""
    limit = LIMIT.get()
    if limit is not None and clock.now() >= limit:
        return Rejection("deadline", name, "the deadline has passed", 0.0)
    return None
