"""ResilientCache: Redis first, memory behind it, nothing lost in between."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self, TypedDict

from holdfast._core.clock import AMBIENT, Clock
from holdfast._core.hub import EVENTS, EventHub
from holdfast._core.validate import count, number, refuse, text
from holdfast.cache.backplane import Backplane
from holdfast.cache.codec import MAX_PAYLOAD, Codec
from holdfast.cache.counting import Counting
from holdfast.cache.engine import Engine, EngineOptions
from holdfast.cache.journal import Journal
from holdfast.cache.lifeline import TierState
from holdfast.cache.loading import Loading
from holdfast.cache.memory import Memory
from holdfast.cache.monitor import Monitor
from holdfast.cache.namespace import Inside, Namespace
from holdfast.cache.options import CacheOptions
from holdfast.cache.port import SharedTier
from holdfast.cache.reading import Reader
from holdfast.cache.signing import Signer
from holdfast.cache.writing import Writer
from holdfast.errors import ConfigurationError
from holdfast.settings import Secret

if TYPE_CHECKING:
    from typing import Unpack

    from holdfast.cache.snapshots import CacheSnapshot
    from holdfast.cache.sync import SyncCache


_log = logging.getLogger("holdfast")

MEBIBYTE: Final = 1 << 20
LAST_WORDS: Final = 1.0
"""Seconds that closing gives what is still owed to Redis."""


class Defaults(TypedDict, total=False):
    """The options of `CacheOptions`."""

    ttl: float | None
    stale_ttl: float
    absent_ttl: float
    soft_timeout: float | None
    hard_timeout: float | None
    early: float
    fallback_to_memory: bool
    compression: bool | int | None


class ResilientCache(Namespace):
    """A cache that stays up, bounded and truthful when Redis is not.

    Args:
        redis: where Redis is: ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://`` or
            ``redis+cluster://``, see `Settings`. Default None: a cache in memory. Nothing is
            connected before the first use, and never does a missing Redis raise.
        tier: makes another shared tier, for tests, in place of `redis`.
        name: for logs, events and metrics. Default ``"cache"``.
        prefix: what all keys in Redis begin with; caches with the same prefix and server share what
            is in them. Default ``"holdfast"``.
        mode: ``"standby"``, the default: Redis answers, memory stands in. ``"near"``: memory
            answers first, and hears of what other processes write.
        memory_bytes: the most that copies in memory take, at least 64 KiB. Default 64 MiB.
        stale_bytes: of this, the most for copies past their time to live. Default half.
        journal_bytes: the most for what is owed to Redis, at least 64 KiB. Default 8 MiB.
        journal_keys: the most keys that are owed one by one, at least 1. Default 10,000.
        standin_ttl: seconds after its last confirmation by Redis for which a copy counts as a hit
            while Redis is down, above 0. Default 30.
        command_timeout: seconds that Redis may take for a command, above 0. No call waits longer
            for Redis. Default 0.25.
        probe_interval: seconds between probes, above 0. Default 1.
        max_connections: to Redis, at least 3. Default 4, which is plenty: see `Batcher`.
        max_key_length: the most characters of a key. Default 1024.
        max_payload: the most bytes of an encoded value. Default 1 MiB.
        encoding: ``"msgpack"``, ``"json"`` or, with a signer, ``"pickle"``. Default msgpack.
        signer: signs what goes to Redis and refuses what was not signed. Default none.
        clock, events: for tests, and for `Resilience`.
        defaults: options of `CacheOptions`, such as `ttl` (300) and `stale_ttl` (0).

    Raises:
        ConfigurationError: an option is out of its range, or something is not installed.

    ``async with`` starts the watch over Redis at once and ends it; otherwise the first use starts
    it, and `aclose` ends it.
    """

    __slots__ = ("_backplane", "_monitor", "_sync", "_writer", "mode")

    def __init__(
        self,
        redis: str | Secret | None = None,
        *,
        tier: Callable[[], SharedTier] | None = None,
        name: str = "cache",
        prefix: str = "holdfast",
        mode: Literal["standby", "near"] = "standby",
        memory_bytes: int = 64 * MEBIBYTE,
        stale_bytes: int | None = None,
        journal_bytes: int = 8 * MEBIBYTE,
        journal_keys: int = 10_000,
        standin_ttl: float = 30.0,
        command_timeout: float = 0.25,
        probe_interval: float = 1.0,
        max_connections: int = 4,
        max_key_length: int = 1024,
        max_payload: int = MAX_PAYLOAD,
        encoding: str = "msgpack",
        signer: Signer | None = None,
        clock: Clock | None = None,
        events: EventHub | None = None,
        **defaults: Unpack[Defaults],
    ) -> None:
        if redis is not None and tier is not None:
            raise ConfigurationError("give either redis or tier, not both")
        if mode not in ("standby", "near"):
            raise refuse("mode", mode, "'standby' or 'near'")
        count("max_connections", max_connections, at_least=3, at_most=1000)
        count("memory_bytes", memory_bytes, at_least=MEBIBYTE // 16)
        stale = memory_bytes // 2 if stale_bytes is None else stale_bytes
        count("stale_bytes", stale, at_least=0, at_most=memory_bytes)
        count("journal_bytes", journal_bytes, at_least=MEBIBYTE // 16)
        options = EngineOptions(
            name=text("name", name),
            prefix=prefix,
            near=mode == "near",
            standin_ttl=number("standin_ttl", standin_ttl, above=0),
            command_timeout=number("command_timeout", command_timeout, above=0),
            probe_interval=number("probe_interval", probe_interval, above=0),
            max_key_length=count("max_key_length", max_key_length),
        )
        address = ""
        if redis is not None:
            tier, address = _redis(redis, max_connections)
        codec = Codec(encoding=encoding, max_payload=max_payload, signer=signer)
        engine = Engine(
            options,
            tier,
            memory=Memory(memory_bytes, stale),
            journal=Journal(journal_bytes, count("journal_keys", journal_keys)),
            signer=signer,
            clock=AMBIENT if clock is None else clock,
            events=EVENTS if events is None else events,
            address=address,
        )
        self.mode: Final = mode if tier is not None else "memory"
        self._writer = Writer(engine)
        reader = Reader(engine, self._writer)
        loading = Loading(engine, reader, self._writer, codec)
        self._monitor = Monitor(engine, self._writer)
        self._backplane = Backplane(engine) if self.mode == "near" else None
        self._sync: SyncCache | None = None
        counting = Counting(engine, self._writer)
        inside = Inside(engine, reader, self._writer, loading, counting, codec)
        super().__init__(inside, engine.space(""), CacheOptions(**defaults))
        if tier is None:
            _log.warning("cache %r: no Redis is configured; it lives in memory only", name)

    def namespace(self, name: str, **defaults: Unpack[Defaults]) -> Namespace:
        """The namespace of this name, with this cache's defaults but for those given.

        Raises:
            ConfigurationError: the name is empty, unusable or one too many (there can be 1,000), or
                an option is out of its range.
        """
        space = self._inside.engine.space(text("name", name))
        return Namespace(self._inside, space, self.options.changed(dict(defaults)))

    @property
    def sync(self) -> SyncCache:
        """The same cache for code without an event loop."""
        if self._sync is None:
            from holdfast.cache.sync import SyncCache

            self._sync = SyncCache(self)
        return self._sync

    @property
    def state(self) -> TierState:
        """What Redis is used for at this moment; `snapshot` says more."""
        return self._inside.engine.lifeline.state

    def snapshot(self) -> CacheSnapshot:
        """The cache at this moment. Callable from any thread."""
        from holdfast.cache.looking_in import snapshot

        return snapshot(self)

    async def aclose(self) -> None:
        """Tell Redis what is still owed, for a second at most, and end everything.

        What could not be told by then is lost, and a log line says how much that is. Closing twice
        is fine, and a later use opens the cache again.
        """
        engine = self._inside.engine
        if engine.loop is None or engine.loop.is_closed():
            return
        if not engine.attach():
            from holdfast.cache.sync import release

            loop = engine.loop
            await engine.carry_over(self.aclose())
            release(loop)
            return
        if engine.lifeline.state is not TierState.NONE:
            lost = await self._monitor.last_words(LAST_WORDS)
            if lost:
                _log.warning(
                    "cache %r: closed with %d writes that Redis was never told of",
                    engine.options.name,
                    lost,
                )
        await engine.end_tasks()
        await self._reader.aclose()
        await self._writer.aclose()
        await engine.aclose()

    async def __aenter__(self) -> Self:
        self._inside.engine.attach()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<ResilientCache {self._inside.engine.options.name!r} {self.mode}>"


def _redis(redis: str | Secret, max_connections: int) -> tuple[Callable[[], SharedTier], str]:
    """What makes the tier for this URL, which is checked now; and where that is, for people."""
    if not isinstance(redis, (str, Secret)):
        raise ConfigurationError("redis must be a URL, as a str or a Secret")
    from holdfast.cache.redis import RedisTier

    url = redis if isinstance(redis, Secret) else Secret(redis)

    def make() -> SharedTier:
        return RedisTier.from_url(url, max_connections=max_connections)

    return make, make().address
