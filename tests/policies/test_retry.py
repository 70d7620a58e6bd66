"""What a retry says about itself, its blocks, and retries inside of retries."""

from __future__ import annotations

import asyncio
import traceback
from typing import Any

import pytest

from holdfast import (
    Backoff,
    CircuitBreaker,
    CircuitOpenError,
    DeadlineExceededError,
    Pipeline,
    Retry,
    RetryBudget,
    deadline,
)
from holdfast._core.events import EventHub, RetryGaveUp, RetryScheduled
from holdfast._core.tally import MOST_WINS
from holdfast.errors import Category
from holdfast.testing import VirtualClock

STEADY = Backoff(base=1.0, growth="constant", jitter="none")


def failing(error: Exception) -> Any:
    def fail() -> None:
        raise error

    return fail


class Counted:
    """A callee that fails so many times, and notes when it was called."""

    def __init__(self, clock: VirtualClock, failures: int = 99) -> None:
        self.clock = clock
        self.failures = failures
        self.calls: list[float] = []

    def sync(self) -> str:
        self.calls.append(self.clock.now())
        if len(self.calls) <= self.failures:
            raise ConnectionResetError(f"failure {len(self.calls)}")
        return "ok"

    async def asynchronous(self) -> str:
        return self.sync()


# -- the error that comes out ------------------------------------------------------------------


def notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


def test_the_last_error_says_what_was_tried(virtual_clock: VirtualClock) -> None:
    error = ConnectionResetError("lost")
    with pytest.raises(ConnectionResetError) as caught:
        Retry("geo", backoff=STEADY).call(failing(error))
    assert caught.value is error
    assert notes(error) == ["holdfast: retry 'geo': 3 attempts, then attempts used up"]


def test_an_error_that_was_not_retried_has_no_note() -> None:
    error = ValueError()
    with pytest.raises(ValueError):
        Retry(backoff=STEADY).call(failing(error))
    assert notes(error) == []


def test_notes_and_tracebacks_of_a_reused_exception_stay_bounded(
    virtual_clock: VirtualClock,
) -> None:
    error = ConnectionResetError("always the same object")
    error.add_note("somebody else's")
    one, other = Retry("one", backoff=STEADY, budget=None), Retry("other", backoff=STEADY)
    for _ in range(20):
        assert one.try_call(failing(error)).error is error
    assert other.try_call(failing(error)).error is error
    assert notes(error) == [
        "somebody else's",
        "holdfast: retry 'one': 3 attempts, then attempts used up",
        "holdfast: retry 'other': 3 attempts, then attempts used up",
    ]


def test_a_refusal_that_ends_the_attempts_is_the_context_of_the_real_error(
    virtual_clock: VirtualClock,
) -> None:
    guarded = Pipeline(
        "guarded", Retry(attempts=5, backoff=STEADY), CircuitBreaker(failure_threshold=2)
    )
    error = ConnectionResetError("the real one")

    async def afail() -> None:
        raise error

    with pytest.raises(ConnectionResetError) as caught:
        guarded.call(failing(error))
    assert caught.value is error
    assert notes(error) == ["holdfast: retry 'guarded': 3 attempts, then this error is not retried"]
    guarded.policies[1].reset()  # type: ignore[attr-defined]
    with pytest.raises(ConnectionResetError) as caught:
        virtual_clock.run(guarded.acall(afail))
    assert caught.value is error
    assert guarded.try_call(failing(error)).rejected


@pytest.mark.parametrize("form", ["call", "attempts", "generator"])
def test_a_refusal_does_not_hide_the_real_error(form: str, virtual_clock: VirtualClock) -> None:
    retry, breaker = Retry(attempts=5, backoff=STEADY), CircuitBreaker(failure_threshold=2)
    error = ConnectionResetError("the real one")
    with pytest.raises(ConnectionResetError) as caught:  # noqa: PT012 - the loop is what is tested
        if form == "call":
            retry.call(breaker(failing(error)))
        elif form == "attempts":
            for attempt in retry.attempts():
                with attempt, breaker:
                    raise error
        else:

            def source() -> Any:
                raise error
                yield

            next(retry(breaker(source))())
    assert caught.value is error
    assert virtual_clock.now() == 2


def test_try_call_gives_the_real_error_too(virtual_clock: VirtualClock) -> None:
    guarded = Pipeline(
        "guarded", Retry(attempts=5, backoff=STEADY), CircuitBreaker(failure_threshold=2)
    )
    error = ConnectionResetError("the real one")
    outcome = guarded.try_call(failing(error))
    assert (outcome.error, outcome.rejected) == (error, False)

    async def afail() -> None:
        raise error

    guarded.policies[1].reset()  # type: ignore[attr-defined]
    assert virtual_clock.run(guarded.try_acall(afail)).error is error


def test_a_result_after_a_named_refusal_is_the_last_word(virtual_clock: VirtualClock) -> None:
    """A refusal in between must not be mistaken for the end."""
    breaker = CircuitBreaker(failure_threshold=1, reset_timeout=1.5)
    retry = Retry(attempts=9, backoff=STEADY, on=(ConnectionResetError, CircuitOpenError))
    callee = Counted(virtual_clock, failures=1)
    assert retry.call(breaker(callee.sync)) == "ok"
    assert callee.calls == [0, 2]


def test_the_traceback_shows_the_callee(virtual_clock: VirtualClock) -> None:
    with pytest.raises(ConnectionResetError) as caught:
        Retry(backoff=STEADY).call(failing(ConnectionResetError()))
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "fail"


# -- events and counts -------------------------------------------------------------------------


def test_events_carry_what_a_log_needs(virtual_clock: VirtualClock) -> None:
    hub, heard = EventHub(), []
    hub.subscribe(heard.append)
    retry = Retry("geo", attempts=2, backoff=STEADY, events=hub)
    assert retry.try_call(failing(ConnectionResetError("secret"))).error is not None
    assert heard == [
        RetryScheduled(
            name="geo",
            at=virtual_clock.wall() - 1,
            attempt=1,
            delay=1,
            error_type="ConnectionResetError",
            category=Category.TRANSIENT,
        ),
        RetryGaveUp(
            name="geo",
            at=virtual_clock.wall(),
            attempts=2,
            reason="attempts used up",
            error_type="ConnectionResetError",
        ),
    ]
    assert "secret" not in repr(heard)


def test_many_successes_are_counted_in_bounded_memory() -> None:
    retry = Retry()

    async def nothing() -> None:
        pass

    async def main() -> None:
        for _ in range(MOST_WINS + 10):
            await retry.acall(nothing)

    for _ in range(MOST_WINS + 10):
        retry.call(int)
    asyncio.run(main())
    assert len(retry._tally.wins) <= MOST_WINS + 1
    assert retry.snapshot().calls_total == 2 * (MOST_WINS + 10)


@pytest.mark.parametrize("ahead", ["sync", "async"])
def test_each_success_pays_into_the_budget(ahead: str, virtual_clock: VirtualClock) -> None:
    budget = RetryBudget(initial=0, refill=0, ratio=0.25)
    retry = Retry(backoff=STEADY, budget=budget)
    assert retry.budget is budget

    async def nothing() -> None:
        pass

    for _ in range(4):
        if ahead == "sync":
            retry.call(int)
        else:
            virtual_clock.run(retry.acall(nothing))
    assert budget.tokens == 1
    assert retry.call(Counted(virtual_clock, failures=1).sync) == "ok"
    assert retry.snapshot().budget.granted == 1  # type: ignore[union-attr]


def test_one_budget_for_two_retries(virtual_clock: VirtualClock) -> None:
    budget = RetryBudget(initial=1, refill=0)
    one, other = Retry(budget=budget, backoff=STEADY), Retry(budget=budget, backoff=STEADY)
    assert one.call(Counted(virtual_clock, failures=1).sync) == "ok"
    callee = Counted(virtual_clock)
    assert other.try_call(callee.sync).error is not None
    assert len(callee.calls) == 1


# -- the block form ----------------------------------------------------------------------------


def test_blocks_know_their_number(virtual_clock: VirtualClock) -> None:
    seen: list[tuple[int, float]] = []

    async def main() -> None:
        async for attempt in Retry(backoff=STEADY).attempts():
            async with attempt as entered:
                assert entered is attempt
                seen.append((attempt.number, virtual_clock.now()))
                if attempt.number < 3:
                    raise ConnectionResetError

    for attempt in Retry(backoff=STEADY).attempts():
        with attempt:
            seen.append((attempt.number, virtual_clock.now()))
            if attempt.number < 2:
                raise ConnectionResetError
    virtual_clock.run(main())
    assert seen == [(1, 0), (2, 1), (1, 1), (2, 2), (3, 3)]


def test_a_block_that_was_not_entered_is_a_clear_error() -> None:
    async def main() -> None:
        async for _ in Retry().attempts():
            pass

    with pytest.raises(RuntimeError, match="an attempt was not entered: write `with attempt:`"):
        for _ in Retry().attempts():
            pass
    with pytest.raises(RuntimeError, match="async with attempt"):
        asyncio.run(main())


def test_a_block_forgotten_at_the_second_attempt(virtual_clock: VirtualClock) -> None:
    with pytest.raises(RuntimeError, match="was not entered"):  # noqa: PT012 - the loop is what is tested
        for attempt in Retry(backoff=STEADY).attempts():
            if virtual_clock.now() == 0:
                with attempt:
                    raise ConnectionResetError


def test_leaving_a_block_early_is_fine(virtual_clock: VirtualClock) -> None:
    retry = Retry(backoff=STEADY)

    def find() -> str:
        for attempt in retry.attempts():
            with attempt:
                return "found"
        raise AssertionError("the loop ran dry")

    assert find() == "found"
    for attempt in retry.attempts():
        with attempt:
            break
    assert retry.snapshot().success_without_retry == 2


def test_an_interrupted_block_makes_no_further_attempt(virtual_clock: VirtualClock) -> None:
    entered: list[int] = []
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the loop is what is tested
        for attempt in Retry(backoff=STEADY).attempts():
            with attempt:
                entered.append(attempt.number)
                raise KeyboardInterrupt
    assert entered == [1]


def test_blocks_refuse_to_begin_after_the_deadline(virtual_clock: VirtualClock) -> None:
    with deadline(0), pytest.raises(DeadlineExceededError):  # noqa: PT012 - the loop is what is tested
        for _ in Retry().attempts():
            pytest.fail("an attempt was begun")


# -- retries inside of retries -----------------------------------------------------------------


def test_an_inner_retry_makes_one_attempt(virtual_clock: VirtualClock) -> None:
    inner, outer = Retry(attempts=4, backoff=STEADY), Retry(attempts=3, backoff=STEADY)
    callee = Counted(virtual_clock)
    with pytest.raises(ConnectionResetError):
        outer.call(inner.call, callee.sync)
    assert callee.calls == [0, 1, 2]
    assert inner.snapshot().attempts_total == 3


def test_unless_told_otherwise(virtual_clock: VirtualClock) -> None:
    inner = Retry(attempts=2, backoff=STEADY, retry_when_nested=True)
    outer = Retry(attempts=2, backoff=STEADY)
    callee = Counted(virtual_clock)
    with pytest.raises(ConnectionResetError):
        outer.call(inner.call, callee.sync)
    assert callee.calls == [0, 1, 2, 3]


def test_an_inner_retry_works_again_after_the_outer_one_is_over(
    virtual_clock: VirtualClock,
) -> None:
    inner, outer = Retry(attempts=2, backoff=STEADY), Retry(attempts=2, backoff=STEADY)
    assert outer.call(lambda: "ok") == "ok"
    callee = Counted(virtual_clock, failures=1)
    assert inner.call(callee.sync) == "ok"
    with pytest.raises(ConnectionResetError):
        outer.call(Counted(virtual_clock).sync)
    callee = Counted(virtual_clock, failures=1)
    assert inner.call(callee.sync) == "ok"


def test_tasks_started_inside_an_attempt_are_nested(virtual_clock: VirtualClock) -> None:
    inner, outer = Retry(attempts=3, backoff=STEADY), Retry(attempts=2, backoff=STEADY)
    callees = [Counted(virtual_clock) for _ in range(3)]

    async def attempt() -> None:
        results = await asyncio.gather(
            *(inner.acall(callee.asynchronous) for callee in callees), return_exceptions=True
        )
        for result in results:
            assert isinstance(result, ConnectionResetError)
        raise results[0]

    with pytest.raises(ConnectionResetError):
        virtual_clock.run(outer.acall(attempt))
    assert [callee.calls for callee in callees] == [[0, 1]] * 3


def test_a_task_that_outlives_its_attempt_retries_again(virtual_clock: VirtualClock) -> None:
    inner, outer = Retry(attempts=3, backoff=STEADY), Retry(attempts=2, backoff=STEADY)
    callee = Counted(virtual_clock, failures=2)
    tasks: list[asyncio.Task[str]] = []

    async def later() -> str:
        await asyncio.sleep(5)
        return await inner.acall(callee.asynchronous)

    async def attempt() -> None:
        tasks.append(asyncio.create_task(later()))

    async def main() -> None:
        await outer.acall(attempt)
        assert await tasks[0] == "ok"

    virtual_clock.run(main())
    assert callee.calls == [5, 6, 7]


@pytest.mark.parametrize("outer_form", ["call", "block"])
@pytest.mark.parametrize("inner_form", ["call", "block", "stream"])
def test_forms_of_nested_retries(
    outer_form: str, inner_form: str, virtual_clock: VirtualClock
) -> None:
    outer, inner = Retry(backoff=STEADY, attempts=2), Retry(backoff=STEADY, attempts=4)
    callee = Counted(virtual_clock)

    def use_inner() -> None:
        if inner_form == "call":
            inner.call(callee.sync)
        elif inner_form == "block":
            for attempt in inner.attempts():
                with attempt:
                    callee.sync()
        else:

            def source() -> Any:
                yield callee.sync()

            list(inner(source)())

    with pytest.raises(ConnectionResetError):  # noqa: PT012 - the loop is what is tested
        if outer_form == "call":
            outer.call(use_inner)
        else:
            for attempt in outer.attempts():
                with attempt:
                    use_inner()
    assert callee.calls == [0, 1]


def test_the_code_between_two_blocks_is_not_nested(virtual_clock: VirtualClock) -> None:
    """Only what happens inside the block belongs to the attempt."""
    inner = Retry(attempts=2, backoff=STEADY)
    callee = Counted(virtual_clock, failures=1)
    for attempt in Retry(backoff=STEADY).attempts():
        with attempt:
            pass
    assert inner.call(callee.sync) == "ok"


def test_each_call_of_a_gathering_retries_on_its_own(virtual_clock: VirtualClock) -> None:
    retry = Retry(attempts=3, backoff=STEADY, budget=None)
    callees = [Counted(virtual_clock, failures=2) for _ in range(5)]

    async def main() -> list[str]:
        return await asyncio.gather(*(retry.acall(callee.asynchronous) for callee in callees))

    assert virtual_clock.run(main()) == ["ok"] * 5
    assert [callee.calls for callee in callees] == [[0, 1, 2]] * 5


def test_a_refusal_from_inside_the_callee_does_not_hide_its_own_error_async() -> None:
    """The breaker stands in the function, out of the driver's sight: it raises its refusal."""
    breaker = CircuitBreaker("inside", failure_threshold=1)
    gone = ConnectionResetError("gone")

    async def callee() -> None:
        async with breaker:
            raise gone

    clock = VirtualClock()
    with clock, pytest.raises(ConnectionResetError) as caught:
        clock.run(Retry("outside").acall(callee))
    assert caught.value is gone
    assert "2 attempts, then this error is not retried" in gone.__notes__[0]
