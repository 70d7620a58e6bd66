"""What a caller gets: a value, and how good an answer it is.

The four levels are those of the original, from the best to the worst. An answer is never better
than the worst thing that went into it: a profile whose avatar came from a cache is `CACHED`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final, Generic, NamedTuple, TypeVar

from holdfast.errors import RejectedError

T_co = TypeVar("T_co", covariant=True)


class Level(StrEnum):
    """How good an answer is, the best first."""

    PRIMARY = "primary"
    """The full answer, from the first source."""
    CACHED = "cached"
    """An earlier answer, or another source's copy; `Served.age` says how old, if that is known."""
    STATIC = "static"
    """A default, the same for everybody."""
    PARTIAL = "partial"
    """Less than was asked for: parts are missing."""

    @property
    def rank(self) -> int:
        """0 for the best level, more for worse ones."""
        return _RANK[self]


_RANK: Final[dict[Level, int]] = {level: rank for rank, level in enumerate(Level)}
_BY_RANK: Final = tuple(Level)


def worst(levels: Iterable[Level]) -> Level:
    """The worst of some levels; `PRIMARY` of none."""
    return _BY_RANK[max((_RANK[level] for level in levels), default=0)]


def oldest(one: float | None, other: float | None) -> float | None:
    """The greater of two ages, of which either may be unknown."""
    if one is None or other is None:
        return one if other is None else other
    return max(one, other)


class Cause(NamedTuple):
    """Why a step (or a part) did not answer.

    Attributes:
        step: its name.
        error: what it raised, or the refusal.
        skipped: whether a policy or the deadline refused it, so that nothing was asked.
    """

    step: str
    error: Exception
    skipped: bool

    def __repr__(self) -> str:
        # Not the error itself: its text may hold what a user sent.
        how = "skipped, " if self.skipped else ""
        return f"Cause({self.step!r}, {how}{type(self.error).__qualname__})"


class Served(Generic[T_co]):
    """An answer and where it came from.

    Attributes:
        value: the answer.
        level: how good it is, everything considered that went into it.
        step: the name of the step that gave it.
        age: seconds since it was true, if it is an earlier answer and that is known; else None.
        causes: why the steps before did not answer, in order.

    An operation may return one itself, to say how good its own answer is:
    ``Served(value, Level.CACHED, age=12.0)``. Its value is taken out, and the worse level counts.
    """

    __slots__ = ("age", "causes", "level", "step", "value")

    def __init__(
        self,
        value: T_co,
        level: Level = Level.PRIMARY,
        step: str = "",
        age: float | None = None,
        causes: tuple[Cause, ...] = (),
    ) -> None:
        self.value: Final = value
        self.level: Final = level
        self.step: Final = step
        self.age: Final = age
        self.causes: Final = causes

    @property
    def degraded(self) -> bool:
        """Whether the answer is anything less than the primary's."""
        return self.level is not Level.PRIMARY

    def __repr__(self) -> str:
        # Not the value: it may be large, or private.
        age = "" if self.age is None else f", {self.age:.3g} s old"
        causes = f", causes={list(self.causes)!r}" if self.causes else ""
        return f"<{type(self).__name__} {self.level} by {self.step!r}{age}{causes}>"


class Composed(Served[dict[str, Any]]):
    """An answer in parts; `value` holds those that are there, by name.

    Attributes:
        parts: how each of them was served.
        missing: the optional parts that are left out, each with its cause.
    """

    __slots__ = ("missing", "parts")

    def __init__(
        self, name: str, parts: dict[str, Served[Any]], missing: dict[str, Exception]
    ) -> None:
        level = worst(part.level for part in parts.values())
        age: float | None = None
        causes: list[Cause] = []
        for part in parts.values():
            age = oldest(age, part.age)
            causes.extend(part.causes)
        causes.extend(cause_of(part, error) for part, error in missing.items())
        super().__init__(
            {part: served.value for part, served in parts.items()},
            Level.PARTIAL if missing else level,
            name,
            age,
            tuple(causes),
        )
        self.parts: Final = parts
        self.missing: Final = missing


def cause_of(step: str, error: Exception) -> Cause:
    """The cause that this error is."""
    return Cause(step, error, isinstance(error, RejectedError))
