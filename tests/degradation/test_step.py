"""Steps: their options, their order, and what is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import CircuitBreaker, ConfigurationError
from holdfast.degradation import FallbackStep, Level
from holdfast.degradation.step import MOST_STEPS, in_order
from holdfast.policies import base


async def answer() -> int:
    return 42


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": ""}, "name must be a printable, non-empty string of at most 200 characters"),
        ({"name": 7}, "name must be a printable"),
        ({"operation": None}, "operation must be a function, unless value=... is given instead"),
        ({"operation": 42}, "operation must be a function"),
        ({"priority": "high"}, "priority must be a finite number, not 'high'"),
        ({"priority": True}, "priority must be a finite number, not True"),
        ({"priority": float("nan")}, "priority must be a finite number, not nan"),
        ({"level": "cached"}, "level must be a Level, not 'cached'"),
        ({"pipeline": "db"}, "pipeline must be a Pipeline or another policy, not 'db'"),
        ({"timeout": 0}, "timeout must be a finite number greater than 0, not 0"),
        ({"share": 0}, "share must be a finite number greater than 0, at most 1, not 0"),
        ({"share": 1.5}, "share must be a finite number greater than 0, at most 1, not 1.5"),
        ({"needs": -1}, "needs must be a finite number of at least 0, not -1"),
        (
            {"needs": 2, "timeout": 1},
            "needs must be a finite number of at least 0, at most 1, not 2",
        ),
        ({"on": 7}, "on must be an exception type"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        FallbackStep(**{"name": "db", "operation": answer, **options})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "option",
    [
        {"operation": answer},
        {"pipeline": CircuitBreaker("b")},
        {"timeout": 1},
        {"share": 0.5},
        {"needs": 1},
        {"on": KeyError},
    ],
)
def test_a_value_takes_nothing_that_is_about_time_or_failure(option: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="takes no time and cannot fail"):
        FallbackStep("basic", **{"value": "private", **option})
    with pytest.raises(ConfigurationError) as caught:
        FallbackStep("basic", **{"value": "private", **option})
    assert "private" not in str(caught.value)


def test_none_is_a_value_too() -> None:
    assert FallbackStep("basic", value=None).static
    assert not FallbackStep("db", answer).static


def test_a_step_shows_its_name_only() -> None:
    assert repr(FallbackStep("basic", value="private")) == "<FallbackStep 'basic'>"


@given(st.lists(st.integers(-3, 3) | st.floats(-3, 3), min_size=1, max_size=8))
def test_steps_are_sorted_and_equal_ones_keep_their_order(priorities: list[float]) -> None:
    steps = [FallbackStep(str(i), answer, priority=p) for i, p in enumerate(priorities)]
    # A naive model: take the first of the highest, again and again.
    left, expected = list(range(len(steps))), list[int]()
    while left:
        best = left[0]
        for other in left:
            if priorities[other] > priorities[best]:
                best = other
        left.remove(best)
        expected.append(best)
    assert [int(step.name) for step in in_order(steps)] == expected
    first = FallbackStep("first", answer, priority=-100)
    assert [step.name for step in in_order(steps, first=first)] == ["first", *map(str, expected)]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], f"steps must be 1 to {MOST_STEPS} FallbackSteps, not 0"),
        (
            [FallbackStep(str(number), answer) for number in range(MOST_STEPS + 1)],
            f"not {MOST_STEPS + 1}",
        ),
        ([answer], "steps must be FallbackSteps, not a function"),
        (
            [FallbackStep("db", answer), FallbackStep("x", answer), FallbackStep("db", answer)],
            "steps must have different names, not 'db' twice",
        ),
    ],
)
def test_a_chain_that_cannot_work_is_refused(steps: list[Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        in_order(steps)
    assert message in str(caught.value)


def test_as_many_steps_as_allowed() -> None:
    steps = [FallbackStep(str(number), answer) for number in range(MOST_STEPS)]
    assert in_order(steps) == tuple(steps)


class User: ...


async def find_user() -> User:
    return User()


def test_a_value_of_the_wrong_type_is_refused() -> None:
    first = FallbackStep("db", find_user, priority=1)
    with pytest.raises(ConfigurationError) as caught:
        in_order([FallbackStep("basic", value={"name": "private"}), first])
    assert str(caught.value) == (
        "the value of step 'basic' must be of type User, as find_user is annotated to return, "
        "not dict"
    )
    in_order([first, FallbackStep("basic", value=User())])


@pytest.mark.parametrize(
    ("on", "error", "moves"),
    [
        (None, ValueError(), True),
        (ConnectionError, ConnectionResetError(), True),
        (ConnectionError, KeyError(), False),
        (lambda error: False, KeyError(), False),
    ],
)
def test_which_errors_move_on(on: Any, error: Exception, moves: bool) -> None:
    assert FallbackStep("db", answer, on=on).moves_on(error) is moves


def test_a_predicate_that_raises_is_logged_once_and_the_next_step_is_asked(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_complained", set())
    monkeypatch.setattr("holdfast.degradation.step._complained", set())

    def broken(error: Exception) -> bool:
        raise ZeroDivisionError

    step = FallbackStep("db", answer, on=broken)
    with caplog.at_level(logging.ERROR, "holdfast"):
        assert step.moves_on(KeyError())
        assert step.moves_on(KeyError())
    assert [record.getMessage() for record in caplog.records] == [
        "on of <FallbackStep 'db'> raised; the next step is asked"
    ]


def test_a_replaced_step_is_the_same_but_for_what_it_does() -> None:
    step = FallbackStep(
        "db",
        answer,
        priority=3,
        level=Level.CACHED,
        pipeline=CircuitBreaker("b"),
        timeout=2,
        share=0.5,
        needs=0.1,
        on=KeyError,
    )
    other: Callable[[], None] = lambda: None  # noqa: E731
    twin = step.replaced(other)
    assert twin.operation is other
    assert twin.pipeline is None
    for option in ("name", "priority", "level", "timeout", "share", "needs", "static"):
        assert getattr(twin, option) == getattr(step, option)
    assert not twin.moves_on(ValueError())
