from __future__ import annotations

import math

import pytest

from holdfast.cli.demo.figures import (
    Answer,
    Kind,
    Reading,
    figures,
    load,
    percentile,
    recovery,
)
from holdfast.cli.demo.schedule import standard

from .records import steady


def answers(*spells: tuple[float, float, Kind, float]) -> list[Answer]:
    """Ten a second, of a kind and latency, from one time to another."""
    return [
        Answer(tick / 10, latency, kind)
        for begin, end, kind, latency in spells
        for tick in range(round(begin * 10), round(end * 10))
    ]


def test_shares_count_every_answer_once() -> None:
    schedule = standard(40)
    result = figures(steady(schedule, during=Kind.DEGRADED), schedule.outage, schedule.seconds)
    assert result.requests == 800
    assert result.full == pytest.approx(0.45)
    assert result.degraded == pytest.approx(0.55)
    assert result.errors == 0
    assert result.usable == pytest.approx(1)
    assert result.recovery == pytest.approx(0)
    assert result.watched == pytest.approx(11)
    assert result.load_factor == pytest.approx(1)


def test_a_run_without_answers_has_no_latency_and_no_recovery() -> None:
    result = figures(steady(standard(0.01), during=Kind.ERROR), (2, 3), 5)
    assert result.usable == 0
    assert math.isnan(result.p99)
    assert result.recovery is None


@pytest.mark.parametrize(
    ("rank", "value"), [(0.0, 1), (0.5, 50), (0.501, 51), (0.99, 99), (0.991, 100), (1.0, 100)]
)
def test_percentile_is_the_nearest_rank(rank: float, value: int) -> None:
    assert percentile(reversed(range(1, 101)), rank) == value


def test_load_is_read_off_between_the_readings() -> None:
    readings = [Reading(1, 10), Reading(2, 20), Reading(4, 120)]
    assert load(readings, 1, 2) == 10
    assert load(readings, 1.5, 3) == pytest.approx((70 - 15) / 1.5)
    assert load(readings, 0, 1) == 10


def test_load_past_the_last_reading_counts_what_is_known() -> None:
    assert load([Reading(1, 10)], 0, 2) == 5
    assert load([], 0, 2) == 0


def test_two_readings_at_one_time_are_no_division_by_zero() -> None:
    assert load([Reading(0, 3), Reading(0, 4), Reading(1, 5)], 0, 1) == 2


def test_recovery_is_the_first_good_answer_that_stays() -> None:
    seen = answers(
        (0, 5, Kind.ERROR, 0),
        (5, 5.5, Kind.DEGRADED, 0),
        (5.5, 5.8, Kind.FULL, 0.1),
        (5.8, 6.5, Kind.DEGRADED, 0),
        (6.5, 9, Kind.FULL, 0.1),
    )
    assert recovery(seen, 5, 9) == pytest.approx(1.5)


def test_recovery_does_not_depend_on_the_order_of_the_answers() -> None:
    seen = answers((5, 6, Kind.ERROR, 3), (6, 9, Kind.FULL, 0.1))
    assert recovery(reversed(seen), 5, 9) == recovery(seen, 5, 9) == pytest.approx(1)


def test_a_late_answer_is_not_recovered() -> None:
    seen = answers((5, 7, Kind.FULL, 1.01), (7, 9, Kind.FULL, 1.0))
    assert recovery(seen, 5, 9) == pytest.approx(2)


@pytest.mark.parametrize(("bad", "recovered"), [(1, 0.0), (2, None)])
def test_one_stray_answer_in_twenty_does_not_undo_a_recovery(
    bad: int, recovered: float | None
) -> None:
    seen = [
        Answer(5 + tick / 20, 0.1, Kind.ERROR if tick % 20 in (7, 13)[:bad] else Kind.FULL)
        for tick in range(40)
    ]
    assert recovery(seen, 5, 7) == recovered


def test_a_recovery_that_could_not_be_watched_for_a_second_is_not_seen() -> None:
    seen = answers((5, 8.5, Kind.ERROR, 0), (8.5, 9, Kind.FULL, 0))
    assert recovery(seen, 5, 9) is None
