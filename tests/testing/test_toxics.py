"""Each toxic, against a real echo server; delays are real and small."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from random import Random

import pytest

from holdfast.errors import ConfigurationError
from holdfast.testing import (
    Bandwidth,
    Corrupt,
    DataLimit,
    Down,
    Duplicate,
    FaultProxy,
    HalfClose,
    Latency,
    Reset,
    Slicer,
    SlowClose,
    Timeout,
    Toxic,
    black_hole,
)

from .conftest import serving
from .test_fault_proxy import exchange

Connect = Callable[[FaultProxy], socket.socket]


def read_to_end(client: socket.socket) -> bytes:
    answer = b""
    while chunk := client.recv(65536):
        answer += chunk
    return answer


def timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def is_silent(client: socket.socket, seconds: float = 0.04) -> bool:
    before = client.gettimeout()
    client.settimeout(seconds)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(before)
    return False


@pytest.mark.parametrize(
    ("make", "parameter"),
    [
        (lambda: Latency(-1), "seconds"),
        (lambda: Latency(1, jitter=-1), "jitter"),
        (lambda: Bandwidth(0), "bytes_per_second"),
        (lambda: Slicer(0), "size"),
        (lambda: Slicer(1, -1), "delay_between"),
        (lambda: SlowClose(float("nan")), "seconds"),
        (lambda: Timeout(-1), "seconds"),
        (lambda: Reset(-1), "after_bytes"),
        (lambda: DataLimit(-1), "after_bytes"),
        (lambda: HalfClose(1.5), "after_bytes"),
        (lambda: Corrupt(0), "rate"),
        (lambda: Duplicate(1.1), "rate"),
    ],
)
def test_bad_options_are_refused(make: Callable[[], Toxic], parameter: str):
    with pytest.raises(ConfigurationError, match=f"^{parameter} must be"):
        make()


def test_toxics_are_values():
    assert Latency(1) == Latency(1) != Latency(2)
    assert hash(Timeout()) == hash(Timeout())
    with pytest.raises(AttributeError):
        Reset().after_bytes = 3  # type: ignore[misc]


@pytest.mark.parametrize(("direction", "at_least"), [("up", 1), ("down", 1), ("both", 2)])
def test_latency_per_direction(proxy: FaultProxy, connect: Connect, direction, at_least: int):
    client = connect(proxy)
    proxy.add("slow", Latency(0.03), direction=direction)
    took = timed(lambda: exchange(client, b"x"))
    assert at_least * 0.03 <= took < at_least * 0.03 + 0.5
    proxy.clear()
    assert exchange(client, b"x") == b"x"


def test_jitter_stays_in_its_bounds_and_keeps_the_order(proxy: FaultProxy, connect: Connect):
    assert Latency(0.2, jitter=0.1).delay(0.0) == pytest.approx(0.1)
    assert Latency(0.2, jitter=0.1).delay(0.999999) == pytest.approx(0.3, abs=1e-3)
    assert Latency(0.1, jitter=1).delay(0.0) == 0
    proxy.add("jitter", Latency(0.01, jitter=0.01), direction="both")
    client = connect(proxy)
    message = b"".join(b"%04d" % number for number in range(50))
    for start in range(0, len(message), 4):
        client.sendall(message[start : start + 4])
        time.sleep(0.0002)
    answer = b""
    while len(answer) < len(message):
        answer += client.recv(1000)
    assert answer == message


def test_latency_does_not_limit_the_throughput(proxy: FaultProxy, connect: Connect):
    proxy.add("slow", Latency(0.05), direction="down")
    client = connect(proxy)

    def many() -> None:
        sent = 0
        for _ in range(20):
            client.sendall(b"x" * 100)
            time.sleep(0.001)
            sent += 100
        while sent:
            sent -= len(client.recv(sent))

    assert timed(many) < 20 * 0.05 / 2


def test_a_change_releases_what_was_held(proxy: FaultProxy, connect: Connect):
    client = connect(proxy)
    proxy.add("slow", Latency(1000))
    client.sendall(b"x")
    assert is_silent(client)
    proxy.remove("slow")
    assert client.recv(1) == b"x"


def test_bandwidth(proxy: FaultProxy, connect: Connect):
    client = connect(proxy)
    with proxy.toxic(Bandwidth(100_000)):
        assert 0.045 <= timed(lambda: exchange(client, b"x" * 5_000)) < 0.5
    assert timed(lambda: exchange(client, b"x" * 50_000)) < 0.4


def test_slow_close(connect: Connect):
    with serving(lambda connection: connection.sendall(b"bye")) as address:
        with FaultProxy(address) as proxy:
            proxy.add("linger", SlowClose(0.04))
            client = connect(proxy)
            assert client.recv(3) == b"bye"
            assert 0.02 <= timed(lambda: read_to_end(client)) < 0.5


def test_timeout_swallows_for_ever(proxy: FaultProxy, connect: Connect):
    client = connect(proxy)
    proxy.add("gone", Timeout())
    client.sendall(b"lost")
    assert is_silent(client)
    proxy.remove("gone")
    assert exchange(client, b"seen") == b"seen"


@pytest.mark.parametrize("existing", [True, False])
def test_timeout_that_closes(proxy: FaultProxy, connect: Connect, existing: bool):
    client = connect(proxy) if existing else None
    if client:
        exchange(client, b"warm")
    proxy.add("gone", Timeout(0.03))
    client = client or connect(proxy)
    client.sendall(b"lost")
    assert 0.01 <= timed(lambda: read_to_end(client)) < 1


def test_a_timeout_that_was_removed_closes_nothing(proxy: FaultProxy, connect: Connect):
    client = connect(proxy)
    exchange(client, b"warm")
    with proxy.toxic(Timeout(0.03)):
        pass
    assert is_silent(client, 0.05)
    assert exchange(client, b"alive") == b"alive"


@pytest.mark.parametrize("existing", [True, False])
def test_reset_at_once(proxy: FaultProxy, connect: Connect, existing: bool):
    client = connect(proxy) if existing else None
    if client:
        exchange(client, b"warm")
    proxy.add("reset", Reset())
    with pytest.raises(ConnectionResetError):
        (client or connect(proxy)).recv(1)  # a new one may be reset while it still connects


def test_reset_in_the_middle_of_a_reply(proxy: FaultProxy, connect: Connect):
    client = connect(proxy)
    exchange(client, b"warm")  # bytes before the toxic do not count
    proxy.add("reset", Reset(after_bytes=10))
    client.sendall(b"x" * 25)
    answer = b""
    while len(answer) < 10:
        answer += client.recv(100)
    assert answer == b"x" * 10
    with pytest.raises(ConnectionResetError):
        client.recv(100)


def test_reset_reaches_the_server_too(connect: Connect):
    seen: list[type[BaseException]] = []
    done = threading.Event()

    def watch(connection: socket.socket) -> None:
        try:
            connection.recv(1)
        except OSError as error:
            seen.append(type(error))
        done.set()

    with serving(watch) as address, FaultProxy(address) as proxy:
        connect(proxy)
        time.sleep(0.02)
        proxy.add("reset", Reset())
        assert done.wait(5)
    assert seen == [ConnectionResetError]


def test_slicer(connect: Connect):
    with serving(lambda connection: connection.sendall(b"abcdefgh")) as address:
        with FaultProxy(address) as proxy:
            proxy.add("slices", Slicer(3, 0.02))
            client = connect(proxy)
            assert [client.recv(100) for _ in range(4)] == [b"abc", b"def", b"gh", b""]


def test_data_limit(proxy: FaultProxy, connect: Connect):
    client = connect(proxy)
    proxy.add("limit", DataLimit(7))
    client.sendall(b"123456789")
    assert read_to_end(client) == b"1234567"


def test_the_tightest_limit_counts(proxy: FaultProxy, connect: Connect):
    client = connect(proxy)
    proxy.add("wide", Reset(1000))
    proxy.add("tight", DataLimit(5))
    client.sendall(b"123456789")
    assert read_to_end(client) == b"12345"


def test_corrupt(proxy: FaultProxy, connect: Connect):
    client = connect(proxy)
    message = bytes(20_000)
    with proxy.toxic(Corrupt(0.01)):
        damaged = exchange(client, message)
    hits = [byte for byte in damaged if byte]
    assert 100 < len(hits) < 320
    assert all(byte.bit_count() == 1 for byte in hits)
    with proxy.toxic(Corrupt(1)):
        assert all(exchange(client, bytes(100)))
    assert exchange(client, message) == message


def test_corrupt_is_repeatable():
    first, same, other = (Corrupt(0.1).pieces(bytes(1000), Random(seed)) for seed in (1, 1, 2))
    assert first == same != other


def test_duplicate(proxy: FaultProxy, connect: Connect):
    client = connect(proxy)
    proxy.add("twice", Duplicate())
    client.sendall(b"ab")
    client.shutdown(socket.SHUT_WR)
    assert read_to_end(client) == b"abab"
    random = Random(0)
    copies = [len(Duplicate(0.25).pieces(b"x", random)) for _ in range(2000)]
    assert 0.2 < (sum(copies) - 2000) / 2000 < 0.3


def test_half_close(connect: Connect):
    received: list[bytes] = []
    done = threading.Event()

    def server(connection: socket.socket) -> None:
        connection.sendall(b"hello, world")
        received.append(connection.recv(100))
        done.set()

    with serving(server) as address, FaultProxy(address) as proxy:
        proxy.add("half", HalfClose(5), direction="down")
        client = connect(proxy)
        assert read_to_end(client) == b"hello"
        client.sendall(b"still here")
        assert done.wait(5)
    assert received == [b"still here"]


def test_half_close_of_an_idle_connection(proxy: FaultProxy, connect: Connect):
    client = connect(proxy)
    exchange(client, b"warm")
    proxy.add("half", HalfClose())
    assert client.recv(1) == b""
    client.sendall(b"goes up, nothing comes down")


def test_toxics_combine(proxy: FaultProxy, connect: Connect):
    client = connect(proxy)
    proxy.add("slow", Latency(0.02))
    proxy.add("slower", Latency(0.02))
    proxy.add("slices", Slicer(1))
    proxy.add("limit", DataLimit(4))
    client.sendall(b"123456")
    assert timed(lambda: client.recv(1)) >= 0.03
    assert read_to_end(client) == b"234"


def test_down_closes_connections_that_are_being_made(proxy: FaultProxy):
    clients = []
    stop = threading.Event()

    def hammer() -> None:
        while not stop.is_set():
            try:
                clients.append(socket.create_connection(proxy.address, timeout=0.2))
            except OSError:
                time.sleep(0.001)

    thread = threading.Thread(target=hammer)
    thread.start()
    time.sleep(0.03)
    proxy.add("down", Down())
    stop.set()
    thread.join()
    for client in clients:
        with client:
            try:
                assert client.recv(1) == b""
            except ConnectionResetError:
                pass


def test_black_hole():
    with black_hole() as address:
        with socket.socket() as client:
            client.settimeout(0.05)
            with pytest.raises(TimeoutError):
                client.connect(address)
    with socket.socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect(address)
