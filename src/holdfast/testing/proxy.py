"""A TCP proxy that misbehaves on command.

It stands between a client and a real server and runs an event loop of its own in a thread of its
own, so synchronous tests, coroutines and other processes can go through it alike, and a virtual
clock does not touch it: what passes here is real and takes real time. Toxics are added, replaced
and removed by name while connections are open.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import get_args

from holdfast._core.validate import count, refuse, text
from holdfast.testing.connection import Direction, Installed, Traffic
from holdfast.testing.server import Address, Change, Server, reserve
from holdfast.testing.toxics import Toxic


@dataclass(frozen=True, slots=True)
class FaultProxySnapshot:
    """A `FaultProxy` at one moment: connections, bytes passed on, names of the toxics in force."""

    accepted: int
    open: int
    bytes_up: int
    bytes_down: int
    toxics: tuple[str, ...]


class FaultProxy:
    """A proxy in front of one server, whose connections can be made to fail.

    ``with FaultProxy(("127.0.0.1", 6379)) as proxy:`` and let the client connect to
    `proxy.address`. Every method may be called from any thread; a change is in force when it
    returns. At most 1000 connections are carried at a time, the next ones wait to be accepted;
    each holds at most about 1 MiB per direction.

    Args:
        upstream: the server, as host and port or as the path of a unix socket.
        host: where to listen. Default 127.0.0.1, so that nobody else can reach it.
        port: where to listen, 0 to 65535. Default 0, a free one.
        seed: of the toxics' randomness. Default 0.

    Raises:
        ConfigurationError: an option is out of its range.
        OSError: on start, the address cannot be listened on.
    """

    def __init__(
        self, upstream: Address, *, host: str = "127.0.0.1", port: int = 0, seed: int = 0
    ) -> None:
        if isinstance(upstream, tuple):
            text("upstream host", upstream[0])
            count("upstream port", upstream[1], at_least=1, at_most=65535)
        self._upstream = upstream
        self._host = text("host", host)
        self._wanted_port = count("port", port, at_least=0, at_most=65535)
        self._traffic = Traffic(Random(seed))
        self._names = 0
        self._running: _Running | None = None

    def __enter__(self) -> FaultProxy:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start to listen; ``with`` does so by itself."""
        if self._running is not None:
            raise RuntimeError("this fault proxy is running already")
        reservation = reserve(self._host, self._wanted_port)
        try:
            server = Server(reservation, self._upstream, self._traffic)
            host, port = reservation.getsockname()[:2]
            thread = threading.Thread(target=server.run, name=f"fault-proxy-{port}", daemon=True)
            thread.start()
            server.wait_until_started()
        except BaseException:
            reservation.close()
            raise
        self._running = _Running(server, thread, reservation, (host, port))

    def close(self) -> None:
        """Cut all connections and stop; a second call does nothing."""
        running, self._running = self._running, None
        if running is not None:
            running.server.stop()
            running.thread.join()
            running.reservation.close()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that clients connect to."""
        return self._now_running().address

    @property
    def host(self) -> str:
        """The host that clients connect to."""
        return self.address[0]

    @property
    def port(self) -> int:
        """The port that clients connect to."""
        return self.address[1]

    @property
    def url(self) -> str:
        """The address as an HTTP base URL."""
        host, port = self.address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def add(self, name: str, toxic: Toxic, *, direction: Direction = "down") -> None:
        """Put a toxic in force under a name, in place of the one that has it.

        Args:
            name: anything printable.
            toxic: what goes wrong.
            direction: ``up`` (from the client to the server), ``down`` (back) or ``both``.
                Default ``down``: replies suffer.

        Raises:
            ConfigurationError: an argument is not of its kind.
        """
        text("name", name)
        if not isinstance(toxic, Toxic):
            raise refuse("toxic", toxic, "a toxic, such as Latency(0.2)")
        if direction not in get_args(Direction):
            raise refuse("direction", direction, "one of " + ", ".join(get_args(Direction)))
        entry = Installed(toxic, direction)
        self._change(lambda toxics: toxics.update({name: entry}))

    def remove(self, name: str) -> None:
        """Take a toxic away.

        Raises:
            ConfigurationError: there is no toxic of this name.
        """
        known = self._traffic.toxics
        if name not in known:
            in_force = ", ".join(known) or "there is none"
            raise refuse("name", name, f"the name of a toxic in force ({in_force})")
        self._change(lambda toxics: toxics.pop(name, None))

    def clear(self) -> None:
        """Take all toxics away: the proxy only passes on again."""
        self._change(lambda toxics: toxics.clear())

    @contextmanager
    def toxic(self, toxic: Toxic, *, direction: Direction = "down") -> Generator[None]:
        """A toxic that is in force inside the block; arguments as in `add`."""
        self._names += 1
        name = f"toxic-{self._names}"
        self.add(name, toxic, direction=direction)
        try:
            yield
        finally:
            self._change(lambda toxics: toxics.pop(name, None))

    def snapshot(self) -> FaultProxySnapshot:
        """What has happened so far; it may be asked for after the end."""
        traffic, running = self._traffic, self._running
        return FaultProxySnapshot(
            accepted=traffic.accepted,
            open=0 if running is None else running.server.open,
            bytes_up=traffic.passed["up"],
            bytes_down=traffic.passed["down"],
            toxics=tuple(traffic.toxics),
        )

    def _change(self, change: Change) -> None:
        self._now_running().server.change(change)

    def _now_running(self) -> _Running:
        if self._running is None:
            raise RuntimeError("this fault proxy is not running: use it in a with block")
        return self._running


@dataclass(frozen=True, slots=True)
class _Running:
    server: Server
    thread: threading.Thread
    reservation: socket.socket
    address: tuple[str, int]
