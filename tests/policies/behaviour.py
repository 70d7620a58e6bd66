"""How the behaviour of policies is written down, and how one description is run in every form.

A `Case` lists policies and, on a virtual time line, the calls that are made and what an operator
does in between. A `Call` says what the callee does at each attempt and what the caller gets, and
when. Nothing in it says sync or async: a `Form` is one way of using a policy, and every case is run
in every form that it fits. Calls that overlap are threads in the sync forms and tasks in the async
ones.

The random number is always one half, so that jitter can be read off the table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from holdfast import Outcome, Pipeline, deadline
from holdfast._core.events import (
    EVENTS,
    CallRejected,
    CallTimedOut,
    CircuitChanged,
    Event,
    FallbackUsed,
    RetryGaveUp,
    RetryScheduled,
)
from holdfast.policies.base import Policy
from holdfast.testing import VirtualClock

# -- what is written down ----------------------------------------------------------------------


@dataclass(frozen=True)
class Takes:
    """An attempt that ends after so many seconds, with a value or by raising an exception."""

    seconds: float
    end: Any = "ok"


@dataclass(frozen=True)
class Call:
    """A call at a moment, what its attempts do in turn, what it gives and when it is over.

    `gives` is a value, an exception that must come out as that very object, or an exception type.
    Each entry of `script` must be used: a refused call has none, a call of three attempts three.
    """

    at: float
    script: Sequence[Any] = ("ok",)
    gives: Any = "ok"
    ends: float | None = None
    within: float | None = None
    """Seconds of the ambient deadline around the call."""


@dataclass(frozen=True)
class Do:
    """Something else that happens at a moment."""

    at: float
    act: Callable[[Any], object]


@dataclass(frozen=True)
class Case:
    name: str
    policies: Callable[[], Sequence[Policy]]
    happens: Sequence[Call | Do]
    snapshot: dict[str, Any] = field(default_factory=dict)
    """What the first policy's snapshot says at the end; fields not named may say anything."""
    events: Sequence[str] | None = None
    """All events, as `told` writes them; None: not looked at."""
    only: str = ""
    """"sync" or "async", where the two differ by nature."""
    judges_results: bool = False
    """Looks at results, which blocks and streams have none of."""


def told(event: Event) -> str:
    match event:
        case CircuitChanged():
            after = "" if event.retry_in is None else f" for {event.retry_in:.4g}"
            shadow = " (shadow)" if event.shadow else ""
            return f"{event.source} -> {event.target}{after}: {event.reason}{shadow}"
        case CallRejected():
            after = "" if event.retry_after is None else f", {event.retry_after:.4g}"
            return f"rejected by {event.policy}: {event.reason}{after}"
        case RetryScheduled():
            return f"retry {event.attempt} in {event.delay:.4g} after {event.error_type}"
        case RetryGaveUp():
            return f"gave up after {event.attempts}: {event.reason}"
        case CallTimedOut():
            return f"timed out after {event.seconds:.4g}"
        case FallbackUsed():
            return f"fallback for {event.error_type}"
    raise AssertionError(f"an event nobody expected: {event!r}")


# -- the callee --------------------------------------------------------------------------------

ARGUMENT = "argument"


class Callee:
    """The other side of one call: plays the script, in whatever shape it is needed."""

    def __init__(self, clock: VirtualClock, script: Sequence[Any]) -> None:
        self._clock = clock
        self._steps = iter(script)
        self.unused = len(script)

    def _next(self) -> Takes:
        self.unused -= 1
        assert self.unused >= 0, "more attempts than the table allows"
        step = next(self._steps)
        return step if isinstance(step, Takes) else Takes(0, step)

    def sync(self, argument: str) -> Any:
        assert argument == ARGUMENT
        step = self._next()
        if step.seconds:
            self._clock.sleep(step.seconds)
        return _end(step.end)

    async def coroutine(self, argument: str) -> Any:
        assert argument == ARGUMENT
        step = self._next()
        if step.seconds:
            await asyncio.sleep(step.seconds)
        return _end(step.end)

    def generator(self, argument: str) -> Any:
        yield self.sync(argument)

    async def async_generator(self, argument: str) -> Any:
        yield await self.coroutine(argument)


def _end(end: Any) -> Any:
    if isinstance(end, BaseException):
        raise end
    return end


def _opened(outcome: Outcome[Any]) -> Any:
    """An outcome's value, or its error raised; checks that the outcome agrees with itself."""
    if outcome.error is not None:
        assert not outcome.ok
        raise outcome.error
    assert outcome.ok
    assert not outcome.rejected
    return outcome.unwrap()


# -- the forms ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Form:
    """One way of using a policy: given the policy and the callee, make one call."""

    name: str
    use: Callable[[Any, Callee], Any]
    is_async: bool = False
    sees_results: bool = True
    of: tuple[str, ...] = ()
    """Kinds of policies that have this form; empty: all."""
    piped: bool = False
    """Put the policy into a pipeline of one."""

    def fits(self, case: Case) -> bool:
        kinds = tuple(policy.kind for policy in case.policies())
        if case.only and case.only != ("async" if self.is_async else "sync"):
            return False
        if case.judges_results and not self.sees_results:
            return False
        return not self.of or (len(kinds) == 1 and kinds[0] in self.of)


def _use_block(policy: Any, callee: Callee) -> Any:
    with policy:
        return callee.sync(ARGUMENT)


async def _use_async_block(policy: Any, callee: Callee) -> Any:
    async with policy:
        return await callee.coroutine(ARGUMENT)


def _use_attempts(policy: Any, callee: Callee) -> Any:
    for attempt in policy.attempts():
        with attempt:
            return callee.sync(ARGUMENT)


async def _use_async_attempts(policy: Any, callee: Callee) -> Any:
    async for attempt in policy.attempts():
        async with attempt:
            return await callee.coroutine(ARGUMENT)


def _use_generator(policy: Any, callee: Callee) -> Any:
    (item,) = policy(callee.generator)(ARGUMENT)
    return item


async def _use_async_generator(policy: Any, callee: Callee) -> Any:
    (item,) = [item async for item in policy(callee.async_generator)(ARGUMENT)]
    return item


async def _use_try_acall(policy: Any, callee: Callee) -> Any:
    return _opened(await policy.try_acall(callee.coroutine, ARGUMENT))


GATES = ("circuit_breaker", "bulkhead")
STREAMED = (*GATES, "retry", "timeout")

FORMS = (
    Form("call", lambda policy, callee: policy.call(callee.sync, ARGUMENT)),
    Form("acall", lambda policy, callee: policy.acall(callee.coroutine, ARGUMENT), is_async=True),
    Form("decorated", lambda policy, callee: policy(callee.sync)(ARGUMENT)),
    Form("decorated async", lambda policy, callee: policy(callee.coroutine)(ARGUMENT), True),
    Form("try_call", lambda policy, callee: _opened(policy.try_call(callee.sync, ARGUMENT))),
    Form("try_acall", _use_try_acall, is_async=True),
    Form("pipeline", lambda policy, callee: policy.call(callee.sync, ARGUMENT), piped=True),
    Form(
        "pipeline async",
        lambda policy, callee: policy.acall(callee.coroutine, ARGUMENT),
        is_async=True,
        piped=True,
    ),
    Form("block", _use_block, sees_results=False, of=GATES),
    Form("block async", _use_async_block, True, sees_results=False, of=(*GATES, "timeout")),
    Form("attempts", _use_attempts, sees_results=False, of=("retry",)),
    Form("attempts async", _use_async_attempts, True, sees_results=False, of=("retry",)),
    Form("generator", _use_generator, sees_results=False, of=STREAMED),
    Form("generator async", _use_async_generator, True, sees_results=False, of=STREAMED),
    Form("piped generator", _use_generator, sees_results=False, of=STREAMED, piped=True),
    Form("piped generator async", _use_async_generator, True, False, of=STREAMED, piped=True),
)


# -- running a case in a form ------------------------------------------------------------------


def run(case: Case, form: Form) -> None:
    """Let a case happen in a form and check everything it says."""
    clock = VirtualClock(seed=0)
    clock.random = lambda: 0.5
    heard: list[str] = []
    unsubscribe = EVENTS.subscribe(lambda event: heard.append(told(event)))
    try:
        with clock:
            policies = tuple(case.policies())
            subject = Pipeline("subject", *policies) if form.piped or policies[1:] else policies[0]
            if form.is_async:
                clock.run(_happen_async(clock, case, form, subject, policies[0]))
            else:
                clock.run_threads(
                    *(
                        lambda move=move: _happen(clock, move, form, subject, policies[0])
                        for move in case.happens
                    )
                )
            snapshot = policies[0].snapshot()
    finally:
        unsubscribe()
    for name, expected in case.snapshot.items():
        assert (name, getattr(snapshot, name)) == (name, expected)
    if case.events is not None:
        assert heard == list(case.events)


def _happen(clock: VirtualClock, move: Call | Do, form: Form, subject: Any, first: Any) -> None:
    clock.sleep(move.at)
    if isinstance(move, Do):
        move.act(first)
        return
    callee = Callee(clock, move.script)
    with nullcontext() if move.within is None else deadline(move.within):
        try:
            got = form.use(subject, callee)
        except Exception as error:
            got = error
    _check(clock, move, callee, got)


async def _happen_async(
    clock: VirtualClock, case: Case, form: Form, subject: Any, first: Any
) -> None:
    async def happen(move: Call | Do) -> None:
        await asyncio.sleep(move.at)
        if isinstance(move, Do):
            move.act(first)
            return
        callee = Callee(clock, move.script)
        with nullcontext() if move.within is None else deadline(move.within):
            try:
                use: Coroutine[Any, Any, Any] = form.use(subject, callee)
                got = await use
            except Exception as error:
                got = error
        _check(clock, move, callee, got)

    await asyncio.gather(*(happen(move) for move in case.happens))


def _check(clock: VirtualClock, move: Call, callee: Callee, got: Any) -> None:
    if isinstance(move.gives, type) and issubclass(move.gives, BaseException):
        assert type(got) is move.gives, got
    elif isinstance(move.gives, BaseException):
        assert got is move.gives, got
    else:
        assert got == move.gives, got
    assert callee.unused == 0, "fewer attempts than the table says"
    ends = move.at if move.ends is None else move.ends
    assert abs(clock.now() - ends) < 1e-6, f"over at {clock.now()}, not at {ends}"
