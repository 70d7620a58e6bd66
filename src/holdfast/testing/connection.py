"""One proxied connection: two links that carry bytes, and the toxics in between.

A link reads on one side into a bounded buffer and writes on the other. When the buffer is full it
stops reading, so a slow receiver slows the sender down through TCP itself. The toxics in force are
asked anew for every chunk and whenever they change, so a change acts on data already held.
Everything here runs in the proxy's own event loop.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Literal

from holdfast.testing.toxics import Toxic

Side = Literal["up", "down"]
Direction = Literal["up", "down", "both"]

CHUNK = 65_536
BUFFER = 1_048_576
CHUNK_OVERHEAD = 256


@dataclass(frozen=True, slots=True, eq=False)
class Installed:
    """A toxic in force."""

    toxic: Toxic
    direction: Direction


@dataclass(slots=True)
class Traffic:
    """What a proxy's loop counts; `toxics` by name, in the order they were added."""

    random: Random
    toxics: dict[str, Installed] = field(default_factory=dict[str, Installed])
    accepted: int = 0
    passed: dict[Side, int] = field(default_factory=lambda: {"up": 0, "down": 0})

    def acting_on(self, side: Side) -> list[Installed]:
        return [entry for entry in self.toxics.values() if entry.direction in (side, "both")]


class Connection:
    """A client, its upstream, and the links ``up`` (client to upstream) and ``down``."""

    def __init__(self, client: socket.socket, upstream: socket.socket, traffic: Traffic) -> None:
        self._sockets = (client, upstream)
        self._reset = False
        self._over = asyncio.Event()
        self._links = (
            Link("up", client, upstream, traffic, self.end),
            Link("down", upstream, client, traffic, self.end),
        )

    def end(self, *, reset: bool = False) -> None:
        """Close both sides soon, with a TCP reset if asked to."""
        self._reset = self._reset or reset
        self._over.set()

    def toxics_changed(self) -> None:
        """Let what waits be decided anew."""
        for link in self._links:
            link.toxics_changed()

    async def run(self) -> None:
        """Carry bytes until both directions have ended or the connection was."""
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(work)
            for link in self._links
            for work in (link.read(), link.write())
        ]
        both_ways = asyncio.create_task(asyncio.wait(tuple(tasks)))
        over = asyncio.create_task(self._over.wait())
        tasks += (both_ways, over)
        try:
            self.toxics_changed()
            await asyncio.wait((both_ways, over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for link in self._links:
                link.forget_timers()
            for task in tasks:
                task.cancel()
            try:
                await asyncio.wait(tasks)
            finally:  # also when the proxy stops at this very moment
                for side in self._sockets:
                    close(side, reset=self._reset)


class Link:
    """One direction of a connection."""

    def __init__(
        self,
        side: Side,
        source: socket.socket,
        target: socket.socket,
        traffic: Traffic,
        end: Callable[..., None],
    ) -> None:
        self._side: Side = side
        self._source = source
        self._target = target
        self._traffic = traffic
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[tuple[float, float, bytes]] = asyncio.Queue()
        self._held = 0
        self._room = asyncio.Event()
        self._changed = asyncio.Event()
        self._passed = 0
        self._since: dict[Installed, int] = {}
        self._timers: dict[Installed, asyncio.TimerHandle] = {}
        self._shut = False

    async def read(self) -> None:
        """From the source into the buffer, up to and including the end of the stream."""
        chunk = b"-"
        try:
            while chunk:
                chunk = await self._loop.sock_recv(self._source, CHUNK)
                self._held += len(chunk) + CHUNK_OVERHEAD
                self._queue.put_nowait((self._loop.time(), self._traffic.random.random(), chunk))
                while self._held >= BUFFER:
                    self._room.clear()
                    await self._room.wait()
        except OSError:
            self._end(reset=True)

    async def write(self) -> None:
        """From the buffer to the target, as the toxics allow."""
        try:
            while True:
                arrived, draw, chunk = await self._queue.get()
                await self._hold(arrived, partial(self._delay, draw))
                if not chunk:
                    break
                for piece in self._pieces(chunk):
                    await self._hold(self._loop.time(), partial(self._pause, len(piece)))
                    await self._pass(piece)
                self._held -= len(chunk) + CHUNK_OVERHEAD
                self._room.set()
            await self._hold(self._loop.time(), self._close_delay)
            self._half_close()
        except OSError:
            self._end(reset=True)

    def toxics_changed(self) -> None:
        """Do at once what the toxics now in force demand, and look at held data anew."""
        entries = self._traffic.acting_on(self._side)
        self._since = {entry: self._since.get(entry, self._passed) for entry in entries}
        for entry in self._timers.keys() - self._since.keys():
            self._timers.pop(entry).cancel()
        for entry in entries:
            lifetime = entry.toxic.lifetime()
            if lifetime < math.inf and entry not in self._timers:
                self._timers[entry] = self._loop.call_later(lifetime, self._end)
        self._enforce()
        self._changed.set()
        self._changed.clear()

    def forget_timers(self) -> None:
        """Let no timer outlive the connection."""
        for timer in self._timers.values():
            timer.cancel()

    async def _hold(self, start: float, seconds: Callable[[], float]) -> None:
        """Wait until `start` plus `seconds()`, which is asked again whenever toxics change."""
        while (left := start + seconds() - self._loop.time()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def _pass(self, piece: bytes) -> None:
        """Send as much of `piece` as may pass, drop the rest."""
        room = self._room_left()
        part = piece if len(piece) <= room else piece[: max(0, int(room))]
        if part and not self._shut:
            await self._loop.sock_sendall(self._target, part)
            self._passed += len(part)
            self._traffic.passed[self._side] += len(part)
        self._enforce()

    def _enforce(self) -> None:
        """End what has no room left."""
        for entry, since in self._since.items():
            if entry.toxic.room(self._passed - since) > 0:
                continue
            match entry.toxic.ending:
                case "swallow":
                    pass
                case "half_close":
                    self._half_close()
                case "close":
                    self._end()
                case "reset":
                    self._end(reset=True)

    def _half_close(self) -> None:
        if not self._shut:
            self._shut = True
            try:
                self._target.shutdown(socket.SHUT_WR)
            except OSError:  # the target has gone already
                self._end()

    def _room_left(self) -> float:
        rooms = (entry.toxic.room(self._passed - since) for entry, since in self._since.items())
        return min(rooms, default=math.inf)

    def _delay(self, draw: float) -> float:
        return sum(entry.toxic.delay(draw) for entry in self._since)

    def _pause(self, size: int) -> float:
        return sum(entry.toxic.pause(size) for entry in self._since)

    def _close_delay(self) -> float:
        return sum(entry.toxic.close_delay() for entry in self._since)

    def _pieces(self, chunk: bytes) -> list[bytes]:
        pieces = [chunk]
        for entry in self._since:
            toxic = entry.toxic
            pieces = [new for old in pieces for new in toxic.pieces(old, self._traffic.random)]
        return pieces


def close(side: socket.socket, *, reset: bool) -> None:
    """Close a socket; with `reset` by RST instead of FIN, dropping what was not sent yet."""
    if reset:
        try:
            side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:  # it is closing already: nothing left to reset
            pass
    side.close()
