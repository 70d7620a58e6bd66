"""The cache's background task: it probes Redis, brings it back, and clears memory up.

While Redis is up, it asks for the time now and then, which proves life and corrects the shared
clock, and at once when a command has failed. While Redis is down, nobody else asks. A probe that is
answered is followed by the replay of the journal; see `holdfast.cache.lifeline`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from holdfast._core.circuit_types import Permit
from holdfast._core.states import State
from holdfast.cache.engine import Engine
from holdfast.cache.events import CacheReplayed
from holdfast.cache.journal import Intent
from holdfast.cache.lifeline import Move, Side, TierState
from holdfast.cache.port import Found, NodeSnapshot, SharedTier, TierError, Trouble
from holdfast.cache.writing import Writer, lasting

_log = logging.getLogger("holdfast")

SPREAD: Final = 0.2
"""Probes come up to this share early or late, so that many processes do not ask at once."""
REPLAY_KEYS: Final = 200
REPLAY_BYTES: Final = 256 * 1024
"""What one command of a replay carries at most, so that its deadline is enough for it."""
MOST_ROUNDS: Final = 10_000
NODES_EVERY: Final = 10
"""Probes between two looks at each server behind the tier."""
LONGEST_LOOK: Final = 5.0
SWEEP: Final = 1000
SOON: Final = 0.05
"""Seconds after which what is owed is tried again while Redis is up."""


class Monitor:
    """Watches the shared tier of one cache. Lives on the cache's loop."""

    def __init__(self, engine: Engine, writer: Writer) -> None:
        self._engine = engine
        self._writer = writer
        self._probes = 0
        self._looking = False
        self.nodes: Sequence[NodeSnapshot] = ()
        """What the last look at the servers gave."""
        self.latency: float | None = None
        """Seconds of the last round trip of a probe."""
        engine.on_bind.append(self._bind)

    def _bind(self) -> None:
        self._looking = False
        self._engine.spawn(self._run())

    async def _run(self) -> None:
        while True:
            try:
                await self._rest(await self._look())
            except Exception:
                # A defect must not end the watch: without it Redis would stay down for ever.
                _log.exception("the monitor of cache %r stumbled", self._engine.options.name)
                await self._engine.clock.asleep(self._engine.options.probe_interval)

    async def _look(self) -> float:
        """Do what is due; the seconds until it is time to look again."""
        engine = self._engine
        now = engine.clock.now()
        engine.memory.sweep(now, SWEEP)
        engine.journal.forget(now)
        interval = self._spread(engine.options.probe_interval)
        if engine.lifeline.state is TierState.NONE:
            return interval
        if engine.lifeline.reading:
            return min(interval, await self._watch(interval))
        return await self._bring_back()

    async def _rest(self, seconds: float) -> None:
        alarm = self._engine.alarm
        assert alarm is not None
        try:
            async with asyncio.timeout(seconds):
                await alarm.wait()
        except TimeoutError:
            pass
        alarm.clear()

    def _spread(self, seconds: float) -> float:
        return seconds * (1 + SPREAD * (2 * self._engine.clock.random() - 1))

    # -- up ------------------------------------------------------------------------------------

    async def _watch(self, interval: float) -> float:
        """Probe, and try what is owed."""
        engine = self._engine
        permit = engine.lifeline.reads.permit
        error = await self._probe()
        if error is not None:
            engine.lifeline.reads.failed(permit, error)
            # If it is down, find that out soon: a breaker opens by count. Some trouble counts for
            # nothing, and some breakers are held closed, so not at once.
            return SOON
        engine.lifeline.reads.succeeded(permit)
        if not engine.journal:
            return interval
        turn = self._turn_to_write()
        if isinstance(turn, (int, float)):
            return turn
        await self._replay(turn)
        return SOON if engine.journal else interval

    def _turn_to_write(self) -> Permit | float:
        """A permit for a replay, or the seconds until there may be one."""
        writes = self._engine.lifeline.writes
        return writes.permit if writes.flows else writes.probe()

    async def _probe(self) -> TierError | None:
        """One round trip, which also tells the shared time."""
        engine = self._engine
        tier, control = engine.tier, engine.control
        assert tier is not None
        assert control is not None
        self._probes += 1
        if self._probes % NODES_EVERY == 1 and not self._looking:
            self._looking = True
            engine.spawn(self._look_at_nodes(tier))
        asked = engine.clock.now()
        answer = await control.ask(tier.time)
        if isinstance(answer, TierError):
            return answer
        answered = engine.clock.now()
        self.latency = answered - asked
        engine.set_shared_clock(answer, asked, answered)
        return None

    async def _look_at_nodes(self, tier: SharedTier) -> None:
        """See how each server is, beside the probes: a dead one takes its time to look dead."""
        try:
            async with asyncio.timeout(LONGEST_LOOK):
                self.nodes = tuple(await tier.nodes())
        except (TierError, TimeoutError):
            pass  # the last look stands
        finally:
            self._looking = False

    # -- down ----------------------------------------------------------------------------------

    async def _bring_back(self) -> float:
        """Probe, replay what is owed, and let Redis answer again."""
        engine = self._engine
        lifeline, reads = engine.lifeline, engine.lifeline.reads
        permit = reads.permit if reads.flows else reads.probe()
        if isinstance(permit, (int, float)):
            return min(permit, engine.options.probe_interval) or SOON
        try:
            error = await self._probe()
            if error is None:
                lifeline.move(Move.PROBE_PASSED, "a probe was answered")
                error = await self._settle_all()
        except BaseException:
            # Closed meanwhile: whoever watches next shall not find the probe's place taken.
            reads.give_up(permit)
            raise
        if error is not None:
            reads.failed(permit, error)
            lifeline.move(Move.PROBE_FAILED, error.reason)
            return SOON
        reads.succeeded(permit)
        if reads.flows:
            lifeline.move(Move.REPLAYED, "what was owed is replayed")
        return SOON if engine.journal else self._spread(engine.options.probe_interval)

    async def _settle_all(self) -> TierError | None:
        """Replay all that is owed. An error says that Redis cannot be read either."""
        engine = self._engine
        writes = engine.lifeline.writes
        if writes.breaker.state in (State.OPEN, State.HALF_OPEN):
            writes.breaker.reset("Redis answers again")
        if not engine.journal or not writes.flows:
            return None
        error = await self._replay(writes.permit)
        if error is None or error.trouble is Trouble.WRITES_REFUSED:
            # What is still owed stays in the journal, and its keys are not read from Redis.
            return None
        return await self._probe()

    async def _replay(self, permit: Permit) -> TierError | None:
        """Tell Redis what is owed until nothing is, or until it fails."""
        writes = self._engine.lifeline.writes
        try:
            error = await self._tell(writes)
            if error is not None:
                error = lasting(error)
        except BaseException:
            writes.give_up(permit)
            raise
        if error is None:
            writes.succeeded(permit)
        else:
            writes.failed(permit, error)
        return error

    async def _tell(self, writes: Side) -> TierError | None:
        engine, journal = self._engine, self._engine.journal
        error = await self._look_at_floors()
        if error is not None:
            return error
        for name, version in list(journal.floors.items()):
            raised = await engine.raise_floor(engine.space(name), version)
            if isinstance(raised, TierError):
                return raised
        applied = superseded = 0
        for _ in range(MOST_ROUNDS):
            intents = _portion(journal.due(REPLAY_KEYS))
            if not intents:
                break
            told = await self._writer.replay(intents)
            if isinstance(told, TierError):
                return told
            applied += told[0]
            superseded += told[1]
        if applied or superseded:
            engine.emit(CacheReplayed, applied=applied, superseded=superseded)
        return None

    async def _look_at_floors(self) -> TierError | None:
        """See whether Redis still has what it had, before it is told what is owed to it."""
        engine = self._engine
        tier, control = engine.tier, engine.control
        assert tier is not None
        assert control is not None
        names = {intent.namespace for intent in list(engine.journal.intents.values())}
        spaces = [space for space in map(engine.space, names) if space.kept]
        if spaces:
            floors = [space.keys.floor for space in spaces]
            kept = [space.kept for space in spaces]
            found: Found | TierError = await control.ask(lambda: tier.read((), floors))
            if isinstance(found, TierError):
                return found
            for space, floor, before in zip(spaces, found.floors, kept, strict=True):
                engine.floor_found(space, floor, before)
        return None

    async def last_words(self, seconds: float) -> int:
        """Try once more, for so long, to tell Redis what is owed; how much remains."""
        engine = self._engine
        if engine.journal and engine.lifeline.reading:
            try:
                async with asyncio.timeout(seconds):
                    await self._replay(engine.lifeline.writes.permit)
            except TimeoutError:
                pass
        return len(engine.journal)


def _portion(intents: list[Intent]) -> list[Intent]:
    """As many of these as one command may carry, at least one."""
    size = 0
    for place, intent in enumerate(intents):
        size += intent.size
        if place and size > REPLAY_BYTES:
            return intents[:place]
    return intents
