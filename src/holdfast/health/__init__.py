"""How the things a program depends on are doing, seen from its own traffic.

`HealthMonitor` keeps a rolling window per service, looks at the policies it is shown, and moves
each service between `healthy`, `degraded`, `unhealthy` and `unknown` with hysteresis. Declared
dependencies roll up into the status of the system. It asks nobody by itself: active checks, and
the heartbeat that finds a stalled event loop, begin when the monitor is started.
"""

from holdfast.health.calls import CallOutcome, outcome_of
from holdfast.health.events import HealthChanged
from holdfast.health.monitor import HealthMonitor
from holdfast.health.options import HealthOptions
from holdfast.health.snapshots import (
    CheckSnapshot,
    ComponentSnapshot,
    HealthSnapshot,
    LocalSnapshot,
    StatusChange,
    SystemSnapshot,
    TrafficSnapshot,
)
from holdfast.health.statuses import Status, diagram

__all__ = [
    "CallOutcome",
    "CheckSnapshot",
    "ComponentSnapshot",
    "HealthChanged",
    "HealthMonitor",
    "HealthOptions",
    "HealthSnapshot",
    "LocalSnapshot",
    "Status",
    "StatusChange",
    "SystemSnapshot",
    "TrafficSnapshot",
    "diagram",
    "outcome_of",
]
