"""The figures of chains, and their degraded periods."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from holdfast.degradation import AllFallbacksFailedError, FallbackStep, GracefulDegradation, Level
from holdfast.degradation.events import DegradationChanged
from holdfast.degradation.served import Served, cause_of
from holdfast.degradation.tally import (
    CALM,
    MOST_PLAIN,
    MOST_STEPS,
    OTHERS,
    ChainTally,
    StepSnapshot,
)
from holdfast.events import Event, EventHub, FallbackUsed
from holdfast.testing import VirtualClock


class Bench:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.hub = EventHub()
        self.events: list[Event] = []
        self.hub.subscribe(self.events.append)
        self.service = GracefulDegradation(clock=self.clock, events=self.hub)
        self.up = True

    def call(self, *more: FallbackStep[Any]) -> None:
        def primary() -> int:
            if self.up:
                return 1
            raise ConnectionError("private")

        self.service.execute_with_fallback_chain_sync(
            "profile", [FallbackStep("database", primary, priority=1), *more]
        )

    def changes(self) -> list[DegradationChanged]:
        return [event for event in self.events if isinstance(event, DegradationChanged)]


BASIC: FallbackStep[Any] = FallbackStep("basic", value=0)


def test_a_period_is_told_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    with caplog.at_level(logging.INFO, "holdfast"):
        bench.call(BASIC)
        bench.up = False
        for _ in range(50):
            bench.call(BASIC)
            bench.clock.advance(1)
        bench.up = True
        bench.call(BASIC)
        assert len(bench.changes()) == 1, "it may be back for a moment only"
        bench.up = False
        bench.call(BASIC)
        bench.up = True
        bench.clock.advance(CALM - 0.5)
        bench.call(BASIC)
        assert len(bench.changes()) == 1
        bench.clock.advance(0.5)
        bench.call(BASIC)
        bench.call(BASIC)
    began, ended = bench.changes()
    assert (began.degraded, began.name, began.level, began.step, began.error_type) == (
        True,
        "profile",
        Level.STATIC,
        "basic",
        "ConnectionError",
    )
    assert (began.seconds, began.calls) == (None, 1)
    assert (ended.degraded, ended.level, ended.step, ended.error_type) == (
        False,
        Level.PRIMARY,
        "database",
        None,
    )
    assert (ended.seconds, ended.calls) == (80.0, 51)
    assert ended.at == bench.clock.wall()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "'profile' is degraded: static by 'basic', because of ConnectionError"),
        (
            "INFO",
            "'profile' is served in full again after 80 s, in which 51 answers were degraded or "
            "missing",
        ),
    ]
    assert "private" not in caplog.text
    bench.up = False
    bench.call(BASIC)
    bench.up = True
    bench.clock.advance(CALM)
    bench.call(BASIC)
    assert bench.changes()[-1].calls == 1, "the next period begins anew"


def test_a_period_may_begin_without_any_answer(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.up = False
    with caplog.at_level(logging.INFO, "holdfast"), pytest.raises(AllFallbacksFailedError):
        bench.call()
    [began] = bench.changes()
    assert (began.level, began.step, began.error_type) == (None, None, "ConnectionError")
    assert caplog.records[0].getMessage() == (
        "'profile' is degraded: no answer, because of ConnectionError"
    )
    assert bench.service.snapshot().chains[0].degraded_for == 0


def test_each_degraded_answer_is_a_fallback_that_was_used() -> None:
    bench = Bench()
    bench.call(BASIC)
    bench.up = False
    for _ in range(3):
        bench.call(BASIC)
    used = [event for event in bench.events if isinstance(event, FallbackUsed)]
    assert [(event.name, event.error_type) for event in used] == [
        ("profile", "ConnectionError")
    ] * 3


def test_an_answer_degraded_inside_is_not_told_twice() -> None:
    bench = Bench()
    tally = ChainTally("outer", bench.clock, bench.hub)
    tally.served(Served(1, Level.CACHED, "a"), ("a",), ())
    assert [type(event) for event in bench.events] == [DegradationChanged]


def test_the_figures() -> None:
    bench = Bench()
    bench.call(BASIC)
    bench.up = False
    bench.call(FallbackStep("replica", lambda: 1), BASIC)
    for _ in range(2):
        bench.call(BASIC)
    with pytest.raises(AllFallbacksFailedError):
        bench.call()
    [seen] = bench.service.snapshot().chains
    assert (seen.name, seen.calls_total, seen.failed_total) == ("profile", 5, 1)
    assert seen.served_total == {
        Level.PRIMARY: 1,
        Level.CACHED: 1,
        Level.STATIC: 2,
        Level.PARTIAL: 0,
    }
    assert seen.steps == (
        StepSnapshot("database", 1, 4, 0),
        StepSnapshot("replica", 1, 0, 0),
        StepSnapshot("basic", 2, 0, 0),
    )
    assert seen.degraded_for == 0


def test_a_failed_step_counts_also_when_the_answer_is_as_good() -> None:
    bench = Bench()
    bench.up = False
    bench.call(FallbackStep("replica", lambda: 1, level=Level.PRIMARY))
    [seen] = bench.service.snapshot().chains
    assert seen.steps == (StepSnapshot("replica", 1, 0, 0), StepSnapshot("database", 0, 1, 0))
    assert seen.degraded_for is None


def test_full_answers_are_counted_in_passing() -> None:
    tally = ChainTally("x", VirtualClock(), EventHub())
    for _ in range(MOST_PLAIN + 1):
        assert tally.plain("a")
    assert tally._plain == []
    assert tally.plain("b")
    seen = tally.snapshot()
    assert seen.served_total[Level.PRIMARY] == MOST_PLAIN + 2
    assert seen.steps == (StepSnapshot("a", MOST_PLAIN + 1, 0, 0), StepSnapshot("b", 1, 0, 0))
    tally.failed([cause_of("a", KeyError())])
    assert not tally.plain("a"), "it may end a period"
    assert tally.snapshot().calls_total == MOST_PLAIN + 3


def test_the_names_of_steps_are_bounded() -> None:
    tally = ChainTally("x", VirtualClock(), EventHub())
    for number in range(MOST_STEPS + 10):
        tally.failed([cause_of(f"user-{number}", KeyError())])
    steps = tally.snapshot().steps
    assert len(steps) == MOST_STEPS + 1
    assert steps[-1] == StepSnapshot(OTHERS, 0, 10, 0)


def test_a_fork_gives_a_new_lock() -> None:
    tally = ChainTally("x", VirtualClock(), EventHub())
    with tally._lock:
        before = tally._lock
        tally._after_fork()
    assert tally._lock is not before
    assert tally.snapshot().calls_total == 0
