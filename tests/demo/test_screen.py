from __future__ import annotations

import io
import math
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from holdfast.cli.demo.calls import CALLS
from holdfast.cli.demo.figures import Answer, Kind, Reading, Record
from holdfast.cli.demo.floor import Floor
from holdfast.cli.demo.floors import FLOORS
from holdfast.cli.demo.screen import (
    CELLS,
    DEGRADED,
    ERROR,
    FULL,
    LATE,
    WAITING,
    Cell,
    cell,
    consoles,
    headline,
    live_screen,
    plain_screen,
    recent,
    ruler,
    strip,
)

from .printing import shown


def some(full: int = 0, late: int = 0, degraded: int = 0, errors: int = 0) -> list[Answer]:
    return [
        *(Answer(0, 0.1, Kind.FULL) for _ in range(full)),
        *(Answer(0, 1.1, Kind.FULL) for _ in range(late)),
        *(Answer(0, 0.1, Kind.DEGRADED) for _ in range(degraded)),
        *(Answer(0, 5.0, Kind.ERROR) for _ in range(errors)),
    ]


@pytest.mark.parametrize(
    ("answers", "sign"),
    [
        (some(), WAITING),
        (some(full=10), FULL),
        (some(full=19, errors=1), FULL),
        (some(full=9, errors=1), ERROR),
        (some(full=8, degraded=1, errors=1), ERROR),
        (some(full=9, degraded=1), DEGRADED),
        (some(full=9, late=1), LATE),
        (some(late=5, degraded=5), DEGRADED),
    ],
)
def test_a_cell_shows_the_worst_that_is_noticeable(answers: list[Answer], sign: Cell) -> None:
    assert cell(answers) == sign


def test_a_strip_reaches_to_the_present() -> None:
    answers = [Answer(tick / 10, 0.1, Kind.FULL) for tick in range(100)]
    assert len(list(strip(answers, 40, 0))) == 0
    half = list(strip(answers, 40, 20))
    assert len(half) == CELLS / 2
    assert half[0] == FULL
    assert half[-1] == WAITING
    assert len(list(strip(answers, 40, 99))) == CELLS


def test_an_answer_due_at_the_very_end_has_a_cell() -> None:
    assert list(strip([Answer(40.0, 0.1, Kind.ERROR)], 40, 41))[-1] == ERROR


@pytest.mark.parametrize("floor", FLOORS.values())
def test_the_ruler_names_each_phase_where_its_cells_begin(floor: Floor) -> None:
    schedule = floor.schedule(40)
    line = ruler(schedule)
    assert len(line) <= CELLS
    for start, phase in schedule.starts():
        assert line.index(f"│{phase.name}") == round(CELLS * start / 40)


@pytest.mark.parametrize(
    ("now", "text"),
    [
        (-0.1, "0.0 s of 40 s   user service healthy: all is well"),
        (24.0, "24.0 s of 40 s   user service dead: no reply at all"),
        (43.0, "40.0 s of 40 s   waiting for the last answers"),
        (math.inf, "40.0 s of 40 s   all answers are in"),
    ],
)
def test_the_headline_says_where_we_are(now: float, text: str) -> None:
    assert text in str(headline(CALLS, CALLS.schedule(40), 20.0, now))


def test_without_a_terminal_there_is_one_line_per_phase_and_a_last_picture() -> None:
    console = Console(file=io.StringIO(), width=80)
    with plain_screen(console, CALLS, CALLS.schedule(40), []) as show:
        for now in (-0.2, 0.0, 0.3, 6.1, 6.4, 41.0):
            show(now)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert [text.count(phase.about) for phase in CALLS.schedule(40).phases] == [2, 1, 1, 1, 1]
    assert "declared degraded" in text


@pytest.mark.parametrize("as_json", [False, True])
def test_json_has_standard_output_for_itself(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    talk, result = consoles(as_json)
    talk.print("chat")
    result.print("result")
    captured = capsys.readouterr()
    assert captured.out == ("result\n" if as_json else "chat\nresult\n")
    assert captured.err == ("chat\n" if as_json else "")


@pytest.mark.parametrize("floor", FLOORS.values())
@pytest.mark.parametrize("now", [-0.5, 0.0, 0.1, 20.0, 43.0, math.inf])
def test_the_live_picture_fits_a_terminal_of_80_columns(floor: Floor, now: float) -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    schedule = floor.schedule(40)
    record = Record(
        [Answer(tick / 60, 0.5, Kind.FULL, "redis") for tick in range(60 * 40)],
        [Reading(tick / 2, 60 * tick) for tick in range(80)],
    )
    sites: list[Any] = [SimpleNamespace(variant=name, record=record) for name in floor.variants]
    with live_screen(console, floor, schedule, 120.0, sites) as show:
        show(now)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "…" not in text
    for name in floor.variants.values():
        assert name in text
    assert ("service load" in text) is (now < 40)
    first = [line for line in text.splitlines() if "120 requests per second" in line]
    assert floor.about in first[0]


def test_the_live_table_of_the_cache_tells_who_answered() -> None:
    answers = [Answer(4, 0.1, Kind.FULL, "redis") for _ in range(3)]
    answers += [Answer(4, 0.1, Kind.DEGRADED, "memory"), Answer(4, 0.1, Kind.ERROR)]
    site: Any = SimpleNamespace(variant="holdfast", record=Record(answers, []))
    row = next(
        line for line in shown(recent(FLOORS["cache"], [site], 5.0)).splitlines() if "Hold" in line
    )
    assert row.split()[1:] == ["2/s", "80.0", "%", "0.10", "s", "60", "%", "20", "%", "0/s"]


def test_nothing_came_is_not_the_same_as_nothing_usable() -> None:
    site: Any = SimpleNamespace(variant="bare", record=Record(some(errors=1), []))
    text = shown(recent(CALLS, [site], 5.0), recent(CALLS, [site], 20.0))
    rows = [line for line in text.splitlines() if "bare call" in line]
    assert ["0.0 %" in row for row in rows] == [True, False]
    assert ["–" in row for row in rows] == [False, True]
