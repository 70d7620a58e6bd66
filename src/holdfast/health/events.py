"""What the monitor tells the hub of events."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast._core.events import Event
from holdfast.health.statuses import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthChanged(Event):
    """A component, or (with `system` true) the system as a whole, went to another status.

    `name` is the component's, or ``"system"``. `reason` is a sentence for people; it names
    components, policies and types of errors, nothing that users sent.
    """

    source: Status
    target: Status
    reason: str
    system: bool
