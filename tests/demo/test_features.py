"""The floor with every outage there can be: run, shown, and turned red by what breaks a promise."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from holdfast.cli.demo import features
from holdfast.cli.demo.features import report_features, survey
from holdfast.cli.demo.features_figures import Case, Matrix, Pace, Round, Seen, cases, judge
from holdfast.cli.demo.features_pace import measure
from holdfast.cli.demo.features_portal import dependencies, look, opened, promised
from holdfast.cli.demo.features_report import MOST_WRONG, FeaturesReport, progress
from holdfast.cli.demo.processes import DemoError
from holdfast.cli.demo.run import run_demo
from holdfast.testing import VirtualClock

from .conftest import module
from .printing import shown

NOTHING = frozenset[str]()
EVEN = Pace([Round([0.1, 0.2], [0.1, 0.2])])


@pytest.fixture(scope="module")
def portal() -> ModuleType:
    return module("portal")


@pytest.fixture(scope="module")
def matrix() -> Matrix:
    """What is seen when nothing is sabotaged."""
    return survey(1, lambda seen: None)


def only(*wanted: Case) -> Callable[[Any], Iterator[Case]]:
    """In place of all cases."""
    return lambda names: iter(wanted)


def seen_in(monkeypatch: pytest.MonkeyPatch, *wanted: Case) -> Matrix:
    monkeypatch.setattr(features, "cases", only(*wanted))
    return survey(1, lambda seen: None)


def without(*names: str, how: Any = "refuses") -> Case:
    return Case(frozenset(names), how)


# -- all of them -----------------------------------------------------------------------------------


def test_the_cases_are_every_outage_refusing_and_hanging() -> None:
    every = list(cases("abcde"))
    assert len(every) == len(set(every)) == 2 * 2**5 - 1
    assert {case.outage for case in every if case.how == "hangs"} | {NOTHING} == {
        case.outage for case in every
    }
    assert str(every[0]) == "nothing refuses"
    assert str(Case(frozenset("ba"), "hangs")) == "a + b hangs"


def test_every_feature_keeps_its_promise_in_every_outage(matrix: Matrix) -> None:
    assert len(dependencies()) >= 5
    assert matrix.outages == 2 ** len(dependencies())
    assert len(matrix.seen) == 2 * matrix.outages - 1
    assert list(matrix.wrong()) == []
    assert (matrix.as_the_oracle_says, matrix.as_promised) == (1, 1)
    assert all(verdict.met for verdict in judge(matrix, EVEN))


def test_the_cells_say_what_is_left(matrix: Matrix) -> None:
    assert matrix.cell("tasks", NOTHING) == "full"
    assert matrix.cell("tasks", {"avatars"}) == "partial"
    assert matrix.cell("tasks", {"database"}) == "down"
    assert matrix.cell("profile", {"database", "cache"}) == "static"


# -- sabotage --------------------------------------------------------------------------------------


def test_a_broken_fallback_is_found(portal: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: Any, user: int) -> Any:
        raise KeyError("a typo that only an outage finds")

    monkeypatch.setattr(portal.Portal, "_copy", broken)
    matrix = seen_in(monkeypatch, without("database"), without("database", how="hangs"))
    assert [(promise.feature, levels) for _, promise, levels in matrix.wrong()] == [
        ("profile", ("static",))
    ] * 2
    assert matrix.as_the_oracle_says == 1, "it is served, but worse than promised"
    served, levels, _ = judge(matrix, EVEN)
    assert (served.met, levels.met) == (True, False)


def test_a_dependency_that_became_a_hard_one_is_found(
    portal: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def search(self: Any, words: str) -> list[str]:
        await self._recommended(7)
        found: list[str] = await self._database.acall(self._on.database.search, words)
        return found

    monkeypatch.setattr(portal.Portal, "search", search)
    matrix = seen_in(monkeypatch, without("recommendations"), without("users"))
    assert [(str(case), promise.feature, levels) for case, promise, levels in matrix.wrong()] == [
        ("recommendations refuses", "search", ("down",))
    ]
    assert matrix.as_the_oracle_says == 1 - 1 / 16
    report = FeaturesReport(1, matrix, EVEN)
    assert not report.passed
    text = shown(report.shown())
    assert "recommendations refuses: search was down, not full" in text
    assert "The portal missed its target for: served, levels" in text
    assert "93.7 %" in text


def test_an_answer_that_hides_what_it_is_is_found(
    portal: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portal, "DegradedHeader", lambda app: app)
    matrix = seen_in(monkeypatch, without("avatars"))
    assert matrix.cell("avatar", {"avatars"}) == "full"
    assert matrix.as_promised < 1


def test_what_does_not_even_work_in_peace_is_an_error(
    portal: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr(portal.Portal, "admin", broken)
    with pytest.raises(DemoError, match="admin is down before anything is broken"):
        VirtualClock().run(look(without(), 1))


# -- the pace --------------------------------------------------------------------------------------


def test_unaffected_features_are_asked_in_turns() -> None:
    """On a virtual clock, where both sides take the same to the microsecond."""
    rounds: list[int] = []
    with VirtualClock() as clock:
        pace = clock.run(measure(1, rounds.append, rounds=2))
    assert rounds == [1, 2]
    unaffected = [
        promise for name in dependencies() for promise in promised() if promise.unaffected({name})
    ]
    assert pace.requests == 2 * 4 * len(unaffected)
    assert 0.03 <= pace.whole <= 0.04
    assert pace.ratio == pytest.approx(1.0, abs=0.1)


def test_a_feature_that_is_affected_after_all_is_infinitely_late(
    portal: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def admin(self: Any) -> Any:
        return await self.profile(7) and await self.search("Ada") and await self._recommended(7)

    monkeypatch.setattr(portal.Portal, "admin", admin)
    with VirtualClock() as clock:
        pace = clock.run(measure(1, lambda rounds: None, rounds=1))
    assert pace.broken == math.inf
    assert pace.whole < 0.1
    *_, verdict = judge(Matrix((), promised(), (_kept(),)), pace)
    assert not verdict.met


@pytest.mark.parametrize(
    ("ratios", "met"),
    [([1.0, 1.09, 9.0], True), ([1.0, 1.11, 1.2], False), ([math.nan] * 3, False)],
)
def test_the_median_of_the_rounds_counts(ratios: list[float], met: bool) -> None:
    pace = Pace([Round([1.0] * 100, [ratio] * 100) for ratio in ratios])
    *_, verdict = judge(Matrix((), promised(), (_kept(),)), pace)
    assert verdict.met is met


def test_the_99th_percentile_of_a_round() -> None:
    one = Round([0.001 * number for number in range(1, 101)], [0.099] * 100)
    assert one.p99s == (pytest.approx(0.099), 0.099)
    assert one.ratio == pytest.approx(1)


def _kept() -> Seen:
    """A case in which all was well."""
    return Seen(without(), {promise.feature: ("full",) for promise in promised()})


# -- what is shown ---------------------------------------------------------------------------------


def test_the_matrix_is_shown_within_80_columns(matrix: Matrix) -> None:
    text = shown(FeaturesReport(1, matrix, EVEN).shown())
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert lines["down:"] == ["nothing", *dependencies()]
    assert lines["profile"] == ["full", "cached", "full", "full", "full", "full"]
    assert lines["avatar"] == ["full", "full", "full", "full", "static", "full"]
    assert "32 outages × 8 features: served as the oracle says" in text
    assert "unaffected features, p99: 0.20 s (0.20 s in peace)  1.00 ×" in text
    assert "Every feature kept its promise in every outage." in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_broken_promise_stands_out() -> None:
    seen = Seen(without("database"), dict.fromkeys((p.feature for p in promised()), ("full",)))
    matrix = Matrix(dependencies(), promised(), (*[seen] * 4, _kept()))
    text = shown(FeaturesReport(1, matrix, EVEN).shown())
    assert "full !" in text
    assert text.count("database refuses: ") == MOST_WRONG
    assert f"… and {4 * 4 - MOST_WRONG} more" in text


def test_levels_that_differ_are_all_shown() -> None:
    levels = {p.feature: ("full",) for p in promised()} | {"profile": ("cached", "static")}
    matrix = Matrix(dependencies(), promised(), (Seen(without(), levels),))
    assert matrix.cell("profile", NOTHING) == "cached/static"
    assert [promise.feature for _, promise, _ in matrix.wrong()] == ["profile"]
    assert matrix.as_the_oracle_says == 1


def test_once_served_and_once_not_is_not_served() -> None:
    levels = {p.feature: ("full",) for p in promised()} | {"admin": ("full", "down")}
    matrix = Matrix(dependencies(), promised(), (Seen(without(), levels),))
    assert matrix.as_the_oracle_says == 1 - 1 / 8


def test_the_progress_has_a_cell_for_each_case() -> None:
    bad = Seen(without("database"), _kept().levels)
    lines = shown(progress(promised(), [_kept(), bad, None], 1, 3)).splitlines()
    assert [line.split()[-1] for line in lines] == ["█×·", "█··"]


# -- the whole -------------------------------------------------------------------------------------


def run_features(*, seed: int, live: bool, as_json: bool) -> bool:
    return run_demo([], 0.0, 0.0, seed, features=True, live=live, as_json=as_json)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A floor with two outages, and a pace that is made up."""

    async def pace(seed: int, done: Callable[[int], None]) -> Pace:
        done(1)
        return EVEN

    monkeypatch.setattr(features, "measure", pace)
    monkeypatch.setattr(features, "cases", only(without(), without("users", how="hangs")))


def test_a_run_shows_the_matrix(short: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_features(seed=1, live=False, as_json=False)
    text, errors = capsys.readouterr()
    assert text.startswith("features: a portal with 8 features, 32 outages")
    assert "outages ██" in text
    assert "Every feature kept its promise in every outage." in text
    assert errors == ""


def test_json_is_alone_on_standard_output(short: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_features(seed=5, live=True, as_json=True)
    text, talk = capsys.readouterr()
    data = json.loads(text)["features"]
    assert data["seed"] == 5
    assert data["matrix"]["users"]["person"] == "cached"
    assert data["broken_promises"] == []
    assert [target["met"] for target in data["targets"]] == [True] * 3
    assert data["unaffected"]["p99_seconds"] == 0.2
    assert data["passed"] is True
    assert "features: a portal" in talk


def test_a_broken_promise_fails_the_run(
    short: None,
    portal: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(features, "cases", only(without("avatars")))
    monkeypatch.setattr(portal, "DegradedHeader", lambda app: app)
    assert not run_features(seed=1, live=False, as_json=True)
    data = json.loads(capsys.readouterr().out)["features"]
    assert data["passed"] is False
    assert data["broken_promises"][0] == {
        "outage": ["avatars"],
        "how": "refuses",
        "feature": "avatar",
        "promised": "static",
        "served": ["full"],
    }


def test_a_terminal_sees_it_grow(short: None) -> None:
    console = Console(force_terminal=True, width=80, record=True)
    report = report_features(seed=1, live=True, talk=console)
    assert report.passed
    assert "outages ██" in console.export_text()


@pytest.mark.parametrize("fails", [False, True])
def test_the_log_is_as_it_was_afterwards(
    fails: bool,
    short: None,
    portal: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(self: Any) -> None:
        raise ConnectionError

    with caplog.at_level(logging.INFO, "holdfast"):
        if fails:
            monkeypatch.setattr(portal.Portal, "admin", broken)
            with pytest.raises(DemoError):
                run_features(seed=1, live=False, as_json=False)
        else:
            run_features(seed=1, live=False, as_json=False)
        assert logging.getLogger("holdfast").level == logging.INFO
    assert caplog.text == ""


def test_portals_of_one_seed_take_the_same_times() -> None:
    async def seconds(seed: int) -> float:
        async with opened(without(), seed) as ask:
            for promise in promised() * 3:
                await ask(promise)
        return clock.now()

    times = []
    for seed in (1, 1, 2):
        with VirtualClock() as clock:
            times.append(clock.run(seconds(seed)))
    assert times[0] == times[1] != times[2]
