"""The hybrid clock that versions come from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast._core.versions import MOST_AHEAD, NODE_BITS, Versions, wall_of

NOW = 1_767_225_600.0


def test_a_version_is_the_time_and_the_process() -> None:
    version = Versions(7).issue(NOW)
    assert version >> NODE_BITS == int(NOW * 1e6)
    assert version & 0xFFF == 7
    assert wall_of(version) == pytest.approx(NOW, abs=1e-6)


def test_only_the_lower_bits_of_a_process_number_count() -> None:
    assert Versions(4096 + 5).issue(NOW) == Versions(5).issue(NOW)


def test_versions_rise_when_the_clock_stands_still_or_goes_back() -> None:
    versions = Versions(1)
    first = versions.issue(NOW)
    second = versions.issue(NOW)
    third = versions.issue(NOW - 100)
    assert second >> NODE_BITS == (first >> NODE_BITS) + 1
    assert third >> NODE_BITS == (second >> NODE_BITS) + 1


def test_whoever_sees_a_version_issues_higher_ones() -> None:
    ahead = Versions(1).issue(NOW + 10)
    versions = Versions(2)
    versions.issue(NOW)
    versions.see(ahead, NOW)
    assert versions.issue(NOW) > ahead


def test_an_older_version_changes_nothing() -> None:
    versions, twin = Versions(2), Versions(2)
    versions.issue(NOW)
    twin.issue(NOW)
    versions.see(Versions(1).issue(NOW - 10), NOW)
    assert versions.issue(NOW) == twin.issue(NOW)


@pytest.mark.parametrize(("ahead", "followed"), [(MOST_AHEAD, True), (MOST_AHEAD + 1, False)])
def test_a_clock_far_ahead_is_not_followed(ahead: float, followed: bool) -> None:
    seen = Versions(1).issue(NOW + ahead)
    versions = Versions(2)
    versions.see(seen, NOW)
    assert (versions.issue(NOW) > seen) is followed


def test_the_last_one_is_at_least_what_was_issued_or_seen() -> None:
    versions = Versions(2)
    assert versions.issue(NOW) <= versions.last
    versions.see(Versions(9).issue(NOW + 1), NOW)
    assert versions.last >= Versions(9).issue(NOW + 1)
    assert versions.last < versions.issue(NOW)


def test_a_forked_child_goes_on_under_another_number() -> None:
    versions = Versions(1)
    before = versions.issue(NOW)
    versions.renumber(2)
    after = versions.issue(NOW)
    assert after > before
    assert after & 0xFFF == 2


def test_times_outside_of_what_fits_are_cut_off() -> None:
    assert Versions(0).issue(-5.0) == 1 << NODE_BITS
    assert Versions(0).issue(1e15) < 2**64


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 100)), max_size=50))
def test_no_two_processes_give_one_version(issues: list[tuple[int, float]]) -> None:
    processes = [Versions(number) for number in range(3)]
    given_out = [processes[number].issue(wall) for number, wall in issues]
    assert len(set(given_out)) == len(given_out)
