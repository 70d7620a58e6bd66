"""The circuit breaker's machine.

The life of a circuit is a sequence of *eras*: every change of state starts a new one. A permit is
either the era itself (one shared object, nothing to allocate or to give back) or, in half-open, a
lease on one of the few probe places. Settling a permit of an older era changes nothing: a call that
started before the trip cannot close the circuit, and a probe of the last attempt cannot fail this
one (the idea of sony/gobreaker's generation numbers). A lease expires, so that a probe which hangs,
is lost or dies with its process blocks its place for `probe_timeout` at the most; an asker who is
refused extends nothing.

While a circuit is closed and not ramping, admission needs no decision at all: drivers look at
``circuit.era.free`` and take the era as their permit without locking. Nor does a plain success: it
is an entry on its era's own list, so that it cannot reach a newer era, and the list is folded into
the window under the lock before anything is decided, and whenever a slice of the window is over.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Final, Literal

from holdfast._core import fork
from holdfast._core.circuit_types import (
    UNWATCHED,
    CircuitOptions,
    Era,
    Lease,
    Override,
    Permit,
    Transition,
)
from holdfast._core.outcome import Rejection
from holdfast._core.states import AUTOMATIC, MANUAL, RELEASED, State, Trigger
from holdfast._core.window import FAILED, OK, SLOW, CountWindow, TimeWindow, Window

if TYPE_CHECKING:
    from holdfast._core.snapshots import CircuitSnapshot

LONGEST_RETRY_AFTER: Final = 3600.0
"""Seconds; a dependency that asks to be left alone for longer is asked again after this."""

RAMP_START: Final = 0.1
"""The share of calls that a ramp begins with."""

MOST_WINS: Final = 1000
"""Plain successes that may lie on an era's list: a few kilobytes."""

MOST_KNOWN: Final = 256

_known: Final[dict[CircuitOptions, CircuitOptions]] = {}
# Equal options are kept once: thousands of keyed circuits have the same.

_orphans: Final[list[tuple[Circuit, Permit]]] = []
# Permits left by finalisers whose own thread held the circuit's lock. A list for all circuits,
# because it is all but always empty.


class Circuit:
    """The machine: `admit` and `settle`, a few verbs for the operator, and a `snapshot`.

    Thread safe. Transitions are collected in `outbox` and taken by the driver with `drain()`, so
    that telling others happens outside of the lock.
    """

    __slots__ = (
        "__weakref__",
        "_ignored",
        "_last_break",
        "_late",
        "_leases",
        "_lock",
        "_opens",
        "_override",
        "_passed",
        "_past",
        "_ramp_credit",
        "_random",
        "_rejected",
        "_retry_at",
        "_transitions",
        "_window",
        "_would_reject",
        "era",
        "name",
        "options",
        "outbox",
    )

    def __init__(
        self, name: str, options: CircuitOptions, now: float, random: Callable[[], float]
    ) -> None:
        self.name = name
        self.options = _known.get(options, options)
        if len(_known) < MOST_KNOWN:
            _known[options] = self.options
        self.era = Era(1, State.CLOSED, now, free=True)
        self._past: Era | None = None
        """The era before; a success that came between its end and the lock is on its list."""
        self.outbox: tuple[Transition, ...] = ()
        self._random = random
        self._lock = Lock()
        self._window = _window(options)
        self._leases: tuple[Lease, ...] = ()
        self._override: Override | None = None
        self._passed = 0
        self._opens = 0
        self._last_break = 0.0
        self._retry_at = 0.0
        self._ramp_credit = 0.0
        self._ignored = 0
        self._rejected = 0
        self._would_reject = 0
        self._late = 0
        self._transitions = 0
        fork.watch(self)

    # -- the gate ------------------------------------------------------------------------------

    def admit(self, now: float) -> Permit | Rejection:
        """A permit for one call, or a refusal. Only needed when ``era.free`` is false."""
        with self._lock:
            if _orphans:
                self._take_orphans()
            mode = None if self._override is None else self._mode(now)
            if mode is not None:
                if mode.state is State.DISABLED:
                    return UNWATCHED
                if mode.state is State.FORCED_CLOSED:
                    return self.era
                if mode.state is State.ISOLATED:
                    self._rejected += 1
                    left = None if mode.until is None else mode.until - now
                    return Rejection("circuit_breaker", self.name, "isolated", left)
            permit = self._decide(now)
            if permit.__class__ is Rejection:
                if mode is not None:
                    self._would_reject += 1
                    return UNWATCHED
                self._rejected += 1
            return permit

    def _decide(self, now: float) -> Permit | Rejection:
        """What the automatic machine says; the lock is held."""
        era = self.era
        if era.state is State.OPEN:
            if now < self._retry_at:
                return Rejection("circuit_breaker", self.name, "open", self._retry_at - now)
            self._go(Trigger.RESET_TIMEOUT, now, "asking again")
            era = self.era
        if era.state is State.HALF_OPEN:
            self._leases = tuple(lease for lease in self._leases if lease.expires > now)
            if len(self._leases) + self._passed < self.options.half_open_max_calls:
                lease = Lease(now + self.options.probe_timeout)
                self._leases += (lease,)
                return lease
            return Rejection("circuit_breaker", self.name, "probing")
        if not era.free:
            elapsed, ramp = now - era.since, self.options.ramp
            if elapsed >= ramp:
                era.free = True
                return era
            share = RAMP_START + (1 - RAMP_START) * elapsed / ramp
            # Counting shares up to whole calls admits exactly that share, without a die.
            self._ramp_credit += share
            if self._ramp_credit < 1:
                return Rejection("circuit_breaker", self.name, "ramping up", ramp - elapsed)
            self._ramp_credit -= 1
        return era

    def succeed(self, permit: Permit, now: float, slow: bool = False) -> None:
        """The call of this permit succeeded; `slow` if it took too long doing so."""
        era = self.era
        if permit is era and now < self._window.edge and not slow:
            # The everyday case. It closes nothing and opens nothing, and an append needs no lock.
            wins = era.wins
            wins.append(None)
            if len(wins) <= MOST_WINS:
                return
            with self._lock:
                self._fold()
            return
        with self._lock:
            self._fold()
            if permit is self.era:
                self._window.record(SLOW if slow else OK, now)
                if slow:
                    self._judge(now, None)
            elif self._holds(permit, now):
                self._window.record(SLOW if slow else OK, now)
                self._leases = tuple(lease for lease in self._leases if lease is not permit)
                if slow:
                    self._break(Trigger.PROBE_FAILED, now, "a probe was too slow", None)
                else:
                    self._passed += 1
                    if self._passed >= self.options.half_open_max_calls:
                        self._go(Trigger.PROBES_PASSED, now, f"{self._passed} probes passed")
            elif permit is not UNWATCHED:
                self._late += 1

    def fail(
        self, permit: Permit, now: float, slow: bool = False, retry_after: float | None = None
    ) -> None:
        """The call of this permit failed; `retry_after` is what the dependency asked for, if so."""
        with self._lock:
            self._fold()
            if permit is self.era:
                self._window.record(FAILED | SLOW if slow else FAILED, now)
                self._judge(now, retry_after)
            elif self._holds(permit, now):
                self._window.record(FAILED | SLOW if slow else FAILED, now)
                self._break(Trigger.PROBE_FAILED, now, "a probe failed", retry_after)
            elif permit is not UNWATCHED:
                self._late += 1

    def _fold(self) -> None:
        """Tell the window of the era's plain successes; the lock is held."""
        wins = self.era.wins
        count = len(wins)
        if count:
            del wins[:count]
            self._window.ok += count

    def _stragglers(self) -> int:
        """Successes that were put on the past era's list when it was already over."""
        return 0 if self._past is None else len(self._past.wins)

    def _holds(self, permit: Permit, now: float) -> bool:
        """Whether this is the lease of a probe, and has not run out."""
        return any(lease is permit and lease.expires > now for lease in self._leases)

    def ignore(self, permit: Permit) -> None:
        """The call of this permit says nothing about the dependency: only give its place back."""
        with self._lock:
            self._forget(permit)

    @property
    def deciding(self) -> bool:
        """Whether some thread, perhaps this one, holds the lock at this moment."""
        return self._lock.locked()

    def abandon(self, permit: Permit) -> None:
        """As `ignore`, for a finaliser: never waits for the lock that its own thread may hold."""
        if self._lock.acquire(False):
            try:
                self._forget(permit)
            finally:
                self._lock.release()
        else:
            _orphans.append((self, permit))

    def _forget(self, permit: Permit) -> None:
        if permit is not UNWATCHED:
            self._ignored += 1
        self._leases = tuple(lease for lease in self._leases if lease is not permit)

    def _take_orphans(self) -> None:
        """Take in what finalisers left; the lock is held."""
        for left in list(_orphans):
            if left[0] is self:
                _orphans.remove(left)
                self._forget(left[1])

    # -- transitions; the lock is held in all of these -----------------------------------------

    def _judge(self, now: float, retry_after: float | None) -> None:
        """Open the circuit if the window says so."""
        if self.era.state is not State.CLOSED:
            return
        options, window = self.options, self._window
        reason = None
        if options.failure_threshold is not None and window.failures >= options.failure_threshold:
            reason = f"{window.failures} failures in the window"
        elif window.calls >= options.minimum_calls:
            if (
                options.failure_rate is not None
                # A quotient: 0.55 * 20 is a little more than 11, but 11 / 20 is 0.55.
                and window.failures / window.calls >= options.failure_rate
            ):
                reason = f"{window.failures} of {window.calls} calls failed"
            elif (
                options.slow_call_duration is not None
                and window.slow_calls / window.calls >= options.slow_call_rate
            ):
                reason = f"{window.slow_calls} of {window.calls} calls were slow"
        if reason is not None:
            self._break(Trigger.TRIPPED, now, reason, retry_after)

    def _break(self, trigger: Trigger, now: float, reason: str, retry_after: float | None) -> None:
        """Open, for a time that grows while the dependency keeps failing."""
        options = self.options
        if trigger is Trigger.TRIPPED and now - self.era.since > self._last_break:
            # It stayed closed for longer than its last break: this is a new outage.
            self._opens = 0
        try:
            pause = options.reset_timeout * options.reset_backoff**self._opens
        except OverflowError:
            pause = options.longest_reset if options.reset_timeout else 0.0
        pause = min(pause, options.longest_reset)
        pause *= 1 + options.reset_jitter * self._random()
        if retry_after is not None:
            pause = max(pause, min(retry_after, LONGEST_RETRY_AFTER))
        self._opens += 1
        self._last_break = pause
        self._retry_at = now + pause
        self._go(trigger, now, reason)

    def _go(self, trigger: Trigger, now: float, reason: str) -> None:
        """Take an automatic transition."""
        source = self.era.state
        self._enter(AUTOMATIC[source, trigger], now, ramping=trigger is Trigger.PROBES_PASSED)
        shadow = self._override is not None
        self._tell(source, self.era.state, trigger, "auto", reason, now, shadow)

    def _enter(self, state: State, now: float, *, ramping: bool = False) -> None:
        """Begin an era: what belonged to the one before is void."""
        self._fold()
        self._late += self._stragglers()
        self._past = self.era
        self._leases = ()
        self._passed = 0
        self._ramp_credit = 0.0
        closed = state is State.CLOSED
        if closed or state is State.FORCED_CLOSED:
            self._window.clear()
        free = closed and not (ramping and self.options.ramp > 0)
        self.era = Era(self.era.number + 1, state, now, free)

    def _tell(
        self,
        source: State,
        target: State,
        trigger: Trigger,
        kind: Literal["auto", "manual"],
        reason: str,
        now: float,
        shadow: bool = False,
    ) -> None:
        self._transitions += not shadow
        retry_at = self._retry_at if target is State.OPEN else None
        self.outbox += (Transition(source, target, trigger, kind, reason, now, retry_at, shadow),)

    def _mode(self, now: float) -> Override | None:
        """The operator's mode that holds now; ends one whose time is over."""
        mode = self._override
        if mode is not None and mode.until is not None and now >= mode.until:
            self._lift(now, "time to live over")
            mode = None
        return mode

    def _lift(self, now: float, reason: str) -> None:
        mode = self._override
        if mode is None:
            return
        self._override = None
        if mode.state in RELEASED:
            self._enter(RELEASED[mode.state], now)
        self._tell(mode.state, self.era.state, Trigger.RELEASE, "manual", reason, now)

    # -- the operator's verbs ------------------------------------------------------------------

    def override(self, trigger: Trigger, now: float, reason: str, ttl: float | None) -> None:
        """Set the mode that `trigger` leads to, for `ttl` seconds (None: until released)."""
        target = MANUAL[trigger]
        with self._lock:
            mode = self._mode(now)
            source = self.era.state if mode is None else mode.state
            if target is State.OBSERVE:
                if mode is not None and mode.state in RELEASED:
                    self._enter(RELEASED[mode.state], now)
            else:
                self._enter(target, now)
            until = None if ttl is None else now + ttl
            self._override = Override(target, reason, until)
            self._tell(source, target, trigger, "manual", reason, now)

    def release(self, now: float, reason: str) -> None:
        """End the operator's mode, if there is one."""
        with self._lock:
            self._lift(now, reason)

    def reset(self, now: float, reason: str) -> None:
        """Close the circuit, end any mode and forget the past."""
        with self._lock:
            mode = self._mode(now)
            source = self.era.state if mode is None else mode.state
            self._override = None
            self._opens = 0
            self._enter(MANUAL[Trigger.RESET], now)
            self._tell(source, self.era.state, Trigger.RESET, "manual", reason, now)

    def reconfigure(self, options: CircuitOptions) -> None:
        """Take over new options; the state stays, and the window too if its shape is the same."""
        with self._lock:
            self._fold()
            old, self.options = self.options, options
            # Should so many probes have passed already, one more decides.
            self._passed = min(self._passed, options.half_open_max_calls - 1)
            if (old.window, old.window_calls) != (options.window, options.window_calls):
                fresh = _window(options)
                fresh.take_over(self._window)
                self._window = fresh

    # -- looking in ----------------------------------------------------------------------------

    def drain(self) -> tuple[Transition, ...]:
        """The transitions that nobody has been told of yet."""
        with self._lock:
            told, self.outbox = self.outbox, ()
            return told

    def snapshot(self, now: float) -> CircuitSnapshot:
        from holdfast._core.snapshots import CircuitSnapshot

        with self._lock:
            if _orphans:
                self._take_orphans()
            mode = self._mode(now)
            self._fold()
            window, era = self._window, self.era
            window.advance(now)
            enough = window.calls >= self.options.minimum_calls
            return CircuitSnapshot(
                name=self.name,
                state=era.state if mode is None else mode.state,
                era=era.number,
                in_state=now - era.since,
                calls=window.calls,
                failures=window.failures,
                slow=window.slow_calls,
                failure_ratio=window.failures / window.calls if enough else None,
                retry_in=max(0.0, self._retry_at - now) if era.state is State.OPEN else None,
                probes=sum(lease.expires > now for lease in self._leases),
                consecutive_opens=self._opens,
                successes_total=window.ok,
                failures_total=window.failed,
                ignored_total=self._ignored,
                rejected_total=self._rejected,
                would_reject_total=self._would_reject,
                late_total=self._late + self._stragglers(),
                transitions_total=self._transitions,
                override=mode,
            )

    def _after_fork(self) -> None:
        self._lock = Lock()
        self._leases = ()


def _window(options: CircuitOptions) -> Window:
    if options.window_calls is not None:
        return CountWindow(options.window_calls)
    return TimeWindow(options.window)
