"""A store of bounded size that keeps what is asked for: SIEVE, with two ends of life per entry.

All entries stand in one queue, in the order in which they came. A hit only sets a flag on its
entry, which is why it costs next to nothing. When room is needed, a *hand* goes from the tail (the
oldest) towards the head: a flagged entry loses the flag and stays where it is, the first one
without goes, and the hand rests there until next time. New entries join at the head, and behind the
head follows the tail again. One-hit wonders are thus sifted out while they are young, which makes a
scan harmless. Source: Zhang, Yang, Yue, Vigfusson, Rashmi, *SIEVE is Simpler than LRU*, NSDI 2024.

**Two ends.** From its `soft_end` on an entry is *stale*: kept, to be served when nothing better can
be had. From its `hard_end` on it is gone; nobody gets to see it.

**The broom.** No timer watches these ends. A second hand, the broom, goes around the same queue a
few entries at a time (`sweep`), takes out what is gone and enters newly stale ones into the stale
account, which has a budget in bytes of its own: beyond it the stalest in the account go. It needs
no memory per entry, and rewriting an entry costs it nothing. A lap is as long as the queue was when
it began, so no stream of new entries can keep the broom from coming back. Hence the bound: an entry
that has come to an end is found before the next lap is over, which is within ``2 n / limit`` sweeps
(at least two) if the store never holds more than `n` entries.

**Making room.** Before a write that needs room evicts anything, the broom does `LOOKS` steps, and
the hand takes whatever is gone, flagged or not, as it passes. That is a constant price per write,
and sweeps a store under pressure once for every ``n / LOOKS`` writes. So what is gone mostly leaves
before what lives; to search for it any harder would cost more than a live entry is worth.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Final, Generic, TypeVar, cast

from holdfast._core.stalest import NOWHERE, Stalest
from holdfast._core.validate import count

V = TypeVar("V")

OVERHEAD: Final = 400
"""Bytes that an entry takes beside those of its key and its payload, measured on CPython 3.11 to
3.13: its node and three numbers, its places in the index and in the stale account, and the headers
of an ASCII key and of a `bytes` value. That is 264 to 389, depending on how full the index happens
to be, and up to 432 for the moment in which the index moves to a larger table. So real memory stays
below `max_bytes` and a tenth, plus the value just being written. Who keeps more than `bytes` adds
the difference to the `size`."""

LOOKS: Final = 8
"""Steps that the broom does for each write that needs room."""


class Node(Generic[V]):
    """An entry in the queue. Read it freely; only `visited` may be set from outside.

    Attributes:
        value: what is kept.
        soft_end, hard_end: when it becomes stale and when it is gone, in monotonic seconds.
        visited: SIEVE's flag: asked for since the hand last passed.
    """

    __slots__ = (
        "hard_end",
        "key",
        "newer",
        "older",
        "rank",
        "size",
        "soft_end",
        "value",
        "visited",
    )

    def __init__(self, key: str, value: V, size: int, soft_end: float, hard_end: float) -> None:
        self.key = key
        self.value = value
        self.size = size
        self.soft_end = soft_end
        self.hard_end = hard_end
        self.visited = False
        self.rank = NOWHERE
        """Its place in the stale account."""
        self.newer = self
        """The neighbour towards the head; `older` is the one towards the tail."""
        self.older = self


@dataclass(frozen=True, slots=True, kw_only=True)
class SieveSnapshot:
    """A store at one moment: what it holds now, its bounds, and totals since the start.

    Bytes include the overhead. The stale are those that the broom has found, and part of the whole.
    `evictions_total` counts what went for want of room, in the store or in the stale account, and
    `expirations_total` what was found past its hard end.
    """

    entries: int
    bytes: int
    stale_entries: int
    stale_bytes: int
    max_bytes: int
    max_entries: int | None
    max_stale_bytes: int
    evictions_total: int
    expirations_total: int


class Sieve(Generic[V]):
    """Values by key, in at most `max_bytes`; SIEVE decides what stays.

    Args:
        max_bytes: the most that all entries together may take, at least 1.
        max_entries: the most entries, at least 1. Default: as many as fit.
        max_stale_bytes: the most that entries in the stale account may take, at least 0. They are
            part of the whole. Default: `max_bytes`, so no bound of its own.
        overhead: bytes added to each entry's size, at least 0. Default `OVERHEAD`.

    Raises:
        ConfigurationError: an option is out of its range.

    `now` is monotonic seconds throughout. A caller in a hurry may do what `get` does by itself:
    `nodes` is the same dictionary for ever.

    Not thread safe: whoever owns it uses it from one thread, or guards it.
    """

    __slots__ = (
        "_ahead",
        "_broom",
        "_hand",
        "_root",
        "_stale",
        "bytes",
        "evictions_total",
        "expirations_total",
        "max_bytes",
        "max_entries",
        "max_stale_bytes",
        "nodes",
        "overhead",
        "stale_bytes",
    )

    def __init__(
        self,
        max_bytes: int,
        *,
        max_entries: int | None = None,
        max_stale_bytes: int | None = None,
        overhead: int = OVERHEAD,
    ) -> None:
        self.max_bytes = count("max_bytes", max_bytes)
        self.max_entries = None if max_entries is None else count("max_entries", max_entries)
        self.max_stale_bytes = (
            max_bytes
            if max_stale_bytes is None
            else count("max_stale_bytes", max_stale_bytes, at_least=0)
        )
        self.overhead = count("overhead", overhead, at_least=0)
        self.nodes: dict[str, Node[V]] = {}
        """All entries; change nothing here but `visited`."""
        self.bytes = 0
        """What the entries take, overhead included; never above `max_bytes`."""
        self.stale_bytes = 0
        """What those in the stale account take; never above `max_stale_bytes`."""
        self.evictions_total = 0
        self.expirations_total = 0
        self._stale: Stalest[V] = Stalest()
        # The queue is a ring. The root stands between head and tail and is no entry.
        self._root: Node[V] = Node("", cast("V", None), 0, inf, inf)
        self._hand = self._root
        self._broom = self._root
        self._ahead = 0
        """Entries that the broom has yet to pass in this lap, at most."""

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[str]:
        """The keys, oldest first, with those that are gone but not yet found."""
        return iter(self.nodes)

    def get(self, key: str, now: float) -> V | None:
        """What is kept under `key`, stale or not, and remember that it was asked for; else None."""
        node = self.nodes.get(key)
        if node is None:
            return None
        if now < node.hard_end:
            node.visited = True
            return node.value
        self._expire(node)
        return None

    def peek(self, key: str, now: float) -> V | None:
        """What `get` would give, without any trace."""
        node = self.nodes.get(key)
        return node.value if node is not None and now < node.hard_end else None

    def put(
        self, key: str, value: V, size: int, soft_end: float, hard_end: float, now: float
    ) -> bool:
        """Keep `value` under `key`; whether it was.

        What was there is replaced at its place in the queue, and counts as asked for: it was
        wanted twice. It is outdated, so it goes also if the new one is not kept, being larger than
        the whole store or past its hard end.

        Args:
            size: bytes of key and payload, at least 0; the overhead is added here.
            soft_end: when it becomes stale; `inf` for never.
            hard_end: when it is gone, not before `soft_end`; `inf` for never.
        """
        size += self.overhead
        if size > self.max_bytes or hard_end <= now:
            self.pop(key)
            return False
        if self.bytes + size > self.max_bytes or len(self.nodes) == self.max_entries:
            self.sweep(now, LOOKS)
        node = self.nodes.get(key)
        if node is None:
            self._make_room(size, now)
            self.nodes[key] = node = Node(key, value, size, soft_end, hard_end)
            root, head = self._root, self._root.older
            node.newer, node.older = root, head
            head.newer = root.older = node
            self.bytes += size
            return True
        self._leave_stale(node)
        self.bytes += size - node.size
        node.value, node.size = value, size
        node.soft_end, node.hard_end = soft_end, hard_end
        node.visited = True
        while self.bytes > self.max_bytes:
            self._evict(now, spared=node)
        return True

    def pop(self, key: str) -> V | None:
        """Take out what is under `key`, past its end or not; None if there is nothing."""
        node = self.nodes.get(key)
        if node is None:
            return None
        self._remove(node)
        return node.value

    def sweep(self, now: float, limit: int) -> int:
        """Move the broom on by at most `limit` entries, and at most one lap; how many went.

        Call it now and then, for example `limit` = 1000 once a second: see the module's head for
        how soon it finds what has come to an end. Beside the steps it takes time for each entry
        that goes, and an entry goes only once.
        """
        before = len(self.nodes)
        # A step may cost several entries, but then its own stays: the queue does not run empty.
        for _ in range(min(limit, before)):
            node = self._broom
            if node is self._root or not self._ahead:
                node = self._root.newer
                self._ahead = len(self.nodes)
            self._ahead -= 1
            self._broom = node.newer
            if node.hard_end <= now:
                self._expire(node)
            elif node.soft_end <= now and node.rank == NOWHERE:
                self._enter_stale(node)
        return before - len(self.nodes)

    def clear(self) -> None:
        """Take out everything. The totals stay."""
        root = self._root
        for node in self.nodes.values():
            # A ring of nodes would wait for the garbage collector.
            node.newer = node.older = root
        root.newer = root.older = self._hand = self._broom = root
        self.nodes.clear()
        self._stale.clear()
        self.bytes = self.stale_bytes = self._ahead = 0

    def snapshot(self) -> SieveSnapshot:
        """The store at this moment."""
        return SieveSnapshot(
            entries=len(self.nodes),
            bytes=self.bytes,
            stale_entries=len(self._stale),
            stale_bytes=self.stale_bytes,
            max_bytes=self.max_bytes,
            max_entries=self.max_entries,
            max_stale_bytes=self.max_stale_bytes,
            evictions_total=self.evictions_total,
            expirations_total=self.expirations_total,
        )

    # -- inside --------------------------------------------------------------------------------

    def _make_room(self, size: int, now: float) -> None:
        """For one more entry of `size` bytes."""
        most_bytes = self.max_bytes - size
        most_entries = sys.maxsize if self.max_entries is None else self.max_entries - 1
        while self.bytes > most_bytes or len(self.nodes) > most_entries:
            self._evict(now)

    def _evict(self, now: float, spared: Node[V] | None = None) -> None:
        """Move the hand on to the first that may go; there must be one beside `spared`."""
        node = self._hand
        while True:
            if node is self._root:
                node = node.newer
            if node is not spared:
                if node.hard_end <= now or not node.visited:
                    break
                node.visited = False
            node = node.newer
        self._hand = node
        if node.hard_end <= now:
            self._expire(node)
        else:
            self._drop(node)

    def _enter_stale(self, node: Node[V]) -> None:
        if node.size > self.max_stale_bytes:
            # It would push out all the others first.
            self._drop(node)
            return
        self._stale.add(node)
        self.stale_bytes += node.size
        while self.stale_bytes > self.max_stale_bytes:
            self._drop(self._stale.first)

    def _leave_stale(self, node: Node[V]) -> None:
        if node.rank != NOWHERE:
            self._stale.remove(node)
            self.stale_bytes -= node.size

    def _expire(self, node: Node[V]) -> None:
        self.expirations_total += 1
        self._remove(node)

    def _drop(self, node: Node[V]) -> None:
        self.evictions_total += 1
        self._remove(node)

    def _remove(self, node: Node[V]) -> None:
        newer, older = node.newer, node.older
        newer.older, older.newer = older, newer
        if self._hand is node:
            self._hand = newer
        if self._broom is node:
            self._broom = newer
        # Whoever still holds the node must not hold its former neighbours with it.
        node.newer = node.older = self._root
        self._leave_stale(node)
        del self.nodes[node.key]
        self.bytes -= node.size
