"""The third floor in figures: which features were served in which outage, and how quickly.

An outage is a set of dependencies that are down. Each is made to happen twice: they all refuse, and
they all hang. What was served is held against what the portal promises, in two ways. The *oracle*
is that a feature is served if and only if none of its hard dependencies is down. The promised level
says how well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Literal, Protocol

from holdfast.cli.demo.figures import percentile
from holdfast.cli.demo.report import plain

How = Literal["refuses", "hangs"]
HOWS: tuple[How, ...] = ("refuses", "hangs")

DOWN = "down"
SLOWER_AT_MOST = 1.1


class Promise(Protocol):
    """What the portal says of one of its features; see `promises` of the task board."""

    @property
    def feature(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    def survives(self, outage: AbstractSet[str]) -> bool: ...
    def level(self, outage: AbstractSet[str]) -> str: ...
    def unaffected(self, outage: AbstractSet[str]) -> bool: ...


@dataclass(frozen=True, slots=True)
class Case:
    """An outage, and how those that are down behave."""

    outage: frozenset[str]
    how: How

    def __str__(self) -> str:
        return f"{' + '.join(sorted(self.outage)) or 'nothing'} {self.how}"


def cases(dependencies: Sequence[str]) -> Iterator[Case]:
    """Every outage there can be, refusing and hanging; small ones first."""
    for size in range(len(dependencies) + 1):
        for outage in combinations(dependencies, size):
            for how in HOWS if outage else HOWS[:1]:
                yield Case(frozenset(outage), how)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a case was like: by feature, the levels at which it was served, each once."""

    case: Case
    levels: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Matrix:
    """What was seen in all cases, next to what was promised."""

    dependencies: tuple[str, ...]
    promises: tuple[Promise, ...]
    seen: tuple[Seen, ...]

    @property
    def outages(self) -> int:
        """How many there were, "nothing is down" among them."""
        return len({one.case.outage for one in self.seen})

    @property
    def as_the_oracle_says(self) -> float:
        """The share of cells, a feature in a case, that were served or not as the oracle says."""
        return self._share(
            {level != DOWN for level in levels} == {promise.survives(case.outage)}
            for case, promise, levels in self._cells()
        )

    @property
    def as_promised(self) -> float:
        """The share of cells that were served at the promised level, and no other."""
        return self._share(
            levels == (promise.level(case.outage),) for case, promise, levels in self._cells()
        )

    def wrong(self) -> Iterator[tuple[Case, Promise, tuple[str, ...]]]:
        """The cells that were not as promised."""
        for case, promise, levels in self._cells():
            if levels != (promise.level(case.outage),):
                yield case, promise, levels

    def cell(self, feature: str, outage: AbstractSet[str]) -> str:
        """What a feature was in an outage; several levels if it was not always the same."""
        levels = [
            level for one in self.seen if one.case.outage == outage for level in one.levels[feature]
        ]
        return "/".join(dict.fromkeys(levels))

    def _cells(self) -> Iterator[tuple[Case, Promise, tuple[str, ...]]]:
        for one in self.seen:
            for promise in self.promises:
                yield one.case, promise, one.levels[promise.feature]

    @staticmethod
    def _share(cells: Iterable[bool]) -> float:
        right = list(cells)
        return sum(right) / len(right)


@dataclass(frozen=True, slots=True)
class Round:
    """Times to answer of the same requests, to a portal that is whole and to one that is not."""

    whole: Sequence[float]
    broken: Sequence[float]

    @property
    def p99s(self) -> tuple[float, float]:
        return percentile(self.whole, 0.99), percentile(self.broken, 0.99)

    @property
    def ratio(self) -> float:
        """How much slower the broken one was, by the 99th percentile."""
        whole, broken = self.p99s
        return broken / whole


@dataclass(frozen=True, slots=True)
class Pace:
    """What an outage costs those features that it should not touch.

    Each round takes turns between the two portals, so that what slows the machine slows both; and
    of the rounds the median counts, so that one bad moment does not decide.
    """

    rounds: Sequence[Round]

    @property
    def whole(self) -> float:
        """Seconds: p99 without outage."""
        return median(one.p99s[0] for one in self.rounds)

    @property
    def broken(self) -> float:
        """Seconds: p99 of the same features during outages of what they do not need."""
        return median(one.p99s[1] for one in self.rounds)

    @property
    def ratio(self) -> float:
        return median(one.ratio for one in self.rounds)

    @property
    def requests(self) -> int:
        """How many there were on each side."""
        return sum(len(one.whole) for one in self.rounds)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target, and whether it was met."""

    name: str
    states: str
    value: float
    met: bool

    def as_data(self) -> dict[str, object]:
        return {
            "name": self.name,
            "target": self.states,
            "value": plain(self.value),
            "met": self.met,
        }


def judge(matrix: Matrix, pace: Pace) -> tuple[Verdict, ...]:
    """The verdicts. A value that could not be measured meets nothing."""
    served, levels, ratio = matrix.as_the_oracle_says, matrix.as_promised, pace.ratio
    quick = math.isfinite(ratio) and ratio <= SLOWER_AT_MOST
    return (
        Verdict("served", "100 %", served, served == 1.0),
        Verdict("levels", "100 %", levels, levels == 1.0),
        Verdict("unaffected p99", f"≤ {SLOWER_AT_MOST:g} ×", ratio, quick),
    )
