"""How well the current request is being served, for whoever writes the response.

Answers of decorated functions come without their level, and a request is usually answered by
several of them. So each chain notes what it served in a *scope*, which travels in a context
variable: tasks, `gather` and threads that copy the context share the scope of the request that
started them. Scopes nest: a chain has one of its own while it runs, so that what its operation got
from other chains counts for its own level, and what a failed step got does not.

Without `degradation_scope()` there is nothing that says where a request begins and ends; then the
outermost chain call is taken for one, and the next such call begins anew.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from holdfast._core.fork import SharedLock
from holdfast.degradation.served import Level, oldest, worst

MOST_NAMES: Final = 16
"""Names that a scope remembers; of further ones only the level and the age count."""

_SHARED = SharedLock()
# All scopes: taken when an answer is degraded.


@dataclass(frozen=True, slots=True, kw_only=True)
class Degradation:
    """How a request has been served so far.

    Attributes:
        level: the worst of its answers.
        age: seconds, of the oldest answer whose age is known; None if there is none.
        by: the names of the chains and compositions that were degraded, at most 16.
    """

    level: Level = Level.PRIMARY
    age: float | None = None
    by: tuple[str, ...] = ()

    @property
    def degraded(self) -> bool:
        return self.level is not Level.PRIMARY


class Scope:
    """What was served inside of it. Thread safe."""

    __slots__ = ("age", "by", "level", "outer", "over")

    def __init__(self, outer: Scope | None) -> None:
        self.outer = outer
        self.over = False
        self.level = Level.PRIMARY
        self.age: float | None = None
        self.by: tuple[str, ...] = ()

    def clear(self) -> None:
        """Forget what was noted: it came from a step that failed in the end."""
        with _SHARED.lock:
            self.level, self.age, self.by = Level.PRIMARY, None, ()

    def note(self, level: Level, age: float | None, *by: str) -> None:
        """Something was served like this."""
        with _SHARED.lock:
            self.level = worst((self.level, level))
            self.age = oldest(self.age, age)
            self.by = tuple(dict.fromkeys((*self.by, *by)))[:MOST_NAMES]

    def snapshot(self) -> Degradation:
        """What was noted so far."""
        with _SHARED.lock:
            return Degradation(level=self.level, age=self.age, by=self.by)

    def leave(self) -> None:
        """The work inside is over. What was noted counts for the scope around, too."""
        self.over = True
        if self.outer is None:
            return
        if self.level is not Level.PRIMARY:
            self.outer.note(self.level, self.age, *self.by)
        # Not so if the collector finalises a coroutine in somebody else's context.
        if SCOPE.get() is self:
            SCOPE.set(self.outer)


SCOPE: ContextVar[Scope | None] = ContextVar("holdfast_degradation", default=None)


def enter() -> Scope:
    """A scope for one chain, inside the one that is there."""
    outer = SCOPE.get()
    scope = Scope(None if outer is None or outer.over else outer)
    SCOPE.set(scope)
    return scope


@contextmanager
def degradation_scope() -> Generator[Scope]:
    """Say that the block is one request, whose answers count together.

    For web frameworks without the middleware, workers and tests; for sync and async code alike
    (``with``, also inside coroutines). What it gives has a `snapshot()`, valid after the block too.
    """
    before = SCOPE.get()
    scope = enter()
    try:
        yield scope
    finally:
        scope.leave()
        if SCOPE.get() is scope:
            SCOPE.set(before)


def current_degradation() -> Degradation:
    """How the current request has been served so far: the worst level of its answers.

    The request is the innermost `degradation_scope()`, with those around it; without any, the last
    outermost chain call in this task or thread. Full service if nothing was served at all.
    """
    scope, level, age, by = SCOPE.get(), Level.PRIMARY, None, dict[str, None]()
    while scope is not None:
        seen = scope.snapshot()
        level = worst((level, seen.level))
        age = oldest(age, seen.age)
        by.update(dict.fromkeys(seen.by))
        scope = scope.outer
    return Degradation(level=level, age=age, by=tuple(by)[:MOST_NAMES])
