"""Looking a key up: in memory, in what is owed to Redis, in Redis, and what to make of it all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from holdfast._core.sketch import Sketch
from holdfast.cache.answers import Status, Tier
from holdfast.cache.batcher import Batcher
from holdfast.cache.engine import MOST_KEYS, Engine
from holdfast.cache.entry import ABSENT, KIND_MASK, TOMBSTONE, VALUE, Entry
from holdfast.cache.envelope import unpack
from holdfast.cache.errors import ForeignBlobError
from holdfast.cache.events import CacheForeignFound
from holdfast.cache.journal import Intent
from holdfast.cache.lifeline import TierState
from holdfast.cache.memory import NEVER, NO_ERA, Copy
from holdfast.cache.port import VERSION_AT, Found, TierError
from holdfast.cache.space import Space
from holdfast.cache.writing import Writer

READ_LANES_LEFT: Final = 2
"""Connections that are not for reads: one for writes, one for probes and single commands."""

SAMPLED: Final = 64
"""One in so many answers from memory is timed."""

Question = tuple[Space, str]


class Seen(NamedTuple):
    """What was found before it is decoded."""

    status: Status
    entry: Entry | None
    tier: Tier
    degraded: bool


class Reader:
    """Answers look-ups of one cache. Lives on the cache's loop."""

    def __init__(self, engine: Engine, writer: Writer) -> None:
        self._engine = engine
        self._writer = writer
        self._batcher: Batcher[Question, bytes | None] | None = None
        self._looks = 0
        self.memory_times: Final = Sketch()
        """How long answers from memory took, in seconds; one in `SAMPLED`."""
        engine.on_bind.append(self._bind)
        engine.on_down.append(self._give_up)

    async def look(
        self, space: Space, full: str, memory: bool = True, *, counted: bool = True
    ) -> Seen:
        """What there is under this key. `memory`: whether it may stand in for Redis."""
        engine = self._engine
        self._looks += 1
        if self._looks % SAMPLED:
            seen = self._at_hand(space, full, memory)
        else:
            started = engine.clock.now()
            seen = self._at_hand(space, full, memory)
            if seen is not None:
                self.memory_times.add(engine.clock.now() - started)
        if seen is None:
            assert self._batcher is not None
            era = engine.era
            answer = await engine.within(self._batcher.ask((space, full)))
            seen = self._answered(space, full, answer, memory, era)
        if counted:
            self._count(space, seen)
        return seen

    async def look_many(
        self, space: Space, fulls: Sequence[str], memory: bool = True
    ) -> list[Seen | Entry]:
        """As `look`, for many keys at once; plain hits in Redis come as bare entries."""
        engine = self._engine
        found: list[Any] = [None] * len(fulls)
        missing: Sequence[int] = range(len(fulls))
        if engine.era != NEVER or engine.journal.intents or not engine.lifeline.reading:
            found = [self._at_hand(space, full, memory) for full in fulls]
            missing = [place for place, seen in enumerate(found) if seen is None]
        for first in range(0, len(missing), MOST_KEYS):
            part = missing[first : first + MOST_KEYS]
            await self._ask_many(space, fulls, part, memory, found)
        for seen in found:
            if seen.__class__ is Seen:
                self._count(space, seen)
        return found

    async def _ask_many(
        self,
        space: Space,
        fulls: Sequence[str],
        places: Sequence[int],
        memory: bool,
        found: list[Any],
    ) -> None:
        """Ask Redis for the keys at these places, and enter what there is."""
        engine = self._engine
        assert self._batcher is not None
        era = engine.era
        asked = self._batcher.ask_all([(space, fulls[place]) for place in places])
        told: list[Any] | TierError = await engine.within(asked)
        answers: list[Any] = [told] * len(places) if isinstance(told, TierError) else told
        now, shared = engine.clock.now(), engine.shared_now()
        nodes, intents = engine.memory.store.nodes, engine.journal.intents
        trusted, confirmed = engine.trusted_from(space), now + engine.options.standin_ttl
        keeps = era if era == engine.era != NEVER else NO_ERA
        hits = 0
        for place, answer in zip(places, answers, strict=True):
            full = fulls[place]
            node = nodes.get(full)
            if node is not None and answer.__class__ is bytes and not intents:
                copy = node.value
                entry = copy.entry
                if (
                    # One version has one content: what was verified once need not be again.
                    entry.version == int.from_bytes(answer[4:12], "big")
                    and trusted < entry.version
                    and shared < entry.fresh_until
                    and entry.flags & KIND_MASK == VALUE
                ):
                    copy.confirmed_until = confirmed
                    copy.era = keeps
                    node.visited = True
                    hits += 1
                    found[place] = entry
                    continue
            found[place] = self._answered(space, full, answer, memory, era)
        space.tally.hits_redis += hits

    @property
    def commands(self) -> int:
        """Commands sent since the cache came to its loop."""
        return 0 if self._batcher is None else self._batcher.commands

    async def aclose(self) -> None:
        if self._batcher is not None:
            await self._batcher.aclose()

    def _give_up(self, error: TierError) -> None:
        if self._batcher is not None:
            self._batcher.give_up(error)

    def _bind(self) -> None:
        tier = self._engine.tier
        if tier is not None:
            self._batcher = Batcher(
                self._run,
                self._engine.lifeline.reads,
                lanes=tier.max_connections - READ_LANES_LEFT,
                most=MOST_KEYS,
                deadline=self._engine.options.command_timeout,
            )

    async def _run(self, asked: list[Question]) -> Sequence[bytes | None]:
        """One command for all these questions."""
        engine = self._engine
        assert engine.tier is not None
        spaces = list(dict.fromkeys([space for space, _ in asked]))
        keys = list(dict.fromkeys([full for _, full in asked]))
        kept = [space.kept for space in spaces]
        found: Found = await engine.tier.read(keys, [space.keys.floor for space in spaces])
        for space, floor, before in zip(spaces, found.floors, kept, strict=True):
            if floor != before or floor != space.floor:
                engine.floor_found(space, floor, before)
        if len(keys) == len(asked):
            return found.blobs
        by_key = dict(zip(keys, found.blobs, strict=True))
        return [by_key[full] for _, full in asked]

    # -- what to make of it --------------------------------------------------------------------

    def _at_hand(self, space: Space, full: str, memory: bool) -> Seen | None:
        """The answer that needs no waiting; None if Redis is to be asked."""
        engine = self._engine
        intents = engine.journal.intents
        if intents and full in intents:
            return self._owed(intents[full], memory)
        if engine.era == NEVER and engine.lifeline.reading:
            return None  # the everyday path where Redis answers: memory has no say
        now = engine.clock.now()
        copy = engine.memory.find(full, now)
        if copy is not None and copy.entry.version <= space.floor:
            copy = None
        if (
            copy is not None
            and copy.era == engine.era
            and engine.shared_now() < copy.entry.fresh_until
        ):
            return Seen(Status.HIT, copy.entry, Tier.MEMORY, False)
        if engine.lifeline.state is TierState.NONE:
            if copy is None:
                return Seen(Status.MISS, None, Tier.MEMORY, False)
            return Seen(Status.STALE, copy.entry, Tier.MEMORY, False)
        if engine.lifeline.reading:
            return None
        return self._stand_in(copy, now, memory)

    def _answered(
        self,
        space: Space,
        full: str,
        answer: bytes | TierError | None,
        memory: bool,
        era: int,
    ) -> Seen:
        """Redis has answered, or has not."""
        engine = self._engine
        intents = engine.journal.intents
        if intents and full in intents:
            # Written or deleted here while we asked.
            return self._owed(intents[full], memory)
        if not isinstance(answer, TierError):
            return self._from_redis(space, full, answer, memory, era)
        engine.alert()
        now = engine.clock.now()
        copy = engine.memory.find(full, now)
        if copy is not None and copy.entry.version <= space.floor:
            copy = None
        return self._stand_in(copy, now, memory)

    def _owed(self, intent: Intent, memory: bool) -> Seen:
        """What was written here and Redis does not know yet."""
        engine = self._engine
        entry = intent.entry
        if intent.deletes:
            return Seen(Status.MISS, None, Tier.MEMORY, True)
        if not memory:
            return Seen(Status.UNAVAILABLE, None, Tier.REDIS, True)
        now = engine.shared_now()
        if now >= entry.expires:
            return Seen(Status.MISS, None, Tier.MEMORY, True)
        confirmed = engine.clock.now() < intent.since + engine.options.standin_ttl
        fresh = confirmed and now < entry.fresh_until
        return Seen(Status.HIT if fresh else Status.STALE, entry, Tier.MEMORY, True)

    def _stand_in(self, copy: Copy | None, now: float, memory: bool) -> Seen:
        """Memory's answer in place of Redis."""
        if copy is None or not memory:
            return Seen(Status.UNAVAILABLE, None, Tier.MEMORY, True)
        fresh = now < copy.confirmed_until and self._engine.shared_now() < copy.entry.fresh_until
        return Seen(Status.HIT if fresh else Status.STALE, copy.entry, Tier.MEMORY, True)

    def _from_redis(
        self, space: Space, full: str, blob: bytes | None, memory: bool, era: int
    ) -> Seen:
        """What Redis has under the key."""
        engine = self._engine
        if blob is None:
            return self._missing(space, full, memory)
        known = self._known(space, full, blob, era)
        if known is not None:
            return Seen(Status.HIT, known, Tier.REDIS, False)
        try:
            entry = unpack(blob, full, engine.signer)
        except ForeignBlobError as error:
            self._foreign(space, full, error.reason)
            return Seen(Status.MISS, None, Tier.REDIS, False)
        now = engine.shared_now()
        engine.versions.see(entry.version, now)
        if entry.kind == TOMBSTONE:
            engine.memory.drop(full, entry.version)
            return Seen(Status.MISS, None, Tier.REDIS, False)
        latest = engine.latest(full)
        if entry.version < latest:
            # It was deleted or overwritten, and yet it is there: Redis has lost that.
            self._writer.remove(space, full, latest)
            return Seen(Status.MISS, None, Tier.REDIS, False)
        if entry.version <= engine.trusted_from(space) or now >= entry.expires:
            engine.memory.drop(full, entry.version)
            return Seen(Status.MISS, None, Tier.REDIS, False)
        engine.keep(space, full, entry, era)
        return Seen(
            Status.HIT if now < entry.fresh_until else Status.STALE, entry, Tier.REDIS, False
        )

    def _known(self, space: Space, full: str, blob: bytes, era: int) -> Entry | None:
        """The entry in memory, confirmed, if it is a fresh value of the blob's version.

        One version has one content: what was verified once need not be again.
        """
        engine = self._engine
        node = engine.memory.store.nodes.get(full)
        if node is None:
            return None
        copy = node.value
        entry = copy.entry
        if (
            entry.version != int.from_bytes(blob[VERSION_AT], "big")
            or entry.version <= engine.trusted_from(space)
            or entry.flags & KIND_MASK != VALUE
            or engine.shared_now() >= entry.fresh_until
        ):
            return None
        copy.confirmed_until = engine.clock.now() + engine.options.standin_ttl
        copy.era = era if era == engine.era != NEVER else NO_ERA
        node.visited = True
        return entry

    def _missing(self, space: Space, full: str, memory: bool) -> Seen:
        """Redis has nothing: because there is nothing, or because it has lost everything.

        In the latter case copies that it confirmed lately stand in, so that not all is loaded anew
        at once. They are not given back to it: another process may have overwritten them just
        before, and nobody would be told that they are old.
        """
        engine = self._engine
        now = engine.clock.now()
        if memory and now < space.lost_until:
            copy = engine.memory.find(full, now)
            if (
                copy is not None
                and copy.entry.version > engine.trusted_from(space)
                and now < copy.confirmed_until
                and engine.shared_now() < copy.entry.fresh_until
            ):
                space.tally.stood_in += 1
                return Seen(Status.HIT, copy.entry, Tier.MEMORY, True)
        engine.memory.drop(full, engine.versions.last)
        return Seen(Status.MISS, None, Tier.REDIS, False)

    def _foreign(self, space: Space, full: str, reason: str) -> None:
        """What is there is not ours or damaged: never decoded; deleted if nobody can read it."""
        engine = self._engine
        space.tally.foreign += 1
        if reason != "format":
            self._writer.remove(space, full)
        engine.emit(CacheForeignFound, namespace=space.name, reason=reason)

    def _count(self, space: Space, seen: Seen) -> None:
        tally = space.tally
        if seen.status is Status.HIT:
            if seen.tier is Tier.REDIS:
                tally.hits_redis += 1
            else:
                tally.hits_memory += 1
            if seen.entry is not None and seen.entry.kind == ABSENT:
                tally.absent += 1
        elif seen.status is Status.STALE:
            tally.stale += 1
        elif seen.status is Status.MISS:
            tally.misses += 1
        else:
            tally.unavailable += 1
