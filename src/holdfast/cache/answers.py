"""What the cache says: what was found, where, and what became of a write."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Status(StrEnum):
    """What a look-up found."""

    HIT = "hit"
    """A value inside its time to live."""
    STALE = "stale"
    """A value past its time to live, or one that could not be confirmed for too long."""
    MISS = "miss"
    """There is none, as far as it can be known."""
    UNAVAILABLE = "unavailable"
    """Redis could not be asked and memory has none: there may or may not be one."""


class WriteStatus(StrEnum):
    """What became of a write."""

    APPLIED = "applied"
    """It is in Redis; without Redis, in memory."""
    QUEUED = "queued"
    """Redis did not confirm it. It holds in this process, and in Redis as soon as that answers
    again, unless somebody writes something newer first. A value that has waited for longer than a
    minute is told only where something older stands, since it may have been deleted elsewhere; and
    none is told if Redis has lost its data meanwhile."""
    FAILED = "failed"
    """It will not be written. An older value under the key will not be served either."""


class Tier(StrEnum):
    """Where an answer comes from."""

    MEMORY = "memory"
    REDIS = "redis"
    LOADER = "loader"
    """The function that computes the value was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup(Generic[T]):
    """What was found, and how far it can be trusted.

    Attributes:
        status: see `Status`.
        value: the value of a hit or of what is stale, else None. Also None for a known absence.
        tier: who said so.
        age: seconds since the value was written; None without a value.
        degraded: whether Redis should have been asked and could not be.
        absent: whether this is a remembered "there is no such thing": a hit without a value.
    """

    status: Status
    value: T | None
    tier: Tier
    age: float | None = None
    degraded: bool = False
    absent: bool = False

    def value_or(self, default: Any) -> Any:
        """The value of a hit or of what is stale; `default` when there is none."""
        found = self.status in (Status.HIT, Status.STALE) and not self.absent
        return self.value if found else default
