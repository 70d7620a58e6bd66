"""The four statuses of a component and every way from one to another.

A component is **healthy**, **degraded** (it answers, but not as it should), **unhealthy** (do not
count on it), or **unknown** (nothing was heard of it). Now and then its recent past is judged,
which gives a *reading*. One bad reading moves nothing: a way is taken when several in a row ask for
it, and the table says which rule counts them. Getting worse takes fewer than getting better, so
that trouble shows early and a dependency that limps is not called well between two falls.

This table is the machine: `StatusMachine` moves by it and the diagram in the docs is drawn from it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Status(StrEnum):
    """How a component is doing."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


class Rule(StrEnum):
    """How many readings in a row it takes to go a way."""

    FIRST = "a good reading"
    WORSE = "worse, several times in a row"
    BETTER = "better, several times in a row"
    QUIET = "nothing heard, several times in a row"


SEVERITY: Final[dict[Status, int]] = {
    Status.UNKNOWN: 0,
    Status.HEALTHY: 0,
    Status.DEGRADED: 1,
    Status.UNHEALTHY: 2,
}
"""How bad a status is. What nobody has heard of is not held against anybody."""

WAYS: Final[dict[tuple[Status, Status], Rule]] = {
    (Status.UNKNOWN, Status.HEALTHY): Rule.FIRST,
    (Status.UNKNOWN, Status.DEGRADED): Rule.WORSE,
    (Status.UNKNOWN, Status.UNHEALTHY): Rule.WORSE,
    (Status.HEALTHY, Status.DEGRADED): Rule.WORSE,
    (Status.HEALTHY, Status.UNHEALTHY): Rule.WORSE,
    (Status.DEGRADED, Status.UNHEALTHY): Rule.WORSE,
    (Status.UNHEALTHY, Status.DEGRADED): Rule.BETTER,
    (Status.UNHEALTHY, Status.HEALTHY): Rule.BETTER,
    (Status.DEGRADED, Status.HEALTHY): Rule.BETTER,
    (Status.HEALTHY, Status.UNKNOWN): Rule.QUIET,
    (Status.DEGRADED, Status.UNKNOWN): Rule.QUIET,
    (Status.UNHEALTHY, Status.UNKNOWN): Rule.QUIET,
}
"""From a status, by a reading: what has to repeat itself."""


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> unknown"]
    lines += [
        f"    {source.value} --> {target.value}: {rule.value}"
        for (source, target), rule in WAYS.items()
    ]
    return "\n".join(lines)
