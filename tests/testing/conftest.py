"""Real servers and clients over loopback for the tests of the fault proxy."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from holdfast.testing import FaultProxy

Handler = Callable[[socket.socket], None]


def echo(connection: socket.socket) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)


@contextmanager
def serving(handler: Handler, family: int = socket.AF_INET, at: object = ("127.0.0.1", 0)):
    """A server with a thread per connection; gives its address."""
    threads: list[threading.Thread] = []
    connections: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                handler(connection)
            except OSError:
                pass

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            threads.append(threading.Thread(target=serve, args=(connection,)))
            threads[-1].start()

    with socket.socket(family) as listener:
        listener.bind(at)
        listener.listen()
        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield listener.getsockname()
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()
            for connection in connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            for thread in threads:
                thread.join()


@pytest.fixture
def echo_server() -> Iterator[tuple[str, int]]:
    with serving(echo) as address:
        yield address


@pytest.fixture
def proxy(echo_server: tuple[str, int]) -> Iterator[FaultProxy]:
    with FaultProxy(echo_server) as proxy:
        yield proxy


@pytest.fixture
def connect() -> Iterator[Callable[[FaultProxy], socket.socket]]:
    """Client sockets that are closed after the test and never block it for long."""
    with ExitStack() as sockets:

        def make(proxy: FaultProxy) -> socket.socket:
            return sockets.enter_context(socket.create_connection(proxy.address, timeout=5))

        yield make
