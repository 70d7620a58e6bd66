"""The circuit breaker: stop asking a dependency that is down, and find out when it is back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from holdfast._core.circuit import Circuit
from holdfast._core.circuit_types import CircuitOptions, Era, Permit
from holdfast._core.clock import Clock
from holdfast._core.hub import EventHub
from holdfast._core.outcome import Rejection, Verdict
from holdfast._core.states import State, Trigger
from holdfast._core.validate import count, number, text
from holdfast.classify import classify, retry_after
from holdfast.errors import Category, RejectedError
from holdfast.policies import blocks
from holdfast.policies.gate import NO_RESULT, Gate, Hot
from holdfast.policies.select import Which, matcher

if TYPE_CHECKING:
    from holdfast._core.snapshots import CircuitSnapshot


class CircuitBreaker(Gate):
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
    __slots__ = ("_circuit", "_fails", "_judge_result", "_plain", "_succeeds")

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
        if window_calls is not None:
            count("window_calls", window_calls)  # first, as other defaults follow from it
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
        # Asked anew each time: a test may put other dice into the ambient clock.
        dice = (lambda: self._clock.random()) if reset_jitter else self._clock.random
        self._circuit = Circuit(self.name, options, self._clock.now(), dice)
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

    # -- the gate ------------------------------------------------------------------------------

    @property
    def _machine(self) -> Hot:
        return self

    def take(self) -> Era | None:
        era = self._circuit.era
        return era if era.free and self._plain else None

    def _admit(self) -> Permit | _Timed | Rejection:
        circuit, now = self._circuit, self._clock.now()
        permit: Permit | Rejection = circuit.era
        if not (isinstance(permit, Era) and permit.free):
            permit = circuit.admit(now)
            if circuit.outbox:
                self._tell()
            if isinstance(permit, Rejection):
                return self._tell_rejected(permit)
        return permit if self._plain else _Timed(permit, now)

    def give_back(self, permit: Any, result: Any, /) -> None:
        circuit = self._circuit
        if permit.__class__ is Era:
            # The everyday case, and it cannot change the state: a plain success closes nothing.
            circuit.succeed(permit, self._clock.now())
            return
        if isinstance(permit, _Timed):
            now = self._clock.now()
            if self._is_bad(result):
                circuit.fail(permit.permit, now, self._is_slow(permit, now))
            else:
                circuit.succeed(permit.permit, now, self._is_slow(permit, now))
        else:
            circuit.succeed(permit, self._clock.now())
        if circuit.outbox:
            self._tell()

    def _failed(self, permit: Permit | _Timed, error: BaseException | None) -> None:
        circuit, now = self._circuit, self._clock.now()
        slow = delivered = False
        if isinstance(permit, _Timed):
            slow = self._is_slow(permit, now)
            delivered, permit = permit.waited is not None, permit.permit
        if isinstance(error, GeneratorExit) and circuit.deciding:
            # Perhaps a finaliser's, in the very thread that decides: nothing may wait for the lock.
            circuit.abandon(permit)
            return
        if isinstance(error, GeneratorExit) and delivered:
            # A consumer that stops early after an item saw the dependency deliver.
            circuit.succeed(permit, now, slow)
        elif not isinstance(error, Exception):
            circuit.ignore(permit)
        else:
            verdict = self._verdict(error)
            if verdict is Verdict.IGNORED:
                circuit.ignore(permit)
            elif verdict is Verdict.SUCCESS:
                circuit.succeed(permit, now, slow)
            else:
                circuit.fail(permit, now, slow, retry_after(error))
        if circuit.outbox:
            self._tell()

    def _first_item(self, permit: Permit | _Timed) -> _Timed:
        """How long the consumer takes from now on is its own affair."""
        if not isinstance(permit, _Timed):
            return _Timed(permit, 0.0, waited=0.0)
        permit.waited = self._clock.now() - permit.started
        return permit

    def _is_slow(self, permit: _Timed, now: float) -> bool:
        limit = self._circuit.options.slow_call_duration
        waited = now - permit.started if permit.waited is None else permit.waited
        return limit is not None and waited >= limit

    def _is_bad(self, result: Any) -> bool:
        if self._judge_result is None or result is NO_RESULT:
            return False
        try:
            return bool(self._judge_result(result))
        except Exception:
            self._complain("on_result")
            return False

    # -- the block forms -----------------------------------------------------------------------

    def __enter__(self) -> None:
        blocks.push(self, self._enter())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Entered in another context (say, by a thread pool that unwinds elsewhere)? Then a lease
        # runs out by itself, and the outcome belongs to the era that is on now.
        permit = blocks.pop(self) or self._circuit.era
        if error is None:
            self._settle(permit, NO_RESULT)
        else:
            self._failed(permit, error)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)

    # -- judging -------------------------------------------------------------------------------

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

    def _tell(self) -> None:
        for change in self._circuit.drain():
            if not self._events.active:
                continue
            from holdfast._core.events import CircuitChanged

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


class _Timed:
    """A permit with the moment it was given, where slow calls or results are judged."""

    __slots__ = ("permit", "started", "waited")

    def __init__(self, permit: Permit, started: float, waited: float | None = None) -> None:
        self.permit = permit
        self.started = started
        self.waited = waited
        """Seconds until the first item, for a stream that has delivered one."""
