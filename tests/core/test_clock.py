"""The clock: one place to replace time, waiting and randomness."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from holdfast._core.clock import AMBIENT, Clock, installed


def test_a_new_clock_is_the_real_one() -> None:
    clock = Clock()
    before = time.monotonic()
    assert before <= clock.now() <= time.monotonic()
    assert abs(clock.wall() - time.time()) < 5
    assert 0 <= clock.random() < 1
    assert clock.sleep is time.sleep
    assert clock.asleep is asyncio.sleep


def test_waits_for_an_event_or_until_time_is_over() -> None:
    event = threading.Event()
    assert Clock().wait(event, 0.0) is False
    event.set()
    assert Clock().wait(event, None) is True


def test_every_part_can_be_given() -> None:
    async def asleep(seconds: float) -> None:
        raise AssertionError(seconds)

    parts = {
        "now": lambda: 1.0,
        "wall": lambda: 2.0,
        "sleep": lambda seconds: None,
        "asleep": asleep,
        "wait": lambda event, timeout: True,
        "random": lambda: 0.5,
    }
    clock = Clock(**parts)  # type: ignore[arg-type]
    assert {name: getattr(clock, name) for name in Clock.__slots__} == parts
    twin = clock.copy()
    assert {name: getattr(twin, name) for name in Clock.__slots__} == parts


def test_a_copy_is_independent() -> None:
    clock = Clock(now=lambda: 1.0)
    twin = clock.copy()
    clock.take_over(Clock(now=lambda: 2.0))
    assert (clock.now(), twin.now()) == (2.0, 1.0)


def test_installed_replaces_the_ambient_clock_for_a_while() -> None:
    real = AMBIENT.now
    with installed(Clock(now=lambda: 7.0)):
        assert AMBIENT.now() == 7.0
        with installed(Clock(now=lambda: 8.0)):
            assert AMBIENT.now() == 8.0
        assert AMBIENT.now() == 7.0
    assert AMBIENT.now is real


def test_installed_puts_the_clock_back_after_an_error() -> None:
    real = AMBIENT.now
    with pytest.raises(KeyError), installed(Clock(now=lambda: 7.0)):
        raise KeyError
    assert AMBIENT.now is real
