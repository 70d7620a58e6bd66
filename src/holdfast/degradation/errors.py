"""What is raised when no answer is possible any more: a group, because every cause is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from holdfast.degradation.served import Cause
from holdfast.errors import ResilienceError


class _CausesError(ResilienceError, ExceptionGroup[Exception]):
    """A group of causes, each with the name of its step or part."""

    _what = ""
    name: str
    causes: tuple[Cause, ...]

    def __new__(cls, name: str, causes: Sequence[Cause]) -> Self:
        # Types only: the texts may hold what a user sent. Whoever prints the group sees them.
        told = ", ".join(
            f"{cause.step!r} {'skipped' if cause.skipped else 'failed'}: "
            f"{type(cause.error).__qualname__}"
            for cause in causes
        )
        self = super().__new__(
            cls, f"{cls._what.format(name)}: {told}", [cause.error for cause in causes]
        )
        self.name = name
        self.causes = tuple(causes)
        return self

    def __init__(self, name: str, causes: Sequence[Cause]) -> None:
        super().__init__(self.message, self.exceptions)

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.name, self.causes))


class AllFallbacksFailedError(_CausesError):
    """No step of a chain gave an answer; the group holds every step's error, in order.

    Attributes:
        name: of the chain.
        causes: why each step did not answer.
    """

    _what = "no step of {!r} gave an answer"


class EssentialPartFailedError(_CausesError):
    """A composition lacks an essential part; the group holds the errors of those that failed.

    Attributes:
        name: of the composition.
        causes: why each of these parts is missing.
    """

    _what = "{!r} lacks an essential part"


class NothingKeptError(ResilienceError, LookupError):
    """There is no earlier response, or only one that is too old."""

    def __str__(self) -> str:
        return "no response is kept"
