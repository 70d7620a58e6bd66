"""What the issue asks to see of health as a whole: nothing at a threshold makes it flap."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.health import HealthMonitor, HealthOptions, Status
from holdfast.testing import VirtualClock

HASTY = HealthOptions(
    window=5.0,
    minimum_calls=10,
    degraded_error_rate=0.25,
    degraded_latency=1.0,
    degraded_rejection_rate=0.25,
    degraded_fallback_rate=0.25,
    worsen_after=1,
    improve_after=1,
)
"""Nothing but the thresholds themselves keeps it from flapping."""

Feed = Callable[[HealthMonitor, int], None]


def errors(monitor: HealthMonitor, permille: int) -> None:
    for number in range(100):
        monitor.record("db", 0.1, "failure" if number < permille // 10 else "success")


def refusals(monitor: HealthMonitor, permille: int) -> None:
    for number in range(100):
        monitor.record("db", 0.1, "rejected" if number < permille // 10 else "success")


def fallbacks(monitor: HealthMonitor, permille: int) -> None:
    for number in range(100):
        monitor.record("db", 0.1, fallback=number < permille // 10)


def durations(monitor: HealthMonitor, permille: int) -> None:
    for _ in range(20):
        monitor.record("db", permille / 250)


@pytest.mark.parametrize("feed", [errors, refusals, fallbacks, durations])
@settings(max_examples=25)
@given(
    trembling=st.lists(st.sampled_from([210, 220, 240, 250, 260, 300]), min_size=2, max_size=40),
    late=st.floats(0, 4.9),
)
def test_what_trembles_at_a_threshold_changes_the_status_once_at_most(
    feed: Feed, trembling: list[int], late: float
) -> None:
    """The threshold is at 250 and holds down to 200. It is looked at between judgements, too."""
    clock = VirtualClock()
    monitor = HealthMonitor(HASTY, interval=5.0, clock=clock)
    feed(monitor, 0)
    monitor.snapshot()
    for permille in trembling:
        clock.advance(5.5)  # what was before has left the window
        feed(monitor, permille)
        monitor.snapshot()
        clock.advance(late)
        monitor.snapshot()
    changes = [change.target for change in monitor.snapshot().component("db").history]
    assert changes == [Status.HEALTHY, *[Status.DEGRADED] * (max(trembling) >= 250)]


def test_every_status_is_reached_and_left_again() -> None:
    clock = VirtualClock()
    monitor = HealthMonitor(HASTY, interval=5.0, clock=clock)
    monitor.component("db")
    life = [0, 300, 900, None, 900, 0, 900, 300, 0, None, None, 300, None, 900, None, 0, None]
    for permille in life:
        for _ in range(4):
            clock.advance(5.5)
            if permille is not None:
                errors(monitor, permille)
            monitor.snapshot()
    history = monitor.snapshot().component("db").history
    ways = {(change.source, change.target) for change in history}
    assert {source for source, _ in ways} == {target for _, target in ways} == set(Status)
    assert len(ways) >= 9, "of the twelve"
