"""The container: one object that a program makes at its start and hands to whoever needs it.

It gathers what would otherwise be globals: the settings, the event hub, the services, and the
pipelines that are worth a name. In return one `snapshot()` shows them all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from holdfast._core.clock import AMBIENT, Clock
from holdfast._core.hub import EVENTS, EventHub
from holdfast._core.snapshots import (
    BulkheadSnapshot,
    CircuitSnapshot,
    FallbackSnapshot,
    RetrySnapshot,
    TimeoutSnapshot,
)
from holdfast._registry import Registry
from holdfast.errors import ConfigurationError
from holdfast.keyed import Keyed, KeyedSnapshot
from holdfast.policies.base import Policy
from holdfast.policies.pipeline import Pipeline
from holdfast.retry_service import RetryService
from holdfast.service_statistics import ServiceStatistics
from holdfast.settings import Settings

if TYPE_CHECKING:
    from holdfast.cache import ResilientCache
    from holdfast.cache.snapshots import CacheSnapshot
    from holdfast.degradation import GracefulDegradation, LastGood
    from holdfast.degradation.service import DegradationSnapshot
    from holdfast.health import HealthMonitor
    from holdfast.health.snapshots import HealthSnapshot

_log = logging.getLogger("holdfast")

S = TypeVar("S")
PolicyT = TypeVar("PolicyT", bound=Policy)

KNOWN: Final = (
    RetrySnapshot,
    CircuitSnapshot,
    BulkheadSnapshot,
    TimeoutSnapshot,
    FallbackSnapshot,
)
MOST_NAMES: Final = 1_000
"""Pipelines, and families of keyed pipelines, that a container takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResilienceSnapshot:
    """Everything a container knows, at one moment (`at`, in Unix seconds).

    The policies stand by kind, those of pipelines first. `others` are the snapshots of policies
    that Holdfast does not know. Keyed pipelines are counted, not listed: there may be many. `cache`
    and `degradation` are None while nobody has used them.
    """

    at: float
    retries: tuple[RetrySnapshot, ...]
    breakers: tuple[CircuitSnapshot, ...]
    bulkheads: tuple[BulkheadSnapshot, ...]
    timeouts: tuple[TimeoutSnapshot, ...]
    fallbacks: tuple[FallbackSnapshot, ...]
    others: tuple[Any, ...]
    keyed: tuple[KeyedSnapshot, ...]
    statistics: tuple[ServiceStatistics, ...]
    cache: CacheSnapshot | None
    degradation: DegradationSnapshot | None
    health: HealthSnapshot


class Resilience:
    """The services and the named pipelines of one program, for dependency injection.

    Args:
        settings: default `Settings()`, whatever the environment says; see `from_env`.
        clock: for tests.
        events: the hub that policies of this container emit to. Default: one of its own, whose
            events also reach the listeners of the whole process.
        cache: the cache to use. Default: one made from the settings when it is first asked for. It
            is closed with the container either way.

    Attributes:
        settings: as given.
        events: the hub; subscribe here to hear of this container only.
        retry: the `RetryService`.
        cache: the `ResilientCache`.
        degradation: the `GracefulDegradation`, which keeps last good responses in the cache.
        health: the `HealthMonitor`. It watches the pipelines and what `retry` protects.

    Raises:
        ConfigurationError: (from `pipeline` and `keyed`) a name is used for something else, or is
            one too many, or the container is closed.

    Usable at once; nothing is connected before it is needed. ``async with`` also starts the watch
    over Redis and the heartbeat of the health monitor. ``with`` and ``async with`` close all of it
    at the end, and may open it again. Thread safe.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        clock: Clock | None = None,
        events: EventHub | None = None,
        cache: ResilientCache | None = None,
    ) -> None:
        self.settings: Final = Settings() if settings is None else settings
        self.events: Final = EventHub(EVENTS) if events is None else events
        self._clock = AMBIENT if clock is None else clock
        self.retry: Final = RetryService(
            self.settings, clock=self._clock, events=self.events, watcher=_Lookout(self)
        )
        self._cache = cache
        self._degradation: GracefulDegradation | None = None
        self._health: HealthMonitor | None = None
        self._making = RLock()
        self._pipelines: Registry[Pipeline] = Registry("pipeline", MOST_NAMES)
        self._keyed: Registry[Keyed[Any]] = Registry("keyed", MOST_NAMES)
        self._closed = False

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Resilience:
        """A container with the settings of `environ`, by default the process's environment.

        Raises:
            ConfigurationError: one or more variables cannot be used; all of them are named.
        """
        return cls(Settings.from_env(environ))

    def pipeline(self, name: str, *policies: Policy) -> Pipeline:
        """Make the pipeline of this name, or, without policies, find it.

        Its policies emit to this container's hub, unless they were given one of their own.
        """
        if not policies:
            return self._pipelines.find(name)
        self._refuse_if_closed()

        def make() -> Pipeline:
            pipeline = self._join(Pipeline(name, *policies))
            _watch(self.health, pipeline)
            return pipeline

        return self._pipelines.get(name, policies, make)

    def keyed(
        self,
        name: str,
        factory: Callable[[str], PolicyT] | None = None,
        *,
        max_keys: int = 10_000,
        idle: float = 300.0,
    ) -> Keyed[PolicyT]:
        """Make the `Keyed` of this name, or, without a factory, find it.

        Its policies emit to this container's hub, unless they were given one of their own.
        """
        if factory is None:
            return self._keyed.find(name)
        self._refuse_if_closed()
        make_one = factory

        def make() -> Keyed[PolicyT]:
            return Keyed(
                name,
                lambda key: self._join(make_one(key)),
                max_keys=max_keys,
                idle=idle,
                clock=self._clock,
            )

        return self._keyed.get(name, (factory, max_keys, idle), make)

    def snapshot(self) -> ResilienceSnapshot:
        """Everything at this moment, without the settings: there may be secrets in them."""
        pipelines = self._pipelines.all()
        policies = [part for pipeline in pipelines for part in pipeline.policies]
        policies += self.retry.policies()
        # A policy that several pipelines share is one policy.
        shots = [policy.snapshot() for policy in dict.fromkeys(policies)]
        return ResilienceSnapshot(
            at=self._clock.wall(),
            retries=_only(RetrySnapshot, shots),
            breakers=_only(CircuitSnapshot, shots),
            bulkheads=_only(BulkheadSnapshot, shots),
            timeouts=_only(TimeoutSnapshot, shots),
            fallbacks=_only(FallbackSnapshot, shots),
            others=tuple(shot for shot in shots if not isinstance(shot, KNOWN)),
            keyed=tuple(keyed.snapshot() for keyed in self._keyed.all()),
            statistics=self.retry.statistics(),
            cache=None if self._cache is None else self._cache.snapshot(),
            degradation=None if self._degradation is None else self._degradation.snapshot(),
            health=self.health.snapshot(),
        )

    # -- services that are made when first used ------------------------------------------------

    @property
    def cache(self) -> ResilientCache:
        """The cache, on the Redis of the settings if they name one.

        Raises:
            ConfigurationError: what it needs is not installed: `holdfast[cache]`, or
                `holdfast[redis]` with Redis.
        """
        with self._making:
            if self._cache is None:
                from holdfast.cache import ResilientCache

                self._cache = ResilientCache(
                    self.settings.redis_dsn(), clock=self._clock, events=self.events
                )
            return self._cache

    @property
    def degradation(self) -> GracefulDegradation:
        """Fallback chains, last good responses, partial answers, features."""
        with self._making:
            if self._degradation is None:
                from holdfast.degradation import GracefulDegradation

                self._degradation = GracefulDegradation(
                    self._last_good(),
                    clock=self._clock,
                    events=self.events,
                    watcher=_Lookout(self),
                )
            return self._degradation

    @property
    def health(self) -> HealthMonitor:
        """The health of the services that are called, and of the program."""
        with self._making:
            if self._health is None:
                from holdfast.health import HealthMonitor

                self._health = HealthMonitor(clock=self._clock, events=self.events)
            return self._health

    def _last_good(self) -> LastGood | None:
        """Where last good responses are kept: in the cache, if it can be had."""
        try:
            cache = self.cache
        except ConfigurationError:
            if self.settings.redis_dsn() is not None:
                raise
            return None  # nothing is installed, and memory was meant anyway
        from holdfast.cache.last_good import CacheLastGood

        return CacheLastGood(cache)

    # -- the lifespan --------------------------------------------------------------------------

    def close(self) -> None:
        """Take no more pipelines, and close the cache. Closing twice is fine.

        What else exists goes on working. In a coroutine write ``await aclose()``.
        """
        self._closed = True
        if self._cache is not None:
            self._cache.sync.close()

    async def aclose(self) -> None:
        """As `close`, after what is still being stored is; for coroutines."""
        self._closed = True
        if self._degradation is not None:
            await self._degradation.aclose()
        if self._cache is not None:
            await self._cache.aclose()

    def __enter__(self) -> Self:
        self._closed = False
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        self._closed = False
        await self.health.__aenter__()
        if self._cache is not None or self.settings.redis_dsn() is not None:
            await self.cache.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self.aclose()
        finally:
            await self.health.__aexit__(kind, error, trace)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise ConfigurationError(
                "this Resilience is closed: make pipelines before, or enter it again"
            )

    def _join(self, policy: PolicyT) -> PolicyT:
        """Let a policy that emits to the hub of the process emit to ours, which tells that one."""
        if isinstance(policy, Policy):
            for part in policy._parts():
                if part._events is EVENTS:
                    part._events = self.events
        return policy


class _Lookout:
    """Tells the health monitor of what a service protects and calls."""

    def __init__(self, resilience: Resilience) -> None:
        self._resilience = resilience

    def watch(self, policy: PolicyT) -> PolicyT:
        _watch(self._resilience.health, policy)
        return policy

    def ended(
        self,
        service: str,
        seconds: float,
        error: BaseException | None,
        *,
        fallback: bool = False,
    ) -> None:
        from holdfast.health.calls import outcome_of

        self._resilience.health.record(service, seconds, outcome_of(error), fallback=fallback)


def _watch(health: HealthMonitor, policy: Policy) -> None:
    """Show the monitor a policy; one too many for it is no reason to fail."""
    try:
        health.watch(policy)
    except ConfigurationError:
        _log.warning("the health monitor cannot watch %r as well", policy.name)


def _only(kind: type[S], shots: Iterable[object]) -> tuple[S, ...]:
    return tuple(shot for shot in shots if isinstance(shot, kind))
