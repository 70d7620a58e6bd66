"""Degradation by name: the original's GracefulDegradationService.

The best answer that is still possible, and how good it is. `GracefulDegradation` has four forms:
a chain of steps where the call is made, primary → last good response → fixed answer, an answer in
parts, and a decorator for functions that are known when the program is written.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeVar, cast

from holdfast._core.clock import AMBIENT, Clock
from holdfast._core.deadline import deadline as finish_within
from holdfast._core.hub import EVENTS, EventHub
from holdfast._core.validate import count, number
from holdfast._registry import Registry
from holdfast.degradation.annotations import check_static, returned_type
from holdfast.degradation.brownout import BrownoutOptions
from holdfast.degradation.chain import FallbackChain, Steps, Watcher
from holdfast.degradation.compose import Composition, Part
from holdfast.degradation.errors import EssentialPartFailedError, NothingKeptError
from holdfast.degradation.features import Feature, Features, FeaturesSnapshot
from holdfast.degradation.last_good import (
    READ_LIMIT,
    BlockingLastGood,
    CacheFallback,
    LastGood,
    MemoryLastGood,
)
from holdfast.degradation.refresher import Refresher, RefreshSnapshot
from holdfast.degradation.served import Composed, Level, Served
from holdfast.degradation.step import ABSENT, FallbackStep, in_order
from holdfast.degradation.tally import ChainSnapshot, ChainTally
from holdfast.errors import ConfigurationError
from holdfast.policies.kinds import Kind, kind_of

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")

_CACHED: Final = "cached"
_STATIC: Final = "static"


@dataclass(frozen=True, slots=True)
class DegradationSnapshot:
    """The chains and compositions by name, the features, and how keeping responses goes."""

    chains: tuple[ChainSnapshot, ...]
    features: FeaturesSnapshot
    refreshes: RefreshSnapshot


class GracefulDegradation:
    """Fallback chains, last good responses, partial answers and features that can be left out.

    Args:
        last_good: where good responses are kept; default `MemoryLastGood()`.
        brownout: when features are switched off under load; default `BrownoutOptions()`.
        max_names: the most names of chains and compositions, at least 1. Default 1,000.
        clock, events: for tests and containers.
        watcher: is told of each call, such as a `HealthMonitor`.

    Attributes:
        features: the features and their tiers.

    Raises:
        ConfigurationError: (from every method) an option or a name is out of its range, a chain is
            empty or has two steps of one name, a fixed answer has the wrong type, or a name is one
            too many.
        TypeError: (likewise) a plain function was given to an async method, or the reverse.

    The plain methods take functions that return something to await, those with ``_sync`` take
    plain functions. Thread safe, independent of event loops. Cancellation passes through at once.
    Usable at once; ``async with`` waits at the end for responses that are still being stored.
    """

    def __init__(
        self,
        last_good: LastGood | None = None,
        *,
        brownout: BrownoutOptions | None = None,
        max_names: int = 1_000,
        clock: Clock | None = None,
        events: EventHub | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        self._watcher = watcher
        self._clock = AMBIENT if clock is None else clock
        self._events = EVENTS if events is None else events
        self._store = MemoryLastGood(clock=self._clock) if last_good is None else last_good
        self._refresher = Refresher(self._store, self._clock, self._events)
        self._tallies: Registry[ChainTally] = Registry("chain", count("max_names", max_names))
        self._known: dict[str, tuple[Sequence[FallbackStep[Any]], FallbackChain]] = {}
        # Of each name the last tuple of steps; so there are no more of them than names.
        self.features: Final = Features(brownout, clock=self._clock, events=self._events)

    def feature(self, name: str) -> Feature:
        """The feature of this name: ``if degradation.feature("recommendations").enabled``."""
        return self.features.feature(name)

    # -- chains --------------------------------------------------------------------------------

    def execute_with_fallback_chain(
        self, name: str, steps: Sequence[FallbackStep[Awaitable[T]]]
    ) -> Coroutine[Any, Any, Served[T]]:
        """The answer of the first step that gives one, highest priority first.

        Steps that are made once are best kept in a tuple: the one that a name was last called with
        is kept, and not checked again.

        Raises:
            AllFallbacksFailedError: no step gave an answer; it holds every cause.
        """
        return self._given(name, steps).serve()

    def execute_with_fallback_chain_sync(
        self, name: str, steps: Sequence[FallbackStep[T]]
    ) -> Served[T]:
        """The sync twin of `execute_with_fallback_chain`."""
        return self._given(name, steps).serve_sync()

    def with_fallbacks(
        self, name: str, *steps: FallbackStep[Any]
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Let these steps answer, in their order, when the decorated function cannot.

        The function is the first step, ``"primary"``, whatever the priorities of the others. Their
        operations get the arguments of the call, and are coroutine functions if it is one. The
        call gives the bare value; `current_degradation` says how good it was.

        Raises:
            AllFallbacksFailedError: (from a decorated function) no step gave an answer.
        """

        def decorate(function: Callable[P, R]) -> Callable[P, R]:
            kind = kind_of(function)
            if kind not in (Kind.SYNC, Kind.ASYNC):
                raise TypeError(f"with_fallbacks takes functions, and this is a {kind.value}")
            chain = self._chain(name, in_order(steps, first=FallbackStep("primary", function)))
            if kind is Kind.ASYNC:

                async def answered(*args: P.args, **kwargs: P.kwargs) -> Any:
                    return (await chain.serve(*args, **kwargs)).value

                return cast("Callable[P, R]", functools.update_wrapper(answered, function))

            def answered_sync(*args: P.args, **kwargs: P.kwargs) -> Any:
                return chain.serve_sync(*args, **kwargs).value

            return cast("Callable[P, R]", functools.update_wrapper(answered_sync, function))

        return decorate

    # -- primary, last good response, fixed answer ---------------------------------------------

    async def execute_with_degradation(
        self,
        name: str,
        primary: Callable[[], Awaitable[T]] | FallbackStep[Awaitable[T]],
        *,
        cache_fallback: CacheFallback | None = None,
        fallback_data: Any = ABSENT,
    ) -> Served[T]:
        """The primary's answer, else its last good one, else `fallback_data`.

        Args:
            name: of the service, for figures and events.
            primary: a function without arguments, or a `FallbackStep` that also says its pipeline,
                timeout, share or which errors come out at once.
            cache_fallback: the key and the time to live of the last good response; default None:
                none is kept. Each full answer of the primary replaces it, without delaying the
                caller; degraded ones are never kept.
            fallback_data: the fixed answer; None is one too.

        Raises:
            AllFallbacksFailedError: nothing was left to answer with.
        """
        cached = None if cache_fallback is None else self._last_good(name, primary, cache_fallback)
        chain = self._degrading(name, primary, cached, fallback_data)
        served = await chain.serve()
        if cache_fallback is not None and not served.degraded:
            key = _key(name, cache_fallback)
            self._refresher.refresh(key, served.value, cache_fallback.ttl)
        return served

    def execute_with_degradation_sync(
        self,
        name: str,
        primary: Callable[[], T] | FallbackStep[T],
        *,
        cache_fallback: CacheFallback | None = None,
        fallback_data: Any = ABSENT,
    ) -> Served[T]:
        """The sync twin of `execute_with_degradation`.

        Raises:
            ConfigurationError: `cache_fallback` is given, and what keeps good responses is no
                `BlockingLastGood`: only an event loop can ask it.
        """
        store = self._store
        if cache_fallback is None:
            return self._degrading(name, primary, None, fallback_data).serve_sync()
        if not isinstance(store, BlockingLastGood):
            raise ConfigurationError(
                "cache_fallback in a _sync method must go with a BlockingLastGood, not with a "
                f"{type(store).__qualname__}, which has to be awaited"
            )
        key, wanted = _key(name, cache_fallback), _type(primary, cache_fallback)
        cached = FallbackStep(
            _CACHED, lambda: _found(store.get_now(key, wanted)), level=Level.CACHED
        )
        served = self._degrading(name, primary, cached, fallback_data).serve_sync()
        if not served.degraded:
            self._refresher.refresh_now(store, key, served.value, cache_fallback.ttl)
        return served

    # -- parts ---------------------------------------------------------------------------------

    async def compose(
        self,
        name: str,
        *,
        essential: Mapping[str, Part] | None = None,
        optional: Mapping[str, Part] | None = None,
        deadline: float | None = None,
    ) -> Composed:
        """An answer in parts, which are asked for at the same time.

        Args:
            name: of the answer, for figures and events.
            essential: parts without which there is no answer, by name: a function, a
                `FallbackStep`, or several as the part's own chain.
            optional: parts that are left out when they cannot be had, likewise.
            deadline: seconds for all of them, at least 0; default None, the ambient deadline.

        Raises:
            EssentialPartFailedError: an essential part cannot be had. The others were cancelled.
        """
        if deadline is not None:
            number("deadline", deadline, at_least=0)
        parts = Composition(
            name, essential or {}, optional or {}, self._tally(name), self._clock, self._events
        )
        limit = nullcontext() if deadline is None else finish_within(deadline, clock=self._clock)
        started, watcher = self._clock.now(), self._watcher
        try:
            with limit:
                composed = await parts.serve()
        except EssentialPartFailedError as error:
            if watcher is not None:
                watcher.ended(name, self._clock.now() - started, error)
            raise
        if watcher is not None:
            watcher.ended(name, self._clock.now() - started, None, fallback=composed.degraded)
        return composed

    # -- looking in, and the end ---------------------------------------------------------------

    def snapshot(self) -> DegradationSnapshot:
        """Everything at this moment."""
        return DegradationSnapshot(
            tuple(tally.snapshot() for tally in self._tallies.all()),
            self.features.snapshot(),
            self._refresher.snapshot(),
        )

    async def aclose(self) -> None:
        """Wait until all responses of this event loop are stored, 5 seconds at most."""
        await self._refresher.drain()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    # -- making chains -------------------------------------------------------------------------

    def _tally(self, name: str) -> ChainTally:
        return self._tallies.get(name, None, lambda: ChainTally(name, self._clock, self._events))

    def _given(self, name: str, steps: Sequence[FallbackStep[Any]]) -> FallbackChain:
        """The chain of these steps. A tuple and its steps cannot change, so it is checked once."""
        if steps.__class__ is not tuple or name.__class__ is not str:
            return self._chain(name, in_order(steps))
        known = self._known.get(name)
        if known is None or known[0] is not steps:
            known = self._known[name] = (steps, self._chain(name, in_order(steps)))
        return known[1]

    def _chain(self, name: str, steps: Steps) -> FallbackChain:
        tally, watcher = self._tally(name), self._watcher
        return FallbackChain(name, steps, self._clock, self._events, tally, watcher)

    def _degrading(
        self, name: str, primary: Any, cached: FallbackStep[Any] | None, fallback_data: Any
    ) -> FallbackChain:
        first: FallbackStep[Any] = (
            cast(Any, primary)
            if isinstance(primary, FallbackStep)
            else FallbackStep("primary", primary)
        )
        steps: list[FallbackStep[Any]] = [first]
        if cached is not None:
            steps.append(cached)
        if fallback_data is not ABSENT:
            check_static("fallback_data", fallback_data, first.operation)
            steps.append(FallbackStep(_STATIC, value=fallback_data))
        if first.name in (_CACHED, _STATIC):
            raise ConfigurationError(
                f"the step of the primary must have another name than {first.name!r}"
            )
        return self._chain(name, tuple(steps))

    def _last_good(self, name: str, primary: Any, fallback: CacheFallback) -> FallbackStep[Any]:
        store, key, wanted = self._store, _key(name, fallback), _type(primary, fallback)

        async def last_good() -> Served[Any]:
            found = await store.get(key, wanted)
            # A store shared with others may be generous about time; we are not.
            return _found(None if found is None or found[1] > fallback.ttl else found)

        return FallbackStep(_CACHED, last_good, level=Level.CACHED, timeout=READ_LIMIT)


def _type(primary: Any, fallback: CacheFallback) -> Any:
    """As what the last good response is decoded, where that matters."""
    if fallback.type is not None:
        return fallback.type
    return returned_type(primary.operation if isinstance(primary, FallbackStep) else primary)


def _key(name: str, fallback: CacheFallback) -> str:
    return f"{name}/{fallback.key}"


def _found(found: tuple[Any, float] | None) -> Served[Any]:
    if found is None:
        raise NothingKeptError
    value, age = found
    return Served(value, Level.CACHED, age=age)
