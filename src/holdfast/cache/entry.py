"""What a cache keeps for a key: the encoded value, its version and its two ends.

Everything that is ever written under a key is an `Entry`, a deletion included, and carries a
version. Between two entries of one key the higher version wins, wherever they meet: in Redis, in
memory, in the journal. That one rule makes a write that arrives late, a replay after an outage and
a refill by a slow loader harmless.

An entry has two ends: until `fresh_until` it is a hit, from then until `expires` it is stale and
only an answer when nothing better can be had. Both, like versions, are moments of the *shared
clock*: Unix time as Redis tells it, so that all processes agree.
"""

from __future__ import annotations

from math import inf
from typing import Final

# Flags: what the payload is (two bits), how it is encoded (two), how compressed (two), if signed.
VALUE: Final = 0x00
"""An ordinary value."""
ABSENT: Final = 0x01
"""A known absence: the loader said that there is nothing. The payload is empty."""
TOMBSTONE: Final = 0x02
"""Deleted: keeps older versions from coming back. The payload is empty."""
COUNTER: Final = 0x03
"""A whole number in ASCII digits, so that a script on the server can add to it."""
KIND_MASK: Final = 0x03

MSGPACK: Final = 0x00
JSON: Final = 0x04
PICKLE: Final = 0x08
ENCODING_MASK: Final = 0x0C

PLAIN: Final = 0x00
ZSTD: Final = 0x10
ZLIB: Final = 0x20
COMPRESSION_MASK: Final = 0x30

SIGNED: Final = 0x40


class Entry:
    """One version of one key. Immutable by agreement (assigning in `__init__` only is faster).

    Args:
        payload: the encoded and perhaps compressed value; empty for absences and tombstones.
        flags: see the constants of this module.
        version: see `holdfast._core.versions`; from 0 to 2**64 - 1.
        fresh_until: Unix seconds of the shared clock; `inf` for no end.
        expires: likewise, not before `fresh_until`.
        cost: seconds that the value took to compute; 0 when unknown. For early refresh.
        raw_size: bytes of the encoded value before compression.
    """

    __slots__ = ("cost", "expires", "flags", "fresh_until", "payload", "raw_size", "version")

    def __init__(
        self,
        payload: bytes,
        flags: int,
        version: int,
        fresh_until: float = inf,
        expires: float = inf,
        cost: float = 0.0,
        raw_size: int = 0,
    ) -> None:
        self.payload = payload
        self.flags = flags
        self.version = version
        self.fresh_until = fresh_until
        self.expires = expires
        self.cost = cost
        self.raw_size = raw_size

    @property
    def kind(self) -> int:
        """`VALUE`, `ABSENT`, `TOMBSTONE` or `COUNTER`."""
        return self.flags & KIND_MASK

    def __repr__(self) -> str:
        # Not the payload: it may be large, or private.
        return (
            f"Entry({len(self.payload)} bytes, flags={self.flags:#04x}, version={self.version},"
            f" fresh_until={self.fresh_until}, expires={self.expires})"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Entry):
            return NotImplemented
        return all(getattr(self, part) == getattr(other, part) for part in self.__slots__)

    __hash__ = None  # type: ignore[assignment]


def tombstone(version: int, expires: float) -> Entry:
    """The entry that stands for a deletion."""
    return Entry(b"", TOMBSTONE, version, expires, expires)
