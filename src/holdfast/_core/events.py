"""What happened, as frozen data, for whoever wants to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from holdfast._core.hub import EVENTS, EventHub, Listener
from holdfast._core.states import State
from holdfast.errors import Category

__all__ = [
    "EVENTS",
    "CallRejected",
    "CallTimedOut",
    "CircuitChanged",
    "Event",
    "EventHub",
    "FallbackUsed",
    "Listener",
    "RetryGaveUp",
    "RetryScheduled",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events: the name of the policy, and when (Unix seconds)."""

    name: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitChanged(Event):
    """A circuit breaker went from one state to another.

    `retry_in` is the length of the break in seconds, when it opened. `shadow` marks what a breaker
    in observe mode would have done.
    """

    source: State
    target: State
    kind: Literal["auto", "manual"]
    reason: str
    retry_in: float | None
    shadow: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRejected(Event):
    """A policy refused to start a call."""

    policy: str
    reason: str
    retry_after: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryScheduled(Event):
    """An attempt failed and another one follows after `delay` seconds."""

    attempt: int
    delay: float
    error_type: str
    category: Category | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryGaveUp(Event):
    """The last attempt failed, or no further one made sense; `reason` says which."""

    attempts: int
    reason: str
    error_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTimedOut(Event):
    """A timeout's own timer ran out after `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackUsed(Event):
    """A fallback answered in place of an error of this type."""

    error_type: str
