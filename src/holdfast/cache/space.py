"""A namespace from the inside: its floor, its figures, and what was ever written in it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from holdfast.cache.keys import KeySpace


class Space:
    """What all users of one namespace share.

    Used by the cache's own event loop only; the figures may be read from anywhere.
    """

    __slots__ = (
        "floor",
        "kept",
        "keys",
        "longest",
        "lost_until",
        "name",
        "raising",
        "settled_at",
        "tally",
    )

    def __init__(self, name: str, keys: KeySpace) -> None:
        self.name = name
        self.keys = keys
        self.floor = 0
        """Entries up to this version count as deleted."""
        self.kept = 0
        """The floor that Redis was last seen to have, 0 for none: if it is gone, so is the rest."""
        self.settled_at = 0.0
        """Monotonic; by then we have heard of all who gave it a first floor when we did."""
        self.raising = False
        self.longest = 0.0
        """The longest time to live in seconds that was seen here."""
        self.lost_until = 0.0
        """Monotonic; until then, memory stands in for what Redis has lost."""
        self.tally = Tally()


@dataclass(slots=True)
class Tally:
    """Counters of one namespace, since the beginning; see `NamespaceSnapshot`."""

    hits_memory: int = 0
    hits_redis: int = 0
    stale: int = 0
    misses: int = 0
    unavailable: int = 0
    absent: int = 0
    foreign: int = 0
    applied: int = 0
    queued: int = 0
    failed: int = 0
    loads: int = 0
    load_failures: int = 0
    joined: int = 0
    early: int = 0
    stood_in: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceSnapshot:
    """The figures of one namespace, totals since the beginning.

    `hits_memory` and `hits_redis` are hits by the tier that had them, remembered absences
    (`absent`) included. `foreign` counts what stood in Redis and was not ours or damaged; it was
    taken for a miss. Writes are counted by what became of them. `loads` are calls of a loader,
    `joined` callers that waited for somebody else's, `early` loads before the end, `stood_in`
    hits of memory in place of what Redis has lost.
    """

    name: str
    hits_memory: int
    hits_redis: int
    stale: int
    misses: int
    unavailable: int
    absent: int
    foreign: int
    applied: int
    queued: int
    failed: int
    loads: int
    load_failures: int
    joined: int
    early: int
    stood_in: int

    @property
    def hit_ratio(self) -> float | None:
        """Hits among all look-ups, from 0 to 1; None without any."""
        hits = self.hits_memory + self.hits_redis
        asked = hits + self.stale + self.misses + self.unavailable
        return hits / asked if asked else None


def snapshot(space: Space) -> NamespaceSnapshot:
    """The figures at this moment."""
    return NamespaceSnapshot(name=space.name, **asdict(space.tally))
