"""The monitor as its users meet it."""

from __future__ import annotations

import threading
from dataclasses import FrozenInstanceError
from itertools import pairwise
from typing import Any, cast

import pytest
from core.test_fork import in_child
from hypothesis import given
from hypothesis import strategies as st

from holdfast import CircuitBreaker
from holdfast.errors import ConfigurationError
from holdfast.events import Event, EventHub
from holdfast.health import HealthChanged, HealthMonitor, HealthOptions, Status
from holdfast.health import board as room
from holdfast.health.statuses import WAYS, Rule
from holdfast.health.watched import Sight, Watched
from holdfast.testing import VirtualClock

UNKNOWN, HEALTHY, DEGRADED, UNHEALTHY = Status


def feed(monitor: HealthMonitor, service: str, ok: int = 0, failed: int = 0) -> None:
    for _ in range(ok):
        monitor.record(service, 0.01)
    for _ in range(failed):
        monitor.record(service, 0.01, "failure")


class TestStatus:
    def test_a_life(self, virtual_clock: VirtualClock) -> None:
        """Healthy, down, on the way back, healthy, forgotten; looked at every five seconds."""
        monitor = HealthMonitor()
        monitor.component("db", critical=True)
        seen: list[str] = []
        for ok, failed in [(100, 0)] * 13 + [(0, 100)] * 24 + [(100, 0)] * 24 + [(0, 0)] * 24:
            feed(monitor, "db", ok, failed)
            status = monitor.snapshot().system.status.value
            if status not in seen[-1:]:
                seen.append(status)
            virtual_clock.advance(5)
        assert seen == ["healthy", "degraded", "unhealthy", "degraded", "healthy", "unknown"]
        db = monitor.snapshot().component("db")
        assert [change.target.value for change in db.history] == seen
        assert db.history[0].at < db.history[-1].at <= monitor.snapshot().at
        assert db.reason == "no traffic in 60 s"

    def test_looking_often_does_not_make_it_hasty(self, virtual_clock: VirtualClock) -> None:
        monitor = HealthMonitor()
        feed(monitor, "db", 100)
        assert monitor.snapshot().component("db").status is HEALTHY
        virtual_clock.advance(5)
        feed(monitor, "db", failed=300)
        for _ in range(50):
            shown = monitor.snapshot().component("db")
            assert shown.status is HEALTHY
            assert shown.reason == "0 % of 100 calls failed in 60 s", "the reason of the status"
            virtual_clock.advance(0.0625)
        assert shown.traffic.error_rate == 0.75
        virtual_clock.advance(5)
        shown = monitor.snapshot().component("db")
        assert (shown.status, shown.in_status) == (UNHEALTHY, 0)
        assert shown.reason == "75 % of 400 calls failed in 60 s"
        virtual_clock.advance(2)
        assert monitor.snapshot().component("db").in_status == 2

    def test_time_in_which_nobody_looked_is_one_judgement(
        self, virtual_clock: VirtualClock
    ) -> None:
        monitor = HealthMonitor(HealthOptions(quiet_after=2))
        feed(monitor, "db", 100)
        monitor.snapshot()
        virtual_clock.advance(3600)
        assert monitor.snapshot().component("db").status is HEALTHY
        virtual_clock.advance(5)
        assert monitor.snapshot().component("db").status is UNKNOWN

    def test_nothing_known_at_first(self, virtual_clock: VirtualClock) -> None:
        monitor = HealthMonitor()
        shown = monitor.snapshot()
        assert (shown.system.status, shown.components) == (UNKNOWN, ())
        assert shown.at == virtual_clock.wall()
        with pytest.raises(ConfigurationError, match="component 'db' is not known here"):
            shown.component("db")

    def test_snapshots_are_frozen(self) -> None:
        shown = HealthMonitor().snapshot()
        with pytest.raises(FrozenInstanceError):
            cast(Any, shown).at = 0


class TestComponents:
    def test_roll_up(self, virtual_clock: VirtualClock) -> None:
        monitor = HealthMonitor(HealthOptions(worsen_after=1))
        monitor.component("db")
        monitor.component("site", critical=True, depends_on=["db"])
        feed(monitor, "db", failed=10)
        feed(monitor, "site", 10)
        shown = monitor.snapshot()
        site = shown.component("site")
        assert (site.own_status, site.status, site.critical) == (HEALTHY, DEGRADED, True)
        assert site.depends_on == ("db",)
        assert site.reason == (
            "depends on 'db', which is unhealthy: 100 % of 10 calls failed in 60 s"
        )
        assert (shown.system.status, shown.system.worst) == (DEGRADED, ("site", "db"))

    def test_thresholds_of_its_own(self, virtual_clock: VirtualClock) -> None:
        monitor = HealthMonitor(HealthOptions(worsen_after=1))
        feed(monitor, "strict", 98, 2)
        feed(monitor, "plain", 98, 2)
        strict = HealthOptions(worsen_after=1, degraded_error_rate=0.01)
        monitor.component("strict", options=strict)
        shown = monitor.snapshot()
        assert shown.component("strict").status is DEGRADED
        assert shown.component("plain").status is HEALTHY

    def test_another_window_begins_empty(self, virtual_clock: VirtualClock) -> None:
        monitor = HealthMonitor()
        feed(monitor, "db", 5)
        monitor.component("db", options=HealthOptions(window=10.0))
        traffic = monitor.snapshot().component("db").traffic
        assert (traffic.window, traffic.calls) == (10.0, 0)

    def test_names_are_checked(self) -> None:
        monitor = HealthMonitor()
        with pytest.raises(ConfigurationError, match="service must be a printable"):
            monitor.record("")
        with pytest.raises(ConfigurationError, match="service must be a printable"):
            monitor.track("x" * 201)
        with pytest.raises(ConfigurationError, match="name must be a printable"):
            monitor.component("new\nline")
        with pytest.raises(ConfigurationError, match="name must be a printable"):
            monitor.check("")(lambda: None)
        with pytest.raises(ConfigurationError, match="depends_on names 'nowhere'"):
            monitor.component("a", depends_on=["nowhere"])
        with pytest.raises(ConfigurationError, match="'nowhere' is not known here"):
            monitor.latencies("nowhere")

    def test_names_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(room, "MOST_COMPONENTS", 2)
        monitor = HealthMonitor()
        for name in ("a", "b", "c", "d", "a"):
            monitor.record(name)
        shown = monitor.snapshot()
        assert [component.name for component in shown.components] == ["a", "b"]
        assert shown.unlisted_total == 2
        for declare in (monitor.component, monitor.track, lambda d: monitor.check(d)(int.__call__)):
            with pytest.raises(ConfigurationError, match="'d' is one too many"):
                declare("d")

    def test_bad_calls_are_refused(self) -> None:
        monitor = HealthMonitor()
        with pytest.raises(ConfigurationError, match="outcome must be"):
            monitor.record("db", 0.1, cast(Any, "good"))
        with pytest.raises(ConfigurationError, match="seconds must be"):
            monitor.record("db", float("nan"))

    def test_latencies_can_be_merged_with_those_of_others(self) -> None:
        one, other = HealthMonitor(), HealthMonitor()
        for seconds in (1.0, 2.0, 3.0):
            one.record("db", seconds)
            other.record("db", 10 * seconds)
        merged = one.latencies("db")
        merged.merge(other.latencies("db"))
        assert (merged.count, merged.maximum) == (6, 30.0)
        assert one.latencies("db").count == 3


class TestEvents:
    def test_changes_are_told(self, virtual_clock: VirtualClock) -> None:
        hub, heard = EventHub(), list[Event]()
        hub.subscribe(heard.append)
        monitor = HealthMonitor(HealthOptions(worsen_after=1), events=hub)
        feed(monitor, "db", 10)
        monitor.snapshot()
        virtual_clock.advance(5)
        feed(monitor, "db", failed=30)
        monitor.snapshot()
        monitor.snapshot()
        told = [cast(HealthChanged, event) for event in heard]
        assert [(one.name, one.source, one.target, one.system) for one in told] == [
            ("db", UNKNOWN, HEALTHY, False),
            ("system", UNKNOWN, HEALTHY, True),
            ("db", HEALTHY, UNHEALTHY, False),
            ("system", HEALTHY, DEGRADED, True),
        ]
        assert told[2].reason == "75 % of 40 calls failed in 60 s"
        assert told[3].reason == (
            "'db', which is not critical, is unhealthy: 75 % of 40 calls failed in 60 s"
        )
        assert told[2].at == virtual_clock.wall()

    def test_a_listener_may_ask_the_monitor(self, virtual_clock: VirtualClock) -> None:
        hub, seen = EventHub(), list[Status]()
        monitor = HealthMonitor(events=hub)
        hub.subscribe(lambda event: seen.append(monitor.snapshot().component("db").status))
        feed(monitor, "db", 10)
        monitor.snapshot()
        assert seen == [HEALTHY, HEALTHY]
        assert hub.failures == 0

    def test_a_listener_that_raises_breaks_nothing(self, virtual_clock: VirtualClock) -> None:
        hub = EventHub()
        monitor = HealthMonitor(events=hub)
        hub.subscribe(lambda event: 1 / 0)
        feed(monitor, "db", 10)
        assert monitor.snapshot().component("db").status is HEALTHY
        assert hub.failures == 2
        virtual_clock.advance(5)
        monitor.snapshot()
        assert hub.failures == 2


def test_an_hour_at_200_calls_a_second_leaves_memory_flat(virtual_clock: VirtualClock) -> None:
    """Fewer calls here, but of many durations; what is kept is counted, not weighed."""
    monitor = HealthMonitor()
    for second in range(3600):
        for call in range(4):
            monitor.record("db", 0.001 * (1 + second % 60) * (1 + call), "failure")
        if second % 5 == 0:
            monitor.snapshot()
        virtual_clock.advance(1)
    (db,) = monitor._board.components.values()
    assert len(db._traffic._slices) <= 10
    assert len(db._machine.history) == 1
    assert monitor.latencies("db").count <= 240


def test_threads_lose_no_call() -> None:
    monitor = HealthMonitor()
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        for _ in range(2000):
            monitor.record("db", 0.01)
        monitor.snapshot()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert monitor.snapshot().component("db").traffic.calls == 8000


def test_a_forked_child_can_use_it_whatever_was_held() -> None:
    monitor = HealthMonitor()
    feed(monitor, "db", 10)
    monitor.check("db")(lambda: None)
    db = monitor._board.components["db"]
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        check = db.check
        assert check is not None
        with monitor._board._lock, monitor._board._judging, db._lock, check._lock:
            held.set()
            go.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()

    def work() -> None:
        feed(monitor, "db", 5)
        shown = monitor.snapshot()
        assert shown.component("db").traffic.calls == 15
        assert shown.component("db").status is HEALTHY
        monitor.start()
        assert monitor._background.driver is not None
        monitor.stop()

    try:
        in_child(work)
    finally:
        go.set()
        thread.join()


@given(
    looks=st.lists(
        st.tuples(
            st.integers(0, 14),  # half seconds since the last look
            st.sampled_from([0, 0, 5, 20]),
            st.sampled_from([0, 1, 2, 20]),
            st.sampled_from([0, 0, 4]),
        ),
        max_size=60,
    ),
    worse=st.integers(1, 3),
    better=st.integers(1, 3),
)
def test_no_traffic_makes_it_flap_faster_than_its_rules(
    looks: list[tuple[int, int, int, int]], worse: int, better: int
) -> None:
    """Each change comes so many judgements after the one before, however often somebody looks."""
    clock = VirtualClock()
    options = HealthOptions(window=20.0, worsen_after=worse, improve_after=better, quiet_after=2)
    monitor = HealthMonitor(options, interval=5.0, clock=clock)
    monitor.component("db")
    for step, ok, failed, rejected in looks:
        clock.advance(step / 2)
        feed(monitor, "db", ok, failed)
        for _ in range(rejected):
            monitor.record("db", outcome="rejected")
        monitor.snapshot()
    needed = {Rule.WORSE: worse, Rule.BETTER: better, Rule.QUIET: 2, Rule.FIRST: 1}
    history = monitor.snapshot().component("db").history
    for before, change in pairwise(history):
        assert before.target is change.source
        rule = WAYS[change.source, change.target]
        assert change.at - before.at >= 5 * needed[rule] - 1e-6


def test_two_who_watch_at_once_are_both_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = HealthMonitor()
    first, second = CircuitBreaker("first"), CircuitBreaker("second")
    second.call(int)
    look = Watched.look

    def interrupted(watched: Watched) -> Sight:
        monkeypatch.setattr(Watched, "look", look)
        monitor.watch(second, "db")
        second.call(int)
        return look(watched)

    monkeypatch.setattr(Watched, "look", interrupted)
    monitor.watch(first, "db")
    first.call(int)
    assert monitor.snapshot().component("db").traffic.calls == 2


def test_who_begins_to_watch_during_a_judgement_counts_from_then(
    virtual_clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor = HealthMonitor(interval=1.0)
    breaker = CircuitBreaker("db")
    breaker.call(int)
    monitor.component("db")
    look = Watched.look

    def interrupted(watched: Watched) -> Sight:
        monkeypatch.setattr(Watched, "look", look)
        seen = look(watched)
        monitor.watch(breaker)
        return seen

    monkeypatch.setattr(Watched, "look", interrupted)
    monitor.snapshot()
    virtual_clock.advance(1)
    breaker.call(int)
    assert monitor.snapshot().component("db").traffic.calls == 1
