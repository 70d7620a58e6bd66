"""Generators and async generators under policies: nothing of their protocol is lost."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest

from holdfast import (
    Backoff,
    Bulkhead,
    BulkheadFullError,
    CallTimeoutError,
    CircuitBreaker,
    CircuitOpenError,
    DeadlineExceededError,
    Fallback,
    Pipeline,
    Retry,
    Timeout,
    deadline,
    time_left,
)
from holdfast._core.states import State
from holdfast.testing import VirtualClock

STEADY = Backoff(base=1.0, growth="constant", jitter="none")

POLICIES = {
    "retry": Retry,
    "breaker": CircuitBreaker,
    "bulkhead": Bulkhead,
    "timeout": lambda: Timeout(5),
    "fallback": lambda: Fallback(value=["spare"]),
    "everything": lambda: Pipeline(
        "everything",
        Fallback(value=["spare"]),
        Retry(),
        CircuitBreaker(),
        Bulkhead(),
        Timeout(5),
    ),
}
any_policy = pytest.mark.parametrize(
    "policy", [pytest.param(make, id=name) for name, make in POLICIES.items()]
)


def averages() -> Generator[float, float, str]:
    """Takes numbers, gives their mean so far; a ValueError thrown in starts it over."""
    total, count = 0.0, 0
    while True:
        try:
            sent = yield total / max(count, 1)
        except ValueError:
            total, count = 0.0, 0
        else:
            if sent < 0:
                return f"{count} numbers"
            total, count = total + sent, count + 1


async def async_averages() -> AsyncGenerator[float, float]:
    total, count = 0.0, 0
    while True:
        try:
            sent = yield total / max(count, 1)
        except ValueError:
            total, count = 0.0, 0
        else:
            if sent < 0:
                return
            total, count = total + sent, count + 1


@any_policy
def test_send_throw_and_return_value_pass_through(policy: Any) -> None:
    guarded = policy()(averages)
    assert inspect.isgeneratorfunction(guarded)
    stream = guarded()
    assert next(stream) == 0
    assert [stream.send(2), stream.send(4)] == [2, 3]
    assert stream.throw(ValueError()) == 0
    assert stream.send(8) == 8
    with pytest.raises(StopIteration) as stop:
        stream.send(-1)
    assert stop.value.value == "1 numbers"


@any_policy
def test_asend_and_athrow_pass_through(policy: Any) -> None:
    guarded = policy()(async_averages)
    assert inspect.isasyncgenfunction(guarded)

    async def main() -> None:
        stream = guarded()
        assert await anext(stream) == 0
        assert [await stream.asend(2), await stream.asend(4)] == [2, 3]
        assert await stream.athrow(ValueError()) == 0
        assert await stream.asend(8) == 8
        with pytest.raises(StopAsyncIteration):
            await stream.asend(-1)

    asyncio.run(main())


@any_policy
def test_yield_from_passes_the_return_value_on(policy: Any) -> None:
    @policy()
    def inner() -> Generator[int, None, str]:
        yield 1
        return "the end"

    def outer() -> Generator[int, None, None]:
        assert (yield from inner()) == "the end"

    assert list(outer()) == [1]


@any_policy
def test_closing_early_closes_the_source_and_is_no_failure(policy: Any) -> None:
    closed: list[str] = []

    def source() -> Generator[int, None, None]:
        try:
            yield from range(10)
        finally:
            closed.append("sync")

    async def asource() -> AsyncGenerator[int, None]:
        try:
            for number in range(10):
                yield number
        finally:
            await asyncio.sleep(0)
            closed.append("async")

    subject = policy()
    stream = subject(source)()
    assert next(stream) == 0
    stream.close()

    async def main() -> None:
        stream = subject(asource)()
        async for _ in stream:
            break
        await stream.aclose()

    asyncio.run(main())
    assert closed == ["sync", "async"]
    for part in subject._parts():
        snapshot = part.snapshot()
        assert getattr(snapshot, "failures_total", 0) == 0
        assert getattr(snapshot, "active", 0) == 0
        assert getattr(snapshot, "successes_total", 2) == 2
        assert getattr(snapshot, "ignored_total", 0) == 0


@any_policy
def test_an_empty_stream_is_a_success(policy: Any) -> None:
    opened: list[str] = []

    def source() -> Generator[int, None, str]:
        opened.append("sync")
        return "nothing"
        yield 1

    async def asource() -> AsyncGenerator[int, None]:
        opened.append("async")
        return
        yield 1

    subject = policy()

    def outer() -> Generator[int, None, None]:
        assert (yield from subject(source)()) == "nothing"

    async def main() -> list[int]:
        return [item async for item in subject(asource)()]

    assert list(outer()) == []
    assert asyncio.run(main()) == []
    assert opened == ["sync", "async"]
    for part in subject._parts():
        snapshot = part.snapshot()
        assert getattr(snapshot, "failures_total", 0) == 0
        assert getattr(snapshot, "successes_total", 2) == 2
        assert getattr(snapshot, "success_without_retry", 2) == 2


class Flaky:
    """A source that fails before the first item, or after the second, so many times."""

    def __init__(self, *, before: int = 0, after: int = 0) -> None:
        self.opened = 0
        self.before = before
        self.after = after

    def _open(self) -> None:
        self.opened += 1
        if self.before:
            self.before -= 1
            raise ConnectionResetError("before")

    def _midway(self) -> None:
        if self.after:
            self.after -= 1
            raise ConnectionResetError("after")

    def sync(self) -> Generator[int, None, None]:
        self._open()
        yield 1
        yield 2
        self._midway()
        yield 3

    async def asynchronous(self) -> AsyncGenerator[int, None]:
        self._open()
        yield 1
        yield 2
        self._midway()
        yield 3


def items_of(policy: Any, source: Flaky, sync: bool, clock: VirtualClock) -> tuple[Any, list[int]]:
    """The error that ended the stream, and the items before it."""
    items: list[int] = []

    async def main() -> None:
        async for item in policy(source.asynchronous)():
            items.append(item)  # noqa: PERF401 - the items before the error are wanted

    try:
        if sync:
            for item in policy(source.sync)():
                items.append(item)  # noqa: PERF402
        else:
            clock.run(main())
    except Exception as error:
        return error, items
    return None, items


both = pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])


@both
def test_retry_until_the_first_item(sync: bool, virtual_clock: VirtualClock) -> None:
    retry, source = Retry(attempts=3, backoff=STEADY), Flaky(before=2)
    assert items_of(retry, source, sync, virtual_clock) == (None, [1, 2, 3])
    assert (source.opened, virtual_clock.now()) == (3, 2)
    assert retry.snapshot().success_with_retry == 1


@both
def test_no_retry_after_the_first_item(sync: bool, virtual_clock: VirtualClock) -> None:
    retry, source = Retry(attempts=3, backoff=STEADY), Flaky(after=1)
    error, items = items_of(retry, source, sync, virtual_clock)
    assert (str(error), items, source.opened) == ("after", [1, 2], 1)


@both
def test_retry_gives_up_on_a_stream(sync: bool, virtual_clock: VirtualClock) -> None:
    retry, source = Retry(attempts=2, backoff=STEADY), Flaky(before=9)
    error, items = items_of(retry, source, sync, virtual_clock)
    assert (str(error), items, source.opened) == ("before", [], 2)


@both
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_error_of_a_stream_is_a_failure(
    when: str, sync: bool, virtual_clock: VirtualClock
) -> None:
    breaker = CircuitBreaker(failure_threshold=2)
    source = Flaky(**{when: 2})
    for _ in range(2):
        error, _ = items_of(breaker, source, sync, virtual_clock)
        assert str(error) == when
    assert breaker.state is State.OPEN
    error, items = items_of(breaker, source, sync, virtual_clock)
    assert isinstance(error, CircuitOpenError)
    assert (items, source.opened) == ([], 2)


@both
def test_a_consumer_that_takes_its_time_is_not_slow(
    sync: bool, virtual_clock: VirtualClock
) -> None:
    virtual_clock.advance(10)
    breaker = CircuitBreaker(slow_call_duration=1, minimum_calls=1)

    def source() -> Generator[int, None, None]:
        virtual_clock.sleep(0.5)
        yield 1
        yield 2

    async def asource() -> AsyncGenerator[int, None]:
        await asyncio.sleep(0.5)
        yield 1
        yield 2

    async def main() -> None:
        async for _ in breaker(asource)():
            await asyncio.sleep(60)

    if sync:
        for _ in breaker(source)():
            virtual_clock.sleep(60)
    else:
        virtual_clock.run(main())
    assert breaker.state is State.CLOSED
    assert breaker.snapshot().successes_total == 1


@both
def test_a_stream_holds_its_place_until_it_ends(sync: bool, virtual_clock: VirtualClock) -> None:
    bulkhead = Bulkhead(max_concurrent=1)
    source = Flaky()
    if sync:
        stream = bulkhead(source.sync)()
        next(stream)
        with pytest.raises(BulkheadFullError):
            next(bulkhead(source.sync)())
        assert list(stream) == [2, 3]
    else:

        async def main() -> None:
            stream = bulkhead(source.asynchronous)()
            await anext(stream)
            with pytest.raises(BulkheadFullError):
                await anext(bulkhead(source.asynchronous)())
            assert [item async for item in stream] == [2, 3]

        virtual_clock.run(main())
    assert bulkhead.snapshot().active == 0


@both
def test_a_stream_may_wait_for_its_place(sync: bool, virtual_clock: VirtualClock) -> None:
    bulkhead = Bulkhead(max_concurrent=1, max_queue=1)

    def hold() -> None:
        with bulkhead:
            virtual_clock.sleep(2)

    def stream() -> float:
        virtual_clock.sleep(1)
        assert items_of(bulkhead, Flaky(), sync, virtual_clock) == (None, [1, 2, 3])
        return virtual_clock.now()

    assert virtual_clock.run_threads(hold, stream) == [None, 2]


@both
def test_a_stream_gets_another_until_its_first_item(
    sync: bool, virtual_clock: VirtualClock
) -> None:
    fallback = Fallback(value=[7, 8])
    assert items_of(fallback, Flaky(before=1), sync, virtual_clock) == (None, [7, 8])
    error, items = items_of(fallback, Flaky(after=1), sync, virtual_clock)
    assert (str(error), items) == ("after", [1, 2])
    assert fallback.snapshot().used_total == 1


@both
def test_a_fallback_leaves_other_errors_of_a_stream_alone(
    sync: bool, virtual_clock: VirtualClock
) -> None:
    fallback = Fallback(value=[7, 8], on=KeyError)
    error, items = items_of(fallback, Flaky(before=1), sync, virtual_clock)
    assert (str(error), items) == ("before", [])


def test_a_fallback_handler_of_a_stream_gets_its_arguments() -> None:
    def handler(error: Exception, first: int, *, step: int) -> range:
        return range(first, first + 3 * step, step)

    @Fallback(handler)
    def numbers(first: int, *, step: int) -> Generator[int, None, None]:
        raise ConnectionResetError
        yield first

    assert list(numbers(4, step=2)) == [4, 6, 8]


@pytest.mark.parametrize("handler", ["sync", "coroutine", "async generator"])
def test_fallbacks_of_an_async_stream(handler: str) -> None:
    async def coroutine(error: Exception) -> list[int]:
        return [7, 8]

    async def stream(error: Exception) -> AsyncGenerator[int, None]:
        yield 7
        yield 8

    handlers = {"sync": lambda error: (7, 8), "coroutine": coroutine, "async generator": stream}

    async def main() -> None:
        guarded = Fallback(handlers[handler])(Flaky(before=1).asynchronous)
        assert [item async for item in guarded()] == [7, 8]

    asyncio.run(main())


def test_timeout_per_item_never_on_the_consumer(virtual_clock: VirtualClock) -> None:
    timeout = Timeout(2)

    @timeout
    async def slowing() -> AsyncGenerator[int, None]:
        for number in range(1, 5):
            await asyncio.sleep(number * 0.75)
            yield number

    async def main() -> list[int]:
        items: list[int] = []
        with pytest.raises(CallTimeoutError):  # noqa: PT012 - the loop is what is tested
            async for item in slowing():
                items.append(item)
                await asyncio.sleep(60)
        return items

    assert virtual_clock.run(main()) == [1, 2]
    assert virtual_clock.now() == 0.75 + 60 + 1.5 + 60 + 2
    assert timeout.snapshot().timed_out_total == 1


def test_a_sync_stream_gets_the_limit_as_deadline_for_each_item(
    virtual_clock: VirtualClock,
) -> None:
    left: list[float | None] = []

    @Timeout(2)
    def items() -> Generator[int, None, None]:
        for number in range(2):
            left.append(time_left())
            virtual_clock.sleep(0.5)
            yield number

    for _ in items():
        assert time_left() is None
        virtual_clock.sleep(60)
    assert left == [2, 2]


def test_a_deadline_ends_a_stream_before_its_next_item(virtual_clock: VirtualClock) -> None:
    @Timeout(2)
    async def items() -> AsyncGenerator[int, None]:
        for number in range(10):
            await asyncio.sleep(0)
            yield number

    async def main() -> None:
        with deadline(1):
            stream = items()
            assert await anext(stream) == 0
            await asyncio.sleep(1)
            with pytest.raises(DeadlineExceededError):
                await anext(stream)

    virtual_clock.run(main())


def test_thread_mode_refuses_generators() -> None:
    with pytest.raises(TypeError, match="thread mode cannot protect a generator"):
        Timeout(1, sync="thread")(averages)


def test_a_stream_cancelled_before_its_first_item(virtual_clock: VirtualClock) -> None:
    breaker, bulkhead = CircuitBreaker(failure_threshold=1), Bulkhead(max_concurrent=1)
    guarded = Pipeline("guarded", Retry(), breaker, bulkhead, Timeout(100))

    @guarded
    async def hangs() -> AsyncGenerator[int, None]:
        await asyncio.sleep(60)
        yield 1

    async def main() -> None:
        task = asyncio.create_task(anext(hangs()))  # type: ignore[arg-type]
        await asyncio.sleep(1)
        assert bulkhead.snapshot().active == 1
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    virtual_clock.run(main())
    assert bulkhead.snapshot().active == 0
    assert breaker.state is State.CLOSED
    assert virtual_clock.now() == 1


def test_a_stream_that_is_never_started_takes_no_place() -> None:
    bulkhead = Bulkhead(max_concurrent=1)
    stream = bulkhead(averages)()
    assert bulkhead.snapshot().active == 0
    stream.close()
    assert bulkhead.snapshot().active == 0


def test_refused_streams_settle_nothing(virtual_clock: VirtualClock) -> None:
    bulkhead, breaker = Bulkhead(max_concurrent=1), CircuitBreaker()
    breaker.isolate("drill")
    guarded = Pipeline("guarded", bulkhead, breaker)
    for sync in (True, False):
        error, _ = items_of(guarded, Flaky(), sync, virtual_clock)
        assert isinstance(error, CircuitOpenError)
        error, _ = items_of(breaker, Flaky(), sync, virtual_clock)
        assert isinstance(error, CircuitOpenError)
    assert bulkhead.snapshot().active == 0
    assert breaker.snapshot().rejected_total == 4
