"""The functions that are protected, and the options that every contender is given alike.

The functions do as little as they can, so that what is measured is the protection. Each takes one
positional argument and returns it, which is how the harness knows that a call really happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

Sync = Callable[[int], Any]
Async = Callable[[int], Coroutine[Any, Any, Any]]

ATTEMPTS = 3
FAILURES = 5
"""Failures that open a circuit (for a breaker that knows only rates: half of at least these)."""
RESET = 300.0
"""Seconds an open circuit stays open: longer than any scenario runs."""
PLACES = 10
SECONDS = 2.0


def instant() -> Sync:
    def work(value: int) -> int:
        return value

    return work


def instant_async() -> Async:
    async def work(value: int) -> int:
        return value

    return work


def suspending() -> Async:
    async def work(value: int) -> int:
        await asyncio.sleep(0)
        return value

    return work


def failing_async() -> Async:
    async def work(value: int) -> int:
        work.calls += 1  # type: ignore[attr-defined]
        raise ConnectionError

    work.calls = 0  # type: ignore[attr-defined]
    return work


def third_time_lucky() -> Sync:
    calls = count(1)

    def work(value: int) -> int:
        if next(calls) % 3:
            raise ConnectionError
        return value

    return work


def third_time_lucky_async() -> Async:
    work = third_time_lucky()

    async def awork(value: int) -> Any:
        return work(value)

    return awork
