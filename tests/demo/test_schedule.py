from __future__ import annotations

import pytest

from holdfast.cli.demo.schedule import Phase, Schedule

SCHEDULE = Schedule((Phase("healthy", 6), Phase("dead", 8), Phase("back", 14)))


def test_phases_follow_each_other() -> None:
    assert SCHEDULE.seconds == 28
    assert [start for start, _ in SCHEDULE.starts()] == [0, 6, 14]
    assert SCHEDULE.of("dead") == (6, 14)


@pytest.mark.parametrize(
    ("now", "name"),
    [(-0.1, "healthy"), (0, "healthy"), (5.99, "healthy"), (6, "dead"), (14, "back"), (99, "back")],
)
def test_there_is_a_phase_at_any_time(now: float, name: str) -> None:
    assert SCHEDULE.at(now).name == name
