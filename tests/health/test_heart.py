"""Stalls are found by beats that come late, also before the late beat arrives."""

from __future__ import annotations

import asyncio
import time
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.health import HealthMonitor, HealthOptions, Status
from holdfast.health.heart import Heart
from holdfast.testing import VirtualClock


def test_beats_in_time_are_no_stall() -> None:
    heart = Heart(1.0, 0.5)
    heart.start(0.0)
    for now in (1.0, 2.25, 3.5):
        heart.beat(now)
        assert not heart.is_late(now, 1.0)
    shown = heart.snapshot(3.5, 0)
    assert (shown.watching, shown.stalled, shown.stalls_total) == (True, False, 0)
    assert (shown.lateness, shown.worst_lateness, shown.last_stall_ago) == (0.25, 0.25, None)


def test_a_beat_before_its_time_changes_nothing() -> None:
    heart = Heart(1.0, 0.5)
    heart.start(0.0)
    heart.beat(0.5)
    assert heart.due == 1.0


def test_an_overdue_beat_makes_samples_late_before_it_comes() -> None:
    heart = Heart(1.0, 0.5)
    heart.start(0.0)
    assert not heart.is_late(1.49)
    assert heart.is_late(1.5)
    assert heart.snapshot(4.0, 0).stalled
    assert heart.snapshot(4.0, 0).lateness == 3.0
    assert heart.snapshot(4.0, 0).worst_lateness == 3.0


def test_after_a_stall_what_began_before_its_end_is_late() -> None:
    heart = Heart(1.0, 0.5)
    heart.start(0.0)
    heart.beat(4.0)
    shown = heart.snapshot(5.0, 7)
    assert (shown.stalls_total, shown.lateness, shown.worst_lateness) == (1, 3.0, 3.0)
    assert (shown.last_stall_ago, shown.discounted_total, shown.stalled) == (1.0, 7, False)
    assert heart.is_late(4.49), "right after it"
    assert not heart.is_late(4.5)
    assert heart.is_late(4.9, 1.0), "it began during the stall"
    assert not heart.is_late(4.9, 0.25)


@pytest.mark.parametrize("started", [False, True])
def test_without_beats_nothing_is_late(started: bool) -> None:
    heart = Heart(1.0, 0.5)
    if started:
        heart.start(0.0)
        heart.stop()
    assert not heart.is_late(1e9, 1e9)
    assert not heart.snapshot(1e9, 0).watching
    forked = Heart(1.0, 0.5)
    forked.start(0.0)
    forked._after_fork()
    assert not forked.is_late(1e9)


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=30),
    st.sampled_from([0.25, 1.0]),
    st.sampled_from([0.25, 0.5]),
)
def test_each_stall_longer_than_a_beat_and_the_limit_is_found(
    gaps: list[int], interval: float, stall: float
) -> None:
    """A loop that blocks for each gap (in eighths) and then beats; dues are what it was told."""
    heart, now, stalls, worst = Heart(interval, stall), 0.0, 0, 0.0
    heart.start(now)
    due = interval
    for gap in gaps:
        now += gap / 8
        late = now - due >= stall
        assert heart.is_late(now) is (late or now < heart.caught_up_at)
        if gap / 8 >= interval + stall:
            assert late, "this long is always noticed"
        heart.beat(now)
        if now >= due:
            stalls += late
            worst = max(worst, now - due)
            due = now + interval
    shown = heart.snapshot(now, 0)
    assert (shown.stalls_total, shown.worst_lateness) == (stalls, worst)


def test_a_slow_process_does_not_condemn_a_healthy_dependency(virtual_clock: VirtualClock) -> None:
    monitor = HealthMonitor(HealthOptions(window=60.0), interval=1.0)

    async def call(seconds: float) -> None:
        """Answered after `seconds`; whoever waits longer than a second gives up."""
        started = virtual_clock.now()
        await asyncio.sleep(seconds)
        took = virtual_clock.now() - started
        monitor.record("db", took, "failure" if took > 1 else "success")

    async def main() -> None:
        async with monitor:
            for _ in range(20):
                calls = [asyncio.ensure_future(call(0.05)) for _ in range(5)]
                await asyncio.sleep(0)
                virtual_clock.advance(3.0)  # something blocks the loop
                await asyncio.gather(*calls)
                await asyncio.sleep(1)
            shown = monitor.snapshot()
            db = shown.component("db")
            assert (db.traffic.calls, db.traffic.failures) == (0, 0)
            assert db.traffic.discounted > 50
            assert db.own_status is not Status.UNHEALTHY
            assert (shown.local.stalls_total, shown.local.discounted_total) == (20, 100)
            assert shown.local.watching
            assert 2.8 < shown.local.worst_lateness < 3.0
            await asyncio.sleep(60)
            for _ in range(20):
                await call(1.5)  # now it is really slow
            monitor.snapshot()
            await asyncio.sleep(2)
            assert monitor.snapshot().component("db").own_status is Status.UNHEALTHY
        assert not monitor.snapshot().local.watching

    virtual_clock.run(main())


def test_a_real_loop_that_blocks_is_found() -> None:
    monitor = HealthMonitor(heartbeat=0.02, stall=0.1)

    async def blocking() -> None:
        time.sleep(0.25)  # noqa: ASYNC251 - this is the stall
        await asyncio.sleep(1)

    async def main() -> None:
        async with monitor:
            await asyncio.sleep(0.05)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(blocking(), 0.01)
            monitor.record("db", 0.25, "failure")
            await asyncio.sleep(0.05)
        shown = monitor.snapshot()
        assert shown.local.stalls_total >= 1
        assert 0.2 < shown.local.worst_lateness < 10
        assert shown.component("db").traffic.failures == 0
        assert shown.component("db").traffic.discounted == 1

    asyncio.run(main())


def test_a_heart_without_beats_never_starts() -> None:
    heart = Heart(inf, 0.2)
    heart.start(5.0)
    heart.beat(1e9)
    assert not heart.is_late(1e9)
    assert not heart.snapshot(1e9, 0).watching
