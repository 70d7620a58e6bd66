"""What can go wrong on a connection, as data: the toxics of `FaultProxy`.

A toxic acts on one direction of a connection, by answering a few questions of the one that pumps
the bytes: how late does data leave, in which pieces, how long does a piece take, how many bytes
may still pass, and what happens after the last of them. Toxics are immutable and hold no state,
so one can be shared by proxies and connections. All times are in seconds.

The set is that of Toxiproxy, extended by damage that retries and checksums must survive (corrupt,
duplicate, half close).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Literal

from holdfast._core.validate import count, number

Ending = Literal["swallow", "half_close", "close", "reset"]


class Toxic:
    """The base of all toxics: as it stands, it changes nothing."""

    __slots__ = ()

    ending: ClassVar[Ending] = "swallow"
    """What happens to the connection when no byte may pass any more."""

    def delay(self, draw: float) -> float:
        """How many seconds later a chunk leaves; `draw` is uniform in [0, 1)."""
        return 0.0

    def pieces(self, chunk: bytes, random: Random) -> list[bytes]:
        """What leaves instead of `chunk`, piece by piece."""
        return [chunk]

    def pause(self, size: int) -> float:
        """How many seconds a piece of `size` bytes takes."""
        return 0.0

    def close_delay(self) -> float:
        """How many seconds later the end of the stream is passed on."""
        return 0.0

    def room(self, passed: int) -> float:
        """How many more bytes may pass, `passed` having done so under this toxic."""
        return math.inf

    def lifetime(self) -> float:
        """How many seconds a connection lives under this toxic."""
        return math.inf


@dataclass(frozen=True, slots=True)
class Latency(Toxic):
    """Data leaves `seconds` later, give or take up to `jitter`; the order is kept."""

    seconds: float
    jitter: float = 0.0

    def __post_init__(self) -> None:
        number("seconds", self.seconds, at_least=0)
        number("jitter", self.jitter, at_least=0)

    def delay(self, draw: float) -> float:
        return max(0.0, self.seconds + self.jitter * (2 * draw - 1))


@dataclass(frozen=True, slots=True)
class Bandwidth(Toxic):
    """At most `bytes_per_second` pass, above 0; the sender feels back-pressure."""

    bytes_per_second: float

    def __post_init__(self) -> None:
        number("bytes_per_second", self.bytes_per_second, above=0)

    def pieces(self, chunk: bytes, random: Random) -> list[bytes]:
        return _cut(chunk, max(1, int(self.bytes_per_second / 20)))

    def pause(self, size: int) -> float:
        return size / self.bytes_per_second


@dataclass(frozen=True, slots=True)
class Slicer(Toxic):
    """Data leaves in pieces of at most `size` bytes, `delay_between` seconds apart."""

    size: int
    delay_between: float = 0.0

    def __post_init__(self) -> None:
        count("size", self.size)
        number("delay_between", self.delay_between, at_least=0)

    def pieces(self, chunk: bytes, random: Random) -> list[bytes]:
        return _cut(chunk, self.size)

    def pause(self, size: int) -> float:
        return self.delay_between


@dataclass(frozen=True, slots=True)
class SlowClose(Toxic):
    """The end of the stream is passed on `seconds` late."""

    seconds: float

    def __post_init__(self) -> None:
        number("seconds", self.seconds, at_least=0)

    def close_delay(self) -> float:
        return self.seconds


@dataclass(frozen=True, slots=True)
class Timeout(Toxic):
    """Data is swallowed; after `seconds` the connection is closed, with None never."""

    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.seconds is not None:
            number("seconds", self.seconds, at_least=0)

    def room(self, passed: int) -> float:
        return 0

    def lifetime(self) -> float:
        return math.inf if self.seconds is None else self.seconds


@dataclass(frozen=True, slots=True)
class Reset(Toxic):
    """After `after_bytes` bytes (0: at once) both sides get a TCP reset."""

    ending: ClassVar[Ending] = "reset"
    after_bytes: int = 0

    def __post_init__(self) -> None:
        count("after_bytes", self.after_bytes, at_least=0)

    def room(self, passed: int) -> float:
        return self.after_bytes - passed


@dataclass(frozen=True, slots=True)
class DataLimit(Toxic):
    """After `after_bytes` bytes (0: at once) the connection is closed on both sides."""

    ending: ClassVar[Ending] = "close"
    after_bytes: int

    def __post_init__(self) -> None:
        count("after_bytes", self.after_bytes, at_least=0)

    def room(self, passed: int) -> float:
        return self.after_bytes - passed


@dataclass(frozen=True, slots=True)
class HalfClose(Toxic):
    """After `after_bytes` bytes (0: at once) this direction ends; the other one goes on."""

    ending: ClassVar[Ending] = "half_close"
    after_bytes: int = 0

    def __post_init__(self) -> None:
        count("after_bytes", self.after_bytes, at_least=0)

    def room(self, passed: int) -> float:
        return self.after_bytes - passed


@dataclass(frozen=True, slots=True)
class Corrupt(Toxic):
    """One bit is flipped in each byte with probability `rate`, above 0, at most 1."""

    rate: float

    def __post_init__(self) -> None:
        number("rate", self.rate, above=0, at_most=1)

    def pieces(self, chunk: bytes, random: Random) -> list[bytes]:
        damaged = bytearray(chunk)
        # Gaps between hits are geometrically distributed: one draw per hit, not one per byte.
        position = self._gap(random)
        while position < len(damaged):
            damaged[position] ^= 1 << random.randrange(8)
            position += 1 + self._gap(random)
        return [bytes(damaged)]

    def _gap(self, random: Random) -> int:
        if self.rate == 1:
            return 0
        return int(math.log1p(-random.random()) / math.log1p(-self.rate))


@dataclass(frozen=True, slots=True)
class Duplicate(Toxic):
    """A chunk, as it was read, leaves twice with probability `rate`, above 0, at most 1."""

    rate: float = 1.0

    def __post_init__(self) -> None:
        number("rate", self.rate, above=0, at_most=1)

    def pieces(self, chunk: bytes, random: Random) -> list[bytes]:
        return [chunk, chunk] if random.random() < self.rate else [chunk]


@dataclass(frozen=True, slots=True)
class Down(Toxic):
    """Nobody is there: new connections are refused, existing ones are closed.

    It acts on the whole proxy, whatever its direction; the port stays reserved.
    """

    ending: ClassVar[Ending] = "close"

    def room(self, passed: int) -> float:
        return 0


def _cut(chunk: bytes, size: int) -> list[bytes]:
    return [chunk[start : start + size] for start in range(0, len(chunk), size)]
