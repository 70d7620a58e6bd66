from __future__ import annotations

import io
import json
import math

import pytest
from rich.console import Console

from holdfast.cli.demo.figures import Figures
from holdfast.cli.demo.report import Report, percent, seconds
from holdfast.cli.demo.schedule import standard
from holdfast.cli.demo.targets import TARGETS, judge

from .records import some_figures

BARE = some_figures(load_outage=20.0)


def missed(own: Figures) -> list[str]:
    verdicts = judge({"bare": BARE, "holdfast": own})
    return [verdict.target.name for verdict in verdicts if not verdict.met]


def report(own: Figures) -> Report:
    variants = {"bare": BARE, "handmade": some_figures(recovery=None), "holdfast": own}
    return Report(standard(40), 20.0, 1, variants, judge(variants))


def shown(what: Report) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(what.table())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


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
    assert not report(own).passed


def test_the_load_is_judged_against_that_of_the_bare_variant_in_the_same_run() -> None:
    idle = some_figures(load_outage=4.0)
    verdicts = judge({"bare": idle, "holdfast": some_figures(load_outage=1.5)})
    assert [v.bound for v in verdicts if v.target.name == "load"] == [1.0]
    assert not all(verdict.met for verdict in verdicts)


def test_the_table_states_each_target_and_whether_it_was_met() -> None:
    text = shown(report(some_figures(p99=1.5)))
    for target in TARGETS:
        assert target.states in text
    assert text.count("✓ met") == 3
    assert text.count("✗ missed") == 1
    assert "missed its target for: p99" in text
    assert "met all its targets" in shown(report(some_figures()))


def test_the_table_fits_a_terminal_of_80_columns() -> None:
    assert max(len(line.rstrip()) for line in shown(report(some_figures())).splitlines()) <= 80
    assert "…" not in shown(report(some_figures()))


def test_a_recovery_that_was_not_seen_is_told_by_how_long_it_was_waited_for() -> None:
    assert "> 11 s" in shown(report(some_figures()))


def test_the_data_is_plain_json_without_nan() -> None:
    data = report(some_figures(p99=math.nan, recovery=None)).as_data()
    again = json.loads(json.dumps(data, allow_nan=False))
    assert again == data
    assert again["variants"]["holdfast"]["p99_seconds"] is None
    assert again["variants"]["bare"]["load_outage_per_second"] == 20.0
    assert again["passed"] is False
    assert [target["met"] for target in again["targets"]] == [True, False, True, False]
    assert again["schedule"][0] == {"phase": "healthy", "from": 0, "to": 6.0}


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "100.0 %"), (0.9999, "99.9 %"), (0.98999, "98.9 %"), (0.0, "0.0 %")]
)
def test_a_share_is_never_rounded_up(value: float, text: str) -> None:
    assert percent(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0134, "13 ms"), (0.0994, "99 ms"), (0.0996, "0.10 s"), (5.256, "5.26 s")],
)
def test_times_are_given_in_the_unit_that_reads_best(value: float, text: str) -> None:
    assert seconds(value) == text
