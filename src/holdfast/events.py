"""What policies tell: the classes of events, and the hub to subscribe to.

``EVENTS.subscribe(listener, CircuitChanged)`` tells `listener` of every change of every circuit
breaker that was not given a hub of its own, until the function it returns is called.
"""

from holdfast._core.events import (
    EVENTS,
    CallRejected,
    CallTimedOut,
    CircuitChanged,
    Event,
    EventHub,
    FallbackUsed,
    Listener,
    RetryGaveUp,
    RetryScheduled,
)

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
