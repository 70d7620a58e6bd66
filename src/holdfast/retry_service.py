"""Protection by name, where the call is made: the original's RetryService.

`RetryService` keeps one retry, one breaker and one bulkhead per name, made by the first call that
uses the name. That suits code which is told *what* to call at run time, or which came from the
original; where the dependency is known when the program is written, a `Pipeline` around a function
says the same with less. Each method protects in one way; to have two, nest them, outermost first::

    await service.execute_with_retry(
        lambda: service.execute_with_circuit_breaker(load, "user-db"), "user-db"
    )
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from holdfast._core.backoff import Backoff
from holdfast._core.clock import AMBIENT, Clock
from holdfast._core.hub import EVENTS, EventHub
from holdfast._core.validate import count, number
from holdfast._registry import Registry
from holdfast.errors import ConfigurationError
from holdfast.policies.base import Policy
from holdfast.policies.bulkhead import Bulkhead
from holdfast.policies.circuit_breaker import CircuitBreaker
from holdfast.policies.pipeline import Pipeline
from holdfast.policies.retry import Retry
from holdfast.policies.select import Which
from holdfast.policies.timeout import Timeout
from holdfast.service_statistics import ServiceStatistics, Tally
from holdfast.settings import Settings

T = TypeVar("T")
PolicyT = TypeVar("PolicyT", bound=Policy)


class RetryOptions(NamedTuple):
    """The options of `RetryService.execute_with_retry`."""

    attempts: int
    backoff: Backoff | None
    on: Which | None
    max_elapsed: float | None


class BreakerOptions(NamedTuple):
    """The options of `RetryService.execute_with_circuit_breaker`, defaults filled in."""

    failure_threshold: int
    timeout: float | None
    reset_timeout: float
    window: float
    on: Which | None


class BulkheadOptions(NamedTuple):
    """The options of `RetryService.execute_with_bulkhead`."""

    max_concurrent: int
    max_queue: int
    max_wait: float | None


class Watcher(Protocol):
    """Looks on; neither method may raise."""

    def watch(self, policy: PolicyT) -> PolicyT:
        """There is this policy."""
        ...

    def ended(self, service: str, seconds: float, error: BaseException | None) -> None:
        """A call of the service ended after so long, with this error if it failed."""
        ...


class RetryService:
    """Retries, circuit breakers and bulkheads by name, with statistics of what callers got.

    Args:
        settings: where the defaults of the breakers come from; default `Settings()`.
        max_names: the most names of each of the three kinds, at least 1. Default 1,000.
        clock, events: for tests and containers; the policies use them too.
        watcher: is shown each policy and told of each call, such as a `HealthMonitor`.

    Raises:
        ConfigurationError: (from every method) an option or a name is out of its range, a name is
            used with other options than before, or it is one too many.

    Every `operation` is a function without arguments; use a lambda or `functools.partial` to give
    it some. The methods raise what the operation raises, or what the policy of that kind raises:
    see `Retry`, `CircuitBreaker`, `Timeout` and `Bulkhead`. The plain methods take operations that
    return something to await, those with ``_sync`` take plain functions. Thread safe, independent
    of event loops; cancellation reaches the operation.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        max_names: int = 1_000,
        clock: Clock | None = None,
        events: EventHub | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        if settings is not None and not isinstance(settings, Settings):
            # Not shown: whoever passes an environment here passes its secrets.
            raise ConfigurationError(
                f"settings must be Settings or None, not a {type(settings).__qualname__}: for an "
                "environment write Settings.from_env(...)"
            )
        self._settings = Settings() if settings is None else settings
        self._clock = AMBIENT if clock is None else clock
        self._events = EVENTS if events is None else events
        self._watcher = watcher
        count("max_names", max_names)
        self._retries: Registry[_Protected[Retry]] = Registry("retry", max_names)
        self._breakers: Registry[_Protected[Pipeline]] = Registry("circuit breaker", max_names)
        self._bulkheads: Registry[_Protected[Bulkhead]] = Registry("bulkhead", max_names)

    # -- the calls -----------------------------------------------------------------------------

    async def execute_with_retry(
        self,
        operation: Callable[[], Awaitable[T]],
        name: str,
        *,
        attempts: int = 3,
        backoff: Backoff | None = None,
        on: Which | None = None,
        max_elapsed: float | None = None,
    ) -> T:
        """Await `operation()`, again if it failed in a way that may pass.

        Args:
            operation: called once per attempt.
            name: of the dependency; all calls with this name share one retry budget.
            attempts, backoff, on, max_elapsed: as for `Retry`.
        """
        retry = self._retry(operation, name, RetryOptions(attempts, backoff, on, max_elapsed))
        return await retry.acall(operation)

    def execute_with_retry_sync(
        self,
        operation: Callable[[], T],
        name: str,
        *,
        attempts: int = 3,
        backoff: Backoff | None = None,
        on: Which | None = None,
        max_elapsed: float | None = None,
    ) -> T:
        """The sync twin of `execute_with_retry`: waits block the thread."""
        retry = self._retry(operation, name, RetryOptions(attempts, backoff, on, max_elapsed))
        return retry.call(operation)

    async def execute_with_circuit_breaker(
        self,
        operation: Callable[[], Awaitable[T]],
        name: str,
        *,
        failure_threshold: int | None = None,
        timeout: float | None = 60.0,
        reset_timeout: float | None = None,
        window: float | None = None,
        on: Which | None = None,
    ) -> T:
        """Await `operation()` unless the dependency has failed too often lately.

        Args:
            operation: called once, if at all.
            name: of the dependency; all calls with this name share one circuit.
            failure_threshold: failures within `window` that open the circuit, at least 1. Default:
                the settings', 5 (``CB_FAILURE_THRESHOLD``).
            timeout: seconds for the operation, above 0; running out of them is a failure. Default
                60; None for no limit.
            reset_timeout: seconds for which the circuit stays open, at least 0. Default: the
                settings', 300 (``CB_RESET_TIMEOUT``).
            window: seconds that failures count, above 0. Default: the settings', 10
                (``CB_MONITOR_PERIOD``).
            on: which exceptions are failures, as for `CircuitBreaker`.
        """
        options = self._breaker_options(failure_threshold, timeout, reset_timeout, window, on)
        return await self._breaker(operation, name, options).acall(operation)

    def execute_with_circuit_breaker_sync(
        self,
        operation: Callable[[], T],
        name: str,
        *,
        failure_threshold: int | None = None,
        timeout: float | None = 60.0,
        reset_timeout: float | None = None,
        window: float | None = None,
        on: Which | None = None,
    ) -> T:
        """The sync twin of `execute_with_circuit_breaker`.

        Nothing can interrupt a plain function: `timeout` is the ambient `deadline` inside it.
        """
        options = self._breaker_options(failure_threshold, timeout, reset_timeout, window, on)
        return self._breaker(operation, name, options).call(operation)

    async def execute_with_bulkhead(
        self,
        operation: Callable[[], Awaitable[T]],
        max_concurrent: int,
        name: str,
        *,
        max_queue: int = 100,
        max_wait: float | None = None,
    ) -> T:
        """Await `operation()` once fewer than `max_concurrent` calls of this name are running.

        Args:
            operation: called once, if at all.
            max_concurrent: calls of this name that may run at a time, at least 1.
            name: of what is protected; all calls with this name share its places.
            max_queue: calls that may wait for a place, at least 0. Default 100.
            max_wait: seconds that one may wait, at least 0. Default None: until its deadline.
        """
        bulkhead = self._bulkhead(
            operation, name, BulkheadOptions(max_concurrent, max_queue, max_wait)
        )
        return await bulkhead.acall(operation)

    def execute_with_bulkhead_sync(
        self,
        operation: Callable[[], T],
        max_concurrent: int,
        name: str,
        *,
        max_queue: int = 100,
        max_wait: float | None = None,
    ) -> T:
        """The sync twin of `execute_with_bulkhead`: waiting for a place blocks the thread."""
        bulkhead = self._bulkhead(
            operation, name, BulkheadOptions(max_concurrent, max_queue, max_wait)
        )
        return bulkhead.call(operation)

    # -- looking in ----------------------------------------------------------------------------

    def statistics(self, name: str | None = None) -> tuple[ServiceStatistics, ...]:
        """The statistics of every name, or of one: an entry for each kind it was used with."""
        found = (each.tally.snapshot() for each in self._everything())
        return tuple(entry for entry in found if name is None or entry.name == name)

    def reset_statistics(self) -> None:
        """Start counting anew; circuits, budgets and places stay as they are."""
        for each in self._everything():
            each.tally.reset()

    def policies(self) -> tuple[Policy, ...]:
        """Every policy there is, for snapshots and operators."""
        return tuple(part for each in self._everything() for part in each.policy._parts())

    # -- one policy per name -------------------------------------------------------------------

    def _everything(self) -> list[_Protected[Any]]:
        return [*self._retries.all(), *self._breakers.all(), *self._bulkheads.all()]

    def _retry(self, operation: object, name: str, options: RetryOptions) -> _Protected[Retry]:
        def make() -> _Protected[Retry]:
            retry = Retry(name, **options._asdict(), clock=self._clock, events=self._events)
            return self._protected(retry, retry.kind)

        _check_operation(operation)
        return self._retries.get(name, options, make)

    def _protected(self, policy: PolicyT, kind: str) -> _Protected[PolicyT]:
        if self._watcher is not None:
            self._watcher.watch(policy)
        # A bulkhead says nothing about what is behind it.
        told = None if kind == Bulkhead.kind else self._watcher
        return _Protected(policy, kind, self._clock, told)

    def _breaker_options(
        self,
        failure_threshold: int | None,
        timeout: float | None,
        reset_timeout: float | None,
        window: float | None,
        on: Which | None,
    ) -> BreakerOptions:
        settings = self._settings
        return BreakerOptions(
            settings.failure_threshold if failure_threshold is None else failure_threshold,
            timeout,
            settings.reset_timeout if reset_timeout is None else reset_timeout,
            settings.monitor_period if window is None else window,
            on,
        )

    def _breaker(
        self, operation: object, name: str, options: BreakerOptions
    ) -> _Protected[Pipeline]:
        def make() -> _Protected[Pipeline]:
            breaker = CircuitBreaker(
                name,
                failure_threshold=options.failure_threshold,
                reset_timeout=options.reset_timeout,
                window=options.window,
                on=options.on,
                clock=self._clock,
                events=self._events,
            )
            parts: list[Policy] = [breaker]
            if options.timeout is not None:
                limit = number("timeout", options.timeout, above=0)
                parts.append(Timeout(limit, name, clock=self._clock, events=self._events))
            return self._protected(Pipeline(name, *parts), breaker.kind)

        _check_operation(operation)
        return self._breakers.get(name, options, make)

    def _bulkhead(
        self, operation: object, name: str, options: BulkheadOptions
    ) -> _Protected[Bulkhead]:
        def make() -> _Protected[Bulkhead]:
            bulkhead = Bulkhead(name, **options._asdict(), clock=self._clock, events=self._events)
            return self._protected(bulkhead, bulkhead.kind)

        _check_operation(operation)
        return self._bulkheads.get(name, options, make)


class _Protected(Generic[PolicyT]):
    """What protects the calls of one name, and what counts them."""

    __slots__ = ("_clock", "_told", "policy", "tally")

    def __init__(self, policy: PolicyT, kind: str, clock: Clock, told: Watcher | None) -> None:
        self.policy = policy
        self.tally = Tally(policy.name, kind, clock)
        self._clock = clock
        self._told = told

    async def acall(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Await the operation under the policy, and count it."""
        started, attempts, error = self._clock.now(), 0, None

        async def attempt() -> T:
            nonlocal attempts
            attempts += 1
            awaitable = operation()
            if not inspect.isawaitable(awaitable):
                raise TypeError(
                    f"operation returned a {type(awaitable).__qualname__}, which cannot be "
                    "awaited: use the method whose name ends in _sync for plain functions"
                )
            return await awaitable

        try:
            return await self.policy.acall(attempt)
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._record(attempts, started, error)
            del error  # a frame that keeps its own exception is garbage only a collector finds

    def call(self, operation: Callable[[], T]) -> T:
        """The sync twin of `acall`."""
        started, attempts, error = self._clock.now(), 0, None

        def attempt() -> T:
            nonlocal attempts
            attempts += 1
            return operation()

        try:
            return self.policy.call(attempt)
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._record(attempts, started, error)
            del error

    def _record(self, attempts: int, started: float, error: BaseException | None) -> None:
        self.tally.record(attempts, started, error)
        if self._told is not None:
            self._told.ended(self.policy.name, self._clock.now() - started, error)


def _check_operation(operation: object) -> None:
    if not callable(operation):
        raise TypeError(f"operation must be a function without arguments, not {operation!r}")
