"""What other processes write, told to a near cache, which believes its memory only while it hears.

Each write publishes the version and the key, never the value, in the same step in which Redis takes
it. A listener drops its copy if that is older. Copies count as confirmed from the moment the
subscription stands; when it is lost, all of them stop counting at once, by a new *era*, because
something may have been missed.

A note may overtake the reply of a read that was under way before the write. The engine remembers
the latest notes, and does not keep what is older than its note.
"""

from __future__ import annotations

import asyncio

from holdfast.cache.engine import Engine, read_note
from holdfast.cache.lifeline import TierState
from holdfast.cache.memory import NEVER
from holdfast.cache.port import TierError


class Backplane:
    """Listens to the writes of all processes. Lives on the cache's loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._eras = 0
        self._task: asyncio.Task[None] | None = None
        engine.on_bind.append(self._bind)
        engine.on_state.append(self._state_changed)

    @property
    def listening(self) -> bool:
        """Whether memory answers by itself now."""
        return self._engine.era != NEVER

    def _bind(self) -> None:
        self._deafen()
        if self._engine.lifeline.state is TierState.UP:
            self._task = self._engine.spawn(self._run())

    def _state_changed(self, source: TierState, target: TierState) -> None:
        if target is TierState.DOWN:
            self._deafen()
            if self._task is not None:
                self._task.cancel()
        elif target is TierState.UP:
            self._task = self._engine.spawn(self._run())

    async def _run(self) -> None:
        engine = self._engine
        while True:
            assert engine.tier is not None
            try:
                async with engine.tier.subscription(engine.channel) as notes:
                    self._listen()
                    async for note in notes:
                        self._heard(note)
            except TierError:
                pass
            finally:
                self._deafen()
            pause = engine.options.probe_interval
            await engine.clock.asleep(pause * (0.5 + engine.clock.random()))

    def _listen(self) -> None:
        self._eras += 1
        self._engine.era = self._eras

    def _deafen(self) -> None:
        self._engine.era = NEVER

    def _heard(self, note: bytes) -> None:
        told = read_note(note)
        if told is None:
            return
        version, full = told
        engine = self._engine
        if full.endswith(":floor"):
            for space in engine.spaces.values():
                if space.keys.floor == full:
                    space.floor = max(space.floor, version)
                    return
        engine.remember(full, version)
        engine.memory.drop(full, version - 1)
