"""What breaks when.

The faults are put on the replies, so that the user service sees each request that is made: its own
counter then tells what load the callers put on it while it suffers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from holdfast.testing import Latency, Reset, Timeout, Toxic


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the demo: its length in seconds, and what befalls the replies meanwhile."""

    name: str
    seconds: float
    about: str = ""
    toxic: Toxic | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """Phases in a row: healthy ones, then those with a fault, then healthy ones again."""

    phases: tuple[Phase, ...]

    @property
    def seconds(self) -> float:
        """How long all phases last."""
        return sum(phase.seconds for phase in self.phases)

    @property
    def outage(self) -> tuple[float, float]:
        """When the first fault begins and the last one ends."""
        faulty = [(start, phase) for start, phase in self.starts() if phase.toxic is not None]
        return faulty[0][0], faulty[-1][0] + faulty[-1][1].seconds

    def starts(self) -> Iterator[tuple[float, Phase]]:
        """Each phase with the time at which it begins."""
        ends = accumulate((phase.seconds for phase in self.phases), initial=0.0)
        return zip(ends, self.phases, strict=False)

    def at(self, now: float) -> Phase:
        """The phase at a time; the last one from its start on."""
        return [phase for start, phase in self.starts() if start <= max(0.0, now)][-1]


def standard(seconds: float) -> Schedule:
    """The demo's schedule, fitted into `seconds`."""
    return Schedule(
        (
            Phase("healthy", 0.15 * seconds, "all is well"),
            Phase("slow", 0.20 * seconds, "a reply takes 2 s", Latency(2.0, jitter=0.5)),
            Phase("failing", 0.15 * seconds, "replies are cut off", Reset(after_bytes=1)),
            Phase("dead", 0.20 * seconds, "no reply at all", Timeout()),
            Phase("back", 0.30 * seconds, "all is well again"),
        )
    )
