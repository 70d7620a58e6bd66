"""The call methods and the block forms know what they give; checked, never run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import assert_type

from holdfast import (
    Bulkhead,
    Category,
    CircuitBreaker,
    Outcome,
    Pipeline,
    RejectedError,
    Retry,
    Timeout,
    classify,
    deadline,
    time_left,
)

guard = Pipeline("guard", Retry(), CircuitBreaker())


def sync(a: int, *, b: str = "") -> float:
    return float(a)


async def coroutine(a: int, *, b: str = "") -> list[int]:
    return [a]


def future(a: int) -> asyncio.Future[bytes]:
    raise AssertionError(a)


def awaitable(a: int) -> Awaitable[bytes]:
    raise AssertionError(a)


assert_type(guard.call(sync, 1, b="x"), float)
assert_type(guard.try_call(sync, 1), Outcome[float])
assert_type(guard.try_call(sync, 1).unwrap(), float)
assert_type(guard.try_call(sync, 1).error, Exception | None)
assert_type(guard.try_call(sync, 1).ok, bool)
guard.call(sync, "1")  # type: ignore[arg-type]
guard.call(sync)  # type: ignore[call-arg]
guard.call(sync, 1, c=2)  # type: ignore[call-arg]
guard.try_call(sync, "1")  # type: ignore[arg-type]


async def use() -> None:
    assert_type(await guard.acall(coroutine, 1, b="x"), list[int])
    assert_type(await guard.acall(future, 1), bytes)
    assert_type(await guard.acall(awaitable, 1), bytes)
    assert_type(await guard.acall(lambda: coroutine(1)), list[int])
    assert_type(await guard.try_acall(coroutine, 1), Outcome[list[int]])
    assert_type((await guard.try_acall(coroutine, 1)).unwrap(), list[int])
    assert_type(await asyncio.create_task(guard.acall(coroutine, 1)), list[int])
    await guard.acall(coroutine, "1")  # type: ignore[arg-type]
    await guard.acall(coroutine)  # type: ignore[call-arg]
    await guard.acall(sync, 1)  # type: ignore[arg-type]
    await guard.try_acall(sync, 1)  # type: ignore[arg-type]


async def use_blocks() -> str:
    with CircuitBreaker(), Bulkhead():
        sync(1)
    async with CircuitBreaker(), Bulkhead(), Timeout(1):
        await coroutine(1)
    with deadline(5) as limit:
        assert_type(limit.remaining(), float)
        assert_type(limit.expired, bool)
        assert_type(time_left(), float | None)
    for attempt in Retry().attempts():
        with attempt:
            assert_type(attempt.number, int)
    async for attempt in Retry().attempts():
        async with attempt:
            return "found"
    raise AssertionError("the loop ends with a return or an error")


def use_errors(error: Exception) -> None:
    assert_type(classify(error), Category)
    if isinstance(error, RejectedError):
        assert_type(error.retry_after, float | None)
        assert_type((error.policy, error.name, error.reason), tuple[str, str, str])


with Retry():  # type: ignore[attr-defined]
    pass
