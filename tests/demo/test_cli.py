from __future__ import annotations

import json
import signal
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from holdfast.cli import commands, main
from holdfast.cli.demo import run
from holdfast.cli.demo.figures import Kind
from holdfast.cli.demo.processes import DemoError
from holdfast.cli.demo.schedule import standard
from holdfast.cli.demo.targets import TARGETS, judge

from .records import steady


def call(*arguments: str) -> Result:
    return CliRunner().invoke(commands.holdfast, arguments)


@pytest.fixture
def made_up_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo in which no process is started: what is measured is made up."""

    @contextmanager
    def running(variants: Sequence[str], seed: int) -> Generator[list[Any]]:
        schedule = standard(20)
        kinds = {"bare": Kind.ERROR, "handmade": Kind.ERROR, "holdfast": Kind.DEGRADED}
        yield [
            SimpleNamespace(variant=name, record=steady(schedule, during=kinds[name]))
            for name in variants
        ]

    async def direct(sites: Sequence[Any], *rest: object) -> None:
        before = int(20 * standard(20).outage[0])
        for site in sites:
            if (
                site.variant == "holdfast"
            ):  # one request in ten gets through to a service that fails
                site.record.readings = [
                    replace(reading, seen=before + (reading.seen - before) // 10)
                    if reading.seen > before
                    else reading
                    for reading in site.record.readings
                ]

    monkeypatch.setattr(run, "running", running)
    monkeypatch.setattr(run, "direct", direct)


def test_version() -> None:
    result = call("--version")
    assert result.output == f"holdfast {version('holdfast')}\n"
    assert result.exit_code == 0


def test_a_run_that_meets_its_targets_ends_with_0(made_up_run: None) -> None:
    result = call("demo", "--headless", "--seconds", "20")
    assert "Holdfast met all its targets." in result.stdout
    assert result.exit_code == 0


def test_a_missed_target_ends_with_1(made_up_run: None, monkeypatch: pytest.MonkeyPatch) -> None:
    impossible = replace(TARGETS[1], states="≤ 0 s", bound=lambda bare: 0.0)
    monkeypatch.setattr(run, "judge", partial(judge, targets=(impossible,)))
    result = call("demo", "--headless", "--seconds", "20")
    assert "≤ 0 s  ✗ missed" in result.stdout
    assert result.exit_code == 1


def test_json_is_alone_on_standard_output(made_up_run: None) -> None:
    result = call("demo", "--json", "--headless", "--seconds", "20")
    data = json.loads(result.stdout)
    assert data["passed"] is True
    assert set(data["variants"]) == {"bare", "handmade", "holdfast"}
    assert "starting 6 processes" in result.stderr
    assert result.exit_code == 0


@pytest.mark.parametrize(
    "option", [("--seconds", "9"), ("--seconds", "3601"), ("--rate", "31"), ("--rate", "0")]
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
