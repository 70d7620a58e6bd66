"""What a circuit is told, hands out and shows: options, permits, transitions, snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from holdfast._core.states import State, Trigger
from holdfast._core.validate import count, number


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitOptions:
    """When a circuit opens, how long it stays so, and how it comes back; see `CircuitBreaker`."""

    failure_threshold: int | None = None
    failure_rate: float | None = None
    slow_call_duration: float | None = None
    slow_call_rate: float = 0.5
    minimum_calls: int = 10
    window: float = 10.0
    window_calls: int | None = None
    reset_timeout: float = 30.0
    reset_backoff: float = 1.0
    max_reset_timeout: float | None = None
    reset_jitter: float = 0.0
    half_open_max_calls: int = 1
    probe_timeout: float = 30.0
    ramp: float = 0.0

    def __post_init__(self) -> None:
        if self.failure_threshold is not None:
            count("failure_threshold", self.failure_threshold)
        if self.failure_rate is not None:
            number("failure_rate", self.failure_rate, above=0, at_most=1)
        if self.slow_call_duration is not None:
            number("slow_call_duration", self.slow_call_duration, above=0)
        number("slow_call_rate", self.slow_call_rate, above=0, at_most=1)
        count("minimum_calls", self.minimum_calls)
        number("window", self.window, above=0)
        if self.window_calls is not None:
            count("window_calls", self.window_calls, at_most=1_000_000)
            for name, least in (
                ("failure_threshold", self.failure_threshold),
                ("minimum_calls", self.minimum_calls if self._rated else None),
            ):
                if least is not None:
                    # More than the window can hold would never be reached.
                    count(name, least, at_most=self.window_calls)
        number("reset_timeout", self.reset_timeout, at_least=0)
        number("reset_backoff", self.reset_backoff, at_least=1)
        if self.max_reset_timeout is not None:
            number("max_reset_timeout", self.max_reset_timeout, at_least=self.reset_timeout)
        number("reset_jitter", self.reset_jitter, at_least=0, at_most=1)
        count("half_open_max_calls", self.half_open_max_calls)
        number("probe_timeout", self.probe_timeout, above=0)
        number("ramp", self.ramp, at_least=0)

    @property
    def _rated(self) -> bool:
        return self.failure_rate is not None or self.slow_call_duration is not None

    @property
    def longest_reset(self) -> float:
        """The longest break without a Retry-After: by default ten reset timeouts."""
        return 10 * self.reset_timeout if self.max_reset_timeout is None else self.max_reset_timeout


class Era:
    """One stay in one state, and the permit of every call admitted without a lease."""

    __slots__ = ("free", "number", "since", "state", "wins")

    def __init__(self, number: int, state: State, since: float, free: bool) -> None:
        self.number = number
        self.state = state
        self.since = since
        self.wins: list[None] = []
        """An entry for each plain success that the window has not been told of yet."""
        self.free = free
        """Whether a call may take this era as its permit without asking."""


class Lease:
    """The permit of one probe."""

    __slots__ = ("expires",)

    def __init__(self, expires: float) -> None:
        self.expires = expires


class Unwatched:
    """The permit of a call that the circuit lets through but does not learn from."""

    __slots__ = ()


Permit = Era | Lease | Unwatched
UNWATCHED: Final = Unwatched()


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of state, as it happened inside the machine."""

    source: State
    target: State
    trigger: Trigger
    kind: Literal["auto", "manual"]
    reason: str
    at: float
    retry_at: float | None
    shadow: bool
    """True for what the machine did underneath while `observe` let everything through."""


@dataclass(frozen=True, slots=True)
class Override:
    """A mode that an operator set, and until when (None: until released)."""

    state: State
    reason: str
    until: float | None
