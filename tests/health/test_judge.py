"""Judging: which past looks like which status, in which words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.health.judge import RELEASE, Fact, Reading, judge
from holdfast.health.machine import StatusMachine
from holdfast.health.options import HealthOptions
from holdfast.health.statuses import Status
from holdfast.health.traffic import Counts, Traffic

UNKNOWN, HEALTHY, DEGRADED, UNHEALTHY = Status

OPEN = Fact(UNHEALTHY, "circuit 'payments' is open")
FULL = Fact(DEGRADED, "bulkhead 'payments' is full")
PASSED = Fact(HEALTHY, "its check passed")


def traffic_of(
    ok: int = 0, failed: int = 0, rejected: int = 0, fallbacks: int = 0, seconds: float = 0.0
) -> Traffic:
    traffic = Traffic(60.0)
    traffic.absorb(0.0, Counts(ok, failed, rejected, fallbacks), late=False)
    for _ in range(20 if seconds else 0):
        traffic.record(0.0, "success", seconds, fallback=False, late=False)
    return traffic


@pytest.mark.parametrize(
    ("counts", "facts", "status", "reason"),
    [
        ({}, (), UNKNOWN, "no traffic in 60 s"),
        ({"ok": 240}, (), HEALTHY, "0 % of 240 calls failed in 60 s"),
        ({"ok": 91, "failed": 9}, (), HEALTHY, "9 % of 100 calls failed in 60 s"),
        ({"ok": 90, "failed": 10}, (), DEGRADED, "10 % of 100 calls failed in 60 s"),
        ({"ok": 51, "failed": 49}, (), DEGRADED, "49 % of 100 calls failed in 60 s"),
        ({"ok": 5, "failed": 5}, (), UNHEALTHY, "50 % of 10 calls failed in 60 s"),
        (
            {"ok": 210, "failed": 30},
            (OPEN,),
            UNHEALTHY,
            "12.5 % of 240 calls failed in 60 s; circuit 'payments' is open",
        ),
        ({"ok": 240}, (FULL, PASSED), DEGRADED, "bulkhead 'payments' is full"),
        ({}, (OPEN,), UNHEALTHY, "circuit 'payments' is open"),
        ({}, (PASSED,), HEALTHY, "its check passed; no traffic in 60 s"),
        ({"ok": 3}, (), HEALTHY, "0 % of 3 calls failed in 60 s"),
        (
            {"ok": 2, "failed": 1},
            (PASSED,),
            HEALTHY,
            "its check passed; 33.3 % of 3 calls failed in 60 s",
        ),
        ({"ok": 4, "failed": 5}, (), UNKNOWN, "55.6 % of 9 calls failed in 60 s, too few to judge"),
        ({"rejected": 9}, (), UNKNOWN, "all 9 calls were refused in 60 s, too few to judge"),
        ({"ok": 91, "rejected": 9}, (), HEALTHY, "0 % of 91 calls failed in 60 s"),
        (
            {"ok": 90, "rejected": 10},
            (),
            DEGRADED,
            "10 % of 100 calls were refused by policies in 60 s",
        ),
        ({"rejected": 10}, (), DEGRADED, "100 % of 10 calls were refused by policies in 60 s"),
        (
            {"ok": 20, "fallbacks": 2},
            (),
            DEGRADED,
            "10 % of 20 calls were answered by a fallback in 60 s",
        ),
    ],
)
def test_what_a_past_looks_like(
    counts: dict[str, int], facts: tuple[Fact, ...], status: Status, reason: str
) -> None:
    reading = judge(traffic_of(**counts), facts, UNKNOWN, HealthOptions(), 0.0)
    assert reading == Reading(status, reason)


@pytest.mark.parametrize(
    ("seconds", "status"), [(0.4, HEALTHY), (0.6, DEGRADED), (1.9, DEGRADED), (2.1, UNHEALTHY)]
)
def test_latency_is_judged_by_the_95th_percentile(seconds: float, status: Status) -> None:
    options = HealthOptions(degraded_latency=0.5, unhealthy_latency=2.0)
    traffic = traffic_of(seconds=seconds)
    assert judge(traffic, (), HEALTHY, options, 0.0).status is status
    assert judge(traffic, (), HEALTHY, HealthOptions(), 0.0).status is HEALTHY


def test_one_latency_threshold_is_enough() -> None:
    slow = traffic_of(seconds=3.0)
    found = judge(slow, (), HEALTHY, HealthOptions(unhealthy_latency=2.0), 0.0)
    assert found == (UNHEALTHY, "1 call in 20 took 3 s or longer in 60 s")
    assert judge(slow, (), HEALTHY, HealthOptions(degraded_latency=2.0), 0.0).status is DEGRADED


def test_a_few_slow_calls_are_too_few() -> None:
    traffic = Traffic(60.0)
    for _ in range(9):
        traffic.record(0.0, "success", 9.0, fallback=False, late=False)
    assert judge(traffic, (), HEALTHY, HealthOptions(degraded_latency=0.5), 0.0).status is HEALTHY


@pytest.mark.parametrize("status", [DEGRADED, UNHEALTHY])
def test_a_few_failures_do_not_clear_a_bad_name(status: Status) -> None:
    assert judge(traffic_of(ok=1, failed=2), (), status, HealthOptions(), 0.0).status is status


def test_a_few_failures_take_a_good_name_away() -> None:
    assert judge(traffic_of(failed=5), (), HEALTHY, HealthOptions(), 0.0).status is UNKNOWN


@pytest.mark.parametrize(
    ("status", "failed", "expected"),
    [
        (HEALTHY, 9, HEALTHY),
        (DEGRADED, 8, DEGRADED),
        (DEGRADED, 7, HEALTHY),
        (UNHEALTHY, 8, DEGRADED),
        (UNHEALTHY, 40, UNHEALTHY),
        (UNHEALTHY, 39, DEGRADED),
        (DEGRADED, 40, DEGRADED),
        (DEGRADED, 50, UNHEALTHY),
    ],
)
def test_a_threshold_lets_go_at_four_fifths(status: Status, failed: int, expected: Status) -> None:
    traffic = traffic_of(ok=100 - failed, failed=failed)
    assert judge(traffic, (), status, HealthOptions(), 0.0).status is expected


@given(st.lists(st.integers(80, 120), min_size=1, max_size=60))
def test_a_rate_that_trembles_at_a_threshold_changes_the_status_once_at_most(
    failures: list[int],
) -> None:
    """Of 1000 calls; the threshold is at 100, and 80 is where it lets go."""
    options = HealthOptions(worsen_after=1, improve_after=1)
    assert RELEASE * 100 == 80
    machine = StatusMachine(options, 0.0)
    machine.read(HEALTHY, "", 0.0)
    changes = 0
    for failed in failures:
        traffic = traffic_of(ok=1000 - failed, failed=failed)
        reading = judge(traffic, (), machine.status, options, 0.0)
        changes += machine.read(reading.status, reading.reason, 0.0) is not None
    assert changes == (max(failures) >= 100)
