"""What policies and services tell: the classes of events, and the hub to subscribe to.

``EVENTS.subscribe(listener, CircuitChanged)`` tells `listener` of every change of every circuit
breaker that was not given a hub of its own, until the function it returns is called.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

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

if _TYPE_CHECKING:
    from holdfast.cache.events import (
        CacheDataLost,
        CacheForeignFound,
        CacheJournalOverflowed,
        CacheReplayed,
        CacheTierChanged,
    )
    from holdfast.degradation.events import BrownoutChanged, DegradationChanged
    from holdfast.health.events import HealthChanged

__all__ = [
    "EVENTS",
    "BrownoutChanged",
    "CacheDataLost",
    "CacheForeignFound",
    "CacheJournalOverflowed",
    "CacheReplayed",
    "CacheTierChanged",
    "CallRejected",
    "CallTimedOut",
    "CircuitChanged",
    "DegradationChanged",
    "Event",
    "EventHub",
    "FallbackUsed",
    "HealthChanged",
    "Listener",
    "RetryGaveUp",
    "RetryScheduled",
]

_LATE = {
    "BrownoutChanged": "holdfast.degradation.events",
    "DegradationChanged": "holdfast.degradation.events",
    "HealthChanged": "holdfast.health.events",
}
"""Events of services, whose modules are loaded when first asked for; those of the cache as well."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _LATE.get(name, "holdfast.cache.events")
    value = globals()[name] = getattr(_import_module(module), name)
    return value
