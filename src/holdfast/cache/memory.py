"""The copies in memory: what stands in for Redis, or, without Redis, is the cache.

A copy is *confirmed* for `standin_ttl` seconds after Redis last had it, or after it was written
here. In an outage a confirmed copy is a hit; one that nobody could confirm for longer may have been
overwritten by another process meanwhile, and counts as stale even inside its own time to live. (The
short life of a stand-in is an idea of Nishtala et al., *Scaling Memcache at Facebook*, NSDI 2013.)

A copy of the current *era* needs no confirmation: without Redis all copies are, and with a near
cache those that came since the subscription to other processes' writes began.
"""

from __future__ import annotations

from typing import Final

from holdfast._core.sieve import Sieve, SieveSnapshot
from holdfast.cache.entry import COUNTER, Entry

COPY_OVERHEAD: Final = 300
"""Bytes of a `Copy`, its `Entry` and their numbers, beside what the store counts itself."""

NO_ERA: Final = -1
"""The era of a copy that always needs confirmation."""
NEVER: Final = -2
"""The era of a cache whose copies all need confirmation: that of no copy."""


class Copy:
    """An entry in memory, and how far it can be trusted."""

    __slots__ = ("confirmed_until", "entry", "era")

    def __init__(self, entry: Entry, era: int, confirmed_until: float) -> None:
        self.entry = entry
        self.era = era
        self.confirmed_until = confirmed_until


class Memory:
    """The copies of one cache, in a bounded store.

    Args:
        max_bytes: all that the copies may take.
        max_stale_bytes: of this, what may go to those past their time to live.

    Times are monotonic seconds. Belongs to the cache's event loop.
    """

    __slots__ = ("store",)

    def __init__(self, max_bytes: int, max_stale_bytes: int) -> None:
        self.store: Final[Sieve[Copy]] = Sieve(max_bytes, max_stale_bytes=max_stale_bytes)

    def find(self, full: str, now: float) -> Copy | None:
        """The copy under this key, stale or not."""
        return self.store.get(full, now)

    def keep(
        self,
        full: str,
        entry: Entry,
        era: int,
        confirmed_until: float,
        soft_end: float,
        hard_end: float,
        now: float,
    ) -> None:
        """Take a copy, unless there is one of a newer version; the same one is confirmed anew."""
        known = self.store.peek(full, now)
        if known is not None:
            if known.entry.version > entry.version:
                return
            if known.entry.version == entry.version and entry.kind != COUNTER:
                known.confirmed_until = confirmed_until
                known.era = era
                return
        size = len(full) + len(entry.payload) + COPY_OVERHEAD
        self.store.put(full, Copy(entry, era, confirmed_until), size, soft_end, hard_end, now)

    def drop(self, full: str, up_to: int) -> None:
        """Forget the copy, unless it is newer than this version."""
        node = self.store.nodes.get(full)
        if node is not None and node.value.entry.version <= up_to:
            self.store.pop(full)

    def sweep(self, now: float, limit: int) -> None:
        """Look at `limit` copies and clear away what is past its end."""
        self.store.sweep(now, limit)

    def snapshot(self) -> SieveSnapshot:
        return self.store.snapshot()
