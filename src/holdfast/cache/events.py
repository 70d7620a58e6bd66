"""What happens in a cache, as frozen data for the event hub."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast._core.events import Event
from holdfast.cache.lifeline import TierState


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheTierChanged(Event):
    """The shared tier went from one state to another.

    `seconds` is how long it has been up or not up until now. `configuration` marks trouble that no
    waiting will end, such as a wrong password.
    """

    source: TierState
    target: TierState
    reason: str
    seconds: float
    configuration: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheReplayed(Event):
    """What was owed to Redis was told to it: `applied` intents, and `superseded` by newer ones."""

    applied: int
    superseded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheDataLost(Event):
    """Redis has lost the data of a namespace: it was flushed, or restarted empty."""

    namespace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheForeignFound(Event):
    """Something in Redis was not ours or damaged, and was taken for a miss; `reason` says what."""

    namespace: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheJournalOverflowed(Event):
    """So much was owed that a whole namespace is now owed a clearing."""

    namespace: str
