"""The chain's drivers: they ask the steps of a plan one after the other, sync or async.

A coroutine is stepped once before a timer is armed, as `Timeout` does it; a first step that
answers from memory costs little more than its call.
"""

from __future__ import annotations

from collections.abc import Coroutine
from inspect import isawaitable
from types import CoroutineType
from typing import Any, Final, Protocol, cast

from holdfast._core.clock import Clock
from holdfast._core.deadline import LIMIT
from holdfast._core.hub import EventHub
from holdfast.degradation.current import Scope, enter
from holdfast.degradation.errors import AllFallbacksFailedError
from holdfast.degradation.plan import ChainPlan
from holdfast.degradation.served import Level, Served, oldest, worst
from holdfast.degradation.step import FallbackStep
from holdfast.degradation.tally import ChainTally
from holdfast.policies.base import awaited
from holdfast.policies.timeout import Timeout, _reset

Steps = tuple[FallbackStep[Any], ...]


class Intercept(Protocol):
    """Sees the steps of each call, and says what is run in their place."""

    def __call__(self, chain: str, steps: Steps, /) -> Steps: ...


class Watcher(Protocol):
    """Is told of each call; must not raise."""

    def ended(
        self,
        service: str,
        seconds: float,
        error: BaseException | None,
        *,
        fallback: bool = False,
    ) -> None:
        """A call took so long. `error` is why there was no answer; None if there was one."""
        ...


class _Drills:
    """Where `holdfast.testing.drill` makes steps fail. Process wide."""

    intercept: Intercept | None = None


DRILLS: Final = _Drills()


class OperationFormError(TypeError):
    """A plain function in an async chain, or the reverse. A mistake, not a failure of the step."""


class FallbackChain:
    """Steps in their order under a name; each call asks one after the other until one answers.

    Thread safe, independent of event loops. Cancellation passes through at once.
    """

    __slots__ = ("_clock", "_events", "_steps", "_tally", "_watcher", "name")

    def __init__(
        self,
        name: str,
        steps: Steps,
        clock: Clock,
        events: EventHub,
        tally: ChainTally | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        self.name = name
        self._steps = steps
        self._clock = clock
        self._events = events
        self._tally = tally
        self._watcher = watcher

    async def serve(self, *args: Any, **kwargs: Any) -> Served[Any]:
        """The first answer.

        Raises:
            AllFallbacksFailedError: there is none.
        """
        plan, scope, started = ChainPlan(self._intercepted()), enter(), self._clock.now()
        try:
            while (step := plan.next(self._clock.now(), LIMIT.get())) is not None:
                try:
                    if step.static:
                        value = step.value
                    elif plan.limit is None:
                        value = await _start(step, args, kwargs)
                    else:
                        value = await self._within(plan.limit, step, args, kwargs)
                except Exception as error:
                    if scope.level is not Level.PRIMARY:
                        scope.clear()
                    if error.__class__ is OperationFormError or not step.moves_on(error):
                        raise
                    plan.failed(error)
                else:
                    return self._answer(value, step, plan, scope, started)
            raise self._give_up(plan, started)
        finally:
            scope.leave()
            del plan  # else the causes, whose tracebacks know this frame, would keep each other

    def serve_sync(self, *args: Any, **kwargs: Any) -> Served[Any]:
        """The sync twin of `serve`; the limit of a step is the ambient deadline inside it."""
        plan, scope, started = ChainPlan(self._intercepted()), enter(), self._clock.now()
        try:
            while (step := plan.next(self._clock.now(), LIMIT.get())) is not None:
                try:
                    if step.static:
                        value = step.value
                    elif plan.limit is None:
                        value = _run(step, args, kwargs)
                    else:
                        token = LIMIT.set(self._clock.now() + plan.limit)
                        try:
                            value = _run(step, args, kwargs)
                        finally:
                            LIMIT.reset(token)
                except Exception as error:
                    if scope.level is not Level.PRIMARY:
                        scope.clear()
                    if error.__class__ is OperationFormError or not step.moves_on(error):
                        raise
                    plan.failed(error)
                else:
                    return self._answer(value, step, plan, scope, started)
            raise self._give_up(plan, started)
        finally:
            scope.leave()
            del plan

    def _intercepted(self) -> Steps:
        intercept = DRILLS.intercept
        return self._steps if intercept is None else intercept(self.name, self._steps)

    async def _within(
        self,
        limit: float,
        step: FallbackStep[Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """The step's answer, cut off after so many seconds."""
        token = LIMIT.set(self._clock.now() + limit)
        try:
            coroutine = _start(step, args, kwargs)
            try:
                pending = coroutine.send(None)
            except StopIteration as done:
                return done.value
            timeout = Timeout(limit, step.name, clock=self._clock, events=self._events)
            # Steps with a timeout of their own have many calls with the same limit: one timer.
            own = None if limit == step.timeout else limit
            return await timeout._watch(coroutine, pending, own)
        finally:
            _reset(token)

    def _answer(
        self,
        value: Any,
        step: FallbackStep[Any],
        plan: ChainPlan,
        scope: Scope,
        started: float,
    ) -> Served[Any]:
        """What is served, considering what the step's operation says and was itself served."""
        level, age, causes = plan.level, scope.age, tuple(plan.causes) if plan.causes else ()
        if scope.level is not Level.PRIMARY:
            level = worst((level, scope.level))
        if isinstance(value, Served):
            inner: Served[Any] = cast(Any, value)
            value, level = inner.value, worst((level, inner.level))
            age, causes = oldest(age, inner.age), (*causes, *inner.causes)
        if level is not Level.PRIMARY:
            scope.note(level, age, self.name)
        served = Served(value, level, step.name, age, causes)
        if self._watcher is not None:
            # Whoever is served by a fallback is served: what failed has a component of its own.
            self._tell(started, None, fallback=level is not Level.PRIMARY)
        tally = self._tally
        if tally is None:
            return served
        if level is not Level.PRIMARY or causes or not tally.plain(step.name):
            tally.served(served, (step.name,), plan.causes)
        return served

    def _tell(self, started: float, error: Exception | None, *, fallback: bool) -> None:
        if self._watcher is not None:
            seconds = self._clock.now() - started
            self._watcher.ended(self.name, seconds, error, fallback=fallback)

    def _give_up(self, plan: ChainPlan, started: float) -> AllFallbacksFailedError:
        if self._tally is not None:
            self._tally.failed(plan.causes)
        failure = AllFallbacksFailedError(self.name, plan.causes)
        self._tell(started, failure, fallback=False)
        return failure


def _start(
    step: FallbackStep[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Coroutine[Any, Any, Any]:
    """The coroutine that gives the step's answer."""
    if step.pipeline is not None:
        return step.pipeline.acall(_awaitable, step, args, kwargs)
    return _awaitable(step, args, kwargs)


def _awaitable(
    step: FallbackStep[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Coroutine[Any, Any, Any]:
    result = step.operation(*args, **kwargs)
    if result.__class__ is CoroutineType:
        return cast("Coroutine[Any, Any, Any]", result)
    if not isawaitable(result):
        raise OperationFormError(
            f"the operation of step {step.name!r} returned a {type(result).__qualname__}, which "
            "cannot be awaited: use the method whose name ends in _sync for plain functions"
        )
    return awaited(result)


def _run(step: FallbackStep[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The step's answer."""
    if step.pipeline is not None:
        return step.pipeline.call(_plain, step, args, kwargs)
    return _plain(step, args, kwargs)


def _plain(step: FallbackStep[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = step.operation(*args, **kwargs)
    if result.__class__ is CoroutineType:
        result.close()
        raise OperationFormError(
            f"the operation of step {step.name!r} returned a coroutine: use the method without "
            "_sync in its name for coroutine functions"
        )
    return result
