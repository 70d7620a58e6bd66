"""Loading what is missing: once for all who wait, and never more often than it must be.

- **Single flight.** All who want a key while it is being loaded wait for the one load. It runs in a
  task of the cache's own: whoever is cancelled leaves, and the others do not notice.
- **A lease in Redis** keeps other processes from loading the same key. They serve what is stale, or
  look again until the value is there or the lease is over. (Nishtala et al., *Scaling Memcache at
  Facebook*, NSDI 2013.)
- **Early refresh.** A hit near its end is loaded anew in the background, with a probability that
  rises towards the end and with the time a load takes: if -early·cost·ln(u) is at least the time
  left, for a random u. So many processes rarely load at once. (Vattani, Chierichetti, Lowenstein,
  *Optimal Probabilistic Cache Stampede Prevention*, VLDB 2015.)
- **Stale if error.** A load that fails, or takes longer than its soft timeout, gives the stale
  value if there is one. After a failure the loader is left alone for `REST` seconds. An error of
  category *permanent* says something about the thing itself, and is raised.

The value of a load carries a version from before the load. If the key is written or deleted
meanwhile, that is newer, and the load does not overwrite it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from inspect import isawaitable
from math import log
from typing import Any, Final

from holdfast._core.deadline import LIMIT
from holdfast.cache.answers import Status
from holdfast.cache.codec import Codec
from holdfast.cache.engine import Engine
from holdfast.cache.entry import ABSENT, Entry
from holdfast.cache.errors import CacheError, PayloadTooLargeError
from holdfast.cache.lifeline import TierState
from holdfast.cache.options import CacheOptions
from holdfast.cache.port import TierError
from holdfast.cache.reading import Reader, Seen
from holdfast.cache.space import Space
from holdfast.cache.writing import Writer
from holdfast.classify import classify
from holdfast.errors import CallTimeoutError, Category

_log = logging.getLogger("holdfast")

REST: Final = 5.0
"""Seconds for which a stale value is served without asking again a loader that has failed."""
MOST_RESTING: Final = 10_000
LEASE: Final = 10.0
"""Seconds for which a lease is held at most; less where the hard timeout is shorter."""
MOST_UNRETURNED: Final = 100
"""Leases to be given back later, because Redis did not confirm that they are. What is beyond ends
by itself, but until then others wait for nobody."""
FIRST_POLL: Final = 0.02
LONGEST_POLL: Final = 0.2

Loader = Callable[[], Any]
"""Gives the value, or something to await for it; None if there is no such thing."""


class Loaded:
    """How a load ended, for everybody who waited for it."""

    __slots__ = ("entry", "error", "left_to_others", "value")

    def __init__(
        self,
        value: Any = None,
        *,
        entry: Entry | None = None,
        error: Exception | None = None,
        left_to_others: bool = False,
    ) -> None:
        self.value = value
        self.entry = entry
        """Set if the value comes from the cache after all: another process has loaded it."""
        self.error = error
        self.left_to_others = left_to_others
        """Whether another process is at it, and what we have serves meanwhile."""


class Load:
    """One thing to load, as its first caller described it."""

    __slots__ = ("full", "key", "known", "loader", "options", "space", "spare")

    def __init__(
        self,
        space: Space,
        key: str,
        full: str,
        loader: Loader,
        options: CacheOptions,
        *,
        known: int,
        spare: bool,
    ) -> None:
        self.space = space
        self.key = key
        self.full = full
        self.loader = loader
        self.options = options
        self.known = known
        """The version that is there, 0 for none; what is newer was loaded by somebody else."""
        self.spare = spare
        """Whether there is something to serve meanwhile, so that nobody need wait for a lease."""


class Loading:
    """The loads of one cache. Lives on the cache's loop."""

    def __init__(self, engine: Engine, reader: Reader, writer: Writer, codec: Codec) -> None:
        self._engine = engine
        self._reader = reader
        self._writer = writer
        self._codec = codec
        self._under_way: dict[str, asyncio.Future[Loaded]] = {}
        self._resting: dict[str, float] = {}
        self._unreturned: dict[str, str] = {}
        engine.on_state.append(self._state_changed)
        engine.on_bind.append(self._under_way.clear)

    @property
    def under_way(self) -> int:
        """Loads at this moment."""
        return len(self._under_way)

    def join(self, load: Load) -> asyncio.Future[Loaded]:
        """The load of this key that is under way, begun now if there is none."""
        future = self._under_way.get(load.full)
        if future is None:
            future = asyncio.get_running_loop().create_future()
            self._under_way[load.full] = future
            # The first caller's deadline is its own affair; the loader has its hard timeout.
            context = copy_context()
            context.run(LIMIT.set, None)
            self._engine.spawn(self._fly(load, future), context)
        else:
            load.space.tally.joined += 1
        return future

    def refresh_early(self, seen: Seen, options: CacheOptions) -> bool:
        """Whether a hit is to be loaded anew already."""
        entry = seen.entry
        if entry is None or not entry.cost or not options.early or seen.degraded:
            return False
        left = entry.fresh_until - self._engine.shared_now()
        return -options.early * entry.cost * log(1 - self._engine.clock.random()) >= left

    def rests(self, full: str) -> bool:
        """Whether the loader of this key failed so lately that it is left alone."""
        until = self._resting.get(full)
        if until is None:
            return False
        if self._engine.clock.now() < until:
            return True
        del self._resting[full]
        return False

    async def _fly(self, load: Load, future: asyncio.Future[Loaded]) -> None:
        """Load, and tell everybody who waits, whatever happens."""
        outcome = Loaded(error=CacheError("the cache was closed during the load"))
        try:
            outcome = await self._load(load)
        except Exception as error:
            outcome = Loaded(error=error)
            load.space.tally.load_failures += 1
            if excusable(error):
                self._let_rest(load.full)
        finally:
            if self._under_way.get(load.full) is future:
                del self._under_way[load.full]
            if not future.done():
                future.set_result(outcome)

    async def _load(self, load: Load) -> Loaded:
        engine = self._engine
        token = None
        if engine.lifeline.writing:
            # A version names the process, too: no two ever have the same token.
            token = f"{engine.next_version():x}"
            found = await self._lease(load, token)
            if found is not None:
                return found
        version = engine.next_version()
        started = engine.clock.now()
        load.space.tally.loads += 1
        try:
            value = await self._call(load)
            entry = self._entry(load, value, version, engine.clock.now() - started)
            if entry is not None:
                await self._writer.write(
                    load.space,
                    load.full,
                    entry,
                    memory=load.options.fallback_to_memory,
                    direct=False,
                )
        finally:
            if token is not None:
                self._give_back(load, token)
        self._resting.pop(load.full, None)
        return Loaded(value)

    async def _call(self, load: Load) -> Any:
        hard = load.options.hard_timeout
        limit = asyncio.timeout(hard)
        mine = LIMIT.set(None if hard is None else self._engine.clock.now() + hard)
        try:
            async with limit:
                value = load.loader()
                return await value if isawaitable(value) else value
        except TimeoutError:
            if limit.expired() and hard is not None:
                raise CallTimeoutError(f"{self._engine.options.name}.load", hard) from None
            raise
        finally:
            LIMIT.reset(mine)

    def _entry(self, load: Load, value: Any, version: int, cost: float) -> Entry | None:
        """What to write of a loaded value; None for nothing."""
        now = self._engine.shared_now()
        options = load.options
        if value is None:
            if not options.absent_ttl:
                return None
            ends = now + options.absent_ttl
            return Entry(b"", ABSENT, version, ends, ends, cost)
        try:
            payload, flags, raw_size = self._codec.encode(value, load.key, options.compression)
        except PayloadTooLargeError as error:
            # A mistake of the data, not of the program: its callers get it all the same.
            load.space.tally.failed += 1
            if load.space.tally.failed == 1:
                _log.warning(
                    "cache %r: a loaded value of %d bytes is too large to be kept in namespace %r",
                    self._engine.options.name,
                    error.size,
                    load.space.name,
                )
            return None
        fresh_until, expires = options.ends(now, options.ttl, options.stale_ttl)
        return Entry(payload, flags, version, fresh_until, expires, cost, raw_size)

    # -- other processes -----------------------------------------------------------------------

    async def _lease(self, load: Load, token: str) -> Loaded | None:
        """Take the lease; if another process has it, what came of its load, or None to go on."""
        engine = self._engine
        tier = engine.tier
        assert tier is not None
        name = load.space.keys.lease(load.full)
        length = min(load.options.hard_timeout or LEASE, LEASE)
        # Longer than the lease of one who died: then the next one has it, not all at once.
        give_up = engine.clock.now() + 2 * length
        pause = FIRST_POLL
        while True:
            mine = await engine.command(
                engine.lifeline.writes, lambda: tier.lease(name, token, length)
            )
            if mine is not False:
                return await self._loaded_meanwhile(load, token) if mine is True else None
            if load.spare:
                return Loaded(left_to_others=True)
            if engine.clock.now() >= give_up:
                return None
            await engine.clock.asleep(pause)
            pause = min(pause * 1.5, LONGEST_POLL)
            seen = await self._reader.look(load.space, load.full, counted=False)
            if seen.status is Status.HIT:
                load.space.tally.joined += 1
                return Loaded(entry=seen.entry)

    async def _loaded_meanwhile(self, load: Load, token: str) -> Loaded | None:
        """What somebody else has loaded between our look and our lease; None if nobody has."""
        seen = await self._reader.look(load.space, load.full, counted=False)
        if seen.status is not Status.HIT or seen.entry is None or seen.degraded:
            return None
        if seen.entry.version <= load.known:
            return None
        self._give_back(load, token)
        return Loaded(entry=seen.entry)

    def _give_back(self, load: Load, token: str) -> None:
        """Release the lease without waiting; failing that, once Redis answers again."""
        name = load.space.keys.lease(load.full)
        if self._engine.lifeline.writing:
            self._release(name, token)
        else:
            self._remember(name, token)

    def _release(self, name: str, token: str) -> None:
        tier, control = self._engine.tier, self._engine.control
        if tier is not None and control is not None:
            told = control.ask(lambda: tier.release(name, token))
            told.add_done_callback(partial(self._released, name, token))

    def _released(self, name: str, token: str, told: asyncio.Future[Any]) -> None:
        if told.cancelled() or isinstance(told.result(), TierError):
            self._remember(name, token)
        elif self._unreturned:
            self._release_all()

    def _remember(self, name: str, token: str) -> None:
        if len(self._unreturned) >= MOST_UNRETURNED:
            del self._unreturned[next(iter(self._unreturned))]
        self._unreturned[name] = token

    def _state_changed(self, source: TierState, target: TierState) -> None:
        # A command that was cut off may be carried out when a frozen server goes on.
        if target is TierState.UP:
            self._release_all()

    def _release_all(self) -> None:
        unreturned, self._unreturned = self._unreturned, {}
        for name, token in unreturned.items():
            self._release(name, token)

    def _let_rest(self, full: str) -> None:
        if len(self._resting) >= MOST_RESTING:
            del self._resting[next(iter(self._resting))]
        self._resting[full] = self._engine.clock.now() + REST


def excusable(error: Exception) -> bool:
    """Whether a stale value may take this error's place."""
    return classify(error) is not Category.PERMANENT
