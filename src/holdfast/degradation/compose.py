"""Partial answers: the parts of one answer, asked for at the same time, of which some may fail.

An essential part that cannot be had fails the whole, at once: the rest is cancelled, and awaited,
so nothing goes on that nobody wants. An optional one is left out, and named.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

from holdfast._core.clock import Clock
from holdfast._core.hub import EventHub
from holdfast._core.validate import text
from holdfast.degradation.chain import FallbackChain, OperationFormError, Steps
from holdfast.degradation.current import Scope, enter
from holdfast.degradation.errors import AllFallbacksFailedError, EssentialPartFailedError
from holdfast.degradation.served import Cause, Composed, Served, cause_of
from holdfast.degradation.step import MOST_STEPS, FallbackStep, in_order
from holdfast.degradation.tally import ChainTally
from holdfast.errors import ConfigurationError

Part: TypeAlias = Callable[[], Awaitable[Any]] | FallbackStep[Any] | Sequence[FallbackStep[Any]]
"""A function, one step, or the steps of the part's own fallback chain."""


class Composition:
    """The parts of one call. Made anew for each."""

    def __init__(
        self,
        name: str,
        essential: Mapping[str, Part],
        optional: Mapping[str, Part],
        tally: ChainTally,
        clock: Clock,
        events: EventHub,
    ) -> None:
        both = essential.keys() & optional.keys()
        if both:
            raise ConfigurationError(f"part {min(both)!r} must be essential or optional, not both")
        parts = {**essential, **optional}
        if not 1 <= len(parts) <= MOST_STEPS:
            raise ConfigurationError(f"parts must be 1 to {MOST_STEPS}, not {len(parts)}")
        self._name = name
        self._essential: Final = frozenset(essential)
        self._chains = {
            part: FallbackChain(f"{name}.{part}", _steps(part, how), clock, events)
            for part, how in parts.items()
        }
        self._tally = tally
        self._served: dict[str, Served[Any]] = {}
        self._missing: dict[str, Exception] = {}
        self._failed: list[Cause] = []

    async def serve(self) -> Composed:
        """All essential parts, and those of the optional ones that can be had.

        Raises:
            EssentialPartFailedError: an essential part cannot be had.
        """
        scope = enter()
        try:
            await self._ask_all()
            if self._failed:
                scope.clear()  # nobody is served what the other parts were
                self._tally.failed(self._failed)
                raise EssentialPartFailedError(self._name, self._failed)
            return self._composed(scope)
        finally:
            scope.leave()

    async def _ask_all(self) -> None:
        """Ask for every part, until they are there or an essential one is known to be missing."""
        # No TaskGroup: before Python 3.13 it leaves its own cancellation counted on the task.
        tasks = [
            asyncio.create_task(self._ask(part, chain), name=chain.name)
            for part, chain in self._chains.items()
        ]
        try:
            pending = set(tasks)
            while pending and not self._failed:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()  # raises what is no failure: a mistake, a cancellation by others
        finally:
            await _end(tasks)

    async def _ask(self, part: str, chain: FallbackChain) -> None:
        try:
            self._served[part] = await chain.serve()
        except OperationFormError:
            raise
        except Exception as error:
            cause = error
            if isinstance(error, AllFallbacksFailedError) and len(error.exceptions) == 1:
                cause = error.exceptions[0]
            if part in self._essential:
                self._failed.append(cause_of(part, cause))
            else:
                self._missing[part] = cause

    def _composed(self, scope: Scope) -> Composed:
        # In the order given, whoever was quicker.
        parts = {part: self._served[part] for part in self._chains if part in self._served}
        missing = {part: self._missing[part] for part in self._chains if part in self._missing}
        composed = Composed(self._name, parts, missing)
        if composed.degraded:
            names = (f"{self._name}.{part}" for part in missing)
            scope.note(composed.level, composed.age, *names, self._name)
        causes = [cause_of(part, error) for part, error in missing.items()]
        self._tally.served(composed, parts, causes)
        return composed


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel what still runs and wait for it, also if we are cancelled meanwhile."""
    cancelled: asyncio.CancelledError | None = None
    for task in tasks:
        task.cancel()
    while running := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(running)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


def _steps(part: str, how: Part) -> Steps:
    """The steps by which a part is had."""
    text("part", part)
    if isinstance(how, FallbackStep):
        return (cast(Any, how),)
    if callable(how):
        return (FallbackStep(part, how),)
    if isinstance(how, Sequence) and not isinstance(how, (str, bytes)):
        return in_order(how)
    raise ConfigurationError(
        f"part {part!r} must be a function, a FallbackStep or several of them, "
        f"not a {type(how).__qualname__}"
    )
