"""What degradation tells, as frozen data; one event per period or change, never one per call.

(Each degraded answer by itself is the `FallbackUsed` that other fallbacks tell, too.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from holdfast._core.events import Event
from holdfast.degradation.served import Level


@dataclass(frozen=True, slots=True, kw_only=True)
class DegradationChanged(Event):
    """A chain or composition began to be served degraded, or is served in full again.

    Attributes:
        degraded: whether the period began (True) or ended.
        level, step: of the answer that made the change; None if no step answered at all.
        error_type: what kept the first step from answering, when a period began; else None.
        seconds: how long the period was, when one ended; else None.
        calls: degraded and failed answers in it; 1 when it began.
    """

    degraded: bool
    level: Level | None
    step: str | None
    error_type: str | None
    seconds: float | None
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BrownoutChanged(Event):
    """Features were switched off or came back.

    Attributes:
        before, after: the tier from which on features were and are off; None for none.
        kind: whether the load did it or a person.
        reason: why, in words.
    """

    before: int | None
    after: int | None
    kind: Literal["auto", "manual"]
    reason: str
