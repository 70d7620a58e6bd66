from __future__ import annotations

import pytest

from holdfast.cli.demo.figures import (
    Answer,
    Kind,
    Reading,
    between,
    load,
    peak,
    percentile,
    recovery,
    share,
    share_from,
)


def answers(*spells: tuple[float, float, Kind, float]) -> list[Answer]:
    """Ten a second, of a kind and latency, from one time to another."""
    return [
        Answer(tick / 10, latency, kind)
        for begin, end, kind, latency in spells
        for tick in range(round(begin * 10), round(end * 10))
    ]


def test_a_share_of_nothing_is_nothing() -> None:
    assert share([], Kind.FULL) == share_from([], "redis") == 0


def test_shares_count_kinds_and_sources() -> None:
    some = [
        Answer(0, 0.1, Kind.FULL, "redis"),
        Answer(1, 0.1, Kind.DEGRADED, "memory"),
        Answer(2, 0.1, Kind.ERROR),
        Answer(3, 0.1, Kind.FULL, "user service"),
    ]
    assert share(some, Kind.FULL) == 0.5
    assert share_from(some, "redis", "memory") == 0.5
    assert share_from(some, "") == 0.25
    assert between(some, 1, 3) == some[1:3]


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


def test_a_peak_is_the_highest_load_over_a_second() -> None:
    readings = [Reading(0, 0), Reading(2, 2), Reading(2.5, 22), Reading(3, 22), Reading(6, 25)]
    assert peak(readings, 0, 6) == pytest.approx(20.5)
    assert peak(readings, 0, 2) == pytest.approx(1)
    assert peak(readings, 3, 6) == pytest.approx(1)


def test_the_peak_of_less_than_a_second_is_its_load() -> None:
    assert peak([Reading(0, 0), Reading(1, 10)], 0.2, 0.7) == pytest.approx(10)
    assert peak([Reading(0, 0), Reading(1, 10), Reading(2, 10)], 0.5, 1.5) == pytest.approx(5)


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
