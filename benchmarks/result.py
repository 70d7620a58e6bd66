"""The figures of one scenario and what is read from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles

BARE = "bare function"
"""The name under which the unprotected function takes part."""


@dataclass(frozen=True)
class Result:
    """One figure per contender and round, in `unit`.

    With `added`, what is compared is the excess over the bare function's figure.
    """

    name: str
    title: str
    unit: str
    reference: str
    samples: Mapping[str, Sequence[float]]
    added: bool = False
    left_out: Mapping[str, str] = field(default_factory=dict)

    def median(self, who: str) -> float:
        return median(self.samples[who])

    def spread(self, who: str) -> float:
        """The distance between the quartiles, as a fraction of the median."""
        figures = self.samples[who]
        if len(figures) < 2:
            return 0.0
        low, _, high = quantiles(figures, method="inclusive")
        return (high - low) / median(figures)

    def extra(self, who: str) -> float:
        """The figure minus the bare function's of the same round; the median of the rounds."""
        return median(self._above_bare(who))

    def ratio(self, who: str, to: str) -> float:
        """`who` over `to` in the same round (if `added`: of what they add); the rounds' median."""
        figures = self._above_bare if self.added else self.samples.__getitem__
        return median(a / b for a, b in zip(figures(who), figures(to), strict=True))

    def _above_bare(self, who: str) -> list[float]:
        return [a - b for a, b in zip(self.samples[who], self.samples[BARE], strict=True)]
