"""What a component learns from policies it watches, which know nothing of it."""

from __future__ import annotations

import pytest

from holdfast import Bulkhead, CircuitBreaker, Fallback, Pipeline, Retry, Timeout
from holdfast.errors import ConfigurationError
from holdfast.health import HealthMonitor, HealthOptions, Status
from holdfast.health import watched as room
from holdfast.testing import VirtualClock


def fail() -> None:
    raise ConnectionResetError("gone")


def test_calls_are_those_of_the_breaker(virtual_clock: VirtualClock) -> None:
    monitor = HealthMonitor(HealthOptions(worsen_after=1))
    db = monitor.watch(
        Pipeline("db", Fallback(value=0), Retry(attempts=2), CircuitBreaker(failure_rate=0.9))
    )
    for number in range(20):
        db.call(fail if number % 4 == 3 else int)
    traffic = monitor.snapshot().component("db").traffic
    assert (traffic.calls, traffic.failures, traffic.fallbacks) == (25, 10, 5)
    assert traffic.p50 is None
    assert monitor.snapshot().component("db").reason == (
        "40 % of 25 calls failed in 60 s; 20 % of 25 calls were answered by a fallback in 60 s"
    )


def test_without_a_breaker_they_are_those_of_the_retry(virtual_clock: VirtualClock) -> None:
    monitor = HealthMonitor()
    db = monitor.watch(Pipeline("db", Retry(attempts=2), Timeout(5)))
    for number in range(10):
        db.try_call(fail if number < 5 else int)
    traffic = monitor.snapshot().component("db").traffic
    assert (traffic.calls, traffic.failures) == (10, 5)


def test_what_was_before_watching_began_does_not_count(virtual_clock: VirtualClock) -> None:
    monitor = HealthMonitor()
    breaker = CircuitBreaker("db")
    breaker.call(int)
    monitor.watch(breaker)
    breaker.call(int)
    assert monitor.snapshot().component("db").traffic.calls == 1


def test_a_second_policy_neither_loses_nor_doubles_what_the_first_counted(
    virtual_clock: VirtualClock,
) -> None:
    monitor = HealthMonitor()
    first, second = CircuitBreaker("first"), CircuitBreaker("second")
    monitor.watch(first, "db")
    first.call(int)
    second.call(int)
    monitor.watch(second, "db")
    monitor.watch(Pipeline("again", second), "db")
    first.call(int)
    second.call(int)
    assert monitor.snapshot().component("db").traffic.calls == 3


@pytest.mark.parametrize(
    ("move", "status", "sentence"),
    [
        ("trip", Status.UNHEALTHY, "circuit 'db' is open"),
        ("isolate", Status.UNHEALTHY, "circuit 'db' is isolated"),
        ("wait", Status.DEGRADED, "circuit 'db' waits for a call to probe with"),
        ("probe", Status.DEGRADED, "circuit 'db' is half-open"),
    ],
)
def test_states_of_circuits_are_facts(
    virtual_clock: VirtualClock, move: str, status: Status, sentence: str
) -> None:
    monitor = HealthMonitor(HealthOptions(worsen_after=1))
    breaker = monitor.watch(
        CircuitBreaker("db", failure_threshold=1, reset_timeout=10, half_open_max_calls=2)
    )
    if move == "isolate":
        breaker.isolate("test")
    else:
        breaker.try_call(fail)
    if move in ("wait", "probe"):
        virtual_clock.advance(10)
    if move == "probe":
        breaker.call(int)
    shown = monitor.snapshot().component("db")
    assert (shown.own_status, shown.policies) == (status, (sentence,))
    assert shown.reason == sentence


@pytest.mark.parametrize("mode", ["force_closed", "disable", "observe"])
def test_modes_that_let_calls_through_are_no_facts(virtual_clock: VirtualClock, mode: str) -> None:
    monitor = HealthMonitor()
    breaker = monitor.watch(CircuitBreaker("db"))
    getattr(breaker, mode)("test")
    assert monitor.snapshot().component("db").policies == ()


def test_a_bulkhead_is_full_when_its_queue_is_too(virtual_clock: VirtualClock) -> None:
    monitor = HealthMonitor(HealthOptions(worsen_after=1), interval=1.0)
    roomy = monitor.watch(Bulkhead("roomy", max_concurrent=1, max_queue=1))
    full = monitor.watch(Bulkhead("full", max_concurrent=1))
    with roomy, full:
        shown = monitor.snapshot()
    assert shown.component("roomy").policies == ()
    assert shown.component("full").policies == ("bulkhead 'full' is full",)
    assert shown.component("full").own_status is Status.DEGRADED
    virtual_clock.advance(1)
    assert monitor.snapshot().component("full").policies == ()


def test_refusals_of_breaker_and_bulkhead_are_rejected_calls(virtual_clock: VirtualClock) -> None:
    monitor = HealthMonitor(HealthOptions(worsen_after=1))
    breaker, bulkhead = CircuitBreaker("db", failure_threshold=1), Bulkhead("db", max_concurrent=1)
    db = monitor.watch(Pipeline("db", breaker, bulkhead))
    with bulkhead:
        for _ in range(3):
            db.try_call(int)
    db.try_call(fail)
    for _ in range(7):
        db.try_call(int)
    shown = monitor.snapshot().component("db")
    assert (shown.traffic.calls, shown.traffic.rejected) == (1, 10)
    assert shown.own_status is Status.UNHEALTHY


def test_recorded_calls_are_not_counted_by_the_policies_as_well(
    virtual_clock: VirtualClock,
) -> None:
    monitor = HealthMonitor(HealthOptions(worsen_after=1), interval=1.0)
    db = monitor.watch(Pipeline("db", Fallback(value=0), monitor.track("db"), CircuitBreaker()))
    for number in range(10):
        db.call(fail if number < 2 else int)
    shown = monitor.snapshot().component("db")
    assert (shown.traffic.calls, shown.traffic.failures, shown.traffic.fallbacks) == (10, 2, 2)
    db.policies[2].isolate("test")  # type: ignore[attr-defined]
    virtual_clock.advance(1)
    assert monitor.snapshot().component("db").policies == ("circuit 'db' is isolated",)


def test_when_nobody_looked_for_long_the_recent_share_counts(virtual_clock: VirtualClock) -> None:
    monitor = HealthMonitor()
    breaker = monitor.watch(CircuitBreaker("db", failure_rate=1.0))
    for number in range(100):
        breaker.try_call(fail if number % 4 == 0 else int)
    virtual_clock.advance(600)
    traffic = monitor.snapshot().component("db").traffic
    assert (traffic.calls, traffic.failures) == (10, 2)


def test_failures_counted_across_a_stall_are_discounted() -> None:
    clock = VirtualClock()
    monitor = HealthMonitor(clock=clock)
    breaker = monitor.watch(CircuitBreaker("db", failure_rate=1.0, clock=clock))

    async def main() -> None:
        async with monitor:
            for number in range(20):
                breaker.try_call(fail if number < 5 else int)
            clock.advance(3)
            shown = monitor.snapshot()
            traffic = shown.component("db").traffic
            assert (traffic.calls, traffic.failures, traffic.discounted) == (15, 0, 5)
            assert shown.local.discounted_total == 5

    clock.run(main())


def test_a_policy_that_says_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="policy must be or contain a CircuitBreaker"):
        HealthMonitor().watch(Timeout(1.0, "db"))


def test_policies_of_one_component_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_WATCHED", 2)
    monitor = HealthMonitor()
    for _ in range(2):
        monitor.watch(Retry("db"))
    with pytest.raises(ConfigurationError, match="is one too many: 2 policies"):
        monitor.watch(Retry("db"))
