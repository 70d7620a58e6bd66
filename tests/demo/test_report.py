from __future__ import annotations

import pytest

from holdfast.cli.demo.figures import Record
from holdfast.cli.demo.report import Report, Run, percent, plain, recovered, seconds
from holdfast.cli.demo.schedule import Phase, Schedule

from .printing import shown


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "100.0 %"), (0.9999, "99.9 %"), (0.98999, "98.9 %"), (0.0, "0.0 %")]
)
def test_a_share_is_never_rounded_up(value: float, text: str) -> None:
    assert percent(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0134, "13 ms"), (0.0994, "99 ms"), (0.0996, "0.10 s"), (5.256, "5.26 s")],
)
def test_times_are_given_in_the_unit_that_reads_best(value: float, text: str) -> None:
    assert seconds(value) == text


def test_a_time_without_an_answer_is_unknown() -> None:
    assert seconds(float("nan")) == "unknown"


@pytest.mark.parametrize(
    ("after", "text"), [(None, "> 11 s"), (0.0, "at once"), (0.09, "at once"), (0.7, "0.70 s")]
)
def test_a_recovery_is_told_by_how_long_it_took(after: float | None, text: str) -> None:
    assert recovered(after, 11.2) == text


@pytest.mark.parametrize(
    ("value", "data"),
    [(None, None), (float("nan"), None), (float("inf"), None), (0.123456, 0.1235)],
)
def test_numbers_are_plain_enough_for_json(value: float | None, data: float | None) -> None:
    assert plain(value) == data


@pytest.mark.parametrize(("late", "said"), [(0.1, False), (0.101, True)])
def test_a_machine_too_busy_to_measure_on_is_told(late: float, said: bool) -> None:
    records = {"bare": Record(late=0.0), "holdfast": Record(late=late)}
    report = Report(Run(Schedule((Phase("only", 1),)), 1.0, 1, records), (), "", {}, ())
    assert ("requests went out up to 0.10 s late" in shown(report.shown())) is said
    assert report.as_data()["sent_late_seconds"] == late


def test_a_run_of_nothing_was_not_late() -> None:
    report = Report(Run(Schedule((Phase("only", 1),)), 1.0, 1, {}), (), "", {}, ())
    assert report.late == 0
