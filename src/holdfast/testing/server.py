"""The inside of a fault proxy: an event loop that listens, accepts and keeps the connections."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from holdfast.testing.connection import Connection, Installed, Traffic, close
from holdfast.testing.toxics import Down

Address = tuple[str, int] | str | os.PathLike[str]
"""Host and port, or the path of a unix socket."""
Change = Callable[[dict[str, Installed]], object]

MAX_CONNECTIONS = 1000
CONNECT_TIMEOUT = 5.0
ACCEPT_PAUSE = 0.01
BACKLOG = 128


class Server:
    """Runs in the proxy's thread; `start`, `change` and `stop` are called from others.

    `reservation` is a socket bound to where clients connect; see `reserve`.
    """

    def __init__(self, reservation: socket.socket, upstream: Address, traffic: Traffic) -> None:
        self._reservation = reservation
        self._targets = _targets(upstream)
        self._traffic = traffic
        self._listener: socket.socket | None = None
        self._carriers: set[asyncio.Task[None]] = set()
        self._connections: set[Connection] = set()
        self._started: Future[asyncio.AbstractEventLoop] = Future()

    def run(self) -> None:
        """Serve until stopped: the main function of the proxy's thread."""
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    def wait_until_started(self) -> None:
        """Return once clients can connect, or raise what prevents it."""
        self._started.result()

    def stop(self) -> None:
        """Ask `run` to cut everything and return."""
        self._started.result().call_soon_threadsafe(self._stop.set)

    def change(self, change: Change) -> None:
        """Change the toxics; the change is in force when this returns."""
        asyncio.run_coroutine_threadsafe(self._change(change), self._started.result()).result()

    @property
    def open(self) -> int:
        """How many connections there are now."""
        return len(self._carriers)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._open_or_shut()
        try:
            self._started.set_result(self._loop)
            await self._stop.wait()
        finally:
            self._shut()
            for task in self._carriers:
                task.cancel()
            await asyncio.gather(*self._carriers, return_exceptions=True)

    async def _change(self, change: Change) -> None:
        # On a copy, so that another thread never sees half a change.
        toxics = dict(self._traffic.toxics)
        change(toxics)
        self._traffic.toxics = toxics
        for connection in self._connections:
            connection.toxics_changed()
        self._open_or_shut()

    def _open_or_shut(self) -> None:
        """Listen unless a toxic says that nobody is there."""
        if any(isinstance(entry.toxic, Down) for entry in self._traffic.toxics.values()):
            self._shut()
        elif self._listener is None:
            self._listener = _listen_beside(self._reservation)
            self._watch()

    def _shut(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _watch(self) -> None:
        """Look out for clients while there is room for one more."""
        if self._listener is not None and len(self._carriers) < MAX_CONNECTIONS:
            self._loop.add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        """Take one client in; without awaiting, so that it cannot be lost to a cancellation."""
        self._loop.remove_reader(listener)
        try:
            client, _ = listener.accept()
        except OSError:  # the client has left already, or no file descriptor is free
            self._loop.call_later(ACCEPT_PAUSE, self._watch)
            return
        _send_at_once(client)
        self._traffic.accepted += 1
        task = self._loop.create_task(self._carry(client))
        self._carriers.add(task)
        task.add_done_callback(partial(self._carried, client))
        self._watch()

    def _carried(self, client: socket.socket, task: asyncio.Task[None]) -> None:
        client.close()  # a task cancelled before its first step runs none of its own cleaning up
        self._carriers.discard(task)
        self._watch()

    async def _carry(self, client: socket.socket) -> None:
        try:
            upstream = await self._connect()
        except OSError:
            close(client, reset=True)  # as near to "refused" as an accepted connection gets
            return
        connection = Connection(client, upstream, self._traffic)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    async def _connect(self) -> socket.socket:
        """A connection to the first upstream address that takes one."""
        failure: OSError = ConnectionRefusedError()
        for family, address in self._targets:
            side = socket.socket(family, socket.SOCK_STREAM)
            _send_at_once(side)
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    await self._loop.sock_connect(side, address)
            except OSError as error:
                side.close()
                failure = error
            except BaseException:
                side.close()
                raise
            else:
                return side
        raise failure


def reserve(host: str, port: int) -> socket.socket:
    """A socket bound to an address, not listening: it is refused, yet nobody else can take it."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    if port:
        _bind(family, address, share=False).close()  # raises if somebody has it
    return _bind(family, address, share=True)


def _listen_beside(reservation: socket.socket) -> socket.socket:
    listener = _bind(reservation.family, reservation.getsockname(), share=True)
    listener.setblocking(False)
    listener.listen(BACKLOG)
    return listener


def _send_at_once(side: socket.socket) -> None:
    """No blocking, and no waiting for more to send (Nagle's algorithm) that would undo slices."""
    side.setblocking(False)
    if side.family != socket.AF_UNIX:
        side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _bind(family: int, address: Any, *, share: bool) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound


def _targets(upstream: Address) -> list[tuple[int, Any]]:
    if not isinstance(upstream, tuple):
        return [(socket.AF_UNIX, os.fspath(upstream))]
    found = socket.getaddrinfo(*upstream, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]
