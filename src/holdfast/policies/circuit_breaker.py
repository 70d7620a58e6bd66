"""The circuit breaker: stop asking a dependency that is down, and find out when it is back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any

from holdfast._core.circuit import Circuit, CircuitOptions, CircuitSnapshot, Permit
from holdfast._core.clock import Clock
from holdfast._core.events import CircuitChanged, EventHub
from holdfast._core.outcome import Rejection, Verdict
from holdfast._core.states import State, Trigger
from holdfast._core.validate import number, text
from holdfast.classify import classify, retry_after
from holdfast.errors import Category, RejectedError
from holdfast.policies import blocks
from holdfast.policies.base import (
    UNUSUAL,
    Inner,
    Policy,
    Reject,
    check_unusual,
    raise_rejection,
)
from holdfast.policies.select import Which, matcher
from holdfast.policies.streams import AsyncSession, Session, guard, guard_async

_log = logging.getLogger("holdfast")


class CircuitBreaker(Policy):
    """Refuse calls to a dependency that fails too often; probe it after a while.

    Args:
        name: for errors, events and snapshots; default: the pipeline's.
        failure_threshold: open after this many failures within the window. Default 5, unless
            `failure_rate` or `slow_call_duration` is given; then off unless given too. A plain
            count suits a dependency with little traffic; prefer `failure_rate` for a busy one.
        failure_rate: open when this share of the calls in the window failed, above 0 up to 1.
        slow_call_duration: seconds from which on a call counts as slow, failed or not.
        slow_call_rate: with `slow_call_duration`: open when this share was slow. Default 0.5.
        minimum_calls: the rates are not judged below this many calls in the window. Default 10,
            or the size of the window if that is smaller.
        window: seconds that the window reaches back. Default 10.
        window_calls: look at the last so many calls instead of a time. Default None.
        reset_timeout: seconds to stay open before probing. Default 30.
        reset_backoff: each break in a row is this much longer than the one before; at least 1.
            Default 1.
        max_reset_timeout: no break is longer, in seconds; default ten times `reset_timeout`. A
            Retry-After from the dependency prolongs a break beyond it, up to an hour.
        reset_jitter: up to this share is added to a break at random, 0 to 1. Default 0.
        half_open_max_calls: probes let through at a time, all of which must succeed. Default 1.
        probe_timeout: seconds after which a probe that was not heard of loses its place; what
            comes back later is not counted. Default 30.
        ramp: seconds over which traffic returns after closing, from a tenth to all. Default 0.
        on: exceptions that are failures. Default: all categories but permanent and cancelled.
            Others are ignored, and so is every refusal by a Holdfast policy further in.
        success_on: exceptions that show the dependency is well, such as its "not found".
        on_result: a function that says of a result whether it is a failure.
        clock, events: for tests and containers.

    Raises:
        ConfigurationError: an option is out of its range.
        CircuitOpenError: (from a protected call) it was refused.

    Thread safe; one breaker may be shared by threads and event loops. Cancellation is ignored:
    the place of a cancelled probe is free again at once.
    """

    kind = "circuit_breaker"
    __slots__ = ("_circuit", "_complained", "_fails", "_judge_result", "_plain", "_succeeds")

    def __init__(
        self,
        name: str | None = None,
        *,
        failure_threshold: int | None = None,
        failure_rate: float | None = None,
        slow_call_duration: float | None = None,
        slow_call_rate: float = 0.5,
        minimum_calls: int | None = None,
        window: float = 10.0,
        window_calls: int | None = None,
        reset_timeout: float = 30.0,
        reset_backoff: float = 1.0,
        max_reset_timeout: float | None = None,
        reset_jitter: float = 0.0,
        half_open_max_calls: int = 1,
        probe_timeout: float = 30.0,
        ramp: float = 0.0,
        on: Which | None = None,
        success_on: Which | None = None,
        on_result: Callable[[Any], bool] | None = None,
        clock: Clock | None = None,
        events: EventHub | None = None,
    ) -> None:
        super().__init__(name, clock, events)
        if failure_threshold is None and failure_rate is None and slow_call_duration is None:
            failure_threshold = 5 if window_calls is None else min(5, window_calls)
        if minimum_calls is None:
            minimum_calls = 10 if window_calls is None else min(10, window_calls)
        options = CircuitOptions(
            failure_threshold=failure_threshold,
            failure_rate=failure_rate,
            slow_call_duration=slow_call_duration,
            slow_call_rate=slow_call_rate,
            minimum_calls=minimum_calls,
            window=window,
            window_calls=window_calls,
            reset_timeout=reset_timeout,
            reset_backoff=reset_backoff,
            max_reset_timeout=max_reset_timeout,
            reset_jitter=reset_jitter,
            half_open_max_calls=half_open_max_calls,
            probe_timeout=probe_timeout,
            ramp=ramp,
        )
        self._fails = None if on is None else matcher("on", on)
        self._succeeds = None if success_on is None else matcher("success_on", success_on)
        self._judge_result = on_result
        self._complained = False
        self._circuit = Circuit(self.name, options, self._clock.now(), self._clock.random)
        self._plain = on_result is None and slow_call_duration is None

    def _adopt(self, name: str) -> None:
        super()._adopt(name)
        self._circuit.name = self.name

    # -- state and control ---------------------------------------------------------------------

    @property
    def state(self) -> State:
        """What the breaker is doing now; `snapshot` says more."""
        return self.snapshot().state

    @property
    def options(self) -> CircuitOptions:
        """The options in force."""
        return self._circuit.options

    def snapshot(self) -> CircuitSnapshot:
        """The breaker at this moment."""
        snapshot = self._circuit.snapshot(self._clock.now())
        self._tell()
        return snapshot

    def isolate(self, reason: str, *, ttl: float | None = None) -> None:
        """Refuse every call, for `ttl` seconds or until `release`; then probe first."""
        self._override(Trigger.ISOLATE, reason, ttl)

    def force_closed(self, reason: str, *, ttl: float | None = None) -> None:
        """Let every call through and go on counting, for `ttl` seconds or until `release`."""
        self._override(Trigger.FORCE_CLOSED, reason, ttl)

    def disable(self, reason: str, *, ttl: float | None = None) -> None:
        """Let every call through and count nothing, for `ttl` seconds or until `release`."""
        self._override(Trigger.DISABLE, reason, ttl)

    def observe(self, reason: str, *, ttl: float | None = None) -> None:
        """Let every call through but record what would have been refused, likewise."""
        self._override(Trigger.OBSERVE, reason, ttl)

    def release(self, reason: str = "released by hand") -> None:
        """End what `isolate`, `force_closed`, `disable` or `observe` began."""
        self._circuit.release(self._clock.now(), text("reason", reason))
        self._tell()

    def reset(self, reason: str = "reset by hand") -> None:
        """Close the circuit, end any mode and forget the past."""
        self._circuit.reset(self._clock.now(), text("reason", reason))
        self._tell()

    def reconfigure(self, **changes: Any) -> None:
        """Change options while running; state and, if its shape stays, window are kept.

        Takes the options of the constructor from `failure_threshold` to `ramp`.

        Raises:
            ConfigurationError: a value is out of its range; nothing is changed then.
            TypeError: there is no such option.
        """
        options = replace(self._circuit.options, **changes)
        self._circuit.reconfigure(options)
        self._plain = self._judge_result is None and options.slow_call_duration is None

    def _override(self, trigger: Trigger, reason: str, ttl: float | None) -> None:
        if ttl is not None:
            number("ttl", ttl, above=0)
        self._circuit.override(trigger, self._clock.now(), text("reason", reason), ttl)
        self._tell()

    # -- the layers ----------------------------------------------------------------------------

    def _bind_sync(self, inner: Inner, reject: Reject) -> Inner:
        circuit, clock = self._circuit, self._clock
        succeed = circuit.succeed

        def guarded(*args: Any, **kwargs: Any) -> Any:
            permit: Permit | Rejection = circuit.era
            if not permit.free:
                permit = self._admit()
                if permit.__class__ is Rejection:
                    return reject(permit)
            started = 0.0 if self._plain else clock.now()
            try:
                result = inner(*args, **kwargs)
                if result.__class__ in UNUSUAL:
                    check_unusual(result)
                    circuit.ignore(permit)
                    return result
            except BaseException as error:
                self._settle_error(permit, error, started)
                raise
            if self._plain:
                succeed(permit, clock.now())
                if circuit.outbox:
                    self._tell()
            else:
                self._settle_result(permit, result, started)
            return result

        return guarded

    def _bind_async(self, inner: Inner, reject: Reject) -> Inner:
        circuit, clock = self._circuit, self._clock
        succeed = circuit.succeed

        async def guarded(*args: Any, **kwargs: Any) -> Any:
            permit: Permit | Rejection = circuit.era
            if not permit.free:
                permit = self._admit()
                if permit.__class__ is Rejection:
                    return reject(permit)
            started = 0.0 if self._plain else clock.now()
            try:
                result = await inner(*args, **kwargs)
            except BaseException as error:
                self._settle_error(permit, error, started)
                raise
            if result.__class__ is Rejection:
                circuit.ignore(permit)
            elif self._plain:
                succeed(permit, clock.now())
                if circuit.outbox:
                    self._tell()
            else:
                self._settle_result(permit, result, started)
            return result

        return guarded

    def _bind_generator(self, inner: Inner) -> Inner:
        return guard(inner, lambda call: _Watched(self, call))

    def _bind_async_generator(self, inner: Inner) -> Inner:
        return guard_async(inner, lambda call: _AsyncWatched(self, call))

    # -- the block forms -----------------------------------------------------------------------

    def __enter__(self) -> None:
        permit = self._enter()
        blocks.push(self, (permit, self._clock.now()))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Entered in another context (say, by a thread pool that unwinds elsewhere)? Then a lease
        # runs out by itself, and the outcome belongs to the era that is on now.
        permit, started = blocks.pop(self) or (self._circuit.era, self._clock.now())
        if error is None:
            self._settle_result(permit, None, started, judged=False)
        else:
            self._settle_error(permit, error, started)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)

    # -- admission and settlement --------------------------------------------------------------

    def _admit(self) -> Permit | Rejection:
        circuit = self._circuit
        permit = circuit.admit(self._clock.now())
        if circuit.outbox:
            self._tell()
        return self._tell_rejected(permit) if isinstance(permit, Rejection) else permit

    def _enter(self) -> Permit:
        permit = self._admit()
        return raise_rejection(permit) if isinstance(permit, Rejection) else permit

    def _settle_error(self, permit: Permit, error: BaseException, started: float) -> None:
        circuit = self._circuit
        if not isinstance(error, Exception):
            if isinstance(error, GeneratorExit):
                circuit.abandon(permit)
            else:
                circuit.ignore(permit)
            return
        verdict = self._verdict(error)
        if verdict is Verdict.IGNORED:
            circuit.ignore(permit)
        else:
            now = self._clock.now()
            slow = self._is_slow(now, started)
            if verdict is Verdict.SUCCESS:
                circuit.succeed(permit, now, slow)
            else:
                circuit.fail(permit, now, slow, retry_after(error))
        if circuit.outbox:
            self._tell()

    def _settle_result(
        self, permit: Permit, result: Any, started: float, *, judged: bool = True
    ) -> None:
        circuit, now = self._circuit, self._clock.now()
        failed = False
        if judged and self._judge_result is not None:
            try:
                failed = bool(self._judge_result(result))
            except Exception:
                self._complain("on_result")
        if failed:
            circuit.fail(permit, now, self._is_slow(now, started))
        else:
            circuit.succeed(permit, now, self._is_slow(now, started))
        if circuit.outbox:
            self._tell()

    def _is_slow(self, now: float, started: float) -> bool:
        limit = self._circuit.options.slow_call_duration
        return limit is not None and now - started >= limit

    def _verdict(self, error: Exception) -> Verdict:
        if isinstance(error, RejectedError):
            return Verdict.IGNORED
        try:
            if self._succeeds is not None and self._succeeds(error):
                return Verdict.SUCCESS
            if self._fails is not None:
                return Verdict.FAILURE if self._fails(error) else Verdict.IGNORED
        except Exception:
            self._complain("on or success_on")
        if classify(error) in (Category.PERMANENT, Category.CANCELLED):
            return Verdict.IGNORED
        return Verdict.FAILURE

    def _complain(self, option: str) -> None:
        """Log, once, that a predicate of the user's raised; the defaults decide instead."""
        if not self._complained:
            self._complained = True
            _log.exception("%s of circuit breaker %r raised", option, self.name)

    def _tell(self) -> None:
        for change in self._circuit.drain():
            if not self._events.active:
                continue
            retry_in = None if change.retry_at is None else change.retry_at - change.at
            self._events.emit(
                CircuitChanged(
                    name=self.name,
                    at=self._clock.wall(),
                    source=change.source,
                    target=change.target,
                    kind=change.kind,
                    reason=change.reason,
                    retry_in=retry_in,
                    shadow=change.shadow,
                )
            )


class _Visit:
    """One stream under a breaker: admitted once, judged once, by its first item and its end."""

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker
        self._permit = breaker._enter()
        self._started = breaker._clock.now()
        self._waited: float | None = None

    def delivered(self) -> None:
        """The first item is there; how long the consumer takes from now on is its own affair."""
        self._waited = self._breaker._clock.now() - self._started

    def end(self, error: BaseException | None) -> None:
        """Settle. A consumer that stops early after an item saw the dependency deliver."""
        breaker, waited = self._breaker, self._waited
        if isinstance(error, GeneratorExit) and waited is not None:
            error = None
        started = self._started if waited is None else breaker._clock.now() - waited
        if error is None:
            breaker._settle_result(self._permit, None, started, judged=False)
        else:
            breaker._settle_error(self._permit, error, started)


class _Watched(Session[CircuitBreaker]):
    def open(self) -> Any:
        self._visit = _Visit(self.policy)
        item = super().open()
        self._visit.delivered()
        return item

    def end(self, error: BaseException | None) -> None:
        if hasattr(self, "_visit"):
            self._visit.end(error)


class _AsyncWatched(AsyncSession[CircuitBreaker]):
    async def open(self) -> Any:
        self._visit = _Visit(self.policy)
        item = await super().open()
        self._visit.delivered()
        return item

    def end(self, error: BaseException | None) -> None:
        if hasattr(self, "_visit"):
            self._visit.end(error)
