"""Timeouts: whose timer it was, who cancelled whom, and what is left behind."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import pytest

from holdfast import (
    Bulkhead,
    CallTimeoutError,
    CircuitBreaker,
    DeadlineExceededError,
    Pipeline,
    Retry,
    Timeout,
    deadline,
    time_left,
)
from holdfast.testing import VirtualClock

Use = Callable[[Timeout, Any], Any]


async def _acall(timeout: Timeout, callee: Any) -> Any:
    return await timeout.acall(callee)


async def _block(timeout: Timeout, callee: Any) -> Any:
    async with timeout:
        return await callee()


async def _fused(timeout: Timeout, callee: Any) -> Any:
    return await Pipeline("fused", CircuitBreaker(), timeout).acall(callee)


async def _fused_twice(timeout: Timeout, callee: Any) -> Any:
    return await Pipeline("fused", CircuitBreaker(), Bulkhead(), timeout).acall(callee)


FORMS: dict[str, Use] = {
    "acall": _acall,
    "block": _block,
    "behind a gate": _fused,
    "behind two gates": _fused_twice,
}
every_form = pytest.mark.parametrize(
    "use", [pytest.param(use, id=name) for name, use in FORMS.items()]
)


def baseline() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def sleep_long() -> None:
    await asyncio.sleep(60)


@every_form
def test_our_own_timer(use: Use, virtual_clock: VirtualClock) -> None:
    timeout = Timeout(2, "geo")

    async def main() -> None:
        with pytest.raises(CallTimeoutError) as caught:
            await use(timeout, sleep_long)
        assert (caught.value.name, caught.value.seconds) == ("geo", 2)
        assert isinstance(caught.value, TimeoutError)
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        assert baseline() == 0
        await asyncio.sleep(5)  # nothing of it is left that could cancel us later

    virtual_clock.run(main())
    assert virtual_clock.now() == 7
    assert timeout.snapshot().timed_out_total == 1


@every_form
def test_the_callees_own_timeout_error(use: Use, virtual_clock: VirtualClock) -> None:
    timeout, error = Timeout(2), TimeoutError("its own")

    async def callee() -> None:
        await asyncio.sleep(1)
        raise error

    async def main() -> None:
        with pytest.raises(TimeoutError) as caught:
            await use(timeout, callee)
        assert caught.value is error
        assert baseline() == 0

    virtual_clock.run(main())
    assert timeout.snapshot().timed_out_total == 0


@every_form
def test_asyncio_timeout_inside(use: Use, virtual_clock: VirtualClock) -> None:
    timeout = Timeout(2)

    async def callee() -> None:
        async with asyncio.timeout(1):
            await asyncio.sleep(60)

    async def main() -> None:
        with pytest.raises(TimeoutError) as caught:
            await use(timeout, callee)
        assert not isinstance(caught.value, CallTimeoutError)
        assert baseline() == 0

    virtual_clock.run(main())
    assert timeout.snapshot().timed_out_total == 0
    assert virtual_clock.now() == 1


@every_form
def test_asyncio_timeout_around(use: Use, virtual_clock: VirtualClock) -> None:
    timeout = Timeout(2)

    async def main() -> None:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(1):
                await use(timeout, sleep_long)
        assert not isinstance(caught.value, CallTimeoutError)
        assert baseline() == 0

    virtual_clock.run(main())
    assert timeout.snapshot().timed_out_total == 0


@every_form
@pytest.mark.parametrize("ours_first", [True, False])
def test_a_cancellation_from_outside_wins(
    use: Use, ours_first: bool, virtual_clock: VirtualClock
) -> None:
    """Even in the same turn of the loop in which our timer runs out, in either order."""
    timeout = Timeout(2)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        if not ours_first:
            loop.call_at(2, lambda: task.cancel())
        task = asyncio.create_task(use(timeout, sleep_long))
        await asyncio.sleep(0)
        if ours_first:
            loop.call_at(2, lambda: task.cancel())
        await asyncio.wait([task])
        assert task.cancelled()
        assert task.cancelling() == 1

    virtual_clock.run(main())
    assert virtual_clock.now() == 2


@every_form
def test_an_early_cancellation_from_outside(use: Use, virtual_clock: VirtualClock) -> None:
    timeout = Timeout(2)

    async def main() -> None:
        task = asyncio.create_task(use(timeout, sleep_long))
        await asyncio.sleep(1)
        task.cancel("by hand")
        with pytest.raises(asyncio.CancelledError, match="by hand"):
            await task

    virtual_clock.run(main())
    assert virtual_clock.now() == 1
    assert timeout.snapshot().timed_out_total == 0


@every_form
def test_a_callee_that_swallows_our_cancellation(use: Use, virtual_clock: VirtualClock) -> None:
    """It gets to give its result; the task is not left marked as being cancelled."""
    timeout = Timeout(2)

    async def stubborn() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
        return "done all the same"

    async def main() -> None:
        assert await use(timeout, stubborn) == "done all the same"
        assert baseline() == 0
        async with asyncio.timeout(1):  # relies on that mark
            await asyncio.sleep(0.5)

    virtual_clock.run(main())
    assert virtual_clock.now() == 3.5
    assert timeout.snapshot().timed_out_total == 0


@every_form
def test_a_callee_that_returns_when_cancelled(use: Use, virtual_clock: VirtualClock) -> None:
    async def prompt() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
        return "just in time"

    async def main() -> None:
        assert await use(Timeout(2), prompt) == "just in time"
        assert baseline() == 0

    virtual_clock.run(main())
    assert virtual_clock.now() == 2


@every_form
def test_a_callee_that_answers_our_cancellation_with_an_error(
    use: Use, virtual_clock: VirtualClock
) -> None:
    timeout, error = Timeout(2), ValueError("while cleaning up")

    async def callee() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise error

    async def main() -> None:
        with pytest.raises(ValueError) as caught:
            await use(timeout, callee)
        assert caught.value is error
        assert baseline() == 0

    virtual_clock.run(main())


@every_form
def test_a_task_that_is_being_cancelled_can_still_use_a_timeout(
    use: Use, virtual_clock: VirtualClock
) -> None:
    """As clean-up code does: the count it finds is the count it leaves."""
    timeout = Timeout(2)
    cleaned: list[float] = []

    async def main() -> None:
        async def work() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                with pytest.raises(CallTimeoutError):
                    await use(timeout, sleep_long)
                cleaned.append(virtual_clock.now())
                assert baseline() == 1

        task = asyncio.create_task(work())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    virtual_clock.run(main())
    assert cleaned == [3]


@every_form
@pytest.mark.parametrize(("outer", "inner", "name"), [(2, 1, "inner"), (1, 2, "outer")])
def test_nested_timeouts(
    use: Use, outer: float, inner: float, name: str, virtual_clock: VirtualClock
) -> None:
    around, inside = Timeout(outer, "outer"), Timeout(inner, "inner")

    async def main() -> None:
        with pytest.raises(CallTimeoutError) as caught:
            await use(around, lambda: use(inside, sleep_long))
        assert caught.value.name == name
        assert baseline() == 0

    virtual_clock.run(main())
    assert virtual_clock.now() == 1
    assert around.snapshot().timed_out_total + inside.snapshot().timed_out_total == 1


@every_form
def test_nested_timeouts_of_equal_limits(use: Use, virtual_clock: VirtualClock) -> None:
    around, inside = Timeout(2, "outer"), Timeout(2, "inner")

    async def main() -> None:
        with pytest.raises(CallTimeoutError):
            await use(around, lambda: use(inside, sleep_long))
        assert baseline() == 0
        await asyncio.sleep(5)

    virtual_clock.run(main())
    assert virtual_clock.now() == 7


@every_form
def test_an_inner_timeout_that_is_caught_leaves_the_outer_one_running(
    use: Use, virtual_clock: VirtualClock
) -> None:
    around, inside = Timeout(3, "outer"), Timeout(1, "inner")

    async def patient() -> None:
        for _ in range(10):
            with pytest.raises(CallTimeoutError, match="inner"):
                await use(inside, sleep_long)

    async def main() -> None:
        with pytest.raises(CallTimeoutError, match="outer"):
            await use(around, patient)
        assert baseline() == 0

    virtual_clock.run(main())
    assert virtual_clock.now() == 3


@every_form
def test_a_nearer_deadline(use: Use, virtual_clock: VirtualClock) -> None:
    timeout = Timeout(5)

    async def main() -> None:
        await asyncio.sleep(10)
        with deadline(1), pytest.raises(CallTimeoutError, match=r"within 1 s"):
            await use(timeout, sleep_long)
        assert virtual_clock.now() == 11
        with deadline(0), pytest.raises(DeadlineExceededError):
            await use(timeout, sleep_long)
        with deadline(60), pytest.raises(CallTimeoutError, match=r"within 5 s"):
            await use(timeout, sleep_long)
        assert time_left() is None
        assert virtual_clock.now() == 16

    virtual_clock.run(main())


def test_the_block_is_an_ambient_deadline(virtual_clock: VirtualClock) -> None:
    async def main() -> None:
        async with Timeout(5):
            assert time_left() == 5
            await asyncio.sleep(1)
            assert time_left() == 4
            with deadline(1):
                async with Timeout(3):
                    assert time_left() == 1
            async with Timeout(60):
                assert time_left() == 4
        assert time_left() is None

    virtual_clock.run(main())


def test_policies_inside_know_the_limit(virtual_clock: VirtualClock) -> None:
    seen: list[float | None] = []
    guarded = Pipeline("guarded", Timeout(5), Retry(attempts=2), Timeout(1))

    async def callee() -> None:
        seen.append(time_left())

    async def main() -> None:
        await guarded.acall(callee)
        assert time_left() is None

    virtual_clock.run(main())
    assert seen == [5]


def test_a_block_left_in_another_task_is_a_clear_error() -> None:
    timeout = Timeout(5)

    async def main() -> None:
        await asyncio.create_task(timeout.__aenter__())
        with pytest.raises(RuntimeError, match="was entered in another task"):
            await timeout.__aexit__(None, None, None)

    asyncio.run(main())


def test_outside_of_any_task() -> None:
    """A coroutine that is driven by hand has no task to cancel."""

    class Suspend:
        def __await__(self) -> Any:
            yield

    async def callee() -> None:
        await Suspend()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[BaseException | None] = loop.create_future()

        def step() -> None:
            coroutine = Timeout(5).acall(callee)
            try:
                coroutine.send(None)
            except BaseException as error:
                done.set_result(error)
            else:
                done.set_result(None)

        loop.call_soon(step)
        error = await done
        assert isinstance(error, RuntimeError)
        assert "needs a running asyncio task" in str(error)

    asyncio.run(main())


class Suspend:
    """Suspends with something that is sent back in, and says what that was."""

    def __await__(self) -> Any:
        return (yield "pending")


def test_what_is_sent_in_reaches_the_callee() -> None:
    """asyncio sends nothing in; other drivers of coroutines may."""

    async def callee() -> list[str]:
        return [await Suspend(), await Suspend()]

    async def main() -> None:
        coroutine = Timeout(5).acall(callee)
        assert coroutine.send(None) == "pending"
        assert coroutine.send("one") == "pending"
        with pytest.raises(StopIteration) as stop:
            coroutine.send("two")
        assert stop.value.value == ["one", "two"]

    asyncio.run(main())


def test_closing_a_call_closes_the_callee() -> None:
    ended: list[str] = []

    async def callee() -> None:
        try:
            await Suspend()
        finally:
            ended.append("closed")

    async def main() -> None:
        coroutine = Timeout(5).acall(callee)
        coroutine.send(None)
        coroutine.close()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    asyncio.run(main())
    assert ended == ["closed"]


def test_a_call_finalised_in_another_context() -> None:
    """The collector runs wherever it likes; the ambient deadline there is none of its business."""
    guarded = Pipeline("guarded", Timeout(5), Retry(), Timeout(1))

    async def callee() -> None:
        await Suspend()

    async def main() -> None:
        coroutine = guarded.acall(callee)
        contextvars.copy_context().run(coroutine.send, None)
        with deadline(60):
            coroutine.close()
            assert time_left() is not None
        assert time_left() is None

    asyncio.run(main())
