"""The one place where Holdfast meets real time, real sleeping and real randomness.

Everything else asks a `Clock`. A clock is a bundle of plain callables, so reading it costs one
attribute and one call, and a policy that was created at import time can still be put on virtual
time later: policies hold the shared `AMBIENT` clock, and `holdfast.testing` swaps what is inside
it. Elapsed time is always monotonic; `wall` exists only to read dates that others wrote (an HTTP
``Retry-After``) and to stamp what people read.
"""

from __future__ import annotations

import asyncio
import random as _random
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Protocol


class Waitable(Protocol):
    """What `Clock.wait` can wait for: `threading.Event` fits."""

    def wait(self, timeout: float | None = None) -> bool: ...


def _wait(event: Waitable, timeout: float | None) -> bool:
    return event.wait(timeout)


class Clock:
    """Time, waiting and randomness, as attributes that can be replaced together.

    - ``now()``: monotonic seconds. ``wall()``: Unix seconds.
    - ``sleep(seconds)`` blocks the thread; ``await asleep(seconds)`` suspends the task.
    - ``wait(event, timeout)`` blocks the thread until the event is set; False when time ran out.
    - ``random()``: uniform in [0, 1).
    """

    __slots__ = ("asleep", "now", "random", "sleep", "wait", "wall")

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        asleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        wait: Callable[[Waitable, float | None], bool] = _wait,
        random: Callable[[], float] = _random.random,
    ) -> None:
        self.now = now
        self.wall = wall
        self.sleep = sleep
        self.asleep = asleep
        self.wait = wait
        self.random = random

    def take_over(self, other: Clock) -> None:
        """Make this clock behave as `other` does from now on."""
        for part in Clock.__slots__:
            setattr(self, part, getattr(other, part))

    def copy(self) -> Clock:
        """A clock with the same behaviour as this one has now."""
        twin = Clock()
        twin.take_over(self)
        return twin


AMBIENT = Clock()
"""The clock of everything that was not given one of its own."""


@contextmanager
def installed(clock: Clock) -> Generator[None]:
    """Let `AMBIENT` behave as `clock` inside the block (process wide, every thread)."""
    before = AMBIENT.copy()
    AMBIENT.take_over(clock)
    try:
        yield
    finally:
        AMBIENT.take_over(before)
