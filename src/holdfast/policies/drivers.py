"""The two drivers behind most pipelines: one for sync code, one for async code.

A driver runs a call through a row of up to four neighbours, ``Retry, Gate, Gate, Timeout``, each of
which may be missing. Every layer of its own would cost a frame (and a coroutine) per call, which is
more than the decisions in it; so neighbours share one. What does not fit into a row is bound as
several rows, one around the other; see `layers`.

A driver closes over one tuple rather than several variables: thousands of keyed pipelines are bound
at a time, and each variable of a closure takes a cell.
"""

# A permit is only there if its gate is, which no checker can see.
# pyright: reportOptionalMemberAccess=false

from __future__ import annotations

from types import CoroutineType
from typing import TYPE_CHECKING, Any, cast

from holdfast._core.deadline import LIMIT, passed
from holdfast._core.outcome import Rejection
from holdfast._core.tally import MOST_WINS
from holdfast.policies.attempts import SCOPE, Call
from holdfast.policies.base import Inner, Reject, awaited, refuse_coroutine

if TYPE_CHECKING:
    from holdfast.policies.gate import Gate
    from holdfast.policies.retry import Retry
    from holdfast.policies.timeout import Timeout


def drive(
    retry: Retry | None, outer: Gate | None, gate: Gate | None, inner: Inner, reject: Reject
) -> Inner:
    """`inner` inside `gate`, inside `outer`, inside `retry`; each may be None."""
    parts = cast(
        "tuple[Any, ...]",
        (
            retry,
            outer,
            outer and outer._machine,
            gate,
            gate and gate._machine,
            inner,
            reject,
        ),
    )

    def driven(*args: Any, **kwargs: Any) -> Any:
        retry, outer, outer_machine, gate, machine, inner, reject = parts
        scope = call = result = None
        started, nested = 0.0, False
        if retry is not None:
            if LIMIT.get() is not None:
                late = passed(retry.name, retry._clock)
                if late is not None:
                    return reject(retry._tell_rejected(late))
            around = SCOPE.get()
            nested = around is not None and around[0]
            scope = [True]
            if not nested:
                SCOPE.set(scope)
            if retry._options.max_elapsed is not None:
                started = retry._clock.now()
        try:
            while True:
                result = held = permit = None
                refused = False
                try:
                    if outer is not None:
                        held = outer_machine.take()
                        if held is None:
                            held = outer._admit()
                            if held is None:
                                held = outer._wait()
                            if held.__class__ is Rejection:
                                result, held, refused = held, None, True
                    if gate is not None and not refused:
                        permit = machine.take()
                        if permit is None:
                            permit = gate._admit()
                            if permit is None:
                                permit = gate._wait()
                            if permit.__class__ is Rejection:
                                result, permit, refused = permit, None, True
                    if not refused:
                        result = inner(*args, **kwargs)
                        if result.__class__ is CoroutineType:
                            refuse_coroutine(result)
                except BaseException as error:
                    if permit is not None:
                        gate._failed(permit, error)
                    if held is not None:
                        outer._failed(held, error)
                    if retry is None or not isinstance(error, Exception):
                        raise
                    if call is None:
                        call = Call(retry, nested, started)
                    delay = call.after_error(error)
                    if delay is None:
                        real = call.real_error()
                        if real is not None:
                            raise real  # noqa: B904 - the refusal stays as its context
                        raise
                else:
                    if result.__class__ is Rejection:
                        # Refused here, or further in where refusals are values; see `base`.
                        if permit is not None:
                            gate._failed(permit, None)
                        if held is not None:
                            outer._failed(held, None)
                        if retry is None or (call is None and retry._takes_refusals):
                            if retry is not None:
                                retry._tally.over(1, ok=False)
                            return reject(result) if refused else result
                    else:
                        if permit is not None:
                            news = machine.give_back(permit, result)
                            if news is not None:
                                gate._news(news)
                        if held is not None:
                            news = outer_machine.give_back(held, result)
                            if news is not None:
                                outer._news(news)
                        if retry is None:
                            return result
                        if call is None and retry._retry_result is None:
                            # As `RetryTally.first_try`, without the price of calling it.
                            tally = retry._tally
                            wins = tally.wins
                            wins.append(None)
                            if len(wins) > MOST_WINS:
                                tally.fold()
                            budget = tally.budget
                            if budget is not None and not budget.full:
                                budget.deposit()
                            return result
                    if call is None:
                        call = Call(retry, nested, started)
                    delay = call.after_result(result)
                    if delay is None:
                        real = call.real_error()
                        if real is not None:
                            raise real
                        return reject(result) if refused else result
                retry._clock.sleep(delay)
        finally:
            if scope is not None:
                scope[0] = False

    return driven


def drive_async(
    retry: Retry | None,
    outer: Gate | None,
    gate: Gate | None,
    timeout: Timeout | None,
    inner: Inner,
    reject: Reject,
) -> Inner:
    """The async twin of `drive`, which can also stand for a `Timeout` around `inner`."""
    parts = cast(
        "tuple[Any, ...]",
        (
            retry,
            outer,
            outer and outer._machine,
            gate,
            gate and gate._machine,
            inner,
            reject,
            timeout,
        ),
    )

    async def driven(*args: Any, **kwargs: Any) -> Any:
        retry, outer, outer_machine, gate, machine, inner, reject, timeout = parts
        scope = call = result = None
        started, nested = 0.0, False
        if retry is not None:
            if LIMIT.get() is not None:
                late = passed(retry.name, retry._clock)
                if late is not None:
                    return reject(retry._tell_rejected(late))
            around = SCOPE.get()
            nested = around is not None and around[0]
            scope = [True]
            if not nested:
                SCOPE.set(scope)
            if retry._options.max_elapsed is not None:
                started = retry._clock.now()
        try:
            while True:
                result = held = permit = None
                refused = False
                try:
                    if outer is not None:
                        held = outer_machine.take()
                        if held is None:
                            held = outer._admit()
                            if held is None:
                                held = await outer._await()
                            if held.__class__ is Rejection:
                                result, held, refused = held, None, True
                    if gate is not None and not refused:
                        permit = machine.take()
                        if permit is None:
                            permit = gate._admit()
                            if permit is None:
                                permit = await gate._await()
                            if permit.__class__ is Rejection:
                                result, permit, refused = permit, None, True
                    if not refused:
                        if timeout is None:
                            result = await inner(*args, **kwargs)
                        else:
                            limit: Any = None if LIMIT.get() is None else timeout._left()
                            if limit.__class__ is Rejection:
                                result, refused = limit, True
                            else:
                                coroutine = inner(*args, **kwargs)
                                if coroutine.__class__ is not CoroutineType:
                                    coroutine = awaited(coroutine)
                                # One step before anything is armed: most calls end with it.
                                try:
                                    pending = coroutine.send(None)
                                except StopIteration as end:
                                    result = end.value
                                else:
                                    result = await timeout._watch(coroutine, pending, limit)
                except BaseException as error:
                    if permit is not None:
                        gate._failed(permit, error)
                    if held is not None:
                        outer._failed(held, error)
                    if retry is None or not isinstance(error, Exception):
                        raise
                    if call is None:
                        call = Call(retry, nested, started)
                    delay = call.after_error(error)
                    if delay is None:
                        real = call.real_error()
                        if real is not None:
                            raise real  # noqa: B904 - the refusal stays as its context
                        raise
                else:
                    if result.__class__ is Rejection:
                        # Refused here, or further in where refusals are values; see `base`.
                        if permit is not None:
                            gate._failed(permit, None)
                        if held is not None:
                            outer._failed(held, None)
                        if retry is None or (call is None and retry._takes_refusals):
                            if retry is not None:
                                retry._tally.over(1, ok=False)
                            return reject(result) if refused else result
                    else:
                        if permit is not None:
                            news = machine.give_back(permit, result)
                            if news is not None:
                                gate._news(news)
                        if held is not None:
                            news = outer_machine.give_back(held, result)
                            if news is not None:
                                outer._news(news)
                        if retry is None:
                            return result
                        if call is None and retry._retry_result is None:
                            # As `RetryTally.first_try`, without the price of calling it.
                            tally = retry._tally
                            wins = tally.wins
                            wins.append(None)
                            if len(wins) > MOST_WINS:
                                tally.fold()
                            budget = tally.budget
                            if budget is not None and not budget.full:
                                budget.deposit()
                            return result
                    if call is None:
                        call = Call(retry, nested, started)
                    delay = call.after_result(result)
                    if delay is None:
                        real = call.real_error()
                        if real is not None:
                            raise real
                        return reject(result) if refused else result
                await retry._clock.asleep(delay)
        finally:
            if scope is not None:
                scope[0] = False

    return driven
