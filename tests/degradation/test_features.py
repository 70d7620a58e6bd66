"""Features, their tiers, and who switches them off."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from holdfast.degradation import BrownoutOptions, Features, GracefulDegradation
from holdfast.degradation.events import BrownoutChanged
from holdfast.degradation.features import FeatureSnapshot, ManualBrownout
from holdfast.errors import ConfigurationError
from holdfast.events import EventHub
from holdfast.testing import VirtualClock


class Bench:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        hub = EventHub()
        self.events: list[BrownoutChanged] = []
        hub.subscribe(self.events.append, BrownoutChanged)
        options = BrownoutOptions(off_after=2, on_after=4, silence=10)
        self.features = Features(options, clock=self.clock, events=hub)
        for name, tier in [("checkout", 1), ("search", 2), ("recommendations", 3), ("ads", 3)]:
            self.features.declare(name, tier=tier)

    def load(self, load: float, seconds: int) -> None:
        for _ in range(seconds):
            self.features.feed(load)
            self.clock.advance(1)

    def on(self) -> list[str]:
        names = ("checkout", "search", "recommendations", "ads")
        return [name for name in names if self.features.feature(name).enabled]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_everything_is_on_at_first(bench: Bench) -> None:
    assert bench.on() == ["checkout", "search", "recommendations", "ads"]
    seen = bench.features.snapshot()
    assert (seen.off_from, seen.load, seen.manual, seen.changes_total) == (None, None, None, 0)


def test_under_load_the_lowest_tiers_go_first_but_never_the_first_tier(bench: Bench) -> None:
    bench.load(0.95, 3)
    assert bench.on() == ["checkout", "search"]
    bench.load(0.95, 20)
    assert bench.on() == ["checkout"]
    bench.load(0.1, 5)
    assert bench.on() == ["checkout", "search"]
    bench.load(0.1, 4)
    assert len(bench.on()) == 4
    assert [(event.before, event.after, event.kind) for event in bench.events] == [
        (None, 3, "auto"),
        (3, 2, "auto"),
        (2, 3, "auto"),
        (3, None, "auto"),
    ]
    assert bench.events[0].reason == "the load is 0.95"
    assert bench.features.snapshot().changes_total == 4


def test_by_hand_until_released(bench: Bench) -> None:
    bench.features.brown_out(1, "fire")
    assert bench.on() == []
    assert bench.features.snapshot().manual == ManualBrownout(1, "fire", None)
    bench.features.brown_out(3, "smoke")
    assert bench.on() == ["checkout", "search"]
    bench.features.release("put out")
    assert len(bench.on()) == 4
    assert [(event.after, event.kind, event.reason) for event in bench.events] == [
        (1, "manual", "fire"),
        (3, "manual", "smoke"),
        (None, "manual", "put out"),
    ]
    bench.features.release()
    assert len(bench.events) == 3, "nothing changed"


def test_by_hand_for_a_while(bench: Bench) -> None:
    bench.features.brown_out(2, "deploy", ttl=60)
    bench.clock.advance(59)
    manual = bench.features.snapshot().manual
    assert manual is not None
    assert manual.seconds_left == 1
    assert bench.on() == ["checkout"]
    bench.clock.advance(1)
    assert len(bench.on()) == 4
    assert (bench.events[-1].kind, bench.events[-1].reason) == ("manual", "its time is over")
    assert bench.features.snapshot().manual is None


def test_a_release_does_not_bring_back_what_the_load_switched_off(bench: Bench) -> None:
    bench.features.brown_out(2, "deploy")
    bench.load(0.95, 3)
    bench.features.release()
    assert bench.on() == ["checkout", "search"]


def test_the_worse_of_hand_and_load_counts(bench: Bench) -> None:
    bench.load(0.95, 23)
    bench.features.brown_out(3, "deploy")
    assert bench.on() == ["checkout"]


def test_a_signal_that_falls_silent_does_not_keep_features_off(bench: Bench) -> None:
    bench.load(0.95, 3)
    feature = bench.features.feature("ads")
    assert not feature.enabled
    bench.clock.advance(12)
    assert not feature.enabled
    bench.clock.advance(1)
    assert feature.enabled
    assert bench.events[-1].reason == "nothing was heard of the load"


def test_the_snapshot_shows_each_feature(bench: Bench) -> None:
    bench.load(0.95, 3)
    seen = bench.features.snapshot()
    assert (seen.off_from, seen.load) == (3, 0.95)
    assert seen.features == (
        FeatureSnapshot("checkout", 1, True),
        FeatureSnapshot("search", 2, True),
        FeatureSnapshot("recommendations", 3, False),
        FeatureSnapshot("ads", 3, False),
    )


def test_a_feature_declared_during_a_brownout_is_off_with_its_tier(bench: Bench) -> None:
    bench.load(0.95, 3)
    assert not bench.features.declare("badges", tier=4).enabled
    assert bench.features.declare("login", tier=1).enabled


def test_declaring_again_is_fine_with_the_same_tier(bench: Bench) -> None:
    ads = bench.features.declare("ads", tier=3)
    assert ads is bench.features.feature("ads")
    assert (ads.name, ads.tier, repr(ads)) == ("ads", 3, "<Feature 'ads', tier 3>")
    with pytest.raises(ConfigurationError, match="feature 'ads' exists"):
        bench.features.declare("ads", tier=2)


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("declare", {"name": "x", "tier": 0}, "tier must be a whole number of at least 1, not 0"),
        ("declare", {"name": "", "tier": 1}, "name must be a printable"),
        ("feature", {"name": "unknown"}, "feature 'unknown' is not known here"),
        ("feed", {"load": 1.1}, "load must be a finite number of at least 0, at most 1, not 1.1"),
        ("feed", {"load": float("nan")}, "load must be a finite number"),
        ("brown_out", {"tier": 0, "reason": "x"}, "tier must be a whole number of at least 1"),
        ("brown_out", {"tier": 2, "reason": ""}, "reason must be a printable"),
        ("brown_out", {"tier": 2, "reason": "x", "ttl": 0}, "ttl must be a finite number"),
        ("release", {"reason": ""}, "reason must be a printable"),
    ],
)
def test_bad_input_is_refused(
    bench: Bench, method: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        getattr(bench.features, method)(**arguments)
    assert str(caught.value).startswith(message)
    assert len(bench.on()) == 4


def test_one_line_per_change(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "holdfast"):
        bench.features.brown_out(3, "deploy")
        bench.load(0.95, 3)
        bench.features.release()
        bench.load(0.1, 10)
    assert [record.getMessage() for record in caplog.records] == [
        "features of tier 3 and up are off: deploy",
        "all features are on: the load is 0.1",
    ]


def test_the_service_has_features() -> None:
    service = GracefulDegradation(events=EventHub(), clock=VirtualClock())
    service.features.declare("recommendations", tier=3)
    assert service.feature("recommendations").enabled
    service.features.brown_out(3, "test")
    assert not service.feature("recommendations").enabled
    assert service.snapshot().features.off_from == 3


def test_a_fork_gives_a_new_lock(bench: Bench) -> None:
    with bench.features._lock:
        before = bench.features._lock
        bench.features._after_fork()
    assert bench.features._lock is not before
