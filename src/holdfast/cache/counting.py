"""Counters: whole numbers that all processes add to, which is only true in one place.

So there is no stand-in: while Redis is down, adding is an error rather than a wrong number.
"""

from __future__ import annotations

from collections.abc import Awaitable
from math import inf
from typing import Final

from holdfast._core.validate import refuse
from holdfast.cache.answers import WriteStatus
from holdfast.cache.engine import Engine
from holdfast.cache.entry import ABSENT, COUNTER, TOMBSTONE, Entry, tombstone
from holdfast.cache.envelope import header_of_counter, unpack
from holdfast.cache.errors import CacheCounterError, CacheUnavailableError, ForeignBlobError
from holdfast.cache.lifeline import TierState
from holdfast.cache.options import CacheOptions, Default
from holdfast.cache.port import TierError, Trouble
from holdfast.cache.space import Space
from holdfast.cache.writing import Writer
from holdfast.errors import ConfigurationError

LIMIT: Final = 2**53


class Counting:
    """Adds to the counters of one cache. Lives on the cache's loop."""

    def __init__(self, engine: Engine, writer: Writer) -> None:
        self._engine = engine
        self._writer = writer

    async def add(
        self,
        space: Space,
        key: str,
        full: str,
        amount: int,
        options: CacheOptions,
        ttl: float | Default | None,
    ) -> int:
        """See `Namespace.incr`."""
        engine = self._engine
        if isinstance(amount, bool) or not isinstance(amount, int) or not -LIMIT < amount < LIMIT:
            raise refuse("amount", amount, "a whole number between -2**53 and 2**53")
        if engine.signer is not None:
            raise ConfigurationError("counters cannot be signed: use a cache without a signer")
        now = engine.shared_now()
        ends, _ = options.ends(now, ttl, 0.0)
        if engine.lifeline.state is TierState.NONE:
            return self._add_here(space, key, full, amount, ends)
        if not engine.lifeline.writing:
            raise CacheUnavailableError("incr", engine.lifeline.reason or "it is held back")
        tier = engine.tier
        assert tier is not None
        if full in engine.journal.intents:
            # What is owed is older than this, and must not undo it later.
            raise CacheUnavailableError("incr", "an earlier write of this key is not confirmed yet")
        # Another process may have cleared the namespace just now.
        before = space.kept
        told = await engine.command(
            engine.lifeline.reads, lambda: tier.read((), [space.keys.floor])
        )
        if isinstance(told, TierError):
            raise CacheUnavailableError("incr", told.reason)
        engine.floor_found(space, told.floors[0], before)
        header = header_of_counter(engine.next_version(), ends, ends)
        lives = None if ends == inf else ends - now
        dead_below = engine.trusted_from(space)

        def add() -> Awaitable[int]:
            return tier.add(full, amount, header, lives, dead_below)

        answer = await engine.command(engine.lifeline.writes, add)
        if isinstance(answer, TierError) and answer.trouble is Trouble.REFUSED:
            if not await self._clear_away(space, full):
                raise CacheCounterError(key, answer.reason)
            answer = await engine.command(engine.lifeline.writes, add)
        if isinstance(answer, TierError):
            raise CacheUnavailableError("incr", answer.reason)
        engine.memory.drop(full, engine.versions.last)
        return answer

    async def _clear_away(self, space: Space, full: str) -> bool:
        """Whether what is in the way was a value past its end, which Redis keeps for a while."""
        engine = self._engine
        tier = engine.tier
        assert tier is not None
        found = await engine.command(engine.lifeline.reads, lambda: tier.read([full], ()))
        if isinstance(found, TierError) or found.blobs[0] is None:
            return False
        try:
            entry = unpack(found.blobs[0], full)
        except ForeignBlobError:
            return False
        if engine.shared_now() < entry.expires:
            return False
        gone = tombstone(entry.version + 1, entry.expires)
        return await self._writer.write(space, full, gone, direct=False) is WriteStatus.APPLIED

    def _add_here(self, space: Space, key: str, full: str, amount: int, ends: float) -> int:
        """Without Redis this process is the one place."""
        engine = self._engine
        copy = engine.memory.find(full, engine.clock.now())
        total = amount
        if (
            copy is not None
            and copy.entry.version > space.floor
            and copy.entry.kind not in (ABSENT, TOMBSTONE)
        ):
            if copy.entry.kind != COUNTER:
                raise CacheCounterError(key, "it holds no counter")
            ends = copy.entry.fresh_until
            total += int(copy.entry.payload)
        if not -LIMIT <= total <= LIMIT:
            raise CacheCounterError(key, "the sum is beyond ±2**53")
        payload = b"%d" % total
        entry = Entry(payload, COUNTER, engine.next_version(), ends, ends, raw_size=len(payload))
        engine.keep(space, full, entry, 0)
        return total
