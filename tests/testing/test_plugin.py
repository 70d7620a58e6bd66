"""The pytest plugin, used as users use it, and what loading it costs."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

import holdfast.testing
from holdfast._core.clock import AMBIENT
from holdfast.testing import FaultProxy, VirtualClock

TEST_FILE = """
import socket

from holdfast._core.clock import AMBIENT

def test_clock(virtual_clock):
    AMBIENT.sleep(1000)
    assert virtual_clock.now() == 1000

def test_waits(instant_waits):
    AMBIENT.sleep(1000)
    assert instant_waits == [1000]

def test_proxies(fault_proxy):
    with socket.create_server(("127.0.0.1", 0)) as server:
        first, second = (fault_proxy(server.getsockname()) for _ in range(2))
        with socket.create_connection(first.address), socket.create_connection(second.address):
            assert first.port != second.port
"""


def test_the_fixtures_work_in_a_run_of_their_own(tmp_path):
    (tmp_path / "test_it.py").write_text(TEST_FILE)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    run = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True)
    assert "3 passed" in run.stdout, run.stdout + run.stderr


def test_virtual_clock_is_ambient(virtual_clock: VirtualClock):
    assert isinstance(virtual_clock, VirtualClock)
    assert AMBIENT.now() == 0.0


def test_instant_waits_are_recorded(instant_waits: list[float]):
    AMBIENT.sleep(3)
    assert instant_waits == [3]


@pytest.fixture
def closed_afterwards() -> Iterator[list[FaultProxy]]:
    """Asked for before `fault_proxy`, so it looks after that one has ended."""
    proxies: list[FaultProxy] = []
    yield proxies
    for proxy in proxies:
        with pytest.raises(RuntimeError, match="not running"):
            proxy.clear()


def test_fault_proxies_are_closed_at_the_end(
    closed_afterwards: list[FaultProxy],
    fault_proxy: Callable[[tuple[str, int]], FaultProxy],
    echo_server: tuple[str, int],
):
    closed_afterwards += [fault_proxy(echo_server), fault_proxy(echo_server)]
    for proxy in closed_afterwards:
        with socket.create_connection(proxy.address, timeout=5) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"


def test_loading_the_plugin_loads_none_of_the_tools():
    script = (
        "import sys, holdfast.testing.pytest_plugin\n"
        "print(*[name for name in sys.modules if name.startswith('holdfast.testing.')])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["holdfast.testing.pytest_plugin"]


def test_every_exported_name_is_there():
    for name in holdfast.testing.__all__:
        assert getattr(holdfast.testing, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        holdfast.testing.Nonsense  # type: ignore[attr-defined]  # noqa: B018
