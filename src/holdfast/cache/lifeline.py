"""Whether Redis is used: the tier's states, and what moves them.

While **up**, Redis answers. **Down**, memory stands in and nobody but the monitor's probe asks
Redis. A probe that gets an answer begins the **recovery**: what is owed is replayed first, and
only then Redis answers again. So nobody reads from it what was overwritten or deleted meanwhile.

Two circuit breakers watch: one the reads, which decides about the state, and one the writes. A
server that reads but does not write (full, read-only, stalled for writes) stays up; writes are
then held in the journal until a replay goes through.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from holdfast._core.circuit_types import Era, Lease, Permit
from holdfast._core.clock import Clock
from holdfast._core.hub import EventHub
from holdfast._core.outcome import Rejection
from holdfast._core.sketch import Sketch
from holdfast._core.states import State
from holdfast.cache.port import TierError, Trouble
from holdfast.policies.circuit_breaker import CircuitBreaker

LAST: Final = 5
"""Commands (each carries a batch) that a breaker looks at."""
FAILED: Final = 4
"""Of those, how many must fail for Redis to count as down: all four connections hang, say."""
CONFIGURATION_PAUSE: Final = 30.0
"""Seconds until Redis is asked again after it refused us for our configuration. Asking with a
wrong password again and again helps nobody and looks like an attack."""

FLOWING: Final = (State.CLOSED, State.FORCED_CLOSED, State.DISABLED, State.OBSERVE)
"""States of a breaker in which calls go through without asking it."""


class TierState(StrEnum):
    """What the shared tier is used for."""

    NONE = "none"
    """There is none: the cache lives in memory."""
    UP = "up"
    DOWN = "down"
    RECOVERING = "recovering"


class Move(StrEnum):
    """Why the state changes."""

    TRIPPED = "breaker opened"
    PROBE_PASSED = "probe passed"
    REPLAYED = "journal replayed"
    PROBE_FAILED = "recovery failed"


TABLE: Final[dict[tuple[TierState, Move], TierState]] = {
    (TierState.UP, Move.TRIPPED): TierState.DOWN,
    (TierState.DOWN, Move.PROBE_PASSED): TierState.RECOVERING,
    (TierState.RECOVERING, Move.REPLAYED): TierState.UP,
    (TierState.RECOVERING, Move.PROBE_FAILED): TierState.DOWN,
}
"""Every change of state; the diagram in the docs is drawn from it."""


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> up"]
    lines += [
        f"    {source.value} --> {target.value}: {move.value}"
        for (source, move), target in TABLE.items()
    ]
    return "\n".join(lines)


class Side:
    """The reads or the writes of the tier, under a breaker of their own."""

    __slots__ = ("_circuit", "_clock", "_era", "_flows", "breaker", "reason", "times", "trouble")

    def __init__(self, name: str, pause: float, clock: Clock, events: EventHub) -> None:
        self.breaker: Final = CircuitBreaker(
            name,
            window_calls=LAST,
            failure_threshold=FAILED,
            reset_timeout=pause,
            reset_jitter=0.1,
            probe_timeout=60.0,
            clock=clock,
            events=events,
        )
        self._circuit = self.breaker._circuit
        self._clock = clock
        self._era: Era | None = None
        self._flows = True
        self.reason: str | None = None
        """The last trouble, in one line; None once a command has succeeded after it."""
        self.trouble: Trouble | None = None
        """Of which kind it was."""
        self.times: Final = Sketch()
        """How long commands took, in seconds, those that were cut off included."""

    @property
    def flows(self) -> bool:
        """Whether commands go through. Cheap: looks again only when the circuit has moved."""
        if self._circuit.era is not self._era:
            self._era = self._circuit.era
            self._flows = self.breaker.state in FLOWING
        return self._flows

    @property
    def permit(self) -> Era:
        """What a command takes with it, so that a late outcome cannot touch a newer era."""
        return self._circuit.era

    def succeeded(self, permit: Permit) -> None:
        self._circuit.succeed(permit, self._clock.now())
        if permit is self._circuit.era or isinstance(permit, Lease):
            self.reason = self.trouble = None
        self._tell()

    def failed(self, permit: Permit, error: TierError) -> None:
        """Count a command that failed, if that says something about Redis."""
        if error.trouble in (Trouble.REFUSED, Trouble.POOL):
            self._circuit.ignore(permit)
            return
        self.reason, self.trouble = error.reason, error.trouble
        if error.trouble is Trouble.CONFIGURATION:
            self._circuit.ignore(permit)
            self.breaker.isolate(error.reason, ttl=CONFIGURATION_PAUSE)
            return
        if error.trouble is Trouble.WRITES_REFUSED:
            # The server said so itself: there is nothing to find out by asking four more times.
            for _ in range(FAILED):
                self._circuit.fail(permit, self._clock.now())
        else:
            self._circuit.fail(permit, self._clock.now())
        self._tell()

    def probe(self) -> Permit | float:
        """A permit to ask again, or the seconds to wait before."""
        permit = self._circuit.admit(self._clock.now())
        self._tell()
        if isinstance(permit, Rejection):
            return 1.0 if permit.retry_after is None else permit.retry_after
        return permit

    def give_up(self, permit: Permit) -> None:
        """The command of this permit was cut off and says nothing."""
        self._circuit.ignore(permit)

    def _tell(self) -> None:
        if self._circuit.outbox:
            self.breaker._tell()


class Lifeline:
    """The state of the shared tier.

    Args:
        pause: seconds between probes while down.
        changed: called after each change of state, with source, target, reason, and the seconds
            since it last was the other: up, or not.

    Used by the cache's own event loop only; the breakers may be handled from anywhere.
    """

    __slots__ = ("_changed", "_clock", "_turned", "reads", "since", "state", "writes")

    def __init__(
        self,
        name: str,
        pause: float,
        clock: Clock,
        events: EventHub,
        changed: Callable[[TierState, TierState, str, float], None],
        *,
        shared: bool,
    ) -> None:
        self._clock = clock
        self._changed = changed
        self.state = TierState.UP if shared else TierState.NONE
        self.since = self._turned = clock.now()
        self.reads: Final = Side(f"{name}.read", pause, clock, events)
        self.writes: Final = Side(f"{name}.write", pause, clock, events)

    @property
    def reading(self) -> bool:
        """Whether Redis is asked."""
        if self.state is not TierState.UP:
            return False
        if self.reads.flows:
            return True
        self.move(Move.TRIPPED, self.reason or "the breaker of the reads is open")
        return False

    @property
    def writing(self) -> bool:
        """Whether writes go to Redis rather than to the journal."""
        return self.reading and self.writes.flows

    @property
    def reason(self) -> str | None:
        """What is wrong, in one line; None if nothing is."""
        return self.reads.reason or self.writes.reason

    def move(self, move: Move, reason: str) -> None:
        """Take the transition of this name, if there is one from here."""
        source = self.state
        target = TABLE.get((source, move))
        if target is None:
            return
        self.state = target
        self.since = now = self._clock.now()
        lasted = now - self._turned
        if TierState.UP in (source, target):
            self._turned = now
        self._changed(source, target, reason, lasted)
