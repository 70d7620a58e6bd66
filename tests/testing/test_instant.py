from __future__ import annotations

import asyncio
import time

import pytest

from holdfast._core.clock import AMBIENT
from holdfast.testing import VirtualClock, instant


def test_waits_return_at_once_and_are_written_down():
    began = time.monotonic()
    with instant() as waits:
        AMBIENT.sleep(1000)
        asyncio.run(AMBIENT.asleep(0.5))  # type: ignore[arg-type]
    assert waits == [1000, 0.5]
    assert time.monotonic() - began < 5


def test_time_stays_real():
    real = AMBIENT.now
    with instant():
        assert AMBIENT.now == real


def test_a_sleeping_coroutine_yields_once():
    order: list[str] = []

    async def main() -> None:
        async def sleeper() -> None:
            order.append("before")
            await AMBIENT.asleep(10)
            order.append("after")

        async def other() -> None:
            order.append("other")

        await asyncio.gather(sleeper(), other())

    with instant():
        asyncio.run(main())
    assert order == ["before", "other", "after"]


def test_the_clock_before_is_back_afterwards():
    with VirtualClock(7):
        with instant() as waits:
            AMBIENT.sleep(3)
            assert AMBIENT.now() == 7
        AMBIENT.sleep(1)
        assert AMBIENT.now() == 8
    assert waits == [3]


def test_an_error_inside_switches_waiting_on_again():
    real = AMBIENT.sleep
    with pytest.raises(LookupError), instant():
        raise LookupError
    assert AMBIENT.sleep == real
