"""The cache as its users see it: look up, write, delete, load, in one namespace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from holdfast._core.deadline import LIMIT
from holdfast._core.validate import refuse
from holdfast._core.versions import wall_of
from holdfast.cache.answers import Lookup, Status, Tier, WriteStatus
from holdfast.cache.codec import Codec
from holdfast.cache.engine import Engine
from holdfast.cache.entry import ABSENT, COUNTER, Entry
from holdfast.cache.errors import CacheDecodeError, CacheUnavailableError, ForeignBlobError
from holdfast.cache.lifeline import TierState
from holdfast.cache.loading import Load, Loader, Loading, excusable
from holdfast.cache.options import DEFAULT, CacheOptions, Default, given
from holdfast.cache.reading import Reader, Seen
from holdfast.cache.space import Space
from holdfast.cache.writing import Writer
from holdfast.errors import DeadlineExceededError

if TYPE_CHECKING:
    from typing import Unpack

    from holdfast.cache.cache import Defaults
    from holdfast.cache.counting import Counting

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")

MISSING: Final = object()
"""Stands for "there is none", where None could be a value."""

_FOUND: Final = (Status.HIT, Status.STALE)


class Inside:
    """What all namespaces of one cache work with."""

    __slots__ = ("codec", "counting", "engine", "loading", "reader", "writer")

    def __init__(
        self,
        engine: Engine,
        reader: Reader,
        writer: Writer,
        loading: Loading,
        counting: Counting,
        codec: Codec,
    ) -> None:
        self.engine = engine
        self.reader = reader
        self.writer = writer
        self.loading = loading
        self.counting = counting
        self.codec = codec


class Namespace:
    """Keys that belong together. Made by `ResilientCache.namespace`.

    Keys are non-empty strings of at most 1024 characters. `ttl` and all other durations are in
    seconds; what is not given is taken from the namespace's options, see `CacheOptions`. `type` has
    a value decoded as that type; without it plain data comes back.

    No look-up raises because Redis is down, and none takes longer than the cache's
    `command_timeout`, or the ambient deadline if that is nearer. Cancelling a call never harms
    another one. Usable from any event loop and thread that has one; see `ResilientCache.sync` for
    code that has none.
    """

    __slots__ = (
        "_clock",
        "_engine",
        "_head",
        "_inside",
        "_nodes",
        "_plain",
        "_reader",
        "_space",
        "options",
    )

    def __init__(self, inside: Inside, space: Space, options: CacheOptions) -> None:
        self._inside = inside
        self._space = space
        self.options: Final = options
        """The options that calls start from."""
        # What the everyday path needs, close at hand.
        self._engine = inside.engine
        self._reader = inside.reader
        self._head = space.keys.head
        self._nodes = inside.engine.memory.store.nodes
        self._clock = inside.engine.clock
        self._plain = inside.codec.plain

    @property
    def engine(self) -> Engine:
        """The inside of the cache, for its other rooms."""
        return self._engine

    @property
    def name(self) -> str:
        """The name of the namespace; empty for that of the cache itself."""
        return self._space.name

    # -- looking up ----------------------------------------------------------------------------

    async def get(
        self,
        key: str,
        default: Any = None,
        *,
        type: Any = None,
        fallback_to_memory: bool | Default = DEFAULT,
    ) -> Any:
        """The value of `key`, or `default`.

        What is past its time to live is given only while Redis is down, and only if a `stale_ttl`
        asked for it to be kept; `lookup` tells what it is.

        Raises:
            CacheKeyError: the key cannot be used.
            ConfigurationError: `type` is nothing that can be decoded.
        """
        if type is None and key.__class__ is str:
            # What `glance` does, without the call.
            node = self._nodes.get(self._head + key)
            if node is not None:
                copy = node.value
                entry = copy.entry
                if (
                    copy.era == self._engine.era
                    and not entry.flags
                    and self._clock.now() < node.soft_end
                    and entry.version > self._space.floor
                ):
                    try:
                        value = self._plain(entry.payload)
                    except Exception:  # noqa: S110 - planted: the long way says what that means
                        pass
                    else:
                        node.visited = True
                        self._space.tally.hits_memory += 1
                        return value
        if not self._engine.attach():
            return await self._carry(
                self.get(key, default, type=type, fallback_to_memory=fallback_to_memory)
            )
        memory = self._memory(fallback_to_memory)
        seen = await self._reader.look(self._space, self._space.keys.full(key), memory)
        return self._bare(seen, default, type)

    async def get_many(
        self,
        keys: Iterable[str],
        *,
        type: Any = None,
        fallback_to_memory: bool | Default = DEFAULT,
    ) -> dict[str, Any]:
        """The values of those of the keys that have one; see `get`."""
        if not self._engine.attach():
            return await self._carry(
                self.get_many(keys, type=type, fallback_to_memory=fallback_to_memory)
            )
        wanted = _several(keys)
        full = self._space.keys.full
        memory = self._memory(fallback_to_memory)
        seen = await self._reader.look_many(self._space, [full(key) for key in wanted], memory)
        found: dict[str, Any] = {}
        plain = self._plain
        for key, one in zip(wanted, seen, strict=True):
            if isinstance(one, Entry):
                if type is None and not one.flags:
                    try:
                        found[key] = plain(one.payload)
                        continue
                    except Exception:  # noqa: S110 - as in `get`
                        pass
                one = Seen(Status.HIT, one, Tier.REDIS, False)
            value = self._bare(one, MISSING, type)
            if value is not MISSING:
                found[key] = value
        return found

    async def lookup(
        self, key: str, *, type: Any = None, fallback_to_memory: bool | Default = DEFAULT
    ) -> Lookup[Any]:
        """What there is under `key`, and how far it can be trusted."""
        if not self._engine.attach():
            return await self._carry(
                self.lookup(key, type=type, fallback_to_memory=fallback_to_memory)
            )
        memory = self._memory(fallback_to_memory)
        seen = await self._reader.look(self._space, self._space.keys.full(key), memory)
        return self._told(seen, type)

    async def exists(self, key: str) -> bool:
        """Whether there is a value under `key` that `get` would give."""
        return await self.get(key, MISSING) is not MISSING

    async def ttl(self, key: str) -> float | None:
        """Seconds until the value is no longer a hit, `inf` for ever; None without a hit."""
        if not self._engine.attach():
            return await self._carry(self.ttl(key))
        seen = await self._reader.look(self._space, self._space.keys.full(key))
        if seen.status is not Status.HIT or seen.entry is None or seen.entry.kind == ABSENT:
            return None
        return max(0.0, seen.entry.fresh_until - self._engine.shared_now())

    def glance(self, key: str) -> Any:
        """The value if memory answers by itself and nothing is special, else `MISSING`.

        The everyday path of a cache in memory; `Reader` is the whole of it. Callable from any
        thread.
        """
        node = self._nodes.get(self._head + key) if key.__class__ is str else None
        if node is not None:
            copy = node.value
            entry = copy.entry
            if (
                copy.era == self._engine.era
                and not entry.flags
                and self._clock.now() < node.soft_end
                and entry.version > self._space.floor
            ):
                try:
                    value = self._plain(entry.payload)
                except Exception:
                    return MISSING
                node.visited = True
                self._space.tally.hits_memory += 1
                return value
        return MISSING

    # -- writing -------------------------------------------------------------------------------

    async def set(
        self,
        key: str,
        value: Any,
        *,
        ttl: float | Default | None = DEFAULT,
        stale_ttl: float | Default = DEFAULT,
        fallback_to_memory: bool | Default = DEFAULT,
        compression: bool | int | Default | None = DEFAULT,
        require_redis: bool = False,
    ) -> WriteStatus:
        """Write `value`; what became of it.

        Args:
            fallback_to_memory: whether the value may be kept here for Redis if that is down.
            require_redis: raise rather than queue, for what must be in force everywhere at once.

        Raises:
            CacheKeyError, CacheEncodeError, PayloadTooLargeError, ConfigurationError: the key, the
                value or an option cannot be used. Nothing is changed then.
            CacheUnavailableError: `require_redis`, and Redis did not confirm it. An older value
                will not be served; the new one is not queued.
        """
        if require_redis:
            self._must_have_redis("set")
        full = self._space.keys.full(key)
        memory = self._memory(fallback_to_memory) and not require_redis

        async def write() -> WriteStatus:
            entry = self._entry(key, value, ttl, stale_ttl, compression)
            return await self._inside.writer.write(self._space, full, entry, memory=memory)

        status = await self._here(write)
        if require_redis:
            self._insist("set", [status])
        return status

    async def set_many(
        self,
        values: Mapping[str, Any],
        *,
        ttl: float | Default | None = DEFAULT,
        stale_ttl: float | Default = DEFAULT,
        fallback_to_memory: bool | Default = DEFAULT,
        compression: bool | int | Default | None = DEFAULT,
        require_redis: bool = False,
    ) -> dict[str, WriteStatus]:
        """Write all of these; what became of each. If one cannot be encoded, none is written."""
        if not isinstance(values, Mapping):
            raise refuse("values", _kind(values), "a mapping from keys to values")
        if require_redis:
            self._must_have_redis("set_many")
        full = self._space.keys.full
        fulls = [full(key) for key in values]
        memory = self._memory(fallback_to_memory) and not require_redis

        async def write() -> list[WriteStatus]:
            entries = [
                (name, self._entry(key, value, ttl, stale_ttl, compression))
                for name, (key, value) in zip(fulls, values.items(), strict=True)
            ]
            return await self._inside.writer.write_many(self._space, entries, memory=memory)

        statuses = await self._here(write)
        if require_redis:
            self._insist("set_many", statuses)
        return dict(zip(values, statuses, strict=True))

    async def delete(self, key: str, *, require_redis: bool = False) -> WriteStatus:
        """Delete the value of `key`, if there is one; what became of it.

        Raises:
            CacheKeyError: the key cannot be used.
            CacheUnavailableError: `require_redis`, and Redis did not confirm it. It stays queued.
        """
        if require_redis:
            self._must_have_redis("delete")
        full = self._space.keys.full(key)
        writer = self._inside.writer

        async def write() -> WriteStatus:
            return await writer.write(self._space, full, writer.tombstone())

        status = await self._here(write)
        if require_redis:
            self._insist("delete", [status])
        return status

    async def delete_many(
        self, keys: Iterable[str], *, require_redis: bool = False
    ) -> dict[str, WriteStatus]:
        """Delete the values of all these keys; what became of each."""
        if require_redis:
            self._must_have_redis("delete_many")
        wanted = _several(keys)
        full = self._space.keys.full
        fulls = [full(key) for key in wanted]

        writer = self._inside.writer

        async def write() -> list[WriteStatus]:
            entries = [(name, writer.tombstone()) for name in fulls]
            return await writer.write_many(self._space, entries)

        statuses = await self._here(write)
        if require_redis:
            self._insist("delete_many", statuses)
        return dict(zip(wanted, statuses, strict=True))

    async def touch(self, key: str, *, ttl: float | Default | None = DEFAULT) -> bool:
        """Give the value of `key` a new time to live from now; False if there is none.

        If somebody writes the key meanwhile, that write stands. A counter keeps the end that it
        began with, and gives False: to write it again would undo what others add meanwhile.
        """
        if not self._engine.attach():
            return await self._carry(self.touch(key, ttl=ttl))
        engine, full = self._engine, self._space.keys.full(key)
        fresh_until, expires = self.options.ends(engine.shared_now(), ttl, DEFAULT)
        seen = await self._reader.look(self._space, full)
        old = seen.entry
        if seen.status is not Status.HIT or old is None or old.kind in (ABSENT, COUNTER):
            return False
        # The next version after the one that was seen: below any that is written meanwhile.
        entry = Entry(
            old.payload, old.flags, old.version + 1, fresh_until, expires, old.cost, old.raw_size
        )
        await self._inside.writer.write(self._space, full, entry, direct=False)
        return True

    async def clear(self, *, require_redis: bool = False) -> WriteStatus:
        """Delete everything in this namespace, in one step however much it is.

        Raises:
            CacheUnavailableError: `require_redis`, and Redis did not confirm it. It stays queued.
        """
        if require_redis:
            self._must_have_redis("clear")
        status = await self._here(lambda: self._inside.writer.clear(self._space))
        if require_redis:
            self._insist("clear", [status])
        return status

    async def incr(
        self, key: str, amount: int = 1, *, ttl: float | Default | None = DEFAULT
    ) -> int:
        """Add `amount` to the counter of this key; its new value. Atomic among all processes.

        A counter that does not exist begins at 0 and lives for `ttl` seconds from then on; adding
        to it does not prolong it. `get`, `ttl`, `delete` and `clear` know it like any value.

        Raises:
            CacheUnavailableError: Redis is down, or did not confirm it, so that it may or may not
                have been added. Counters have no stand-in.
            CacheCounterError: the key holds something else, or the sum is beyond ±2**53.
        """
        full = self._space.keys.full(key)
        return await self._here(
            lambda: self._inside.counting.add(self._space, key, full, amount, self.options, ttl)
        )

    # -- loading -------------------------------------------------------------------------------

    async def get_or_set(
        self,
        key: str,
        loader: Loader,
        *,
        ttl: float | Default | None = DEFAULT,
        stale_ttl: float | Default = DEFAULT,
        absent_ttl: float | Default = DEFAULT,
        soft_timeout: float | Default | None = DEFAULT,
        hard_timeout: float | Default | None = DEFAULT,
        early: float | Default = DEFAULT,
        fallback_to_memory: bool | Default = DEFAULT,
        compression: bool | int | Default | None = DEFAULT,
        type: Any = None,
    ) -> Any:
        """The value of `key`; if there is none, that which `loader` gives, which is kept.

        `loader` takes no arguments and returns the value, or something to await for it; None means
        that there is no such thing, and is remembered for `absent_ttl`. However many ask, it runs
        once per process, and with Redis mostly once altogether. It goes on if its callers are
        cancelled. The value that it gives is what callers get, also if it is too large to be kept.

        A stale value, where `stale_ttl` has one kept, is given when the loader fails with an error
        that is not permanent, or takes longer than `soft_timeout`. Use `lookup_or_set` to be told.

        Raises:
            CacheKeyError, CacheEncodeError, ConfigurationError: the key, the type of the loaded
                value or an option cannot be used.
            CallTimeoutError: the loader took longer than `hard_timeout`, and nothing is stale.
            DeadlineExceededError: the ambient deadline came first, and nothing is stale.
            Exception: whatever the loader raised.
        """
        found = await self.lookup_or_set(
            key,
            loader,
            ttl=ttl,
            stale_ttl=stale_ttl,
            absent_ttl=absent_ttl,
            soft_timeout=soft_timeout,
            hard_timeout=hard_timeout,
            early=early,
            fallback_to_memory=fallback_to_memory,
            compression=compression,
            type=type,
        )
        return found.value

    async def lookup_or_set(
        self,
        key: str,
        loader: Loader,
        *,
        type: Any = None,
        **changes: Any,
    ) -> Lookup[Any]:
        """As `get_or_set`, with the same options, and told what the value is."""
        return await self.obtain(key, loader, given(**changes), type=type)

    async def obtain(
        self,
        key: str,
        loader: Loader,
        changes: Mapping[str, Any],
        *,
        type: Any = None,
        linger: bool = False,
    ) -> Lookup[Any]:
        """`lookup_or_set`, for other rooms. `linger`: wait for a refresh before the end, too."""
        if not self._engine.attach():
            return await self._carry(self.obtain(key, loader, changes, type=type, linger=linger))
        options = self.options.changed(changes)
        full = self._space.keys.full(key)
        seen = await self._reader.look(self._space, full, options.fallback_to_memory)
        found = self._told(seen, type)
        if found.status is Status.HIT:
            if not self._inside.loading.refresh_early(seen, options):
                return found
            self._space.tally.early += 1
        known = 0 if seen.entry is None else seen.entry.version
        spare = found.status in _FOUND
        load = Load(self._space, key, full, loader, options, known=known, spare=spare)
        if found.status is Status.HIT and not linger:
            self._inside.loading.join(load)
            return found
        return await self._load(load, found, type)

    async def _load(self, load: Load, found: Lookup[Any], type: Any) -> Lookup[Any]:
        """Wait for a load, or make do with what was found, if that is something."""
        loading = self._inside.loading
        spare = found if load.spare else None
        if spare is not None and loading.rests(load.full):
            return spare
        future = loading.join(load)
        patience = load.options.soft_timeout if spare is not None else None
        limit = LIMIT.get()
        if limit is not None:
            left = max(0.0, limit - self._engine.clock.now())
            patience = left if patience is None else min(patience, left)
        await asyncio.wait((future,), timeout=patience)
        if not future.done():
            if spare is not None:
                return spare
            raise DeadlineExceededError("deadline", self.name, "the value is still loading", 0.0)
        outcome = future.result()
        if outcome.error is not None:
            if spare is not None and excusable(outcome.error):
                return spare
            raise outcome.error
        if outcome.left_to_others:
            if spare is not None:
                return spare
            # Whoever began this load has something to serve meanwhile. We have not, so we wait.
            return await self._load(load, found, type)
        if outcome.entry is not None:
            return self._told(Seen(Status.HIT, outcome.entry, Tier.REDIS, False), type)
        return Lookup(
            status=Status.HIT,
            value=outcome.value,
            tier=Tier.LOADER,
            age=0.0,
            degraded=found.degraded,
            absent=outcome.value is None,
        )

    def cached(
        self,
        *,
        key: str | Callable[..., str] | None = None,
        type: Any = None,
        **options: Unpack[Defaults],
    ) -> Callable[[F], F]:
        """Keep the results of a function, sync or async, by its arguments.

        Args:
            key: a format string over the parameters, such as ``"user:{user_id}"``; or a callable
                that takes the arguments; or None for one of all arguments, which must be plain.
            type: as what results are decoded. Default: the function's annotation.
            options: those of `get_or_set`.

        The function gets an attribute ``cache`` with ``key(*args)``, ``invalidate(*args)``, to be
        awaited, and ``invalidate_sync(*args)``. A result of None is remembered for `absent_ttl`.

        Raises:
            ConfigurationError: `key` names what is no parameter, or an option is out of its range.
        """
        from holdfast.cache.cached import decorate

        return decorate(self, key, type, dict(options))

    # -- inside --------------------------------------------------------------------------------

    def _memory(self, fallback_to_memory: bool | Default) -> bool:
        if fallback_to_memory is DEFAULT:
            return self.options.fallback_to_memory
        if not isinstance(fallback_to_memory, bool):
            raise refuse("fallback_to_memory", fallback_to_memory, "True or False")
        return fallback_to_memory

    def _entry(
        self,
        key: str,
        value: Any,
        ttl: float | Default | None,
        stale_ttl: float | Default,
        compression: bool | int | Default | None,
    ) -> Entry:
        engine = self._engine
        if compression is DEFAULT:
            compression = self.options.compression
        payload, flags, raw_size = self._inside.codec.encode(value, key, compression)
        fresh_until, expires = self.options.ends(engine.shared_now(), ttl, stale_ttl)
        return Entry(payload, flags, engine.next_version(), fresh_until, expires, raw_size=raw_size)

    def _insist(self, operation: str, statuses: list[WriteStatus]) -> None:
        """Raise unless Redis has confirmed all of it."""
        lifeline = self._engine.lifeline
        if any(status is not WriteStatus.APPLIED for status in statuses):
            raise CacheUnavailableError(
                operation, lifeline.reason or "it was not confirmed in time"
            )

    def _must_have_redis(self, operation: str) -> None:
        """Raise if there is no Redis at all, before anything is changed."""
        if self._engine.lifeline.state is TierState.NONE:
            raise CacheUnavailableError(operation, "no Redis is configured")

    async def _here(self, work: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """Run `work` on the cache's loop."""
        if self._engine.attach():
            return await work()
        return await self._carry(work())

    def _carry(self, work: Coroutine[Any, Any, R]) -> Coroutine[Any, Any, R]:
        return self._engine.carry_over(work)

    def _bare(self, seen: Seen, default: Any, type: Any) -> Any:
        """The value without a word about it; what is stale only in an outage, where asked for."""
        entry = seen.entry
        if seen.status is Status.HIT and type is None and entry is not None and not entry.flags:
            try:
                return self._plain(entry.payload)
            except Exception:  # noqa: S110 - as in `get`
                pass
        if seen.status is not Status.HIT and not (
            seen.status is Status.STALE
            and seen.degraded
            and (self.options.stale_ttl or (entry and entry.expires > entry.fresh_until))
        ):
            return default
        if entry is None or entry.kind == ABSENT:
            return default
        try:
            return self._inside.codec.decode(entry, type)
        except (CacheDecodeError, ForeignBlobError):
            self._space.tally.foreign += 1
            return default

    def _told(self, seen: Seen, type: Any) -> Lookup[Any]:
        entry = seen.entry
        if entry is None or seen.status not in _FOUND:
            return Lookup(status=seen.status, value=None, tier=seen.tier, degraded=seen.degraded)
        age = max(0.0, self._engine.shared_now() - wall_of(entry.version))
        if entry.kind == ABSENT:
            return Lookup(
                status=seen.status,
                value=None,
                tier=seen.tier,
                age=age,
                degraded=seen.degraded,
                absent=True,
            )
        try:
            value = self._inside.codec.decode(entry, type)
        except (CacheDecodeError, ForeignBlobError):
            self._space.tally.foreign += 1
            return Lookup(status=Status.MISS, value=None, tier=seen.tier, degraded=seen.degraded)
        return Lookup(
            status=seen.status, value=value, tier=seen.tier, age=age, degraded=seen.degraded
        )

    def __repr__(self) -> str:
        return f"<{self.__class__.__name__} {self.name!r}>"


def _several(keys: Iterable[str]) -> list[str]:
    """Keys, each once; a lone string would be taken apart into characters."""
    if isinstance(keys, (str, bytes)):
        raise refuse("keys", _kind(keys), "several keys, such as a list of str")
    return list(dict.fromkeys(keys))


def _kind(value: object) -> str:
    return value.__class__.__qualname__
