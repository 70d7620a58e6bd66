"""The ambient deadline."""

from __future__ import annotations

import asyncio
import threading
from contextvars import copy_context

import pytest

from holdfast._core.clock import AMBIENT, Clock, installed
from holdfast._core.deadline import LIMIT, deadline, passed, time_left
from holdfast.errors import ConfigurationError, DeadlineExceededError


class Hands:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.at = 50.0
        self.clock = Clock(now=lambda: self.at)


@pytest.fixture
def hands() -> Hands:
    return Hands()


def test_time_runs_down_to_zero_and_not_below(hands: Hands) -> None:
    with deadline(2.0, clock=hands.clock) as limit:
        assert (limit.at, limit.remaining(), limit.expired) == (52.0, 2.0, False)
        assert time_left(clock=hands.clock) == 2.0
        hands.at = 51.5
        assert time_left(clock=hands.clock) == limit.remaining() == 0.5
        assert passed("dep", hands.clock) is None
        hands.at = 52.0
        assert limit.expired
        hands.at = 60.0
        assert time_left(clock=hands.clock) == limit.remaining() == 0.0


def test_without_a_deadline_there_is_always_time(hands: Hands) -> None:
    assert time_left() is None
    assert passed("dep", hands.clock) is None


def test_nested_deadlines_only_ever_shorten(hands: Hands) -> None:
    with deadline(2.0, clock=hands.clock):
        with deadline(5.0, clock=hands.clock) as longer:
            assert longer.at == 52.0
            with deadline(1.0, clock=hands.clock) as shorter:
                assert shorter.at == 51.0
                assert time_left(clock=hands.clock) == 1.0
            assert time_left(clock=hands.clock) == 2.0
    assert LIMIT.get() is None


def test_ends_with_its_block_also_after_an_error(hands: Hands) -> None:
    with pytest.raises(KeyError), deadline(1.0, clock=hands.clock):
        raise KeyError
    assert LIMIT.get() is None


def test_work_is_refused_from_the_deadline_on(hands: Hands) -> None:
    with deadline(0, clock=hands.clock):
        refusal = passed("dep", hands.clock)
    assert refusal is not None
    error = refusal.error
    assert isinstance(error, DeadlineExceededError)
    assert (error.name, error.reason, error.retry_after) == ("dep", "the deadline has passed", 0.0)


def test_the_ambient_clock_is_the_default(hands: Hands) -> None:
    with installed(hands.clock), deadline(3.0) as limit:
        hands.at += 1
        assert time_left() == limit.remaining() == 2.0
        assert AMBIENT.now() == 51.0


def test_tasks_inherit_it_and_cannot_change_it_for_others(hands: Hands) -> None:
    async def inner() -> float | None:
        with deadline(0.5, clock=hands.clock):
            await asyncio.sleep(0)
            return time_left(clock=hands.clock)

    async def outer() -> list[float | None]:
        with deadline(2.0, clock=hands.clock):
            found = await asyncio.gather(inner(), inner())
            return [*found, time_left(clock=hands.clock)]

    assert asyncio.run(outer()) == [0.5, 0.5, 2.0]


def test_a_thread_has_it_only_with_the_context(hands: Hands) -> None:
    found: list[float | None] = []
    with deadline(2.0, clock=hands.clock):
        context = copy_context()
        for target in (
            lambda: found.append(LIMIT.get()),
            lambda: context.run(lambda: found.append(LIMIT.get())),
        ):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    assert found[1] == 52.0


@pytest.mark.parametrize("seconds", [-0.1, float("nan"), "1", None, True])
def test_bad_durations_are_refused(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="seconds must be a finite number of at least 0"):
        with deadline(seconds):
            raise AssertionError("the block must not begin")
    assert LIMIT.get() is None
