"""Threads on virtual time."""

from __future__ import annotations

import queue
import threading

import pytest

from holdfast._core.clock import AMBIENT, Clock
from holdfast.errors import ConfigurationError
from holdfast.testing import DeadlockError, VirtualClock


def test_it_is_a_clock():
    clock = VirtualClock(5.0, wall_start=1000.0, seed=7)
    assert isinstance(clock, Clock)
    assert (clock.now(), clock.wall()) == (5.0, 1000.0)
    clock.sleep(2.5)
    assert (clock.now(), clock.wall()) == (7.5, 1002.5)
    clock.advance(1)
    assert (clock.now(), clock.wall()) == (8.5, 1003.5)


def test_the_seed_decides_the_randomness():
    one, same, other = VirtualClock(seed=1), VirtualClock(seed=1), VirtualClock(seed=2)
    draws = [[clock.random() for _ in range(5)] for clock in (one, same, other)]
    assert draws[0] == draws[1] != draws[2]
    assert all(0 <= draw < 1 for draw in draws[0])


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "1"])
def test_bad_durations_are_refused(seconds: float):
    clock = VirtualClock()
    with pytest.raises(ConfigurationError, match="seconds"):
        clock.sleep(seconds)
    with pytest.raises(ConfigurationError, match="seconds"):
        clock.advance(seconds)


def test_installing_nests_and_undoes_itself():
    real = AMBIENT.now
    outer, inner = VirtualClock(100), VirtualClock(200)
    with outer:
        assert AMBIENT.now() == 100
        with inner, inner:
            AMBIENT.sleep(5)
            assert inner.now() == 205
        assert AMBIENT.now() == 100
        with pytest.raises(LookupError), inner:
            raise LookupError
        assert AMBIENT.now() == 100
    assert AMBIENT.now == real


def test_wait_alone():
    clock = VirtualClock()
    event = threading.Event()
    assert clock.wait(event, 3) is False
    assert clock.now() == 3
    assert clock.wait(event, 0) is False
    assert clock.wait(event, -1) is False
    event.set()
    assert clock.wait(event, None) is True
    assert clock.now() == 3


def test_waiting_alone_for_ever_is_a_deadlock():
    clock = VirtualClock()
    with pytest.raises(DeadlockError, match=r"(?s)deadlock at virtual time 0.*MainThread.*Event"):
        clock.wait(threading.Event(), None)
    clock.sleep(1)  # the clock goes on after it
    assert clock.now() == 1


def test_threads_take_turns_in_the_order_of_their_wake_ups():
    def play() -> list[tuple[str, float]]:
        clock = VirtualClock()
        seen: list[tuple[str, float]] = []

        def napper(name: str, *naps: float):
            def run() -> str:
                for nap in naps:
                    seen.append((name, clock.now()))
                    clock.sleep(nap)
                return name

            return run

        names = clock.run_threads(napper("a", 2, 2), napper("b", 1, 1, 2), napper("c", 2, 0))
        assert names == ["a", "b", "c"]
        assert clock.now() == 4
        return seen

    first = play()
    assert first == [
        ("a", 0), ("b", 0), ("c", 0), ("b", 1), ("a", 2), ("c", 2), ("b", 2),
    ]  # fmt: skip
    assert all(play() == first for _ in range(50))


def test_an_event_set_by_another_thread_wakes_before_time_moves():
    clock = VirtualClock()
    event = threading.Event()

    def waiter() -> tuple[bool, float]:
        return clock.wait(event, 100), clock.now()

    def setter() -> tuple[bool, float]:
        clock.sleep(5)
        event.set()
        clock.sleep(50)
        return True, clock.now()

    assert clock.run_threads(waiter, setter) == [(True, 5), (True, 55)]


def test_a_wait_without_timeout_is_served_by_another_thread():
    clock = VirtualClock()
    event = threading.Event()

    def setter() -> bool:
        clock.sleep(7)
        event.set()
        return True

    assert clock.run_threads(lambda: clock.wait(event, None), setter) == [True, True]
    assert clock.now() == 7


def test_a_deadlock_between_threads_is_told_and_the_others_are_freed():
    clock = VirtualClock()
    first, second = threading.Event(), threading.Event()
    seen: list[bool] = []

    def one() -> None:
        try:
            clock.wait(first, None)
        finally:
            second.set()

    def two() -> None:
        seen.append(clock.wait(second, None))

    with pytest.raises(DeadlockError, match=r"(?s)run_threads-0.*run_threads-1"):
        clock.run_threads(one, two)
    assert seen == [True]


def test_the_first_error_in_order_is_raised_when_all_have_ended():
    clock = VirtualClock()
    ended: list[str] = []

    def late() -> None:
        clock.sleep(2)
        ended.append("late")
        raise KeyError("late")

    def early() -> None:
        clock.sleep(1)
        ended.append("early")
        raise IndexError("early")

    with pytest.raises(KeyError, match="late"):
        clock.run_threads(late, early)
    assert ended == ["early", "late"]


def test_threads_that_meet_at_a_real_barrier_are_not_stuck():
    clock = VirtualClock()
    barrier = threading.Barrier(3)

    def run() -> float:
        barrier.wait(5)
        clock.sleep(1)
        barrier.wait(5)
        return clock.now()

    assert clock.run_threads(run, run, run) == [1, 1, 1]


def test_run_threads_nests():
    clock = VirtualClock()

    def inner() -> list[float]:
        def nap() -> float:
            clock.sleep(3)
            return clock.now()

        return clock.run_threads(nap, nap)

    def beside() -> list[float]:
        clock.sleep(1)
        return [clock.now()]

    assert clock.run_threads(inner, beside) == [[3, 3], [1]]


def test_no_functions_no_threads():
    assert VirtualClock().run_threads() == []


def test_a_busy_thread_holds_time():
    clock = VirtualClock()
    box: queue.Queue[float] = queue.Queue()
    real = threading.Event()

    def busy() -> None:
        real.wait(0.12)  # more than the patience for one that blocks
        box.put(clock.now())

    clock.run_threads(lambda: clock.sleep(10), busy)
    assert box.get() == 0


def test_many_threads_many_naps():
    clock = VirtualClock()
    total = [0]

    def run() -> None:
        for _ in range(50):
            clock.sleep(clock.random())
            total[0] += 1  # safe: one thread runs at a time

    clock.run_threads(*[run] * 20)
    assert total == [1000]
    assert threading.active_count() < 20
