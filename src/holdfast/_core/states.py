"""The circuit's states and every way from one to another.

A circuit moves by itself between three states: **closed** lets calls through and watches them,
**open** refuses them, **half-open** lets a few probes through to find out. An operator can put
four modes on top: **isolated** refuses everything, **forced closed** lets everything through and
goes on counting, **disabled** lets everything through and counts nothing, **observe** lets
everything through while the automatic machine goes on underneath and records what it would have
done. A mode ends by hand or when its time to live is over.

This table is the circuit: `Circuit` moves by it and the state diagram in the docs is drawn from it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class State(StrEnum):
    """What a circuit is doing."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    ISOLATED = "isolated"
    FORCED_CLOSED = "forced_closed"
    DISABLED = "disabled"
    OBSERVE = "observe"


class Trigger(StrEnum):
    """Why a circuit moves."""

    TRIPPED = "tripped"
    RESET_TIMEOUT = "reset timeout over"
    PROBES_PASSED = "probes passed"
    PROBE_FAILED = "probe failed"
    ISOLATE = "isolate"
    FORCE_CLOSED = "force closed"
    DISABLE = "disable"
    OBSERVE = "observe"
    RELEASE = "release or time to live over"
    RESET = "reset"


AUTOMATIC: Final[dict[tuple[State, Trigger], State]] = {
    (State.CLOSED, Trigger.TRIPPED): State.OPEN,
    (State.OPEN, Trigger.RESET_TIMEOUT): State.HALF_OPEN,
    (State.HALF_OPEN, Trigger.PROBES_PASSED): State.CLOSED,
    (State.HALF_OPEN, Trigger.PROBE_FAILED): State.OPEN,
}
"""What happens by itself."""

MANUAL: Final[dict[Trigger, State]] = {
    Trigger.ISOLATE: State.ISOLATED,
    Trigger.FORCE_CLOSED: State.FORCED_CLOSED,
    Trigger.DISABLE: State.DISABLED,
    Trigger.OBSERVE: State.OBSERVE,
    Trigger.RESET: State.CLOSED,
}
"""What an operator can do, in any state."""

RELEASED: Final[dict[State, State]] = {
    # Whoever isolates a dependency believes it is broken: ask it before all traffic returns.
    State.ISOLATED: State.HALF_OPEN,
    State.FORCED_CLOSED: State.CLOSED,
    State.DISABLED: State.CLOSED,
}
"""Where the end of a mode leads. From observe, to whatever the machine underneath has come to."""


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> closed"]
    lines += [
        f"    {source.value} --> {target.value}: {trigger.value}"
        for (source, trigger), target in AUTOMATIC.items()
    ]
    lines += [
        f"    any_state --> {target.value}: {trigger.value}" for trigger, target in MANUAL.items()
    ]
    lines += [
        f"    {source.value} --> {target.value}: {Trigger.RELEASE.value}"
        for source, target in RELEASED.items()
    ]
    lines.append(f"    observe --> any_state: {Trigger.RELEASE.value}")
    return "\n".join(lines)
