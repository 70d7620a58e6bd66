"""The fire drill: every step, dependency and pair of them fails in turn, and who still gets what?

Fallbacks are code that never runs until the worst day. A drill runs them all, on any day: it first
calls each operation undisturbed and sees which chains it uses, then makes one thing fail after
the other, then two at a time, and writes down the level that each operation was served. The
matrix that comes out is what a service promises about outages, and a test can hold it to that.
"""

from __future__ import annotations

import inspect
from collections.abc import (
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    contextmanager,
)
from itertools import combinations
from typing import Any, Final, TypeAlias, cast

from holdfast._core.validate import count, text
from holdfast.degradation import FallbackStep, GracefulDegradation, Level, Served, degradation_scope
from holdfast.degradation.chain import DRILLS, Steps
from holdfast.degradation.served import worst
from holdfast.errors import ConfigurationError

FAILED: Final = "failed"
"""What stands in a cell when an operation raised."""

UNDISTURBED: Final = "(none)"
"""The row of the calls in which nothing was made to fail."""

MOST_ROWS: Final = 2_000

Operation: TypeAlias = Callable[[], Any]
"""A function without arguments, or a coroutine function; its own level may be `Served` or bare."""

Fault: TypeAlias = (
    Callable[[], AbstractContextManager[Any] | AbstractAsyncContextManager[Any]]
    | tuple[Callable[[], Any], Callable[[], Any]]
)
"""What switches a dependency off: a function that gives a context manager, or (off, on)."""


class DrilledError(ConnectionError):
    """What a step raises that a drill makes fail."""


class DrillMatrix(Mapping[str, Mapping[str, str]]):
    """*fault × operation → level served*, as ``matrix["database"]["profile"] == "cached"``.

    Faults that are combined are joined by ``" + "``; the row ``"(none)"`` is the undisturbed one. A
    cell is a `Level`, or ``"failed"``. Printed, it is a table.
    """

    def __init__(self, rows: Mapping[str, Mapping[str, str]]) -> None:
        self._rows = rows

    def __getitem__(self, fault: str) -> Mapping[str, str]:
        return self._rows[fault]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __str__(self) -> str:
        return self._table(self._rows)

    def __repr__(self) -> str:
        return f"<DrillMatrix of {len(self._rows)} rows>"

    def assert_survives(
        self,
        *operations: str,
        at_worst: Level = Level.PARTIAL,
        faults: Iterable[str] | None = None,
    ) -> None:
        """Assert that these operations (default: all) are served at this level or a better one.

        `faults` are the rows to look at; default all.
        """
        rows = list(self) if faults is None else list(faults)
        self._assert(
            {
                fault: {
                    operation: _no_worse_than(at_worst)
                    for operation in operations or self[UNDISTURBED]
                }
                for fault in rows
            },
            f"served {at_worst} or better",
        )

    def assert_levels(self, expected: Mapping[str, Mapping[str, str]]) -> None:
        """Assert that these cells are as given; rows and columns that are not named may be any."""
        self._assert(
            {
                fault: {operation: (level,) for operation, level in cells.items()}
                for fault, cells in expected.items()
            },
            "as expected",
        )

    def _assert(self, allowed: Mapping[str, Mapping[str, Collection[str]]], what: str) -> None:
        wrong: list[str] = []
        rows: dict[str, Mapping[str, str]] = {}
        for fault, cells in allowed.items():
            if fault not in self:
                wrong.append(f"there is no fault {fault!r}; there are {', '.join(self)}")
                continue
            for operation, levels in cells.items():
                served = self[fault].get(operation)
                if served is None:
                    wrong.append(f"there is no operation {operation!r}")
                elif served not in levels:
                    rows[fault] = self[fault]
                    instead = f", not {next(iter(levels))}" if len(levels) == 1 else ""
                    wrong.append(f"{operation} during {fault}: {served}{instead}")
        if wrong:
            listed = "\n".join(f"  {line}" for line in dict.fromkeys(wrong))
            raise AssertionError(f"not {what}:\n{listed}\n\n{self._table(rows)}".rstrip())

    def _table(self, rows: Mapping[str, Mapping[str, str]]) -> str:
        if not rows:
            return ""
        operations = list(self[UNDISTURBED])
        lines = [("fault", *operations)]
        lines += [(fault, *(cells[each] for each in operations)) for fault, cells in rows.items()]
        widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )


async def drill(
    operations: Operation | Mapping[str, Operation] | Sequence[FallbackStep[Any]],
    *,
    faults: Mapping[str, Fault] | None = None,
    steps: bool = True,
    max_faults: int = 2,
    before: Callable[[], Any] | None = None,
) -> DrillMatrix:
    """Make everything fail in turn, and see at which level each operation is served.

    Args:
        operations: what a user can do, by name: functions without arguments, sync or async. A
            single function is called ``"operation"``. The steps of one chain are fine too.
        faults: dependencies that can be switched off, by name.
        steps: whether the steps of all chains that the operations use fail in turn as well, under
            names such as ``"user-profile:database"``. Fixed values never do. Default True.
        max_faults: how many things fail at the same time, at least 1. Default 2.
        before: called, and awaited if it can be, before each row: to close breakers that the last
            one opened, or to fill a cache again.

    Raises:
        ConfigurationError: there is nothing to drill, a name is no printable text, or there would
            be more than 2,000 rows.

    What an operation raises is the level ``"failed"``; cancellation passes through. Every operation
    is called once per row, one after the other. Steps fail in the whole process: run no two drills
    at a time.
    """
    named = _operations(operations)
    count("max_faults", max_faults)
    stage = _Stage(dict(faults or {}), steps)
    rows: dict[str, Mapping[str, str]] = {}
    with stage.watching():
        for failing in stage.rows(max_faults):
            if before is not None:
                await _awaited(before())
            async with AsyncExitStack() as switched_off:
                await stage.switch_off(failing, switched_off)
                label = " + ".join(failing) or UNDISTURBED
                rows[label] = {name: await _level(each) for name, each in named.items()}
    return DrillMatrix(rows)


class _Stage:
    """What can fail, and what is failing now."""

    def __init__(self, faults: dict[str, Fault], steps: bool) -> None:
        for name in faults:
            text("the name of a fault", name)
        self._faults = faults
        self._known = list(faults)
        self._steps = steps
        self._failing: frozenset[str] = frozenset()

    def rows(self, max_faults: int) -> Generator[tuple[str, ...]]:
        """The things that fail together, row by row. What turns up on the way is included."""
        yield ()
        if not self._known:
            raise ConfigurationError(
                "operations must use a fallback chain, or faults must be given: nothing can fail"
            )
        at = 0
        while at < len(self._known):
            yield (self._known[at],)
            at += 1
            self._refuse_too_many(1)
        for size in range(2, max_faults + 1):
            self._refuse_too_many(size)
            yield from combinations(tuple(self._known), size)

    def _refuse_too_many(self, size: int) -> None:
        rows = 1
        for taken in range(size):
            rows = rows * (len(self._known) - taken) // (taken + 1)
        if rows > MOST_ROWS:
            raise ConfigurationError(
                f"max_faults must be less than {size}: {len(self._known)} faults make {rows} rows, "
                f"and {MOST_ROWS} are the most"
            )

    async def switch_off(self, failing: tuple[str, ...], until: AsyncExitStack) -> None:
        """Let these fail until the stack is left."""
        for name in failing:
            fault = self._faults.get(name)
            if isinstance(fault, tuple):
                off, on = cast(Any, fault)
                # First, so that what is half switched off is switched on again.
                until.push_async_callback(_called, on)
                await _awaited(off())
            elif fault is not None:
                context = fault()
                if isinstance(context, AbstractAsyncContextManager):
                    await until.enter_async_context(context)
                else:
                    until.enter_context(context)
        before, self._failing = self._failing, frozenset(failing)
        until.callback(setattr, self, "_failing", before)

    @contextmanager
    def watching(self) -> Generator[None]:
        """See every chain that is used."""
        before = DRILLS.intercept
        if self._steps:
            DRILLS.intercept = self._intercept
        try:
            yield
        finally:
            DRILLS.intercept = before

    def _intercept(self, chain: str, steps: Steps) -> Steps:
        names = {step.name: f"{chain}:{step.name}" for step in steps if not step.static}
        self._known += [name for name in names.values() if name not in self._known]
        return tuple(
            step.replaced(_broken) if names.get(step.name) in self._failing else step
            for step in steps
        )


def _broken(*args: Any, **kwargs: Any) -> Any:
    raise DrilledError("made to fail by a drill")


def _no_worse_than(level: Level) -> tuple[str, ...]:
    return tuple(each for each in Level if each.rank <= level.rank)


def _operations(
    operations: Operation | Mapping[str, Operation] | Sequence[FallbackStep[Any]],
) -> dict[str, Operation]:
    if callable(operations):
        return {"operation": operations}
    if isinstance(operations, Mapping):
        named = dict(operations)
        for name, operation in named.items():
            text("the name of an operation", name)
            if not callable(operation):
                raise ConfigurationError(f"operation {name!r} must be a function")
        if named:
            return named
    elif operations:
        steps = list(operations)
        service = GracefulDegradation()
        return {"chain": lambda: service.execute_with_fallback_chain("chain", steps)}
    raise ConfigurationError("operations must be at least one function, or the steps of a chain")


async def _level(operation: Operation) -> str:
    """The level at which an operation is served; what it gives may say, or what was noted."""
    with degradation_scope() as scope:
        try:
            answer = await _awaited(operation())
        except Exception:
            return FAILED
    noted = scope.snapshot().level
    if isinstance(answer, Served):
        told: Served[Any] = cast(Any, answer)
        return worst((noted, told.level))
    return noted


async def _called(function: Callable[[], Any]) -> None:
    await _awaited(function())


async def _awaited(answer: Any) -> Any:
    """The answer itself, or what it comes to when it is awaited."""
    return await answer if inspect.isawaitable(answer) else answer
