"""Waiting switched off: sleeps return at once and are written down."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from holdfast._core.clock import AMBIENT, Clock, installed


@contextmanager
def instant() -> Generator[list[float]]:
    """Let every wait of policies without a clock of their own return at once, process wide.

    Yields the list of the seconds asked for, in order: ``with instant() as waits: ...``. A
    coroutine that sleeps yields to its loop once. `now()` stays real, and so does waiting for
    something to happen (a place in a queue, a timeout): for those take a `VirtualClock`.
    """
    waits: list[float] = []

    async def asleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0)

    before = AMBIENT.copy()
    clock = Clock(
        now=before.now,
        wall=before.wall,
        sleep=waits.append,
        asleep=asleep,
        wait=before.wait,
        random=before.random,
    )
    with installed(clock):
        yield waits
