"""Where good responses are kept, and how they get there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast._core.deadline import time_left
from holdfast.degradation import CacheFallback, MemoryLastGood
from holdfast.degradation.last_good import LONGEST_KEY
from holdfast.degradation.refresher import MOST_REFRESHES, STORE_LIMIT, Refresher
from holdfast.errors import ConfigurationError
from holdfast.events import EventHub
from holdfast.policies.timeout import Timeout
from holdfast.testing import VirtualClock


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": ""}, f"key must be a string of 1 to {LONGEST_KEY} characters"),
        ({"key": 7}, f"key must be a string of 1 to {LONGEST_KEY} characters"),
        ({"key": "x" * (LONGEST_KEY + 1)}, f"key must be a string of 1 to {LONGEST_KEY}"),
        ({"key": "k", "ttl": 0}, "ttl must be a finite number greater than 0, not 0"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        CacheFallback(**options)
    assert str(caught.value).startswith(message)
    assert "xxx" not in str(caught.value)


def test_the_default_time_to_live_is_the_originals() -> None:
    assert CacheFallback(key="x" * LONGEST_KEY).ttl == 300


def test_memory_needs_a_place() -> None:
    with pytest.raises(ConfigurationError, match="max_entries must be a whole number of at least"):
        MemoryLastGood(max_entries=0)


moves = st.lists(
    st.one_of(
        st.tuples(
            st.just("put"), st.sampled_from("abcde"), st.integers(), st.sampled_from([1.0, 3.0])
        ),
        st.tuples(st.just("get"), st.sampled_from("abcde")),
        st.tuples(st.just("pass"), st.sampled_from([0.5, 1.0, 2.0])),
    ),
    max_size=40,
)


@given(moves, st.integers(1, 4))
def test_memory_agrees_with_a_list(steps: list[Any], room: int) -> None:
    clock = VirtualClock()
    memory = MemoryLastGood(max_entries=room, clock=clock)
    kept: list[tuple[str, int, float, float]] = []  # most recently used last
    for step in steps:
        if step[0] == "pass":
            clock.advance(step[1])
        elif step[0] == "put":
            _, key, value, ttl = step
            kept = [entry for entry in kept if entry[0] != key]
            kept.append((key, value, clock.now(), clock.now() + ttl))
            kept = kept[-room:]
            memory.put_now(key, value, ttl)
        else:
            found = [entry for entry in kept if entry[0] == step[1]]
            kept = [entry for entry in kept if entry[0] != step[1]]
            alive = [entry for entry in found if clock.now() < entry[3]]
            kept += alive
            expected = [(entry[1], clock.now() - entry[2]) for entry in alive]
            assert memory.get_now(step[1]) == (expected[0] if expected else None)
        assert len(memory) == len(kept) <= room


def test_what_was_asked_for_lately_stays() -> None:
    memory = MemoryLastGood(max_entries=2)
    memory.put_now("a", 1, 60)
    memory.put_now("b", 2, 60)
    assert memory.get_now("a") is not None
    memory.put_now("c", 3, 60)
    assert memory.get_now("a") is not None
    assert memory.get_now("b") is None


def test_memory_can_be_awaited_as_the_port_says() -> None:
    clock = VirtualClock()
    memory = MemoryLastGood(clock=clock)

    async def main() -> None:
        await memory.put("k", None, 5.0)
        clock.advance(2)
        assert await memory.get("k") == (None, 2.0)
        assert await memory.get("other") is None

    clock.run(main())


# -- the refresher -----------------------------------------------------------------------------


class SlowStore:
    """A store that takes `seconds`, or raises."""

    def __init__(self, seconds: float = 1.0, error: Exception | None = None) -> None:
        self.seconds, self.error = seconds, error
        self.put_keys: list[str] = []
        self.left: list[float | None] = []

    async def get(self, key: str, type: Any) -> tuple[Any, float] | None:
        return None

    async def put(self, key: str, value: Any, ttl: float) -> None:
        self.left.append(time_left())
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        self.put_keys.append(key)


def refreshing(
    store: Any, main: Callable[[Refresher, VirtualClock], Any]
) -> tuple[Refresher, VirtualClock]:
    clock = VirtualClock()
    refresher = Refresher(store, clock, EventHub())
    clock.run(main(refresher, clock))
    return refresher, clock


def figures(refresher: Refresher) -> tuple[int, int, int, int]:
    seen = refresher.snapshot()
    return seen.pending, seen.stored_total, seen.failed_total, seen.skipped_total


def test_nobody_waits_for_a_refresh_but_the_end() -> None:
    store = SlowStore()

    async def main(refresher: Refresher, clock: VirtualClock) -> None:
        refresher.refresh("a", 1, 60)
        refresher.refresh("b", 2, 60)
        assert clock.now() == 0
        assert figures(refresher) == (2, 0, 0, 0)
        await refresher.drain()
        assert clock.now() == 1
        assert asyncio.all_tasks() == {asyncio.current_task()}

    refresher, _ = refreshing(store, main)
    assert store.put_keys == ["a", "b"]
    assert figures(refresher) == (0, 2, 0, 0)


def test_one_key_is_stored_once_at_a_time() -> None:
    store = SlowStore()

    async def main(refresher: Refresher, clock: VirtualClock) -> None:
        for _ in range(10):
            refresher.refresh("a", 1, 60)
        await refresher.drain()
        refresher.refresh("a", 1, 60)
        await refresher.drain()

    refresher, _ = refreshing(store, main)
    assert store.put_keys == ["a", "a"]
    assert figures(refresher) == (0, 2, 0, 9)


def test_there_are_only_so_many_at_a_time() -> None:
    async def main(refresher: Refresher, clock: VirtualClock) -> None:
        for number in range(MOST_REFRESHES + 5):
            refresher.refresh(str(number), 1, 60)
        assert figures(refresher) == (MOST_REFRESHES, 0, 0, 5)
        await refresher.drain()

    refresher, _ = refreshing(SlowStore(), main)
    assert figures(refresher) == (0, MOST_REFRESHES, 0, 5)


def test_failures_are_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main(refresher: Refresher, clock: VirtualClock) -> None:
        for number in range(3):
            refresher.refresh(str(number), 1, 60)
        await refresher.drain()

    with caplog.at_level(logging.WARNING, "holdfast"):
        refresher, _ = refreshing(SlowStore(error=ValueError("private")), main)
    assert figures(refresher) == (0, 0, 3, 0)
    [record] = caplog.records
    assert "ValueError" in record.getMessage()
    assert "private" not in caplog.text


def test_a_store_that_hangs_is_given_up() -> None:
    async def main(refresher: Refresher, clock: VirtualClock) -> None:
        refresher.refresh("a", 1, 60)
        await refresher.drain()

    refresher, clock = refreshing(SlowStore(seconds=3_600), main)
    assert figures(refresher) == (0, 0, 1, 0)
    assert clock.now() == STORE_LIMIT


def test_the_requests_deadline_is_not_the_refreshs() -> None:
    store = SlowStore(seconds=0)

    async def main(refresher: Refresher, clock: VirtualClock) -> None:
        outer = Timeout(2.0, clock=clock)
        async with outer:
            assert time_left(clock=clock) == 2
            refresher.refresh("a", 1, 60)
            await refresher.drain()

    refreshing(store, main)
    assert store.left == [None]


def test_a_cancelled_end_cancels_what_it_waits_for() -> None:
    async def main(refresher: Refresher, clock: VirtualClock) -> None:
        refresher.refresh("a", 1, 60)
        end = asyncio.create_task(refresher.drain())
        await asyncio.sleep(0.5)
        end.cancel()
        with pytest.raises(asyncio.CancelledError):
            await end
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert figures(refresher) == (0, 0, 0, 0)

    refreshing(SlowStore(), main)


def test_tasks_of_a_closed_loop_make_room() -> None:
    clock = VirtualClock()
    refresher = Refresher(SlowStore(), clock, EventHub())
    loop = clock.loop_factory()

    async def begin() -> None:
        refresher.refresh("a", 1, 60)

    loop.run_until_complete(begin())
    [task] = refresher._tasks.values()
    abandoned: Any = task
    abandoned.get_coro().close()
    abandoned._log_destroy_pending = False
    loop.close()

    async def again() -> None:
        refresher.refresh("a", 2, 60)
        await refresher.drain()

    clock.run(again())
    assert figures(refresher) == (0, 1, 0, 0)


def test_only_the_tasks_of_this_loop_are_awaited() -> None:
    clock = VirtualClock()
    refresher = Refresher(SlowStore(), clock, EventHub())
    loop = clock.loop_factory()

    async def begin() -> None:
        refresher.refresh("a", 1, 60)

    loop.run_until_complete(begin())
    clock.run(refresher.drain())
    assert figures(refresher) == (1, 0, 0, 0)
    loop.run_until_complete(refresher.drain())
    loop.close()
    assert figures(refresher) == (0, 1, 0, 0)
