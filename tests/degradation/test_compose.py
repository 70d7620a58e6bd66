"""Answers in parts."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import CallTimeoutError, CircuitBreaker
from holdfast.degradation import (
    AllFallbacksFailedError,
    Composed,
    EssentialPartFailedError,
    FallbackStep,
    GracefulDegradation,
    Level,
    Served,
    degradation_scope,
)
from holdfast.errors import ConfigurationError, DeadlineExceededError
from holdfast.events import EventHub
from holdfast.testing import VirtualClock


class Bench:
    """A service on a virtual clock, and a list of the parts that were cancelled."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.service = GracefulDegradation(clock=self.clock, events=EventHub())
        self.cancelled: list[str] = []

    def part(self, result: Any, seconds: float = 0.0, name: str = "") -> Callable[[], Any]:
        async def operation() -> Any:
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                self.cancelled.append(name)
                await asyncio.sleep(0)  # it takes a moment to clean up
                raise
            if isinstance(result, BaseException):
                raise result
            return result

        return operation

    def compose(self, **options: Any) -> Composed:
        async def main() -> Composed:
            try:
                return await self.service.compose("home", **options)
            finally:
                assert asyncio.all_tasks() == {asyncio.current_task()}, "no task is left"

        return self.clock.run(main())


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_all_parts_at_the_same_time(bench: Bench) -> None:
    whole = bench.compose(
        essential={"account": bench.part(1, 2.0)},
        optional={"avatar": bench.part(2, 1.0), "news": bench.part(3, 3.0)},
    )
    assert whole.value == {"account": 1, "avatar": 2, "news": 3}
    assert list(whole.value) == ["account", "avatar", "news"], "in the order given"
    assert (whole.level, whole.step, whole.missing) == (Level.PRIMARY, "home", {})
    assert bench.clock.now() == 3


def test_a_missing_optional_part_is_left_out_and_named(bench: Bench) -> None:
    down = ConnectionError("down")
    whole = bench.compose(essential={"account": bench.part(1)}, optional={"news": bench.part(down)})
    assert whole.value == {"account": 1}
    assert whole.missing == {"news": down}
    assert (whole.level, whole.degraded) == (Level.PARTIAL, True)
    assert [(cause.step, cause.error) for cause in whole.causes] == [("news", down)]
    [seen] = bench.service.snapshot().chains
    assert seen.name == "home"
    assert seen.served_total[Level.PARTIAL] == 1
    assert [(step.name, step.served_total, step.failed_total) for step in seen.steps] == [
        ("account", 1, 0),
        ("news", 0, 1),
    ]


def test_a_missing_essential_part_fails_the_whole_at_once(bench: Bench) -> None:
    down = ConnectionError("down")
    with pytest.raises(EssentialPartFailedError) as caught:
        bench.compose(
            essential={"account": bench.part(down, 1.0), "plan": bench.part(2, 9.0, "plan")},
            optional={"news": bench.part(3, 9.0, "news")},
        )
    assert bench.clock.now() == 1
    assert sorted(bench.cancelled) == ["news", "plan"]
    assert caught.value.name == "home"
    assert caught.value.exceptions == (down,)
    assert [cause.step for cause in caught.value.causes] == ["account"]
    assert caught.value.__context__ is None
    assert bench.service.snapshot().chains[0].failed_total == 1


def test_two_essential_parts_that_fail_together_are_both_kept(bench: Bench) -> None:
    errors = [ConnectionError(), KeyError()]
    with pytest.raises(EssentialPartFailedError) as caught:
        bench.compose(essential={"a": bench.part(errors[0], 1), "b": bench.part(errors[1], 1)})
    assert list(caught.value.exceptions) == errors


def test_a_part_has_its_own_fallbacks(bench: Bench) -> None:
    chain = [
        FallbackStep("database", bench.part(ConnectionError())),
        FallbackStep("cache", bench.part(Served(1, age=7.0))),
    ]
    whole = bench.compose(
        essential={"account": chain, "plan": FallbackStep("free", value="free")},
        optional={"news": [FallbackStep("x", bench.part(KeyError()))]},
    )
    assert whole.value == {"account": 1, "plan": "free"}
    assert whole.parts["account"].level is Level.CACHED
    assert whole.parts["account"].step == "cache"
    assert whole.parts["plan"].level is Level.STATIC
    assert whole.age == 7.0
    assert isinstance(whole.missing["news"], KeyError), "the only step's own error"


def test_a_part_whose_fallbacks_all_fail_keeps_all_causes(bench: Bench) -> None:
    chain = [FallbackStep(name, bench.part(KeyError(name))) for name in "ab"]
    whole = bench.compose(optional={"news": chain})
    error = whole.missing["news"]
    assert isinstance(error, AllFallbacksFailedError)
    assert error.name == "home.news"
    assert whole.value == {}


def test_one_deadline_for_all(bench: Bench) -> None:
    whole = bench.compose(
        essential={"account": bench.part(1, 0.1)},
        optional={"news": bench.part(2, 9.0), "avatar": bench.part(3, 0.2)},
        deadline=0.3,
    )
    assert bench.clock.now() == 0.3
    assert whole.value == {"account": 1, "avatar": 3}
    assert isinstance(whole.missing["news"], CallTimeoutError)


def test_an_essential_part_that_is_late_fails_the_whole_in_time(bench: Bench) -> None:
    with pytest.raises(EssentialPartFailedError) as caught:
        bench.compose(
            essential={"account": bench.part(1, 9.0)},
            optional={"news": bench.part(2, 9.0)},
            deadline=0.3,
        )
    assert bench.clock.now() == 0.3
    assert isinstance(caught.value.exceptions[0], CallTimeoutError)


def test_a_deadline_that_is_over_begins_nothing(bench: Bench) -> None:
    whole = bench.compose(
        essential={"plan": FallbackStep("free", value=0)},
        optional={"news": bench.part(1)},
        deadline=0,
    )
    assert isinstance(whole.missing["news"], DeadlineExceededError)
    assert whole.causes[0].skipped


def test_parts_have_pipelines(bench: Bench) -> None:
    breaker = CircuitBreaker("news", clock=bench.clock)
    breaker.isolate("test")
    whole = bench.compose(
        optional={"news": FallbackStep("rss", bench.part(1), pipeline=breaker)},
    )
    assert whole.causes[0].skipped
    assert bench.service.snapshot().chains[0].steps[0].skipped_total == 1


@pytest.mark.parametrize("moment", [0.5, 1.5])
def test_cancellation_cancels_and_awaits_every_part(bench: Bench, moment: float) -> None:
    async def main() -> None:
        call = asyncio.create_task(
            bench.service.compose(
                "home",
                essential={"a": bench.part(1, 9, "a"), "b": bench.part(1, 1, "b")},
                optional={"c": bench.part(1, 9, "c"), "d": bench.part(KeyError(), 1, "d")},
            )
        )
        await asyncio.sleep(moment)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert asyncio.all_tasks() == {asyncio.current_task()}

    bench.clock.run(main())
    assert sorted(bench.cancelled) == (["a", "b", "c", "d"] if moment < 1 else ["a", "c"])
    assert bench.service.snapshot().chains[0].calls_total == 0


def test_cancellation_wins_over_a_failure_that_is_winding_up(bench: Bench) -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(9)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
            raise

    async def main() -> None:
        call = asyncio.create_task(
            bench.service.compose(
                "home", essential={"a": bench.part(KeyError(), 1)}, optional={"b": stubborn}
            )
        )
        await asyncio.sleep(1.5)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert asyncio.all_tasks() == {asyncio.current_task()}

    bench.clock.run(main())


def test_a_failure_leaves_no_cancellation_behind(bench: Bench) -> None:
    async def main() -> None:
        me = asyncio.current_task()
        assert me is not None
        with pytest.raises(EssentialPartFailedError):
            await bench.service.compose("home", essential={"a": bench.part(KeyError(), 1)})
        assert me.cancelling() == 0

    bench.clock.run(main())


def test_mistakes_in_several_parts_leave_no_complaint(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(TypeError):
        bench.compose(essential={"a": lambda: 1, "b": lambda: 2}, optional={"c": lambda: 3})
    gc.collect()
    assert caplog.text == "", "asyncio logs exceptions that nobody has looked at"


@pytest.mark.parametrize("kind", ["essential", "optional"])
def test_a_part_that_others_cancel_cancels_the_whole(bench: Bench, kind: str) -> None:
    with pytest.raises(asyncio.CancelledError):
        bench.compose(**{kind: {"a": bench.part(asyncio.CancelledError(), 1)}})
    assert bench.clock.now() == 1


def test_a_plain_function_is_a_mistake(bench: Bench) -> None:
    with pytest.raises(TypeError, match="step 'news' returned a int"):
        bench.compose(essential={"a": bench.part(1, 9, "a")}, optional={"news": lambda: 42})
    assert bench.cancelled == ["a"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "parts must be 1 to 32, not 0"),
        ({"essential": {"a": print}, "optional": {"a": print}}, "part 'a' must be essential or"),
        ({"optional": {str(number): print for number in range(33)}}, "parts must be 1 to 32"),
        ({"optional": {"": print}}, "part must be a printable"),
        ({"optional": {"a": 42}}, "part 'a' must be a function, a FallbackStep or several of"),
        ({"optional": {"a": "xyz"}}, "part 'a' must be a function"),
        ({"optional": {"a": []}}, "steps must be 1 to 32 FallbackSteps, not 0"),
        ({"essential": {"a": print}, "deadline": -1}, "deadline must be a finite number"),
    ],
)
def test_bad_input_is_refused(bench: Bench, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        bench.compose(**options)
    assert message in str(caught.value)


def test_the_request_knows_what_is_missing(bench: Bench) -> None:
    async def main() -> None:
        with degradation_scope() as request:
            await bench.service.compose("home", optional={"news": bench.part(KeyError())})
        seen = request.snapshot()
        assert (seen.level, seen.by) == (Level.PARTIAL, ("home.news", "home"))

    bench.clock.run(main())


parts = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=5)


@given(parts)
def test_what_is_served_is_what_the_parts_say(chosen: list[tuple[bool, bool]]) -> None:
    """The oracle: no failed essential part."""
    bench = Bench()
    groups: dict[bool, dict[str, Any]] = {True: {}, False: {}}
    for number, (essential, works) in enumerate(chosen):
        groups[essential][str(number)] = bench.part(number if works else KeyError())
    options = {"essential": groups[True], "optional": groups[False]}
    if any(essential and not works for essential, works in chosen):
        with pytest.raises(EssentialPartFailedError):
            bench.compose(**options)
        return
    whole = bench.compose(**options)
    working = {number for number, (_, works) in enumerate(chosen) if works}
    assert set(whole.value.values()) == working
    assert set(whole.missing) == {str(each) for each in range(len(chosen)) if each not in working}
    assert whole.degraded is bool(whole.missing)
