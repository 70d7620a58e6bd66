"""The port to the shared tier: what the cache asks of Redis, and of its twins in tests.

A tier stores *blobs* under keys and compares their versions, and knows nothing else about them. In
every blob the version stands at bytes 4 to 11, big endian (`version_of`); the format around it is
`holdfast.cache.envelope`'s business. A *floor* is a version too, one per namespace: whatever is
older counts as deleted. It is kept under a key of its own and only ever rises.

Every method may raise `TierError` and nothing else, and may be cancelled at any await. The caller
owns deadlines: it runs each command in a task of its own and cancels it when time is up. A tier
must then drop the connection in question, since a reply that is still to come would otherwise be
taken for the answer to the next command. After a cancelled or failed `write`, `raise_floor` or
`add` nobody knows whether it was applied; versions make it safe to say it again.

Not thread safe: all calls come from one event loop. The caller never has more than
`max_connections` commands under way.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from holdfast.errors import ResilienceError

VERSION_AT: Final = slice(4, 12)
"""Where the version stands in a blob."""

APPLIED: Final = -1
"""What `SharedTier.write` says of a blob that was stored."""


def version_of(blob: bytes) -> int:
    """The version of a blob; 0 for what is too short to have one, so that anything replaces it."""
    return int.from_bytes(blob[VERSION_AT], "big") if len(blob) >= 12 else 0


class Trouble(StrEnum):
    """What is wrong with the shared tier, which decides what is done about it."""

    UNREACHABLE = "unreachable"
    """No connection, a lost one, or no place for another: reads and writes both fail."""
    TIMEOUT = "timeout"
    """No answer in time. Made by the caller's deadline."""
    BUSY = "busy"
    """There, but it cannot answer now: LOADING, BUSY, MASTERDOWN, CLUSTERDOWN, TRYAGAIN."""
    WRITES_REFUSED = "writes refused"
    """Reads go on, writes do not: OOM, READONLY, NOREPLICAS, MISCONF."""
    CONFIGURATION = "configuration"
    """It will never work like this: NOAUTH, WRONGPASS, NOPERM, a certificate that is not trusted,
    a database that does not exist. An alarm for people, not an outage."""
    POOL = "pool"
    """All of our own connections are busy. Says nothing about the tier's health."""
    REFUSED = "refused"
    """This one command cannot be done, for example `add` to what is no counter. Says nothing about
    the tier's health."""


class TierError(ResilienceError):
    """The shared tier could not do it.

    Attributes:
        trouble: what kind of trouble.
        reason: one line for people, with the server's error code if there was one, and without
            secrets: ``"WRONGPASS: configuration, not an outage"``.
    """

    def __init__(self, trouble: Trouble, reason: str) -> None:
        super().__init__(trouble, reason)
        self.trouble = trouble
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class Put(NamedTuple):
    """One versioned write: store `blob` unless the key holds the same version or a newer one.

    Attributes:
        key: the full key.
        blob: what to store; its version is at `VERSION_AT`.
        ttl: seconds until the tier forgets it, above 0; None for never.
        note: what to publish on the write's channel if the blob is stored; empty for nothing.
    """

    key: str
    blob: bytes
    ttl: float | None
    note: bytes = b""


class Found(NamedTuple):
    """The answer to a read, in the order asked.

    Attributes:
        blobs: a blob per key; None where there is none.
        floors: a version per floor; None where there is none. Read with the blobs, or before.
    """

    blobs: Sequence[bytes | None]
    floors: Sequence[int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSnapshot:
    """The tier's connections: open now, in use now, the most allowed, and totals since the start.

    `dropped_total` counts connections closed because of a fault, a deadline or a cancellation.
    """

    open: int
    in_use: int
    limit: int
    opened_total: int
    dropped_total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSnapshot:
    """One server behind the tier.

    `role` is ``"primary"``, ``"replica"`` or ``"sentinel"``. `latency` is the time in seconds of
    its last answer, None if it gave none. `reason` says what is wrong in one line, else it is None.
    """

    address: str
    role: str
    ok: bool
    latency: float | None
    reason: str | None


class SharedTier(Protocol):
    """A store that several processes share."""

    @property
    def max_connections(self) -> int:
        """How many commands may be under way at once, at least 1."""
        ...

    @property
    def address(self) -> str:
        """Where it is, for people and logs, without secrets."""
        ...

    async def read(self, keys: Sequence[str], floors: Sequence[str]) -> Found:
        """The blobs of `keys` and the versions of `floors`; both may be empty."""
        ...

    async def write(self, puts: Sequence[Put], channel: str = "") -> list[int]:
        """Store each blob unless its key holds the same or a newer version.

        For each put `APPLIED`, or the version that stood in its way. Each put is atomic, together
        with the publication of its note on `channel`; several are not atomic together. Putting the
        version that is there already changes nothing and says so by that version.
        """
        ...

    async def raise_floor(
        self, floor: str, version: int, channel: str = "", note: bytes = b""
    ) -> int:
        """Raise a floor to `version` if it is lower or missing; what it is now.

        A floor never expires. `note` is published on `channel` if the floor rose.
        """
        ...

    async def add(
        self, key: str, amount: int, blob: bytes, ttl: float | None, dead_below: int
    ) -> int:
        """Add `amount` to a counter, atomically; its new value.

        What the key holds is a counter if byte 3 of the blob has the kind COUNTER; its digits stand
        from byte `len(blob)` on. A missing key, a tombstone, an absence and any blob whose version
        is at most `dead_below` count as 0: then the result is ``blob`` + digits with `ttl`.
        Otherwise the value is replaced behind the header that is there, and the time to live stays.

        Raises:
            TierError: `REFUSED` if the key holds something else, or beyond ±2**53.
        """
        ...

    async def lease(self, key: str, token: str, ttl: float) -> bool:
        """Take a lease for `ttl` seconds if nobody has it; whether `token` has it now."""
        ...

    async def release(self, key: str, token: str) -> None:
        """Give a lease back, if `token` still has it."""
        ...

    async def time(self) -> float:
        """The shared clock, in Unix seconds. Also the probe: a round trip that proves life."""
        ...

    async def nodes(self) -> Sequence[NodeSnapshot]:
        """Each server behind the tier, asked now; one for a standalone server."""
        ...

    def subscription(self, channel: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Notes published on `channel`, from the moment the block is entered until it is left.

        Uses a connection of its own, beside `max_connections`. The iterator raises `TierError` when
        the connection is lost, also when the server merely goes silent: it checks at least every
        few seconds. Whoever subscribes again has missed what was published in between.
        """
        ...

    def pool(self) -> PoolSnapshot:
        """The connections at this moment."""
        ...

    async def aclose(self) -> None:
        """Close all connections. A later command opens new ones."""
        ...
