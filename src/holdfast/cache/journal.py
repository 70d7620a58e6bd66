"""What is owed to Redis: writes that it did not confirm, kept until it does.

The newest intent of each key is enough, because versions decide: saying an older thing again would
change nothing. Where the journal is full it becomes coarser instead of longer, and never forgets
that something is owed:

1. a value that no longer fits is owed as a deletion: Redis then has no value rather than an old one
2. when there are too many keys, the namespace with most of them is owed as a whole: its *floor* is
   raised, which makes everything older in it count as deleted, and its intents are dropped.

When Redis has lost its data, a value that is owed may be older than something that was lost with
it. It is then owed as a deletion, too: missing is better than old.

An intent is forgotten when nothing in Redis can be older any more: after the longest time to live
that was ever written in its namespace. Floors are never forgotten; there is one per namespace.

Until an intent is settled, whoever reads its key must not believe what Redis says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from holdfast.cache.entry import TOMBSTONE, Entry, tombstone

OVERHEAD: Final = 600
"""Bytes that an intent takes beside key and payload: objects, slots of dictionaries."""


class Intent:
    """The newest thing that Redis should know of a key."""

    __slots__ = ("entry", "forget_at", "key", "namespace", "since", "size")

    def __init__(
        self, namespace: str, key: str, entry: Entry, since: float, forget_at: float
    ) -> None:
        self.namespace = namespace
        self.key = key
        self.entry = entry
        self.since = since
        self.forget_at = forget_at
        self.size = OVERHEAD + len(key) + len(entry.payload)

    @property
    def deletes(self) -> bool:
        """Whether the key is to be deleted rather than set."""
        return self.entry.kind == TOMBSTONE


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSnapshot:
    """What is owed now, and totals since the beginning.

    `oldest` is the age in seconds of the oldest intent, None without one. `demoted_total` counts
    values that became deletions, `overflowed_total` namespaces that were owed as a whole.
    """

    intents: int
    floors: int
    bytes: int
    max_bytes: int
    max_intents: int
    oldest: float | None
    queued_total: int
    settled_total: int
    demoted_total: int
    overflowed_total: int
    forgotten_total: int


class Journal:
    """The bounded set of what is owed.

    Args:
        max_bytes: of keys and payloads, with `OVERHEAD` for each.
        max_intents: keys that are remembered one by one.

    Told the time in monotonic seconds. Not thread safe: used by the cache's own event loop only.
    """

    __slots__ = (
        "_demoted",
        "_forgotten",
        "_overflowed",
        "_queued",
        "_settled",
        "bytes",
        "floors",
        "intents",
        "max_bytes",
        "max_intents",
    )

    def __init__(self, max_bytes: int, max_intents: int) -> None:
        self.max_bytes = max_bytes
        self.max_intents = max_intents
        self.intents: dict[str, Intent] = {}
        """By full key, in the order in which they came. To be read, not written."""
        self.floors: dict[str, int] = {}
        """By namespace, the floor that Redis should have. To be read, not written."""
        self.bytes = 0
        self._queued = 0
        self._settled = 0
        self._demoted = 0
        self._overflowed = 0
        self._forgotten = 0

    def __len__(self) -> int:
        return len(self.intents) + len(self.floors)

    def put(self, namespace: str, key: str, entry: Entry, now: float, forget_at: float) -> bool:
        """Owe this entry, unless something newer is owed; False if it is owed as a deletion only.

        `forget_at` is when no older entry of the key can be left in Redis. A deletion is always
        kept, be it as part of a floor.
        """
        known = self.intents.get(key)
        if known is not None and known.entry.version >= entry.version:
            return True
        if entry.version <= self.floors.get(namespace, 0):
            return True
        self._queued += 1
        if known is not None:
            self._drop(key)
        intent = Intent(namespace, key, entry, now, forget_at)
        kept = True
        if self.bytes + intent.size > self.max_bytes and not intent.deletes:
            intent = Intent(namespace, key, tombstone(entry.version, entry.expires), now, forget_at)
            self._demoted += 1
            kept = False
        while len(self.intents) >= self.max_intents or self.bytes + intent.size > self.max_bytes:
            self._overflow(intent)
            if entry.version <= self.floors.get(namespace, 0):
                return entry.kind == TOMBSTONE
        self.intents[key] = intent
        self.bytes += intent.size
        return kept

    def raise_floor(self, namespace: str, version: int) -> None:
        """Owe that everything up to this version in the namespace counts as deleted."""
        self.floors[namespace] = max(version, self.floors.get(namespace, 0))
        for key in [
            intent.key
            for intent in self.intents.values()
            if intent.namespace == namespace and intent.entry.version <= version
        ]:
            self._drop(key)

    def lose(self, namespace: str) -> list[Intent]:
        """Redis has lost the namespace: owe its values as deletions. Gives what they were."""
        lost = [
            intent
            for intent in self.intents.values()
            if intent.namespace == namespace and not intent.deletes
        ]
        for intent in lost:
            gone = tombstone(intent.entry.version, intent.entry.expires)
            instead = Intent(namespace, intent.key, gone, intent.since, intent.forget_at)
            self.bytes += instead.size - intent.size
            self.intents[intent.key] = instead
            self._demoted += 1
        return lost

    def settle(self, key: str, version: int) -> None:
        """Redis has this version of the key, or a newer one."""
        known = self.intents.get(key)
        if known is not None and known.entry.version <= version:
            self._drop(key)
            self._settled += 1

    def settle_floor(self, namespace: str, version: int) -> None:
        """Redis has this floor, or a higher one."""
        if self.floors.get(namespace, version + 1) <= version:
            del self.floors[namespace]

    def due(self, limit: int) -> list[Intent]:
        """What to say to Redis next: deletions before values, the oldest first."""
        chosen: list[Intent] = []
        for deletes in (True, False):
            for intent in self.intents.values():
                if len(chosen) == limit:
                    return chosen
                if intent.deletes is deletes:
                    chosen.append(intent)
        return chosen

    def forget(self, now: float) -> None:
        """Drop what is no longer owed."""
        for key in [intent.key for intent in self.intents.values() if intent.forget_at <= now]:
            self._drop(key)
            self._forgotten += 1

    def snapshot(self, now: float) -> JournalSnapshot:
        oldest = min((intent.since for intent in list(self.intents.values())), default=None)
        return JournalSnapshot(
            intents=len(self.intents),
            floors=len(self.floors),
            bytes=self.bytes,
            max_bytes=self.max_bytes,
            max_intents=self.max_intents,
            oldest=None if oldest is None else max(0.0, now - oldest),
            queued_total=self._queued,
            settled_total=self._settled,
            demoted_total=self._demoted,
            overflowed_total=self._overflowed,
            forgotten_total=self._forgotten,
        )

    def _overflow(self, newcomer: Intent) -> None:
        """Owe the namespace with most intents as a whole, the newcomer's if it is one of those."""
        counts: dict[str, int] = {newcomer.namespace: 1}
        for intent in self.intents.values():
            counts[intent.namespace] = counts.get(intent.namespace, 0) + 1
        largest = max(counts, key=counts.__getitem__)
        versions = [newcomer.entry.version] if largest == newcomer.namespace else []
        versions += [
            intent.entry.version for intent in self.intents.values() if intent.namespace == largest
        ]
        self._overflowed += 1
        self.raise_floor(largest, max(versions))

    def _drop(self, key: str) -> None:
        self.bytes -= self.intents.pop(key).size
