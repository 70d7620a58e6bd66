"""What the parts of the cache share: the state, the shared clock, and the event loop they live on.

All of it belongs to one event loop, the first on which the cache is used (or one of its own, for
sync code), so nothing here needs a lock. A cache that is used on another loop has its calls carried
over; when the first loop is gone, the cache moves to the next with everything but its connections.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from holdfast._core import fork
from holdfast._core.clock import Clock
from holdfast._core.deadline import LIMIT
from holdfast._core.events import Event
from holdfast._core.hub import EventHub
from holdfast._core.versions import NODE_BITS, Versions
from holdfast.cache.batcher import Batcher
from holdfast.cache.entry import Entry
from holdfast.cache.errors import CacheError
from holdfast.cache.events import CacheDataLost, CacheJournalOverflowed, CacheTierChanged
from holdfast.cache.journal import Journal
from holdfast.cache.keys import KeySpace
from holdfast.cache.lifeline import Lifeline, Side, TierState
from holdfast.cache.memory import NEVER, NO_ERA, Memory
from holdfast.cache.port import SharedTier, TierError, Trouble
from holdfast.cache.signing import Signer
from holdfast.cache.space import Space
from holdfast.errors import ConfigurationError

T = TypeVar("T")

_log = logging.getLogger("holdfast")

MOST_NAMESPACES: Final = 1_000
MOST_KEYS: Final = 500
"""Keys in one command."""
MOST_REMEMBERED: Final = 4096
"""Keys whose latest version is remembered: more than can change while one read is under way."""
FIRST: Final = 2**52
"""Minus the time in microseconds, a namespace's first floor. That is below all versions: it does
nothing but be there, to be missed. Of several who give one, the earliest has the highest."""
NEXT_CLEARING: Final = 1 << NODE_BITS
"""Two clearings are at least so far apart: a microsecond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """The options of `ResilientCache` that its parts need; see there."""

    name: str
    prefix: str
    near: bool
    standin_ttl: float
    command_timeout: float
    probe_interval: float
    max_key_length: int


class Engine:
    """The inside of one cache."""

    def __init__(
        self,
        options: EngineOptions,
        make_tier: Callable[[], SharedTier] | None,
        *,
        memory: Memory,
        journal: Journal,
        signer: Signer | None,
        clock: Clock,
        events: EventHub,
        address: str = "",
    ) -> None:
        self.options: Final = options
        self.address: Final = address
        self.clock: Final = clock
        self.events: Final = events
        self.memory: Final = memory
        self.journal: Final = journal
        self.signer: Final = signer
        self.make_tier: Final = make_tier
        self.spaces: Final[dict[str, Space]] = {}
        self.versions: Final = Versions(self._number())
        self.identity = self._identity()
        """What this process calls itself in leases."""
        self.lifeline: Final = Lifeline(
            options.name,
            options.probe_interval,
            clock,
            events,
            self._state_changed,
            shared=make_tier is not None,
        )
        self.era = NEVER if make_tier is not None else 0
        """The era of copies that are hits by themselves; see `holdfast.cache.memory`."""
        self.on_state: list[Callable[[TierState, TierState], None]] = []
        """Called after each change of state, with source and target."""
        self.on_down: list[Callable[[TierError], None]] = []
        """Called when Redis is given up, with what to tell those who wait for it."""
        self.on_bind: list[Callable[[], None]] = []
        """Called when the cache has come to a loop: for what runs there."""
        self.loop: asyncio.AbstractEventLoop | None = None
        self.tier: SharedTier | None = None
        self.channel: Final = f"{KeySpace(options.prefix, '').floor}:notes" if options.near else ""
        self.alarm: asyncio.Event | None = None
        """Set to have the monitor look at once."""
        self._shift = clock.wall() - clock.now()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._latest: dict[str, int] = {}
        self.control: Batcher[Callable[[], Awaitable[Any]], Any] | None = None
        fork.watch(self)

    # -- time and namespaces -------------------------------------------------------------------

    def shared_now(self) -> float:
        """Unix seconds as Redis tells them. Counted monotonically: no local clock jump matters."""
        return self.clock.now() + self._shift

    def monotonic(self, shared: float) -> float:
        """A moment of the shared clock on the local monotonic one."""
        return shared - self._shift

    def set_shared_clock(self, server: float, asked: float, answered: float) -> None:
        """The server's clock said `server` at some moment between these two.

        That leaves a range of shifts, a narrow one if the answer was quick. One that is inside it
        stays: an answer that took long, as in an outage, says too little to move it.
        """
        self._shift = min(max(self._shift, server - answered), server - asked)

    def next_version(self) -> int:
        """A version above all that this process has seen."""
        return self.versions.issue(self.shared_now())

    def space(self, name: str) -> Space:
        """The namespace of this name.

        Raises:
            ConfigurationError: the name cannot be used, or is one too many.
        """
        known = self.spaces.get(name)
        if known is None:
            if len(self.spaces) >= MOST_NAMESPACES:
                raise ConfigurationError(
                    f"namespace {name!r} is one too many: there are {MOST_NAMESPACES} already. "
                    "Name what is cached, such as 'users', and put the user into the key"
                )
            keys = KeySpace(self.options.prefix, name, max_key_length=self.options.max_key_length)
            known = self.spaces.setdefault(name, Space(name, keys))
        return known

    def _after_fork(self) -> None:
        """The child has none of the parent's threads, and must not use its connections."""
        self.loop = None
        self.tier = None
        # Two processes with one number could give two values the same version.
        self.versions.renumber(self._number())
        self.identity = self._identity()

    def _number(self) -> int:
        return int(self.clock.random() * 2**NODE_BITS)

    def _identity(self) -> str:
        return f"{int(self.clock.random() * 2**52):013x}"

    # -- the event loop ------------------------------------------------------------------------

    def attach(self) -> bool:
        """Whether the running loop is the cache's; it becomes that if the cache has none alive."""
        loop = asyncio.get_running_loop()
        if loop is not self.loop:
            if self.loop is not None and not self.loop.is_closed():
                return False
            self._bind(loop)
        return True

    async def carry_over(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the cache's loop and wait for it here.

        Raises:
            CacheError: that loop ended meanwhile.
        """
        assert self.loop is not None
        carried = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return await asyncio.wrap_future(carried)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if carried.cancelled() and task is not None and not task.cancelling():
                raise CacheError("the event loop of the cache has ended") from None
            raise

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.make_tier is not None:
            # Connections belong to a loop. Those of a loop that is gone are gone with it.
            tier = self.make_tier()
            if tier.max_connections < 3:
                raise ConfigurationError(
                    "max_connections must be at least 3: for reads, for writes, and for the probe"
                )
            self.tier = tier
            self.control = Batcher(
                _each, None, lanes=1, most=1, deadline=self.options.command_timeout
            )
        self.loop = loop
        self._tasks.clear()
        self.alarm = asyncio.Event()
        for told in self.on_bind:
            told()

    def spawn(
        self, work: Coroutine[Any, Any, T], context: Context | None = None
    ) -> asyncio.Task[T]:
        """A task that belongs to the cache and ends with it."""
        task = asyncio.get_running_loop().create_task(work, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def end_tasks(self) -> None:
        """Cancel the cache's own tasks and wait until they are over."""
        mine = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not mine]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def aclose(self) -> None:
        """Close the connections and leave the loop; another use begins anew."""
        if self.control is not None:
            await self.control.aclose()
        if self.tier is not None:
            await self.tier.aclose()
        self.loop = None

    # -- commands ------------------------------------------------------------------------------

    async def command(self, side: Side, run: Callable[[], Awaitable[T]]) -> T | TierError:
        """One command on the lane for what is no plain read or write, charged to `side`."""
        assert self.control is not None
        permit = side.permit
        asked = self.control.ask(run)
        answer: T | TierError = await self.within(asked)
        if not isinstance(answer, TierError):
            side.succeeded(permit)
        elif asked.done():
            side.failed(permit, answer)
            self.alert()
        # Else the caller's deadline came first, which is no fault of Redis.
        return answer

    async def within(self, future: asyncio.Future[Any]) -> Any:
        """What the future gives, or a `TierError` when the caller's own deadline comes first."""
        limit = LIMIT.get()
        if limit is None:
            return await future
        left = limit - self.clock.now()
        if left > self.options.command_timeout:
            return await future
        if left > 0:
            await asyncio.wait((future,), timeout=left)
        if future.done():
            return future.result()
        return TierError(Trouble.TIMEOUT, "the caller's deadline has passed")

    def alert(self) -> None:
        """Have the monitor look at once."""
        if self.alarm is not None:
            self.alarm.set()

    # -- floors --------------------------------------------------------------------------------

    def floor_found(self, space: Space, floor: int | None, before: int) -> None:
        """Redis says that the namespace's floor is this; `before` is what it had when asked.

        A floor only ever rises, and nothing removes it: one that is gone or lower says that Redis
        has lost its data. Whoever notices raises it by one, so that all others notice, too: no
        clearing moves it by so little. And whoever has not seen it before gives an empty Redis a
        first floor that is lower, the later it does.
        """
        if before == space.kept:  # else the answer is older than what is known
            now = floor or 0
            gone = now < before
            told = 0 < now - before < NEXT_CLEARING and self.clock.now() > space.settled_at
            if gone or (before and told):
                self._lost(space)
            if gone:
                space.floor = max(space.floor, before) + 1
            self._keeps(space, now)
        if floor is not None and floor > space.floor:
            space.floor = floor
            self.versions.see(floor, self.shared_now())
        if space.kept < max(space.floor, 1) and not space.raising and self.lifeline.writing:
            space.raising = True
            self.spawn(self._raise(space))

    def _keeps(self, space: Space, floor: int) -> None:
        """Redis has this floor."""
        if not space.kept:
            space.settled_at = self.clock.now() + 2 * self.options.command_timeout
        space.kept = floor

    def _lost(self, space: Space) -> None:
        space.lost_until = self.clock.now() + self.options.standin_ttl
        for intent in self.journal.lose(space.name):
            self.memory.drop(intent.key, intent.entry.version)
        _log.warning("cache %r: Redis has lost namespace %r", self.options.name, space.name)
        self.emit(CacheDataLost, namespace=space.name)

    async def _raise(self, space: Space) -> None:
        """Give Redis the floor that it lacks."""
        try:
            await self.raise_floor(space, space.floor or FIRST - int(self.shared_now() * 1e6))
        finally:
            space.raising = False

    async def raise_floor(self, space: Space, version: int) -> int | TierError:
        """Raise the floor in Redis; where it is then."""
        tier = self.tier
        assert tier is not None
        floor = space.keys.floor
        note = b"" if version < FIRST else note_of(version, floor)
        answer = await self.command(
            self.lifeline.writes,
            lambda: tier.raise_floor(floor, version, self.channel, note),
        )
        if not isinstance(answer, TierError):
            space.floor = max(space.floor, answer)
            self._keeps(space, answer)
            self.journal.settle_floor(space.name, answer)
        return answer

    def trusted_from(self, space: Space) -> int:
        """Entries of Redis up to this version count as deleted."""
        owed = self.journal.floors.get(space.name)
        return space.floor if owed is None else max(owed, space.floor)

    # -- entries -------------------------------------------------------------------------------

    def remember(self, full: str, version: int) -> None:
        """There is this version of the key: a copy of an older one may still be on its way here."""
        latest = max(version, self._latest.pop(full, 0))
        self._latest[full] = latest
        if len(self._latest) > MOST_REMEMBERED:
            del self._latest[next(iter(self._latest))]

    def latest(self, full: str) -> int:
        """The latest version of the key that is remembered; 0 if none is."""
        return self._latest.get(full, 0)

    def keep(
        self, space: Space, full: str, entry: Entry, era: int, *, confirmed: bool = True
    ) -> None:
        """Keep a copy in memory of what Redis has or, not `confirmed`, shall have.

        `era` is that in which it was asked for or written; a later one makes it uncertain.
        """
        if entry.version < self.latest(full):
            return
        left = entry.expires - self.shared_now()
        if left > space.longest:
            space.longest = left
        now = self.clock.now()
        self.memory.keep(
            full,
            entry,
            era if era == self.era != NEVER else NO_ERA,
            now + self.options.standin_ttl if confirmed else now,
            self.monotonic(entry.fresh_until),
            self.monotonic(entry.expires),
            now,
        )

    def journal_overflowed(self, namespace: str) -> None:
        """More is owed than the journal can hold, so a whole namespace is owed a clearing."""
        _log.warning("cache %r: the journal is full; see its snapshot", self.options.name)
        self.emit(CacheJournalOverflowed, namespace=namespace)

    def emit(self, kind: type[Event], **parts: Any) -> None:
        """Tell of an event, if anybody listens."""
        if self.events.active:
            self.events.emit(kind(name=self.options.name, at=self.clock.wall(), **parts))

    def _state_changed(
        self, source: TierState, target: TierState, reason: str, seconds: float
    ) -> None:
        self.alert()
        if target is TierState.DOWN:
            # It says nothing about what they asked for, and nothing new about Redis.
            given_up = TierError(Trouble.POOL, f"Redis is down: {reason}")
            for give_up in self.on_down:
                give_up(given_up)
            if self.control is not None:
                self.control.give_up(given_up)
        for told in self.on_state:
            told(source, target)
        down = target is TierState.DOWN
        configuration = down and self.lifeline.reads.trouble is Trouble.CONFIGURATION
        if down:
            level = logging.ERROR if configuration else logging.WARNING
            _log.log(level, "cache %r: Redis is down: %s", self.options.name, reason)
        elif target is TierState.UP:
            _log.info("cache %r: Redis is up again after %.1f s", self.options.name, seconds)
        self.emit(
            CacheTierChanged,
            source=source,
            target=target,
            reason=reason,
            seconds=seconds,
            configuration=configuration,
        )


async def _each(commands: list[Callable[[], Awaitable[Any]]]) -> list[Any]:
    return [await command() for command in commands]


def note_of(version: int, full: str) -> bytes:
    """What is published of a write: the version and the key, never the value."""
    return version.to_bytes(8, "big") + full.encode()


def read_note(note: bytes) -> tuple[int, str] | None:
    """The version and the full key of a note; None if it is none of ours."""
    if len(note) < 9:
        return None
    try:
        return int.from_bytes(note[:8], "big"), note[8:].decode()
    except UnicodeDecodeError:
        return None
