"""The Redis tier: the shared port in terms of commands and scripts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

from holdfast import _redis_url
from holdfast._core.validate import count, number
from holdfast.cache.port import (
    APPLIED,
    Found,
    NodeSnapshot,
    PoolSnapshot,
    Put,
    TierError,
    Trouble,
)
from holdfast.cache.redis.cluster import Cluster
from holdfast.cache.redis.commands import PROBE, Command, Reply, Word, read_all
from holdfast.cache.redis.dialer import Dialer
from holdfast.cache.redis.errors import Refusal, refused, senseless
from holdfast.cache.redis.nodes import look_at
from holdfast.cache.redis.scripts import ADD, LEASE, RAISE, RELEASE, WRITE
from holdfast.cache.redis.servers import One, Servers, Watched
from holdfast.cache.redis.subscription import Subscription
from holdfast.cache.redis.target import parse
from holdfast.settings import Secret

MOST_PUTS: Final = 256
"""In one call of the script: while it runs, the server does nothing else."""
MOST_BYTES: Final = 4 * 2**20
"""Of blobs in one call, unless a single one is larger."""
_MOST_AMOUNT: Final = 2**53
_LONGEST_MS: Final = 2**52
"""142 thousand years; the server counts in 64 bits and refuses what overflows them."""


class RedisTier:
    """A `SharedTier` on Redis or Valkey, version 6.2 or later. Made by `from_url`.

    Not thread safe, and bound to the event loop that first uses it. More than `max_connections`
    commands at once wait for each other in the order in which they came; any await may be
    cancelled. In a cluster `max_connections` counts for each node.
    """

    def __init__(self, servers: Servers, dialer: Dialer, max_connections: int, shown: str) -> None:
        self._servers = servers
        self._dialer = dialer
        self._max_connections = max_connections
        self._shown = shown

    @classmethod
    def from_url(
        cls, url: Secret | str, *, connect_timeout: float = 0.2, max_connections: int = 4
    ) -> RedisTier:
        """A tier that connects when it is first used.

        Args:
            url: see `holdfast._redis_url`; options in its query: `holdfast.cache.redis.target`.
            connect_timeout: seconds for connecting and logging in, above 0. Default 0.2. There is
                no other timeout: the caller's cancellation ends a command.
            max_connections: 1 to 1000. Default 4.

        Raises:
            ConfigurationError: an option is out of its range, or the URL cannot be used.
        """
        number("connect_timeout", connect_timeout, above=0)
        count("max_connections", max_connections, at_most=1000)
        text = url.reveal() if isinstance(url, Secret) else url
        dialer = Dialer(parse(text), connect_timeout)
        servers: Servers
        match dialer.target.kind:
            case "sentinel":
                servers = Watched(dialer, max_connections)
            case "cluster":
                servers = Cluster(dialer, max_connections)
            case _:
                servers = One(dialer, max_connections)
        return cls(servers, dialer, max_connections, _redis_url.display(text))

    @property
    def max_connections(self) -> int:
        """How many commands may be under way at once."""
        return self._max_connections

    @property
    def address(self) -> str:
        """The URL, with user, password and options masked."""
        return self._shown

    def __repr__(self) -> str:
        return f"RedisTier({self._shown!r})"

    # -- reading and writing -----------------------------------------------------------------------

    async def read(self, keys: Sequence[str], floors: Sequence[str]) -> Found:
        """See `SharedTier.read`. One MGET; in a cluster one for each slot, all at once."""

        names = [*floors, *keys]
        if not names:
            return Found((), ())
        groups = self._servers.groups(names)
        if len(groups) == 1:
            (held,) = await self._run([read_all(names)])
        else:
            held = [None] * len(names)
            commands = [read_all([names[index] for index in group]) for group in groups]
            for group, values in zip(groups, await self._run(commands), strict=True):
                for index, value in zip(group, values, strict=True):
                    held[index] = value
        return Found(held[len(floors) :], [_floor(value) for value in held[: len(floors)]])

    async def write(self, puts: Sequence[Put], channel: str = "") -> list[int]:
        """See `SharedTier.write`. A script call for up to 256 puts or 4 MiB."""

        keys = [put.key for put in puts]
        calls: list[tuple[Command, Command]] = []
        places: list[Sequence[int]] = []
        for group in self._servers.groups(keys) if keys else ():
            for batch in _batches(puts, group):
                words: list[Word] = [channel]
                for index in batch:
                    put = puts[index]
                    words += (put.blob, _milliseconds(put.ttl), put.note)
                calls.append(WRITE.calls([keys[index] for index in batch], words, len(batch)))
                places.append(batch)
        answers = [APPLIED] * len(puts)
        for batch, replies in zip(places, await self._call(calls), strict=True):
            for index, version in zip(batch, replies, strict=True):
                if version:
                    answers[index] = int.from_bytes(version, "big")
        return answers

    async def raise_floor(
        self, floor: str, version: int, channel: str = "", note: bytes = b""
    ) -> int:
        """See `SharedTier.raise_floor`."""

        words = (version.to_bytes(8, "big"), channel, note)
        (reply,) = await self._call([RAISE.calls([floor], words)])
        raised = _floor(reply)
        if raised is None:
            raise senseless(self._shown)
        return raised

    async def add(
        self, key: str, amount: int, blob: bytes, ttl: float | None, dead_below: int
    ) -> int:
        """See `SharedTier.add`."""

        if abs(amount) > _MOST_AMOUNT:
            raise TierError(Trouble.REFUSED, "the amount is beyond 2**53")
        words = (amount, blob, _milliseconds(ttl), dead_below.to_bytes(8, "big"))
        (reply,) = await self._call([ADD.calls([key], words)])
        if reply == b"kind":
            raise TierError(Trouble.REFUSED, "the key holds no counter")
        if reply == b"range":
            raise TierError(Trouble.REFUSED, "the counter would be beyond 2**53")
        return self._whole(reply)

    async def lease(self, key: str, token: str, ttl: float) -> bool:
        """See `SharedTier.lease`. Whoever has it gets it again, for another `ttl` seconds."""

        (reply,) = await self._call([LEASE.calls([key], (token, _milliseconds(ttl)))])
        return self._whole(reply) == 1

    async def release(self, key: str, token: str) -> None:
        """See `SharedTier.release`."""

        await self._call([RELEASE.calls([key], (token,))])

    # -- the servers -------------------------------------------------------------------------------

    async def time(self) -> float:
        """See `SharedTier.time`. In a cluster every primary has to answer."""

        replies = await self._servers.run_on_each(PROBE)
        self._check(replies)
        seconds, micros = replies[1]
        return self._whole(seconds) + self._whole(micros) / 1e6

    async def nodes(self) -> Sequence[NodeSnapshot]:
        """See `SharedTier.nodes`. Behind Sentinels: the primary they name, and they themselves."""

        return await look_at(self._dialer, await self._servers.members())

    def subscription(self, channel: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """See `SharedTier.subscription`. Silence is noticed after 4 s."""

        return Subscription(self._servers.open, channel)

    def pool(self) -> PoolSnapshot:
        """See `SharedTier.pool`."""
        return self._servers.pool()

    async def aclose(self) -> None:
        """See `SharedTier.aclose`. A command that is under way may still end well."""
        self._servers.distrust()

    # -- commands ----------------------------------------------------------------------------------

    async def _run(self, commands: Sequence[Command]) -> list[Reply]:
        """A reply each; raises for the first error reply."""
        replies = await self._servers.run(commands)
        self._check(replies)
        return replies

    async def _call(self, calls: Sequence[tuple[Command, Command]]) -> list[Reply]:
        """Call scripts by their digests, and once more by their texts where they are not known."""

        if not calls:
            return []
        replies = await self._servers.run([short for short, _ in calls])
        unknown = [
            index
            for index, reply in enumerate(replies)
            if isinstance(reply, Refusal) and reply.code == "NOSCRIPT"
        ]
        if unknown:
            again = await self._servers.run([calls[index][1] for index in unknown])
            for index, reply in zip(unknown, again, strict=True):
                replies[index] = reply
        self._check(replies)
        return replies

    def _check(self, replies: Sequence[Reply]) -> None:

        for reply in replies:
            if isinstance(reply, Refusal):
                if reply.code == "READONLY":
                    self._servers.distrust()
                raise refused(reply)

    def _whole(self, reply: Reply) -> int:
        try:
            return int(reply)
        except (TypeError, ValueError):
            raise senseless(self._shown) from None


def _floor(held: Reply) -> int | None:
    return int.from_bytes(held, "big") if isinstance(held, bytes) and len(held) == 8 else None


def _milliseconds(ttl: float | None) -> int:
    return 0 if ttl is None else max(1, int(min(ttl * 1000, _LONGEST_MS)))


def _batches(puts: Sequence[Put], indexes: Sequence[int]) -> Iterator[Sequence[int]]:
    """The indexes, cut into what one call of the script may be given."""
    batch: list[int] = []
    size = 0
    for index in indexes:
        length = len(puts[index].blob)
        if batch and (len(batch) == MOST_PUTS or size + length > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(index)
        size += length
    if batch:
        yield batch
