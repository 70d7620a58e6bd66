"""The brownout's machine against the whole history of its signal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.degradation import BrownoutOptions
from holdfast.degradation.brownout import Brownout
from holdfast.errors import ConfigurationError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"off_above": 0}, "off_above must be a finite number greater than 0, at most 1, not 0"),
        ({"off_above": 1.1}, "off_above must be"),
        ({"on_below": -0.1}, "on_below must be a finite number of at least 0, at most 1, not -0.1"),
        ({"on_below": 0.9}, "on_below must be less than off_above, not 0.9 with off_above=0.9"),
        (
            {"on_below": 0.8, "off_above": 0.3},
            "on_below must be less than off_above, not 0.8 with off_above=0.3",
        ),
        ({"off_after": -1}, "off_after must be a finite number of at least 0, not -1"),
        ({"on_after": -1}, "on_after must be a finite number of at least 0, not -1"),
        ({"silence": 0}, "silence must be a finite number greater than 0, not 0"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        BrownoutOptions(**options)
    assert str(caught.value).startswith(message)


TIERS = frozenset({2, 3, 5})
LADDER = [None, 5, 3, 2]
OPTIONS = BrownoutOptions(off_above=0.8, on_below=0.5, off_after=2, on_after=4, silence=10)


class BrownoutMachine(RuleBasedStateMachine):
    """`rung` is the model's state; the rest is worked out from all samples since it changed."""

    @initialize()
    def build(self) -> None:
        self.machine = Brownout(OPTIONS)
        self.now = 100.0
        self.rung = 0
        self.samples: list[tuple[float, float]] = []
        """Since the last decision, which both dwell times begin anew with."""
        self.last = 0.0
        self.changed_at = self.now

    def since(self, beyond: Any) -> float | None:
        """The beginning of the unbroken row of such samples that ends with the newest one."""
        start = None
        for at, load in self.samples:
            start = (at if start is None else start) if beyond(load) else None
        return start

    def decide(self, rung: int) -> None:
        self.samples = [self.samples[-1]]
        self.samples[0] = (self.now, self.samples[0][1])
        if 0 <= rung < len(LADDER):
            self.rung = rung

    @rule(load=st.sampled_from([0.0, 0.5, 0.6, 0.79, 0.8, 1.0]))
    def feed(self, load: float) -> None:
        before = self.machine.off_from
        self.machine.feed(load, self.now, TIERS)
        self.samples.append((self.now, load))
        self.last = self.now
        high = self.since(lambda load: load >= 0.8)
        low = self.since(lambda load: load <= 0.5)
        if high is not None and self.now - high >= 2:
            self.decide(self.rung + 1)
        elif low is not None and self.now - low >= 4:
            self.decide(self.rung - 1)
        if self.machine.off_from != before:
            up = LADDER.index(self.machine.off_from) > LADDER.index(before)
            assert self.now - self.changed_at >= (2 if up else 4), "no flapping"
            self.changed_at = self.now

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.0, 3.0]))
    def wait(self, seconds: float) -> None:
        # Shorter than the silence in sum: that has a test of its own.
        self.now = min(self.now + seconds, max(self.last, 100.0) + 9)

    @precondition(lambda self: self.rung)
    @rule()
    def look(self) -> None:
        self.machine.look(self.now, TIERS)

    @rule()
    def time_goes_back_a_little(self) -> None:
        if self.samples:
            self.machine.look(self.now - 1, TIERS)

    @invariant()
    def it_agrees(self) -> None:
        if hasattr(self, "machine"):
            assert self.machine.off_from == LADDER[self.rung]


TestBrownoutMachine = BrownoutMachine.TestCase
TestBrownoutMachine.settings = settings(max_examples=100, stateful_step_count=50)


def test_tiers_go_and_come_back_one_by_one() -> None:
    machine, seen = Brownout(OPTIONS), []
    for second in range(40):
        machine.feed(0.9 if second < 10 else 0.1, float(second), TIERS)
        seen.append(machine.off_from)
    assert seen == [None] * 2 + [5] * 2 + [3] * 2 + [2] * 8 + [3] * 4 + [5] * 4 + [None] * 18


def test_between_the_thresholds_nothing_changes() -> None:
    machine = Brownout(OPTIONS)
    for second in range(4):
        machine.feed(0.9, float(second), TIERS)
    for second in range(4, 400):
        machine.feed(0.65, float(second), TIERS)
    assert machine.off_from == 5


def test_a_signal_that_falls_silent_counts_as_low() -> None:
    machine = Brownout(OPTIONS)
    for second in range(10):
        machine.feed(0.9, float(second), TIERS)
    assert machine.off_from == 2
    for now, expected in [(18.9, 2), (19.0, 2), (22.9, 2), (23.0, 3), (27.0, 5), (31.0, None)]:
        machine.look(now, TIERS)
        assert machine.off_from == expected


def test_all_that_passed_in_silence_counts_at_once() -> None:
    machine = Brownout(OPTIONS)
    for second in range(10):
        machine.feed(0.9, float(second), TIERS)
    machine.look(27.0, TIERS)
    assert machine.off_from == 5
    machine.feed(0.9, 100.0, TIERS)
    assert machine.off_from is None, "one word is not enough to begin again"


def test_without_dwell_times_each_word_counts() -> None:
    options = BrownoutOptions(off_after=0, on_after=0)
    machine, seen = Brownout(options), []
    for second, load in enumerate([1, 1, 1, 1, 0, 0.8, 0, 0, 0]):
        machine.feed(load, float(second), TIERS)
        seen.append(machine.off_from)
    assert seen == [5, 3, 2, 2, 3, 3, 5, None, None]
    for now in (20.0, 20.0, 20.0):
        machine.feed(1, now, TIERS)
    machine.look(81.0, TIERS)
    assert machine.off_from is None


def test_a_word_from_the_past_moves_nothing_back() -> None:
    machine = Brownout(OPTIONS)
    machine.feed(0.9, 10.0, TIERS)
    machine.feed(0.9, 9.0, TIERS)
    machine.feed(0.9, 11.5, TIERS)
    assert machine.off_from is None
    machine.feed(0.9, 12.0, TIERS)
    assert machine.off_from == 5


def test_without_tiers_there_is_nothing_to_switch_off() -> None:
    machine = Brownout(OPTIONS)
    for second in range(10):
        machine.feed(1.0, float(second), frozenset())
    assert machine.off_from is None
