"""Writing a key: to Redis by version, else into the journal, and always truthful about which.

A deletion is a write too: it leaves a tombstone for a while, so that a write that was under way
before it and arrives after it does not bring the old value back. For the same reason the value of
a slow loader carries a version from before the load: if the key was deleted meanwhile, the
tombstone is newer and wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final

from holdfast.cache.answers import WriteStatus
from holdfast.cache.batcher import Batcher
from holdfast.cache.engine import MOST_KEYS, Engine, note_of
from holdfast.cache.entry import TOMBSTONE, Entry, tombstone
from holdfast.cache.envelope import pack
from holdfast.cache.journal import Intent
from holdfast.cache.lifeline import TierState
from holdfast.cache.memory import NO_ERA
from holdfast.cache.port import APPLIED, Put, TierError, Trouble
from holdfast.cache.space import Space

GUARD: Final = 60.0
"""Seconds that Redis keeps a version at least, be it a deletion or a value that lives shorter: so
that whatever is older and arrives late is known for what it is."""
SURELY_GUARDED: Final = 50.0
"""What is owed for longer may be older than something that Redis has kept and forgotten."""
LEAST_OWED: Final = 3600.0
"""Seconds that an intent is owed at least: another process may have written a longer life than we
have seen."""
CLEAR_AHEAD: Final = 0.001
"""Seconds by which a clearing claims to be later than it is: what another process, whose clock is
a little ahead, wrote just before is to be gone, and nobody misses what it writes just after."""


class Write:
    """One write on its way.

    `direct` is what a caller asked for just now: if a newer version is in the way, that one came
    first and the write is repeated above it. What was loaded yields. `memory` is whether
    the value may stay in this process if Redis does not take it.
    """

    __slots__ = ("direct", "entry", "era", "full", "memory", "space")

    def __init__(
        self, space: Space, full: str, entry: Entry, era: int, *, direct: bool, memory: bool
    ) -> None:
        self.space = space
        self.full = full
        self.entry = entry
        self.era = era
        self.direct = direct
        self.memory = memory


class Writer:
    """Carries out the writes of one cache. Lives on the cache's loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._batcher: Batcher[Write, int] | None = None
        engine.on_bind.append(self._bind)
        engine.on_down.append(self._give_up)

    async def write(
        self,
        space: Space,
        full: str,
        entry: Entry,
        *,
        memory: bool = True,
        direct: bool = True,
    ) -> WriteStatus:
        """Write one entry; what became of it."""
        write = Write(space, full, entry, self._engine.era, direct=direct, memory=memory)
        if not self._goes_out:
            return self._here(write)
        assert self._batcher is not None
        answer = await self._engine.within(self._batcher.ask(write))
        # A caller whose own deadline came first does not learn how it ends; the journal will.
        return self._owe(write) if isinstance(answer, TierError) else answer

    async def write_many(
        self, space: Space, entries: Sequence[tuple[str, Entry]], *, memory: bool = True
    ) -> list[WriteStatus]:
        """As `write`, for many keys at once."""
        writes = [
            Write(space, full, entry, self._engine.era, direct=True, memory=memory)
            for full, entry in entries
        ]
        if not self._goes_out:
            return [self._here(write) for write in writes]
        assert self._batcher is not None
        parts = [writes[n : n + MOST_KEYS] for n in range(0, len(writes), MOST_KEYS)]
        asked = [self._batcher.ask_all(part) for part in parts]
        done: list[WriteStatus] = []
        for part, future in zip(parts, asked, strict=True):
            answers = await self._engine.within(future)
            if isinstance(answers, TierError):
                answers = [self._owe(write) for write in part]
            done += answers
        return done

    def remove(self, space: Space, full: str, version: int | None = None) -> None:
        """Delete what stands in Redis and should not, without waiting."""
        entry = self.tombstone()
        if version is not None:
            entry = tombstone(version, entry.expires)
        self._aside(space, full, entry)

    def _aside(self, space: Space, full: str, entry: Entry) -> None:
        if self._goes_out:
            assert self._batcher is not None
            self._batcher.ask(Write(space, full, entry, NO_ERA, direct=False, memory=True))

    def tombstone(self) -> Entry:
        """A deletion as of now."""
        engine = self._engine
        return tombstone(engine.next_version(), engine.shared_now() + GUARD)

    async def clear(self, space: Space) -> WriteStatus:
        """Count everything in the namespace as deleted."""
        engine = self._engine
        version = engine.versions.issue(engine.shared_now() + CLEAR_AHEAD)
        space.floor = max(space.floor, version)
        if engine.lifeline.state is TierState.NONE:
            return WriteStatus.APPLIED
        engine.journal.raise_floor(space.name, version)
        if engine.lifeline.writing and not isinstance(
            await engine.raise_floor(space, version), TierError
        ):
            return WriteStatus.APPLIED
        engine.alert()
        return WriteStatus.QUEUED

    async def replay(self, intents: Sequence[Intent]) -> tuple[int, int] | TierError:
        """Tell Redis what is owed; how much of it was applied, and how much superseded."""
        engine = self._engine
        tier, control = engine.tier, engine.control
        assert tier is not None
        assert control is not None
        writes = [self._replayed(intent) for intent in intents]
        uncertain = await self._forgotten(writes, intents)
        if isinstance(uncertain, TierError):
            return uncertain
        writes = [write for write in writes if write not in uncertain]
        puts = [self._put(write) for write in writes]
        answers = await control.ask(lambda: tier.write(puts, engine.channel))
        if isinstance(answers, TierError):
            return answers
        for write in uncertain:
            engine.journal.settle(write.full, write.entry.version)
            engine.memory.drop(write.full, write.entry.version)
        applied = 0
        for write, answer in zip(writes, answers, strict=True):
            applied += answer in (APPLIED, write.entry.version)
            self._took(write, answer)
        return applied, len(intents) - applied

    async def _forgotten(
        self, writes: Sequence[Write], intents: Sequence[Intent]
    ) -> set[Write] | TierError:
        """The values that must not be told any more.

        A value that is owed for long may have been overwritten or deleted by another process, and
        Redis may have forgotten that since. Only where something older stands it has not been.
        """
        engine = self._engine
        tier, control = engine.tier, engine.control
        assert tier is not None
        assert control is not None
        before = engine.clock.now() - SURELY_GUARDED
        old = [
            write
            for write, intent in zip(writes, intents, strict=True)
            if intent.since < before and write.entry.kind != TOMBSTONE
        ]
        if not old:
            return set()
        found = await control.ask(lambda: tier.read([write.full for write in old], ()))
        if isinstance(found, TierError):
            return found
        return {write for write, blob in zip(old, found.blobs, strict=True) if blob is None}

    @property
    def commands(self) -> int:
        """Commands sent since the cache came to its loop."""
        return 0 if self._batcher is None else self._batcher.commands

    async def aclose(self) -> None:
        if self._batcher is not None:
            await self._batcher.aclose()

    # -- inside --------------------------------------------------------------------------------

    def _give_up(self, error: TierError) -> None:
        if self._batcher is not None:
            self._batcher.give_up(error)

    def _bind(self) -> None:
        if self._engine.tier is not None:
            self._batcher = Batcher(
                self._run,
                self._engine.lifeline.writes,
                lanes=1,
                most=MOST_KEYS,
                deadline=self._engine.options.command_timeout,
                ended=self._ended,
            )

    @property
    def _goes_out(self) -> bool:
        return self._engine.lifeline.writing

    def _here(self, write: Write) -> WriteStatus:
        """Write to memory, as Redis is not there or not to be asked."""
        if self._engine.lifeline.state is not TierState.NONE:
            return self._owe(write)
        write.space.tally.applied += 1
        self._copy(write)
        return WriteStatus.APPLIED

    async def _run(self, writes: list[Write]) -> Sequence[int]:
        """One command for all these writes, and a second one for those that came too late."""
        try:
            return await self._send(writes)
        except TierError as error:
            raise lasting(error) from None

    async def _send(self, writes: list[Write]) -> Sequence[int]:
        engine = self._engine
        tier = engine.tier
        assert tier is not None
        answers = list(await tier.write([self._put(write) for write in writes], engine.channel))
        again = [
            place
            for place, answer in enumerate(answers)
            if answer > writes[place].entry.version and writes[place].direct
        ]
        if again:
            for place in again:
                engine.versions.see(answers[place], engine.shared_now())
                writes[place].entry = _with_version(writes[place].entry, engine.next_version())
            repeated = await tier.write(
                [self._put(writes[place]) for place in again], engine.channel
            )
            for place, answer in zip(again, repeated, strict=True):
                answers[place] = answer
        return answers

    def _put(self, write: Write) -> Put:
        engine = self._engine
        entry = write.entry
        ttl = None
        if entry.kind == TOMBSTONE:
            ttl = GUARD
        elif entry.expires != inf:
            ttl = max(entry.expires - engine.shared_now(), GUARD)
        note = note_of(entry.version, write.full) if engine.channel else b""
        return Put(write.full, pack(entry, write.full, engine.signer), ttl, note)

    def _ended(
        self, writes: list[Write], answers: Sequence[int] | TierError
    ) -> Sequence[WriteStatus]:
        """A command is over; also if nobody waits for it any more."""
        if isinstance(answers, TierError):
            self._engine.alert()
            return [self._owe(write) for write in writes]
        for write, answer in zip(writes, answers, strict=True):
            write.space.tally.applied += 1
            self._took(write, answer)
        return [WriteStatus.APPLIED] * len(writes)

    def _took(self, write: Write, answer: int) -> None:
        """Redis has the write, or something newer."""
        engine = self._engine
        if answer in (APPLIED, write.entry.version):
            engine.journal.settle(write.full, write.entry.version)
            self._copy(write)
        else:
            engine.versions.see(answer, engine.shared_now())
            engine.journal.settle(write.full, answer)
            engine.memory.drop(write.full, answer - 1)

    def _copy(self, write: Write) -> None:
        """Bring memory up to date."""
        if write.entry.kind == TOMBSTONE:
            self._engine.remember(write.full, write.entry.version)
            self._engine.memory.drop(write.full, write.entry.version)
        else:
            self._engine.keep(write.space, write.full, write.entry, write.era)

    def _owe(self, write: Write) -> WriteStatus:
        """Note down what Redis has not confirmed."""
        engine = self._engine
        entry = write.entry
        deletes = entry.kind == TOMBSTONE
        if not deletes and not write.memory:
            entry = tombstone(entry.version, entry.expires)
        now = engine.clock.now()
        forget_at = now + max(write.space.longest, LEAST_OWED)
        floors = len(engine.journal.floors)
        kept = engine.journal.put(write.space.name, write.full, entry, now, forget_at)
        if len(engine.journal.floors) > floors:
            engine.journal_overflowed(write.space.name)
        engine.alert()
        if entry.kind == TOMBSTONE:
            engine.memory.drop(write.full, entry.version)
        else:
            engine.keep(write.space, write.full, entry, NO_ERA, confirmed=False)
        if deletes or (kept and write.memory):
            write.space.tally.queued += 1
            return WriteStatus.QUEUED
        write.space.tally.failed += 1
        return WriteStatus.FAILED

    def _replayed(self, intent: Intent) -> Write:
        """The write for what is owed: a value whose time is over is owed as a deletion."""
        engine = self._engine
        entry = intent.entry
        if entry.kind != TOMBSTONE and entry.expires <= engine.shared_now():
            entry = tombstone(entry.version, entry.expires)
        space = engine.space(intent.namespace)
        return Write(space, intent.key, entry, NO_ERA, direct=False, memory=True)


def lasting(error: TierError) -> TierError:
    """What a refused write comes to: there is nothing special about it, so none would be taken."""
    if error.trouble is not Trouble.REFUSED:
        return error
    return TierError(Trouble.CONFIGURATION, error.reason)


def _with_version(entry: Entry, version: int) -> Entry:
    return Entry(
        entry.payload,
        entry.flags,
        version,
        entry.fresh_until,
        entry.expires,
        entry.cost,
        entry.raw_size,
    )
