"""The proxy itself: it passes bytes on, changes at run time, counts, and cleans up."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable

import pytest

from holdfast.errors import ConfigurationError
from holdfast.testing import Down, FaultProxy, HalfClose, Latency, Reset, Timeout, VirtualClock

from .conftest import echo, serving

Connect = Callable[[FaultProxy], socket.socket]


def exchange(client: socket.socket, message: bytes) -> bytes:
    client.sendall(message)
    answer = b""
    while len(answer) < len(message):
        chunk = client.recv(65536)
        assert chunk, "the connection ended early"
        answer += chunk
    return answer


def send_until_stuck(client: socket.socket) -> int:
    sent = 0
    try:
        while True:
            sent += client.send(b"x" * 65536)
    except TimeoutError:
        return sent


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def wait_for(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.001)


def test_bytes_pass_unchanged_and_are_counted(proxy: FaultProxy, connect: Connect):
    message = os.urandom(3_000_000)
    client = connect(proxy)
    sender = threading.Thread(target=client.sendall, args=(message,))
    sender.start()
    answer = bytearray()
    while len(answer) < len(message):
        answer += client.recv(65536)
    sender.join()
    assert bytes(answer) == message
    wait_for(lambda: proxy.snapshot().bytes_down == len(message))  # counted once they have left
    seen = proxy.snapshot()
    assert (seen.accepted, seen.open, seen.bytes_up) == (1, 1, len(message))
    client.close()
    wait_for(lambda: proxy.snapshot().open == 0)


def test_where_it_listens(proxy: FaultProxy):
    assert proxy.host == "127.0.0.1"
    assert proxy.address == (proxy.host, proxy.port)
    assert proxy.url == f"http://127.0.0.1:{proxy.port}"


def test_a_half_closed_client_still_gets_its_answer(connect: Connect):
    def answer_at_the_end(connection: socket.socket) -> None:
        total = 0
        while data := connection.recv(65536):
            total += len(data)
        connection.sendall(b"got %d" % total)

    with serving(answer_at_the_end) as address, FaultProxy(address) as proxy:
        client = connect(proxy)
        client.sendall(b"12345")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b"got 5"
        assert client.recv(100) == b""


def test_a_unix_socket_upstream(tmp_path, connect: Connect):
    path = tmp_path / "s"
    with serving(echo, socket.AF_UNIX, str(path)), FaultProxy(path) as proxy:
        assert exchange(connect(proxy), b"hello") == b"hello"


def test_a_dead_upstream_resets_the_client(connect: Connect):
    with serving(echo) as address:
        pass
    with FaultProxy(address) as proxy:
        client = connect(proxy)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        wait_for(lambda: proxy.snapshot().open == 0)


def test_a_reset_by_the_upstream_reaches_the_client(connect: Connect):
    accepted = threading.Event()
    go = threading.Event()

    def abort(connection: socket.socket) -> None:
        connection.recv(1)
        accepted.set()
        go.wait(5)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with serving(abort) as address, FaultProxy(address) as proxy:
        client = connect(proxy)
        client.sendall(b"x")
        assert accepted.wait(5)
        go.set()
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_asyncio_clients_and_other_processes_go_through(proxy: FaultProxy):
    async def main() -> bytes:
        reader, writer = await asyncio.open_connection(*proxy.address)
        writer.write(b"async\n")
        line = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return line

    assert asyncio.run(main()) == b"async\n"
    script = (
        "import socket, sys\n"
        "client = socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5)\n"
        "client.sendall(b'child')\n"
        "print(client.recv(5).decode())"
    )
    command = [sys.executable, "-c", script, str(proxy.port)]
    assert subprocess.run(command, capture_output=True, text=True).stdout.strip() == "child"
    assert proxy.snapshot().accepted == 2


def test_toxics_are_named_replaced_and_removed(proxy: FaultProxy, connect: Connect):
    client = connect(proxy)
    proxy.add("a", Timeout(), direction="up")
    proxy.add("b", Latency(0.01))
    assert proxy.snapshot().toxics == ("a", "b")
    client.sendall(b"lost")
    proxy.add("a", Latency(0), direction="up")  # in place of the one before
    wait_for(lambda: exchange(client, b"through") == b"through")
    proxy.remove("a")
    with pytest.raises(ConfigurationError, match=r"name must be .*\(b\), not 'a'"):
        proxy.remove("a")
    proxy.clear()
    assert proxy.snapshot().toxics == ()
    with pytest.raises(ConfigurationError, match="there is none"):
        proxy.remove("b")


def test_a_toxic_for_a_block(proxy: FaultProxy, connect: Connect):
    client = connect(proxy)
    assert exchange(client, b"1") == b"1"
    with proxy.toxic(HalfClose(100), direction="up"):
        assert len(proxy.snapshot().toxics) == 1
    assert proxy.snapshot().toxics == ()
    with pytest.raises(LookupError), proxy.toxic(HalfClose(100)):
        raise LookupError
    assert proxy.snapshot().toxics == ()
    with proxy.toxic(Latency(0)):
        proxy.clear()  # does not upset the end of the block
    assert exchange(client, b"2") == b"2"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", Latency(1)), "name must be"),
        (("x", "slow"), "toxic must be"),
    ],
)
def test_bad_toxics_are_refused(proxy: FaultProxy, arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        proxy.add(*arguments)
    with pytest.raises(ConfigurationError, match="direction must be one of up, down, both"):
        proxy.add("x", Latency(1), direction="sideways")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FaultProxy(("", 80)), "upstream host"),
        (lambda: FaultProxy(("localhost", 0)), "upstream port"),
        (lambda: FaultProxy(("localhost", 80), port=70_000), "port must be"),
        (lambda: FaultProxy(("localhost", 80), host=""), "host must be"),
    ],
)
def test_bad_addresses_are_refused(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_the_life_of_a_proxy(echo_server: tuple[str, int]):
    proxy = FaultProxy(echo_server)
    for use in (lambda: proxy.address, proxy.clear):
        with pytest.raises(RuntimeError, match="not running"):
            use()
    with proxy:
        port = proxy.port
        with pytest.raises(RuntimeError, match="already"):
            proxy.start()
    proxy.close()
    assert proxy.snapshot().open == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_a_port_that_is_taken_is_an_error_at_once(echo_server: tuple[str, int]):
    before = threading.active_count()
    with pytest.raises(OSError, match="in use"):
        FaultProxy(echo_server, port=echo_server[1]).start()
    with FaultProxy(echo_server) as first, pytest.raises(OSError, match="in use"):
        FaultProxy(echo_server, port=first.port).start()
    assert threading.active_count() == before


def test_closing_is_quick_with_stuck_connections_and_leaves_nothing():
    def never_reads(connection: socket.socket) -> None:
        stop.wait(10)

    def use() -> float:
        with FaultProxy(address) as proxy:
            clients = [socket.create_connection(proxy.address, timeout=5) for _ in range(5)]
            for client in clients:
                client.settimeout(0.02)
                with pytest.raises(TimeoutError):
                    client.sendall(b"x" * 30_000_000)
            proxy.add("slow", Latency(100), direction="both")
            proxy.add("stuck", Timeout(100), direction="both")
            began = time.monotonic()
        took = time.monotonic() - began
        for client in clients:
            client.close()
        return took

    stop = threading.Event()
    with serving(never_reads) as address:
        threads, fds = threading.active_count(), open_fds()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert use() < 1
            gc.collect()
        stop.set()
        wait_for(lambda: threading.active_count() == threads and open_fds() <= fds)


def test_stopping_while_a_connection_just_ends_leaks_no_socket():
    def hang_up(connection: socket.socket) -> None:
        connection.recv(1)

    with serving(hang_up) as address:
        for _ in range(100):  # the race is won about one time in twenty
            with FaultProxy(address) as proxy:
                with socket.create_connection(proxy.address, timeout=5) as client:
                    client.shutdown(socket.SHUT_WR)
                    assert client.recv(1) == b""
    gc.collect()  # a lost socket warns here, and a warning is an error


def test_a_stuck_receiver_stops_the_sender_with_bounded_memory():
    stop = threading.Event()
    with serving(lambda connection: stop.wait(10) and None) as address:
        with FaultProxy(address) as proxy, socket.create_connection(proxy.address) as client:
            client.settimeout(0.2)
            sent = send_until_stuck(client)
            # Kernel buffers on both sides, and one bounded buffer of ours in between.
            assert sent < 40_000_000
            passed = proxy.snapshot().bytes_up
            proxy.add("hold", Latency(100), direction="up")
            assert proxy.snapshot().bytes_up == passed
        stop.set()


def test_clients_that_vanish_are_forgotten(proxy: FaultProxy):
    for _ in range(30):
        client = socket.create_connection(proxy.address)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    wait_for(lambda: proxy.snapshot().accepted == 30 and proxy.snapshot().open == 0)


def test_no_more_connections_than_the_limit(
    proxy: FaultProxy, connect: Connect, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("holdfast.testing.server.MAX_CONNECTIONS", 2)
    first, second = connect(proxy), connect(proxy)
    assert exchange(first, b"1") == exchange(second, b"1")
    third = connect(proxy)  # accepted by the kernel only
    third.sendall(b"3")
    third.settimeout(0.03)
    with pytest.raises(TimeoutError):
        third.recv(1)
    first.close()
    third.settimeout(5)
    assert third.recv(1) == b"3"


def test_many_changes_from_many_threads_during_traffic(proxy: FaultProxy, connect: Connect):
    client = connect(proxy)
    failures: list[BaseException] = []

    def change(name: str) -> None:
        try:
            for _ in range(30):
                with proxy.toxic(Latency(0.001, 0.001), direction="both"):
                    proxy.add(name, Latency(0))
                    proxy.remove(name)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=change, args=(f"t{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for number in range(50):
        message = b"%d" % number * 100
        assert exchange(client, message) == message
    for thread in threads:
        thread.join()
    assert failures == []
    assert proxy.snapshot().toxics == ()


def test_virtual_time_does_not_touch_it(proxy: FaultProxy, connect: Connect):
    with VirtualClock(), proxy.toxic(Latency(0.03)):
        client = connect(proxy)
        began = time.monotonic()
        assert exchange(client, b"x") == b"x"
        assert time.monotonic() - began >= 0.03


def test_down_and_up_again(proxy: FaultProxy, connect: Connect):
    client = connect(proxy)
    assert exchange(client, b"x") == b"x"
    port = proxy.port
    for _ in range(3):
        with proxy.toxic(Down()):
            assert client.recv(1) == b""
            for _ in range(3):
                with pytest.raises(ConnectionRefusedError):
                    connect(proxy)
            proxy.add("meanwhile", Reset(1000))
            proxy.remove("meanwhile")
        assert proxy.port == port
        client = connect(proxy)
        assert exchange(client, b"back") == b"back"
