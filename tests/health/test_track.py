"""Tracked calls are measured in every form, and otherwise left as they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator

import pytest

from holdfast import Bulkhead, Pipeline, Retry
from holdfast.health import HealthMonitor, TrafficSnapshot
from holdfast.health.track import Track
from holdfast.testing import VirtualClock


def seen(monitor: HealthMonitor) -> tuple[int, int, int, int]:
    """Calls, failures, rejected, ignored."""
    traffic = monitor.snapshot().component("db").traffic
    return traffic.calls, traffic.failures, traffic.rejected, traffic.ignored


@pytest.fixture
def monitor(virtual_clock: VirtualClock) -> HealthMonitor:
    return HealthMonitor()


@pytest.fixture
def track(monitor: HealthMonitor) -> Track:
    return monitor.track("db")


def test_a_function(monitor: HealthMonitor, track: Track, virtual_clock: VirtualClock) -> None:
    @track
    def double(number: int) -> int:
        virtual_clock.sleep(2)
        return 2 * number

    assert double(4) == 8
    assert seen(monitor) == (1, 0, 0, 0)
    assert monitor.latencies("db").maximum == 2
    shown = track.snapshot()
    assert isinstance(shown, TrafficSnapshot)
    assert (track.name, shown.calls, shown.p50) == ("db", 1, 2)


def test_a_coroutine_function(
    monitor: HealthMonitor, track: Track, virtual_clock: VirtualClock
) -> None:
    @track
    async def double(number: int) -> int:
        await asyncio.sleep(3)
        return 2 * number

    assert virtual_clock.run(double(4)) == 8
    assert seen(monitor) == (1, 0, 0, 0)
    assert monitor.latencies("db").maximum == 3


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionResetError(), (1, 1, 0, 0)),
        (ValueError(), (0, 0, 0, 1)),
        (KeyboardInterrupt(), (0, 0, 0, 0)),
    ],
)
def test_errors_come_out_and_are_counted(
    monitor: HealthMonitor,
    track: Track,
    virtual_clock: VirtualClock,
    error: BaseException,
    expected: tuple[int, ...],
) -> None:
    def fail() -> None:
        raise error

    async def afail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        track.call(fail)
    assert caught.value is error
    assert seen(monitor) == expected
    with pytest.raises(type(error)), track:
        fail()
    assert seen(monitor) == tuple(2 * number for number in expected)
    if isinstance(error, Exception):
        with pytest.raises(type(error)):
            virtual_clock.run(track.acall(afail))
        assert seen(monitor) == tuple(3 * number for number in expected)


def test_cancelled_calls_are_not_recorded(
    monitor: HealthMonitor, track: Track, virtual_clock: VirtualClock
) -> None:
    async def main() -> None:
        for work in (track.acall(asyncio.sleep, 10), block()):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(work, 1)

    async def block() -> None:
        async with track:
            await asyncio.sleep(10)

    virtual_clock.run(main())
    assert seen(monitor) == (0, 0, 0, 0)


def test_blocks_in_several_tasks_are_kept_apart(
    monitor: HealthMonitor, track: Track, virtual_clock: VirtualClock
) -> None:
    async def one(seconds: float) -> None:
        async with track:
            await asyncio.sleep(seconds)

    async def main() -> None:
        await asyncio.gather(one(1), one(5), one(3))

    virtual_clock.run(main())
    sketch = monitor.latencies("db")
    assert (sketch.count, sketch.minimum, sketch.maximum) == (3, 1, 5)


def test_a_block_left_in_another_context_is_not_counted(
    monitor: HealthMonitor, track: Track
) -> None:
    track.__exit__(None, None, None)
    assert seen(monitor) == (0, 0, 0, 0)


def test_refusals_are_seen_from_outside_only(monitor: HealthMonitor, track: Track) -> None:
    bulkhead = Bulkhead(max_concurrent=1)
    outside = Pipeline("outside", track, bulkhead)
    inside = Pipeline("inside", bulkhead, monitor.track("inside"))
    with bulkhead:
        assert outside.try_call(int).rejected
        with pytest.raises(Exception, match="full"):
            outside.call(int)
        assert inside.try_call(int).rejected
    assert seen(monitor) == (0, 0, 2, 0)
    assert monitor.snapshot().component("inside").traffic.rejected == 0


def test_refusals_are_seen_in_async_code(
    monitor: HealthMonitor, track: Track, virtual_clock: VirtualClock
) -> None:
    bulkhead = Bulkhead(max_concurrent=1)
    with bulkhead:
        pipeline = Pipeline("db", track, bulkhead)
        assert virtual_clock.run(pipeline.try_acall(asyncio.sleep, 0)).rejected
    assert seen(monitor) == (0, 0, 1, 0)


def test_inside_a_retry_each_attempt_counts(
    monitor: HealthMonitor, track: Track, virtual_clock: VirtualClock
) -> None:
    pipeline = Pipeline("db", Retry(attempts=3), track)

    def fail() -> None:
        raise ConnectionResetError

    pipeline.try_call(fail)
    assert seen(monitor) == (3, 3, 0, 0)


def test_of_a_generator_the_time_until_its_first_item_counts(
    monitor: HealthMonitor, track: Track, virtual_clock: VirtualClock
) -> None:
    @track
    def rows(last: BaseException | None = None) -> Generator[int]:
        virtual_clock.sleep(1)
        yield 1
        virtual_clock.sleep(9)
        if last is not None:
            raise last
        yield 2

    assert list(rows()) == [1, 2]
    for _ in rows():
        break
    with pytest.raises(OSError):
        list(rows(OSError()))
    assert seen(monitor) == (3, 1, 0, 0)
    assert monitor.latencies("db").maximum == 1


def test_an_empty_generator_is_a_success(monitor: HealthMonitor, track: Track) -> None:
    @track
    def nothing() -> Generator[int]:
        yield from ()

    assert list(nothing()) == []
    assert seen(monitor) == (1, 0, 0, 0)


def test_an_async_generator(
    monitor: HealthMonitor, track: Track, virtual_clock: VirtualClock
) -> None:
    @track
    async def rows(last: BaseException | None = None) -> AsyncGenerator[int]:
        await asyncio.sleep(1)
        yield 1
        if last is not None:
            raise last

    async def main() -> None:
        assert [row async for row in rows()] == [1]
        stream = rows()
        await anext(stream)
        await stream.aclose()
        with pytest.raises(OSError):
            [row async for row in rows(OSError())]
        unstarted = rows()
        await unstarted.aclose()

    virtual_clock.run(main())
    assert seen(monitor) == (3, 1, 0, 0)
    assert monitor.latencies("db").maximum == 1


def test_a_hidden_coroutine_is_refused(monitor: HealthMonitor, track: Track) -> None:
    async def hidden() -> None: ...

    with pytest.raises(TypeError, match="returned a coroutine"):
        track.call(hidden)  # type: ignore[unused-coroutine]
