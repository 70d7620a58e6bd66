"""What happens when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from holdfast.testing import Toxic, ValkeyServer


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the demo: its length in seconds, and what it begins with.

    `toxic` befalls replies for as long as the phase lasts; `deed` is done once, at its beginning.
    """

    name: str
    seconds: float
    about: str = ""
    toxic: Toxic | None = None
    deed: Callable[[ValkeyServer], None] | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """Phases in a row: the first one is healthy, and so is the last one after a while."""

    phases: tuple[Phase, ...]

    @property
    def seconds(self) -> float:
        """How long all phases last."""
        return sum(phase.seconds for phase in self.phases)

    def starts(self) -> Iterator[tuple[float, Phase]]:
        """Each phase with the time at which it begins."""
        ends = accumulate((phase.seconds for phase in self.phases), initial=0.0)
        return zip(ends, self.phases, strict=False)

    def at(self, now: float) -> Phase:
        """The phase at a time; the last one from its start on."""
        return [phase for start, phase in self.starts() if start <= max(0.0, now)][-1]

    def of(self, name: str) -> tuple[float, float]:
        """When the phase of this name begins and ends."""
        return next((at, at + phase.seconds) for at, phase in self.starts() if phase.name == name)
