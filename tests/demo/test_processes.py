"""The demo with its real processes, real sockets and real time, for a few seconds."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

import holdfast
from holdfast.cli.demo.calls import CALLS, figures, outage
from holdfast.cli.demo.processes import DemoError, server, taskboard
from holdfast.cli.demo.run import direct
from holdfast.cli.demo.schedule import Phase, Schedule
from holdfast.cli.demo.site import Site, running
from holdfast.testing import Latency, Reset, Timeout, ValkeyServer

COMMAND = [sys.executable, "-c", "from holdfast.cli import main; main()", "demo"]

VARIANTS = ("bare", "handmade", "holdfast")

needs_valkey = pytest.mark.skipif(
    ValkeyServer.missing_reason() is not None, reason=str(ValkeyServer.missing_reason())
)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running(CALLS.build, ["holdfast"], 1, CALLS.warm) as [only]:
        yield only
    assert only.taskboard.process.returncode is not None
    assert only.user_service.process.returncode is not None
    assert not only.taskboard.log.parent.exists()
    assert not listens(only.taskboard.url)


def listens(url: str) -> bool:
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname, address.port), timeout=1).close()
    except OSError:
        return False
    return True


def eventually(condition: Callable[[], bool], *, within: float = 10.0) -> bool:
    give_up = time.monotonic() + within
    while not condition():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.02)
    return True


def test_the_task_board_serves_users_and_tasks(site: Site) -> None:
    with httpx.Client(base_url=site.taskboard.url) as http:
        added = http.post("/tasks", json={"title": "Trim the sails", "assignee": 7})
        assert added.status_code == 201
        task = added.json()["tasks"][0]
        assert task["title"] == "Trim the sails"
        assert added.json()["degraded"] is False

        assert http.get(f"/tasks/{task['id']}").json() == added.json()
        page = http.get("/users/7").json()
        assert page["user"] == added.json()["user"]
        assert task in page["tasks"]


def test_what_does_not_exist_is_not_found_and_not_made_up(site: Site) -> None:
    with httpx.Client(base_url=site.taskboard.url) as http:
        assert http.get("/tasks/123456").status_code == 404
        assert http.get("/users/123456").status_code == 404
        assert http.post("/tasks", json={"title": "No", "assignee": 99}).status_code == 404


def test_short_run(site: Site) -> None:
    """All of it together: users, faults, meter, figures."""
    schedule = Schedule(
        (
            Phase("healthy", 1.0),
            Phase("slow", 0.7, toxic=Latency(2.0)),
            Phase("failing", 0.5, toxic=Reset(after_bytes=1)),
            Phase("dead", 0.8, toxic=Timeout()),
            Phase("back", 2.5),
        )
    )
    moments: list[float] = []
    asyncio.run(direct([site], schedule, 20.0, 1, moments.append))
    result = figures(site.record, outage(schedule), schedule.seconds)
    assert result.requests == 110
    assert result.usable >= 0.97
    assert result.degraded >= 0.2
    assert result.full >= 0.2
    assert result.load_outage <= result.load_healthy
    assert result.recovery is not None
    assert moments[0] <= 0 < schedule.seconds <= moments[-1]


@needs_valkey
def test_short_run_of_the_cache_floor() -> None:
    """With real servers that are frozen, killed, restarted and flushed. Time is real as well, so
    nothing is asked here that a busy machine cannot give; the targets are the demo's own affair."""
    command = subprocess.run(
        [*COMMAND, "--floor", "cache", "--seconds", "10", "--headless", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    data = json.loads(command.stdout)
    assert command.returncode == (0 if data["passed"] else 1), command.stderr
    assert "Traceback" not in command.stderr
    bare, handmade, own = (data["cache"]["variants"][name] for name in VARIANTS)
    assert own["usable"] >= 0.97
    assert own["errors"] == pytest.approx(1 - own["usable"], abs=0.001)
    phases = own["phases"]
    assert phases["healthy"]["redis"] >= 0.7
    assert phases["frozen"]["memory"] >= 0.5
    assert phases["killed"]["redis"] <= 0.1
    assert phases["killed"]["memory"] >= 0.7
    assert phases["flushed"]["memory"] >= 0.3
    assert own["degraded"] >= 0.1
    assert bare["phases"]["killed"]["usable"] <= 0.3
    assert bare["phases"]["flushed"]["usable"] >= 0.7
    assert handmade["phases"]["killed"]["memory"] == 0
    assert handmade["phases"]["killed"]["user_service"] >= 0.5
    assert own["peak_load_per_second"] < handmade["peak_load_per_second"]


def test_a_child_that_does_not_start_is_reported_with_its_last_lines(tmp_path: Path) -> None:
    with server("lost service", "no_such_module", tmp_path) as child:
        with pytest.raises(DemoError, match="no_such_module") as trouble:
            child.wait_until_ready("/health")
    assert str(trouble.value).startswith("the lost service ended with code ")


def test_without_a_port_the_demo_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("address in use")

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(DemoError, match="loopback port: address in use"):
        with server("task board", "app", tmp_path):
            pass


def test_children_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = f"""
        import time
        from pathlib import Path
        from holdfast.cli.demo.processes import server

        with server("user service", "user_service", Path({str(tmp_path)!r})) as child:
            child.wait_until_ready("/health")
            print(child.url, flush=True)
            time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().strip()
        assert listens(url)
        parent.kill()
    assert eventually(lambda: not listens(url))


@pytest.mark.parametrize(
    ("floor", "phase", "own", "sent", "code"),
    [
        ("calls", "healthy", 6, signal.SIGINT, 130),
        pytest.param(
            "cache", "frozen", 12, signal.SIGTERM, 128 + signal.SIGTERM, marks=needs_valkey
        ),
    ],
)
def test_the_command_leaves_nothing_behind_when_it_is_stopped(
    floor: str, phase: str, own: int, sent: signal.Signals, code: int, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [*COMMAND, "--headless", "--floor", floor, "--seconds", "10"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    ) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        assert any(phase in line for line in command.stdout)
        left = children(command.pid)
        assert len(left) == own
        command.send_signal(sent)
        assert command.wait(20) == code
        assert "Traceback" not in command.stderr.read()
    assert list(tmp_path.iterdir()) == []
    assert not left & every_process().keys()


def children(pid: int) -> set[int]:
    return {child for child, parent in every_process().items() if parent == pid}


def every_process() -> dict[int, int]:
    """Process id to that of its parent."""
    table = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    )
    return {int(line.split()[0]): int(line.split()[1]) for line in table.stdout.splitlines()}


def test_the_task_board_of_a_wheel_is_a_package_inside_holdfast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, package = taskboard()
    assert (directory / package / "app.py").is_file()
    monkeypatch.setattr(holdfast, "__file__", str(tmp_path / "site" / "holdfast" / "__init__.py"))
    assert taskboard() == (tmp_path / "site", "holdfast._taskboard")
