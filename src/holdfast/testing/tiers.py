"""Twins of the cache's shared tier: one in memory, one that does nothing, one that misbehaves.

A `MemoryTier` behaves like a Redis of its own; several made from one `Shelf` are several processes'
ways to the same Redis. A `ChaosTier` stands in front of another tier and fails on command: down,
frozen, slow, refusing, losing replies. Like a real server it may carry out what nobody waits for
any more: a write that was cut off while frozen is applied at the thaw.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, TypeVar

from holdfast._core.clock import AMBIENT, Clock
from holdfast.cache.entry import ABSENT, COUNTER, KIND_MASK, TOMBSTONE
from holdfast.cache.port import (
    APPLIED,
    Found,
    NodeSnapshot,
    PoolSnapshot,
    Put,
    SharedTier,
    TierError,
    Trouble,
    version_of,
)

T = TypeVar("T")

LARGEST: Final = 2**53
_WHOLE: Final = re.compile(rb"-?[0-9]{1,16}")


class Shelf:
    """What a `MemoryTier` stores, and who listens; the "server" that several of them share.

    Args:
        clock: default the ambient one. The shelf's own time is its wall clock.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = AMBIENT if clock is None else clock
        self._things: dict[str, tuple[bytes, float | None]] = {}
        self._listeners: list[tuple[str, asyncio.Queue[bytes | None]]] = []

    def now(self) -> float:
        """Its time, in Unix seconds."""
        return self._clock.wall()

    def get(self, key: str) -> bytes | None:
        """What is under the key and has not expired."""
        found = self._things.get(key)
        if found is None:
            return None
        if found[1] is not None and found[1] <= self._clock.now():
            del self._things[key]
            return None
        return found[0]

    def put(self, key: str, blob: bytes, ttl: float | None) -> None:
        """Put this under the key."""
        self._things[key] = (blob, None if ttl is None else self._clock.now() + ttl)

    def replace(self, key: str, blob: bytes) -> None:
        """As `put`, and the time to live stays."""
        self._things[key] = (blob, self._things[key][1])

    def remove(self, key: str) -> None:
        """Take away what is under the key."""
        self._things.pop(key, None)

    def flush(self) -> None:
        """Lose everything, as after a restart without persistence."""
        self._things.clear()

    def __len__(self) -> int:
        return len(self._things)

    def publish(self, channel: str, note: bytes) -> None:
        """Tell all who listen on the channel."""
        for wanted, queue in self._listeners:
            if wanted == channel:
                queue.put_nowait(note)

    def cut_listeners(self) -> None:
        """End all subscriptions, as when connections are lost."""
        for _, queue in self._listeners:
            queue.put_nowait(None)

    @asynccontextmanager
    async def listening(self, channel: str) -> AsyncGenerator[AsyncIterator[bytes]]:
        """What is published on the channel inside the block."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        entry = (channel, queue)
        self._listeners.append(entry)
        try:
            yield _notes(queue)
        finally:
            self._listeners.remove(entry)


async def _notes(queue: asyncio.Queue[bytes | None]) -> AsyncGenerator[bytes]:
    while (note := await queue.get()) is not None:
        yield note
    raise TierError(Trouble.UNREACHABLE, "the subscription was cut")


class MemoryTier:
    """A shared tier in memory; see `holdfast.cache.port.SharedTier`.

    Args:
        shelf: what it stores in. Default: one of its own.
    """

    max_connections: int = 4
    address: str = "memory"

    def __init__(self, shelf: Shelf | None = None) -> None:
        self.shelf: Final = Shelf() if shelf is None else shelf

    async def read(self, keys: Sequence[str], floors: Sequence[str]) -> Found:
        shelf = self.shelf
        heights = [shelf.get(floor) for floor in floors]
        return Found(
            [shelf.get(key) for key in keys],
            [None if height is None else int.from_bytes(height, "big") for height in heights],
        )

    async def write(self, puts: Sequence[Put], channel: str = "") -> list[int]:
        return [self._put(put, channel) for put in puts]

    def _put(self, put: Put, channel: str) -> int:
        known = self.shelf.get(put.key)
        if known is not None and version_of(known) >= version_of(put.blob):
            return version_of(known)
        self.shelf.put(put.key, put.blob, put.ttl)
        if channel and put.note:
            self.shelf.publish(channel, put.note)
        return APPLIED

    async def raise_floor(
        self, floor: str, version: int, channel: str = "", note: bytes = b""
    ) -> int:
        known = self.shelf.get(floor)
        height = 0 if known is None else int.from_bytes(known, "big")
        if known is not None and height >= version:
            return height
        self.shelf.put(floor, version.to_bytes(8, "big"), None)
        if channel and note:
            self.shelf.publish(channel, note)
        return version

    async def add(
        self, key: str, amount: int, blob: bytes, ttl: float | None, dead_below: int
    ) -> int:
        known = self.shelf.get(key)
        if known is not None and (
            version_of(known) <= dead_below or known[3] & KIND_MASK in (ABSENT, TOMBSTONE)
        ):
            known = None
        total = amount
        if known is not None:
            digits = known[len(blob) :]
            if known[3] & KIND_MASK != COUNTER or not _WHOLE.fullmatch(digits):
                raise TierError(Trouble.REFUSED, "the key holds no counter")
            total += int(digits)
        if not -LARGEST <= total <= LARGEST:
            raise TierError(Trouble.REFUSED, "the sum is beyond ±2**53")
        if known is None:
            self.shelf.put(key, blob + b"%d" % total, ttl)
        else:
            self.shelf.replace(key, known[: len(blob)] + b"%d" % total)
        return total

    async def lease(self, key: str, token: str, ttl: float) -> bool:
        holder = self.shelf.get(key)
        if holder is None:
            self.shelf.put(key, token.encode(), ttl)
        return holder is None or holder == token.encode()

    async def release(self, key: str, token: str) -> None:
        if self.shelf.get(key) == token.encode():
            self.shelf.remove(key)

    async def time(self) -> float:
        return self.shelf.now()

    async def nodes(self) -> Sequence[NodeSnapshot]:
        return (
            NodeSnapshot(address=self.address, role="primary", ok=True, latency=0.0, reason=None),
        )

    def subscription(self, channel: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self.shelf.listening(channel)

    def pool(self) -> PoolSnapshot:
        return PoolSnapshot(
            open=0, in_use=0, limit=self.max_connections, opened_total=0, dropped_total=0
        )

    async def aclose(self) -> None:
        pass


class NullTier(MemoryTier):
    """A shared tier that takes everything and keeps nothing."""

    address = "null"

    async def write(self, puts: Sequence[Put], channel: str = "") -> list[int]:
        return [APPLIED] * len(puts)

    async def add(
        self, key: str, amount: int, blob: bytes, ttl: float | None, dead_below: int
    ) -> int:
        return amount

    async def lease(self, key: str, token: str, ttl: float) -> bool:
        return True


class ChaosTier:
    """A shared tier that fails on command, in front of one that does not.

    Args:
        inner: the tier that it stands in front of.
        clock: default the ambient one.
        seed: of the dice, so that a run can be repeated.

    Attributes:
        error: raised by every command, instead of doing anything. Default None.
        write_error: likewise, by commands that write.
        latency: seconds that each command takes. Default 0.
        lost_replies: the share of writing commands, from 0 to 1, that are carried out although they
            fail. Default 0.
        frozen: whether commands hang until `thaw`; set by `freeze`.
        commands: how many commands came, by name.
    """

    def __init__(self, inner: SharedTier, *, clock: Clock | None = None, seed: int = 0) -> None:
        self.inner: Final = inner
        self._clock = AMBIENT if clock is None else clock
        self._dice = random.Random(seed)
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._stuck: list[Callable[[], Awaitable[Any]]] = []
        self.error: TierError | None = None
        self.write_error: TierError | None = None
        self.latency = 0.0
        self.lost_replies = 0.0
        self.commands: dict[str, int] = {}

    @property
    def max_connections(self) -> int:
        return self.inner.max_connections

    @property
    def address(self) -> str:
        return self.inner.address

    @property
    def frozen(self) -> bool:
        return not self._thawed.is_set()

    def freeze(self) -> None:
        """Let commands hang; those that write are carried out at the thaw, whoever still waits."""
        self._thawed.clear()

    async def thaw(self, *, late: bool = False) -> None:
        """Go on, with what was sent meanwhile first; or only when told to `deliver`, if `late`."""
        if not late:
            await self.deliver()
        self._thawed.set()

    async def deliver(self) -> None:
        """Carry out the writes that were sent while frozen, as packets that arrive at last."""
        stuck, self._stuck = self._stuck, []
        for command in stuck:
            try:
                await command()
            except TierError:
                pass  # refused, as it would have been then; nobody waits for the reply

    async def _through(self, name: str, command: Callable[[], Awaitable[T]], *, writes: bool) -> T:
        self.commands[name] = self.commands.get(name, 0) + 1
        if self.frozen:
            if writes:
                self._stuck.append(command)
            await self._thawed.wait()
            if writes:
                # It was carried out at the thaw, but its reply went to a connection long closed.
                raise TierError(Trouble.UNREACHABLE, "connection lost")
        if self.latency:
            await self._clock.asleep(self.latency)
        error = self.error or (self.write_error if writes else None)
        if error is not None:
            raise TierError(error.trouble, error.reason)
        answer = await command()
        if writes and self._dice.random() < self.lost_replies:
            raise TierError(Trouble.UNREACHABLE, "the reply was lost")
        return answer

    async def read(self, keys: Sequence[str], floors: Sequence[str]) -> Found:
        return await self._through("read", lambda: self.inner.read(keys, floors), writes=False)

    async def write(self, puts: Sequence[Put], channel: str = "") -> list[int]:
        return await self._through("write", lambda: self.inner.write(puts, channel), writes=True)

    async def raise_floor(
        self, floor: str, version: int, channel: str = "", note: bytes = b""
    ) -> int:
        return await self._through(
            "raise_floor",
            lambda: self.inner.raise_floor(floor, version, channel, note),
            writes=True,
        )

    async def add(
        self, key: str, amount: int, blob: bytes, ttl: float | None, dead_below: int
    ) -> int:
        return await self._through(
            "add", lambda: self.inner.add(key, amount, blob, ttl, dead_below), writes=True
        )

    async def lease(self, key: str, token: str, ttl: float) -> bool:
        return await self._through("lease", lambda: self.inner.lease(key, token, ttl), writes=True)

    async def release(self, key: str, token: str) -> None:
        await self._through("release", lambda: self.inner.release(key, token), writes=True)

    async def time(self) -> float:
        return await self._through("time", self.inner.time, writes=False)

    async def nodes(self) -> Sequence[NodeSnapshot]:
        return await self._through("nodes", self.inner.nodes, writes=False)

    @asynccontextmanager
    async def subscription(self, channel: str) -> AsyncGenerator[AsyncIterator[bytes]]:
        """As the inner tier's, once that can be reached."""
        await self._through("subscription", self.inner.time, writes=False)
        async with self.inner.subscription(channel) as notes:
            yield notes

    def pool(self) -> PoolSnapshot:
        return self.inner.pool()

    async def aclose(self) -> None:
        await self.inner.aclose()
