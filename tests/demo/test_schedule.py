from __future__ import annotations

import pytest

from holdfast.cli.demo.schedule import Phase, Schedule, standard
from holdfast.testing import Latency, Timeout


@pytest.mark.parametrize("seconds", [10, 40, 3600])
def test_the_standard_schedule_fits_the_time_it_is_given(seconds: float) -> None:
    schedule = standard(seconds)
    assert schedule.seconds == pytest.approx(seconds)
    assert [phase.name for phase in schedule.phases] == [
        "healthy",
        "slow",
        "failing",
        "dead",
        "back",
    ]


def test_the_shortest_run_leaves_time_to_see_a_recovery_within_its_target() -> None:
    _, ends = standard(10).outage
    assert 10 - ends >= 3


def test_the_outage_is_the_stretch_with_faults() -> None:
    schedule = Schedule(
        (
            Phase("healthy", 2),
            Phase("slow", 1, toxic=Latency(1)),
            Phase("dead", 3, toxic=Timeout()),
            Phase("back", 4),
        )
    )
    assert schedule.outage == (2, 6)
    assert [start for start, _ in schedule.starts()] == [0, 2, 3, 6]


@pytest.mark.parametrize(
    ("now", "name"),
    [
        (-0.1, "healthy"),
        (0, "healthy"),
        (5.99, "healthy"),
        (6, "slow"),
        (28, "back"),
        (99, "back"),
    ],
)
def test_there_is_a_phase_at_any_time(now: float, name: str) -> None:
    assert standard(40).at(now).name == name
