"""Fallback chains, each case in the sync and in the async form."""

from __future__ import annotations

import asyncio
import gc
import logging
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import Bulkhead, CallTimeoutError, CircuitBreaker, Pipeline, Timeout, deadline
from holdfast._core.deadline import LIMIT, time_left
from holdfast.degradation import (
    AllFallbacksFailedError,
    FallbackStep,
    GracefulDegradation,
    Level,
    Served,
)
from holdfast.errors import CircuitOpenError, ConfigurationError, DeadlineExceededError
from holdfast.events import EventHub
from holdfast.policies import timers
from holdfast.testing import VirtualClock

Operation = Callable[..., Any]


def does(result: Any, calls: list[Any] | None = None) -> Operation:
    """An operation that gives this, or raises it."""

    def operation(*args: Any) -> Any:
        if calls is not None:
            calls.append(args)
        if isinstance(result, BaseException):
            raise result
        return result

    return operation


class Form:
    """One way to run chains; operations are written once, as plain functions."""

    def __init__(self, name: str) -> None:
        self.is_async = name == "async"
        self.clock = VirtualClock()
        self.events = EventHub()
        self.service = GracefulDegradation(clock=self.clock, events=self.events)

    def step(self, name: str, operation: Operation, **options: Any) -> FallbackStep[Any]:
        async def later(*args: Any) -> Any:
            return operation(*args)

        options = {"priority": 0, **options}
        return FallbackStep(name, later if self.is_async else operation, **options)

    def serve(self, *steps: FallbackStep[Any], name: str = "profile") -> Served[Any]:
        if not self.is_async:
            return self.service.execute_with_fallback_chain_sync(name, steps)
        served: Served[Any] = self.run(
            lambda: self.service.execute_with_fallback_chain(name, steps)
        )
        return served

    def run(self, call: Callable[[], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            return await call()

        return self.clock.run(main())


@pytest.fixture(params=["async", "sync"])
def form(request: pytest.FixtureRequest) -> Form:
    return Form(request.param)


def test_the_highest_priority_answers_and_nobody_else_is_asked(form: Form) -> None:
    calls: list[Any] = []
    served = form.serve(
        form.step("basic", does(3, calls), priority=50),
        form.step("database", does(1), priority=100),
        form.step("cache", does(2, calls), priority=80),
    )
    assert (served.value, served.level, served.step) == (1, Level.PRIMARY, "database")
    assert (served.age, served.causes, served.degraded) == (None, (), False)
    assert calls == []


def test_each_failure_leads_to_the_next_step_and_is_kept(form: Form) -> None:
    down, missed = ConnectionError("down"), KeyError("missed")
    served = form.serve(
        form.step("database", does(down)),
        form.step("cache", does(missed)),
        FallbackStep("basic", value="nobody"),
    )
    assert (served.value, served.level, served.step) == ("nobody", Level.STATIC, "basic")
    assert [(cause.step, cause.error, cause.skipped) for cause in served.causes] == [
        ("database", down, False),
        ("cache", missed, False),
    ]


def test_when_all_fail_the_error_holds_them_all(form: Form) -> None:
    errors = [ConnectionError(), KeyError(), ValueError()]
    steps = [form.step(str(number), does(error)) for number, error in enumerate(errors)]
    with pytest.raises(AllFallbacksFailedError) as caught:
        form.serve(*steps)
    assert list(caught.value.exceptions) == errors
    assert [cause.step for cause in caught.value.causes] == ["0", "1", "2"]
    assert caught.value.__context__ is None
    assert caught.value.name == "profile"


def test_an_open_breaker_is_skipped_without_a_call(form: Form) -> None:
    calls: list[Any] = []
    breaker = CircuitBreaker("db", clock=form.clock)
    breaker.isolate("test")
    served = form.serve(
        form.step("database", does(1, calls), pipeline=Pipeline("db", breaker)),
        form.step("cache", does(2)),
    )
    assert (served.value, served.level, calls) == (2, Level.CACHED, [])
    [cause] = served.causes
    assert cause.skipped
    assert isinstance(cause.error, CircuitOpenError)
    assert form.clock.now() == 0


def test_the_pipeline_sees_failures_and_successes(form: Form) -> None:
    breaker = CircuitBreaker("db", failure_threshold=2, clock=form.clock)
    for _ in range(2):
        form.serve(
            form.step("database", does(ConnectionError()), pipeline=breaker),
            form.step("cache", does(2)),
        )
    assert breaker.state == "open"
    form.clock.advance(31)
    assert form.serve(form.step("database", does(1), pipeline=breaker)).value == 1
    assert breaker.state == "closed"


def test_errors_that_are_the_answer_come_out(form: Form) -> None:
    missing = LookupError("no such user")
    with pytest.raises(LookupError) as caught:
        form.serve(
            form.step("database", does(missing), on=ConnectionError), form.step("cache", does(2))
        )
    assert caught.value is missing
    assert form.service.snapshot().chains[0].calls_total == 0


def test_what_is_no_exception_passes_through(form: Form) -> None:
    calls: list[Any] = []
    for error in (KeyboardInterrupt(), asyncio.CancelledError()):
        with pytest.raises(type(error)):
            form.serve(form.step("database", does(error)), form.step("cache", does(2, calls)))
    assert calls == []


def test_an_operation_may_say_how_good_its_answer_is(form: Form) -> None:
    inner = Served("old", Level.CACHED, "inner", 12.0, ())
    served = form.serve(form.step("database", does(inner)))
    assert (served.value, served.level, served.step, served.age) == (
        "old",
        Level.CACHED,
        "database",
        12.0,
    )
    # By its place the second step is CACHED, and never better.
    served = form.serve(form.step("a", does(KeyError())), form.step("b", does(Served("full"))))
    assert served.level is Level.CACHED


def test_the_causes_of_an_answer_inside_come_along(form: Form) -> None:
    def inner() -> Served[Any]:
        service = GracefulDegradation(clock=form.clock, events=form.events)
        return service.execute_with_fallback_chain_sync(
            "inner",
            [FallbackStep("x", does(KeyError())), FallbackStep("y", does(Served(1, age=3.0)))],
        )

    served = form.serve(form.step("a", does(ValueError())), form.step("b", inner))
    assert [cause.step for cause in served.causes] == ["a", "x"]
    assert served.age == 3.0
    # They are not counted as this chain's own steps.
    steps = form.service.snapshot().chains[0].steps
    assert [(step.name, step.served_total, step.failed_total) for step in steps] == [
        ("b", 1, 0),
        ("a", 0, 1),
    ]


# -- the decorator -----------------------------------------------------------------------------


def test_the_decorator_gives_the_bare_value_and_hands_on_the_arguments(form: Form) -> None:
    calls: list[Any] = []
    fails = False

    def primary(number: int) -> str:
        """Docs."""
        if fails:
            raise ConnectionError
        return f"user {number}"

    async def primary_async(number: int) -> str:
        return primary(number)

    protect: Any = form.service.with_fallbacks(
        "profile",
        form.step("cache", does("cached", calls), priority=1_000),
        FallbackStep("basic", value="nobody"),
    )
    protected = protect(primary_async if form.is_async else primary)

    def call() -> Any:
        return form.run(lambda: protected(7)) if form.is_async else protected(7)

    assert call() == "user 7", "the function comes first, whatever the priorities"
    assert calls == []
    fails = True
    assert call() == "cached"
    assert calls == [(7,)]
    assert protected.__name__ == ("primary_async" if form.is_async else "primary")


def test_the_decorator_protects_methods() -> None:
    service = GracefulDegradation(events=EventHub())

    class Users:
        def __init__(self) -> None:
            self.default = "nobody"

        def basic(self, number: int) -> str:
            return f"{self.default} {number}"

        @service.with_fallbacks("users", FallbackStep("basic", basic))
        def find(self, number: int) -> str:
            raise ConnectionError

    assert Users().find(7) == "nobody 7"


@pytest.mark.parametrize("wrong", [int, 42])
def test_the_decorator_refuses_what_is_no_function(wrong: Any) -> None:
    service = GracefulDegradation()
    with pytest.raises(TypeError):
        service.with_fallbacks("x", FallbackStep("basic", value=1))(wrong)


def test_the_decorator_refuses_generators() -> None:
    def stream() -> Any:
        yield 1

    with pytest.raises(TypeError, match="this is a generator function"):
        GracefulDegradation().with_fallbacks("x", FallbackStep("basic", value=1))(stream)


def test_the_decorator_refuses_a_value_of_the_wrong_type() -> None:
    def find() -> str:
        return ""

    with pytest.raises(ConfigurationError, match="the value of step 'basic' must be of type str"):
        GracefulDegradation().with_fallbacks("x", FallbackStep("basic", value=1))(find)


def test_the_decorator_refuses_a_second_primary() -> None:
    with pytest.raises(ConfigurationError, match="'primary' twice"):
        GracefulDegradation().with_fallbacks("x", FallbackStep("primary", value=1))(lambda: 1)


# -- the wrong form ----------------------------------------------------------------------------


@pytest.mark.parametrize("pipeline", [None, Bulkhead("b")])
def test_a_plain_function_in_an_async_chain_is_a_mistake(pipeline: Any) -> None:
    form = Form("async")
    wrong: FallbackStep[Any] = FallbackStep("database", lambda: 42, pipeline=pipeline)
    with pytest.raises(TypeError, match=r"step 'database' returned a int, which .* _sync"):
        form.serve(wrong, form.step("cache", does(2)))


@pytest.mark.parametrize("pipeline", [None, Bulkhead("b")])
def test_a_coroutine_in_a_sync_chain_is_a_mistake(pipeline: Any) -> None:
    form = Form("sync")

    async def answer() -> int:
        return 42

    wrong: FallbackStep[Any] = FallbackStep("database", answer, pipeline=pipeline)
    with pytest.raises(TypeError, match="step 'database' returned a coroutine"):
        form.serve(wrong, form.step("cache", does(2)))


def test_an_async_chain_awaits_whatever_can_be_awaited() -> None:
    form = Form("async")

    async def main() -> Served[int]:
        future = asyncio.get_running_loop().create_future()
        future.set_result(42)
        step: FallbackStep[Awaitable[int]] = FallbackStep("database", lambda: future)
        return await form.service.execute_with_fallback_chain("x", [step])

    assert form.clock.run(main()).value == 42


# -- time --------------------------------------------------------------------------------------


def sleeps(seconds: float, then: Any = "late") -> Operation:
    async def operation() -> Any:
        await asyncio.sleep(seconds)
        if isinstance(then, Exception):
            raise then
        return then

    return operation


def test_a_deadline_over_three_slow_steps() -> None:
    form = Form("async")

    async def main() -> None:
        with deadline(0.3, clock=form.clock), pytest.raises(AllFallbacksFailedError) as caught:
            await form.service.execute_with_fallback_chain(
                "slow", [FallbackStep(name, sleeps(9)) for name in "abc"]
            )
        # Half of what is left, then half of that, then all the rest.
        errors: list[Any] = list(caught.value.exceptions)
        limits = [error.seconds for error in errors]
        assert limits == pytest.approx([0.15, 0.075, 0.075])
        assert 0.3 <= form.clock.now() < 0.32

    form.clock.run(main())


def test_the_best_level_reached_within_the_deadline() -> None:
    form = Form("async")

    async def main() -> Served[Any]:
        with deadline(0.3, clock=form.clock):
            return await form.service.execute_with_fallback_chain(
                "slow",
                [
                    FallbackStep("a", sleeps(9)),
                    FallbackStep("b", sleeps(0.07)),
                    FallbackStep("c", value=0),
                ],
            )

    served = form.clock.run(main())
    assert (served.step, served.value) == ("b", "late")
    assert form.clock.now() == pytest.approx(0.22)
    [cause] = served.causes
    assert isinstance(cause.error, CallTimeoutError)
    assert (cause.error.name, cause.skipped) == ("a", False)


def test_a_value_answers_when_the_deadline_is_over() -> None:
    form = Form("async")

    async def main() -> Served[Any]:
        with deadline(0.3, clock=form.clock):
            return await form.service.execute_with_fallback_chain(
                "slow", [FallbackStep("a", sleeps(9)), FallbackStep("c", value=0)]
            )

    served = form.clock.run(main())
    assert served.level is Level.STATIC
    assert form.clock.now() == 0.3, "the only step that takes time may use it all"


def test_steps_whose_time_is_over_are_not_begun(form: Form) -> None:
    calls: list[Any] = []
    with deadline(0, clock=form.clock), pytest.raises(AllFallbacksFailedError) as caught:
        form.serve(form.step("a", does(1, calls)), form.step("b", does(2, calls)))
    assert calls == []
    assert all(isinstance(error, DeadlineExceededError) for error in caught.value.exceptions)
    assert all(cause.skipped for cause in caught.value.causes)
    assert LIMIT.get() is None


def test_a_step_that_cannot_finish_in_time_is_skipped(form: Form) -> None:
    calls: list[Any] = []
    with deadline(1, clock=form.clock):
        served = form.serve(
            form.step("a", does(1, calls), needs=1.5), form.step("b", does(2), needs=0.5)
        )
    assert (served.step, calls, served.causes[0].skipped) == ("b", [], True)


def test_timeouts_and_shares_are_the_deadline_inside_the_step(form: Form) -> None:
    seen: list[float | None] = []

    def look() -> None:
        seen.append(time_left(clock=form.clock))
        raise ConnectionError

    with deadline(10, clock=form.clock):
        served = form.serve(
            form.step("a", look, timeout=2),
            form.step("b", look, share=0.4),
            form.step("c", look),
            form.step("d", look),
            FallbackStep("e", value=0),
        )
        assert seen == [2, 4, 5, 10]
        assert time_left(clock=form.clock) == 10
    assert served.step == "e"
    assert LIMIT.get() is None
    form.serve(form.step("a", look, timeout=3), FallbackStep("e", value=0))
    assert seen[-1] == 3
    assert LIMIT.get() is None


def test_a_steps_own_timeout_cuts_it_off_and_is_shared_by_many_calls() -> None:
    form = Form("async")
    steps = [FallbackStep("a", sleeps(9), timeout=2.0), FallbackStep("b", sleeps(1))]

    async def main() -> None:
        calls = (form.service.execute_with_fallback_chain("x", steps) for _ in range(20))
        for served in await asyncio.gather(*calls):
            assert (served.step, served.value) == ("b", "late")
            assert isinstance(served.causes[0].error, CallTimeoutError)
        assert 2.0 in timers._local.here[1], "one timer for all of them"

    form.clock.run(main())
    assert form.clock.now() == 3


def test_a_timeout_of_the_callees_is_no_timeout_of_ours(form: Form) -> None:
    theirs = TimeoutError("theirs")
    served = form.serve(form.step("a", does(theirs), timeout=5), FallbackStep("b", value=0))
    assert served.causes[0].error is theirs


# -- cancellation ------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", [0.5, 1.5, 2.5])
@pytest.mark.parametrize("limits", [{}, {"timeout": 30}])
def test_cancellation_passes_at_once_and_leaves_nothing_behind(
    moment: float, limits: dict[str, Any]
) -> None:
    form = Form("async")
    breaker = CircuitBreaker("b", clock=form.clock)
    begun: list[str] = []

    def slow(name: str) -> FallbackStep[Any]:
        async def operation() -> None:
            begun.append(name)
            await asyncio.sleep(1)
            raise ConnectionError

        return FallbackStep(name, operation, pipeline=breaker, **limits)

    async def main() -> None:
        steps = [slow(name) for name in "abc"]
        coroutine: Any = form.service.execute_with_fallback_chain("x", steps)
        call = asyncio.create_task(coroutine)
        await asyncio.sleep(moment)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert form.clock.now() == moment
        assert begun == list("abc")[: int(moment) + 1]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    form.clock.run(main())
    assert breaker.snapshot().ignored_total == 1
    assert form.service.snapshot().chains[0].calls_total == 0


def test_an_outer_timeout_wins_over_the_chain() -> None:
    form = Form("async")
    outer = Timeout(1.0, "outer", clock=form.clock, events=form.events)

    async def main() -> None:
        with pytest.raises(CallTimeoutError) as caught:
            await outer.acall(
                form.service.execute_with_fallback_chain,
                "x",
                [FallbackStep("a", sleeps(9)), FallbackStep("b", value=0)],
            )
        assert caught.value.name == "outer"

    form.clock.run(main())


def test_a_forgotten_call_is_only_forgotten() -> None:
    form = Form("async")

    async def main() -> None:
        call = form.service.execute_with_fallback_chain(
            "x", [FallbackStep("a", sleeps(9), timeout=20)]
        )
        call.send(None)
        call.close()

    form.clock.run(main())
    assert form.service.snapshot().chains[0].calls_total == 0


# -- against a model ---------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=5), st.booleans())
def test_the_first_that_works_by_priority_answers(
    chain: list[tuple[int, bool]], is_async: bool
) -> None:
    form = Form("async" if is_async else "sync")
    steps = [
        form.step(str(number), does(number if works else KeyError(number)), priority=priority)
        for number, (priority, works) in enumerate(chain)
    ]
    wanted = sorted(range(len(chain)), key=lambda number: (-chain[number][0], number))
    working = [number for number in wanted if chain[number][1]]
    if not working:
        with pytest.raises(AllFallbacksFailedError) as caught:
            form.serve(*steps)
        assert [cause.step for cause in caught.value.causes] == [str(each) for each in wanted]
        return
    served = form.serve(*steps)
    place = wanted.index(working[0])
    assert served.value == working[0]
    assert served.level is list(Level)[min(place, 3)]
    assert [cause.step for cause in served.causes] == [str(each) for each in wanted[:place]]


# -- bounded -----------------------------------------------------------------------------------


def test_a_long_outage_leaves_memory_flat_and_one_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    form = Form("sync")

    def down() -> None:
        raise ConnectionError  # a new one each time: one object would keep its own past

    steps = [form.step("database", down), FallbackStep("basic", value=0)]

    def outage(calls: int) -> None:
        for _ in range(calls):
            form.serve(*steps)
            form.clock.advance(0.5)

    with caplog.at_level(logging.DEBUG, "holdfast"):
        outage(500)
        gc.collect()
        tracemalloc.start()
        outage(100)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        outage(6_000)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert after - before < 8_000, "bytes for 6,000 degraded answers"
    assert len(caplog.records) == 1
    assert form.service.snapshot().chains[0].degraded_for == 6_600 / 2


def test_a_degraded_answer_leaves_no_garbage_for_the_collector() -> None:
    form = Form("async")

    def down() -> None:
        raise ConnectionError

    steps = [form.step("database", down), form.step("cache", does(1))]

    async def main() -> None:
        for _ in range(3):
            await form.service.execute_with_fallback_chain("x", steps)
        gc.collect()
        gc.disable()
        try:
            for _ in range(100):
                (await form.service.execute_with_fallback_chain("x", steps)).value  # noqa: B018
            assert gc.collect() < 100, "objects left by 100 answers"
        finally:
            gc.enable()

    form.clock.run(main())
