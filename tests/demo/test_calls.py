from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.cli.demo import calls
from holdfast.cli.demo.calls import TARGETS, Figures, figures, judged, outage, report, schedule
from holdfast.cli.demo.figures import Kind
from holdfast.cli.demo.processes import DemoError
from holdfast.cli.demo.report import Report, Run
from holdfast.cli.demo.schedule import Phase, Schedule
from holdfast.cli.demo.targets import judge
from holdfast.testing import Latency, Timeout

from .printing import shown
from .records import some_figures, steady

BARE = some_figures(load_outage=20.0)


def missed(own: Figures) -> list[str]:
    verdicts = judge({"bare": BARE, "holdfast": own}, TARGETS)
    return [verdict.target.name for verdict in verdicts if not verdict.met]


def report_on(own: Figures) -> Report:
    variants = {"bare": BARE, "handmade": some_figures(recovery=None), "holdfast": own}
    return judged(Run(schedule(40), 20.0, 1, {}), variants)


# -- the schedule ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [10, 40, 3600])
def test_the_schedule_fits_the_time_it_is_given(seconds: float) -> None:
    assert schedule(seconds).seconds == pytest.approx(seconds)
    names = [phase.name for phase in schedule(seconds).phases]
    assert names == ["healthy", "slow", "failing", "dead", "back"]


def test_the_shortest_run_leaves_time_to_see_a_recovery_within_its_target() -> None:
    _, ends = outage(schedule(10))
    assert 10 - ends >= 3


def test_the_outage_is_the_stretch_with_faults() -> None:
    phases = (
        Phase("healthy", 2),
        Phase("slow", 1, toxic=Latency(1)),
        Phase("dead", 3, toxic=Timeout()),
        Phase("back", 4),
    )
    assert outage(Schedule(phases)) == (2, 6)


# -- figures ---------------------------------------------------------------------------------------


def test_shares_count_every_answer_once() -> None:
    when = schedule(40)
    result = figures(steady(when, during=Kind.DEGRADED), outage(when), when.seconds)
    assert result.requests == 800
    assert result.full == pytest.approx(0.45)
    assert result.degraded == pytest.approx(0.55)
    assert result.errors == 0
    assert result.usable == pytest.approx(1)
    assert result.recovery == pytest.approx(0)
    assert result.watched == pytest.approx(11)
    assert result.load_factor == pytest.approx(1)


def test_a_run_without_answers_has_no_latency_and_no_recovery() -> None:
    result = figures(steady(schedule(0.01), during=Kind.ERROR), (2, 3), 5)
    assert result.usable == 0
    assert math.isnan(result.p99)
    assert result.recovery is None


def test_without_a_load_before_there_is_nothing_to_compare_to() -> None:
    assert math.isnan(some_figures(load_healthy=0.0).load_factor)


# -- targets and report ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "own",
    [
        some_figures(),
        some_figures(full=0.0, degraded=0.99, errors=0.01),
        some_figures(p99=1.0),
        some_figures(load_outage=5.0),
        some_figures(recovery=3.0),
    ],
)
def test_a_figure_on_its_bound_meets_the_target(own: Figures) -> None:
    assert missed(own) == []


@pytest.mark.parametrize(
    ("own", "target"),
    [
        (some_figures(full=0.0, degraded=0.9899), "usable"),
        (some_figures(p99=1.001), "p99"),
        (some_figures(p99=math.nan), "p99"),
        (some_figures(load_outage=5.01), "load"),
        (some_figures(recovery=3.01), "recovery"),
        (some_figures(recovery=None), "recovery"),
    ],
)
def test_a_figure_beyond_its_bound_or_unknown_misses_the_target(own: Figures, target: str) -> None:
    assert missed(own) == [target]
    assert not report_on(own).passed


def test_the_load_is_judged_against_that_of_the_bare_variant_in_the_same_run() -> None:
    idle = some_figures(load_outage=4.0)
    verdicts = judge({"bare": idle, "holdfast": some_figures(load_outage=1.5)}, TARGETS)
    assert [v.bound for v in verdicts if v.target.name == "load"] == [1.0]
    assert not all(verdict.met for verdict in verdicts)


def test_the_table_states_each_target_and_whether_it_was_met() -> None:
    text = shown(report_on(some_figures(p99=1.5)).shown())
    for target in TARGETS:
        assert target.states in text
    assert text.count("✓ met") == 3
    assert text.count("✗ missed") == 1
    assert "missed its target for: p99" in text
    assert "met all its targets" in shown(report_on(some_figures()).shown())


def test_the_table_fits_a_terminal_of_80_columns() -> None:
    text = shown(report_on(some_figures()).shown())
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "…" not in text


def test_a_recovery_that_was_not_seen_is_told_by_how_long_it_was_waited_for() -> None:
    assert "> 11 s" in shown(report_on(some_figures()).shown())


def test_the_report_of_a_run_judges_what_was_measured() -> None:
    when = schedule(40)
    during = {"bare": Kind.ERROR, "handmade": Kind.ERROR, "holdfast": Kind.DEGRADED}
    records = {name: steady(when, during=kind) for name, kind in during.items()}
    result = report(Run(when, 20.0, 1, records))
    # One request in one reaches the user service here, so its load is that of the bare variant.
    assert [v.target.name for v in result.verdicts if not v.met] == ["load"]
    assert result.variants["bare"]["errors"] == pytest.approx(0.55)


def test_the_data_is_plain_json_without_nan() -> None:
    data = report_on(some_figures(p99=math.nan, recovery=None)).as_data()
    again = json.loads(json.dumps(data, allow_nan=False))
    assert again == data
    assert again["variants"]["holdfast"]["p99_seconds"] is None
    assert again["variants"]["bare"]["load_outage_per_second"] == 20.0
    assert again["passed"] is False
    assert [target["met"] for target in again["targets"]] == [True, False, True, False]
    assert again["schedule"][0] == {"phase": "healthy", "from": 0, "to": 6.0}


# -- the site --------------------------------------------------------------------------------------


class Ground:
    """Where nothing is started; remembers the settings of the task board."""

    def __init__(self, stack: Any = None) -> None:
        self.seed, self.stack = 1, stack
        self.settings: dict[str, str] = {}

    def user_service(self, variant: str) -> Any:
        return SimpleNamespace(url="http://127.0.0.1:9")

    def taskboard(self, variant: str, environment: dict[str, str]) -> Any:
        self.settings = environment
        return SimpleNamespace(url="http://127.0.0.1:8")


def test_a_redis_in_the_environment_is_not_used_here(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = SimpleNamespace(url="http://proxy")
    monkeypatch.setattr(calls, "FaultProxy", lambda *_, **__: proxy)
    ground: Any = Ground(SimpleNamespace(enter_context=lambda entered: entered))
    calls.build("bare", ground)
    assert ground.settings == {"TASKBOARD_USER_SERVICE": "http://proxy", "REDIS_URL": ""}


def test_a_proxy_that_cannot_listen_is_reported() -> None:
    def refuse(_: object) -> None:
        raise OSError("no port is free")

    ground: Any = Ground(SimpleNamespace(enter_context=refuse))
    with pytest.raises(DemoError, match="fault proxy cannot listen: no port is free"):
        calls.build("bare", ground)
