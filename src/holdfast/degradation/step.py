"""One step of a fallback chain: a way to get an answer, and how much may be spent on it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, TypeVar, overload

from holdfast._core.validate import number, refuse, text
from holdfast.degradation.annotations import check_static
from holdfast.degradation.served import Level
from holdfast.errors import ConfigurationError
from holdfast.policies.base import MOST_COMPLAINTS, Policy, _complained
from holdfast.policies.select import Which, matcher

R_co = TypeVar("R_co", covariant=True)

_log = logging.getLogger("holdfast")

ABSENT: Final[Any] = object()
"""Stands for no value where None may be one."""

MOST_STEPS: Final = 32
"""Steps of a chain, parts of a composition. Beyond, somebody lists data instead of sources."""


class FallbackStep(Generic[R_co]):
    """One way to get an answer.

    Args:
        name: of the step, unique in its chain.
        operation: a function without arguments; in the decorator form it gets the call's own.
        value: a fixed answer, instead of an operation. The same object every time: do not change
            it. Such a step never fails and is never skipped.
        priority: steps with a higher one are asked first; equal ones in the order given. Default 0.
        level: how good this step's answers are. Default: by its place in the chain `PRIMARY`,
            `CACHED`, `STATIC`, then `PARTIAL`; `STATIC` for a `value`.
        pipeline: a policy around the operation. What it refuses (circuit open) is skipped at once.
        timeout: seconds for the step, above 0. Default None.
        share: the part of the time left before the ambient deadline that the step may use, above 0
            up to 1. Default: half, so that something is left for the next one; all for the last
            step that takes time.
        needs: seconds below which it is no use to begin; the step is then skipped. Default 0.
        on: exceptions after which the next step is asked. Default: all. Others come out at once,
            such as a "not found" that is the answer.

    Raises:
        ConfigurationError: an option is out of its range.

    With plain functions timeout and share are the ambient deadline inside the operation, which
    nothing can interrupt. Immutable, so it may be shared by chains and threads.
    """

    __slots__ = (
        "_matches",
        "level",
        "name",
        "needs",
        "operation",
        "pipeline",
        "priority",
        "share",
        "static",
        "timeout",
        "value",
    )

    @overload
    def __init__(
        self,
        name: str,
        operation: Callable[..., R_co],
        *,
        priority: float = 0,
        level: Level | None = None,
        pipeline: Policy | None = None,
        timeout: float | None = None,
        share: float | None = None,
        needs: float = 0.0,
        on: Which | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self: FallbackStep[Any],
        name: str,
        *,
        value: Any,
        priority: float = 0,
        level: Level | None = None,
    ) -> None: ...

    def __init__(
        self,
        name: str,
        operation: Callable[..., Any] | None = None,
        *,
        value: Any = ABSENT,
        priority: float = 0,
        level: Level | None = None,
        pipeline: Policy | None = None,
        timeout: float | None = None,
        share: float | None = None,
        needs: float = 0.0,
        on: Which | None = None,
    ) -> None:
        self.name: Final = text("name", name)
        self.static: Final = value is not ABSENT
        if self.static:
            limits = (operation, pipeline, timeout, share, on)
            if needs or any(option is not None for option in limits):
                raise ConfigurationError(
                    f"step {name!r} has a value: it takes no operation, pipeline, timeout, share, "
                    "needs or on, because it takes no time and cannot fail"
                )
        elif not callable(operation):
            raise refuse("operation", operation, "a function, unless value=... is given instead")
        if pipeline is not None and not isinstance(pipeline, Policy):
            raise refuse("pipeline", pipeline, "a Pipeline or another policy")
        if level is not None and not isinstance(level, Level):
            raise refuse("level", level, "a Level")
        self.operation: Final[Callable[..., Any]] = _nothing if operation is None else operation
        self.value: Final[Any] = value
        # Any int will do, and most are; chains are often made anew for each call.
        self.priority: Final = (
            priority if priority.__class__ is int else number("priority", priority)
        )
        self.level: Final = level
        self.pipeline: Final = pipeline
        self.timeout: Final = None if timeout is None else number("timeout", timeout, above=0)
        self.share: Final = None if share is None else number("share", share, above=0, at_most=1)
        self.needs: Final = number("needs", needs, at_least=0, at_most=self.timeout)
        self._matches = None if on is None else matcher("on", on)

    def moves_on(self, error: Exception) -> bool:
        """Whether the next step is asked after this error."""
        if self._matches is None:
            return True
        try:
            return bool(self._matches(error))
        except Exception:
            # It cannot break the call: the default decides instead.
            _complain(self)
            return True

    def replaced(self, operation: Callable[..., Any]) -> FallbackStep[Any]:
        """The same step with another operation and without its pipeline, for drills."""
        return FallbackStep(
            self.name,
            operation,
            priority=self.priority,
            level=self.level,
            timeout=self.timeout,
            share=self.share,
            needs=self.needs,
            on=self._matches,
        )

    def __repr__(self) -> str:
        return f"<FallbackStep {self.name!r}>"


def _complain(step: FallbackStep[Any]) -> None:
    """Log, once per name, that a step's `on` raised."""
    if ("step", step.name) not in _complained and len(_complained) < MOST_COMPLAINTS:
        _complained.add(("step", step.name))
        _log.exception("on of %r raised; the next step is asked", step)


def _nothing() -> Any:
    """The operation of a step that has a value; never called."""


def in_order(
    steps: Iterable[FallbackStep[Any]], *, first: FallbackStep[Any] | None = None
) -> tuple[FallbackStep[Any], ...]:
    """The steps of a chain as they are asked; `first` comes first whatever its priority.

    Raises:
        ConfigurationError: there are none or too many, one is no `FallbackStep`, two have one name,
            or a fixed value does not fit what the first step is annotated to return.
    """
    chain = tuple(steps) if first is None else (first, *steps)
    if not 1 <= len(chain) <= MOST_STEPS:
        raise ConfigurationError(f"steps must be 1 to {MOST_STEPS} FallbackSteps, not {len(chain)}")
    before: float = math.inf
    in_place, any_static = True, False
    for step in chain:
        if step.__class__ is not FallbackStep and not isinstance(step, FallbackStep):
            raise ConfigurationError(
                f"steps must be FallbackSteps, not a {type(step).__qualname__}"
            )
        if step.priority > before:
            in_place = False
        elif step is not first:
            before = step.priority
        if step.static:
            any_static = True
    if len({step.name for step in chain}) < len(chain):
        every = [step.name for step in chain]
        twice = next(name for name in every if every.count(name) > 1)
        raise ConfigurationError(
            f"steps must have different names, not {twice!r} twice: the name says which one it was"
        )
    if not in_place:
        # Stable, so that equal priorities keep the order given.
        chain = tuple(sorted(chain, key=lambda step: (step is not first, -step.priority)))
    if any_static:
        for step in chain:
            if step.static:
                check_static(f"the value of step {step.name!r}", step.value, chain[0].operation)
    return chain
