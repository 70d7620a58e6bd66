"""Layers that share a closure behave as layers that do not.

Every pipeline is bound twice: as `Pipeline` does it, with neighbouring gates and the innermost
timeout fused, and policy by policy. Both run the same calls on their own virtual clock, and
everything that can be seen must be the same: what each call gave and when, every event, and every
snapshot.
"""

from __future__ import annotations

import asyncio
import warnings
from contextlib import nullcontext
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from holdfast import (
    Backoff,
    Bulkhead,
    BulkheadFullError,
    CircuitBreaker,
    ConfigurationError,
    Fallback,
    Pipeline,
    PipelineOrderWarning,
    Retry,
    Timeout,
    deadline,
)
from holdfast._core.events import EventHub
from holdfast._core.outcome import Rejection
from holdfast.policies.base import hand_over, raise_rejection
from holdfast.testing import VirtualClock

MAKERS = {
    "fallback": lambda hub: Fallback(value="spare", on=ConnectionError, events=hub),
    "retry": lambda hub: Retry(
        attempts=3, backoff=Backoff(base=0.5, growth="constant", jitter="none"), events=hub
    ),
    "stubborn retry": lambda hub: Retry(
        attempts=3,
        backoff=Backoff(base=0.5, growth="constant", jitter="none"),
        on=(ConnectionError, BulkheadFullError),
        events=hub,
    ),
    "breaker": lambda hub: CircuitBreaker(failure_threshold=2, reset_timeout=2, events=hub),
    "judging breaker": lambda hub: CircuitBreaker(
        failure_rate=0.5,
        minimum_calls=2,
        slow_call_duration=1,
        reset_timeout=1,
        on_result=lambda result: result == "bad",
        events=hub,
    ),
    "bulkhead": lambda hub: Bulkhead(max_concurrent=1, events=hub),
    "queue": lambda hub: Bulkhead(max_concurrent=1, max_queue=2, max_wait=1.5, events=hub),
    "short timeout": lambda hub: Timeout(0.75, events=hub),
    "timeout": lambda hub: Timeout(1.25, events=hub),
    "long timeout": lambda hub: Timeout(4, events=hub),
}

ends = st.sampled_from(
    ["ok", "bad", ConnectionResetError, ValueError, TimeoutError, asyncio.CancelledError]
)
times = st.sampled_from([0.0, 0.0, 0.25, 1.0, 2.0])
attempts = st.tuples(times, ends)
calls = st.fixed_dictionaries(
    {
        "at": st.integers(0, 24).map(lambda n: n / 4),
        "script": st.lists(attempts, min_size=1, max_size=4),
        "within": st.none() | st.sampled_from([0.0, 0.5, 1.25, 3.0]),
        "cancelled_after": st.none() | st.sampled_from([0.125, 0.375, 1.125, 1.25]),
        "raising": st.booleans(),
    }
)


def happenings(names: list[str], script: list[dict[str, Any]], fused: bool, sync: bool) -> Any:
    """Everything that can be seen; None for an order that is refused."""
    hub, clock = EventHub(), VirtualClock()
    seen: list[Any] = []
    hub.subscribe(seen.append)
    with clock:
        policies = [MAKERS[name](hub) for name in names]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PipelineOrderWarning)
                pipeline = Pipeline("fused", *policies)
        except ConfigurationError:
            return None
        run = _run_sync if sync else _run_async
        run(clock, pipeline, fused, script, seen)
        return seen, clock.now(), pipeline.snapshot()


def _bound(pipeline: Pipeline, callee: Any, fused: bool, sync: bool, raising: bool) -> Any:
    reject = raise_rejection if raising else hand_over
    if fused:
        bind = pipeline._bind_sync if sync else pipeline._bind_async
        return bind(callee, reject)
    innermost = pipeline.policies[-1]
    for policy in reversed(pipeline.policies):
        if sync:
            callee = policy._bind_sync(callee, reject)
        elif isinstance(policy, Timeout):
            # Whoever stands inside of it is told the limit; the innermost has nobody to tell.
            callee = policy._bind_limit(callee, reject, publish=policy is not innermost)
        else:
            callee = policy._bind_async(callee, reject)
    return callee


def _describe(result: Any) -> Any:
    if isinstance(result, Rejection):
        return ("rejected", result.policy, result.reason, result.retry_after)
    if isinstance(result, BaseException):
        return (type(result).__name__, result.args, getattr(result, "__notes__", []))
    return result


def _end(end: Any) -> Any:
    if isinstance(end, type):
        raise end
    return end


def _run_async(
    clock: VirtualClock, pipeline: Pipeline, fused: bool, script: list[Any], seen: list[Any]
) -> None:
    async def one(number: int, call: dict[str, Any]) -> None:
        steps = iter(call["script"])

        async def callee() -> Any:
            seconds, end = next(steps, (0, "ok"))
            seen.append((number, "called", clock.now()))
            if seconds:
                await asyncio.sleep(seconds)
            return _end(end)

        chain = _bound(pipeline, callee, fused, sync=False, raising=call["raising"])
        try:
            with nullcontext() if call["within"] is None else deadline(call["within"]):
                result = await chain()
        except (Exception, asyncio.CancelledError) as error:
            result = error
        seen.append((number, _describe(result), clock.now()))

    async def start(number: int, call: dict[str, Any]) -> None:
        # No two callers at one moment: which goes first would depend on the heap of timers.
        await asyncio.sleep(call["at"] + number / 1024)
        task = asyncio.create_task(one(number, call))
        if call["cancelled_after"] is not None:
            await asyncio.sleep(call["cancelled_after"] + 1 / 4096)
            task.cancel()
        await asyncio.wait([task])
        seen.append((number, task.cancelling()))

    async def main() -> None:
        await asyncio.gather(*(start(*call) for call in enumerate(script)))

    clock.run(main())


def _run_sync(
    clock: VirtualClock, pipeline: Pipeline, fused: bool, script: list[Any], seen: list[Any]
) -> None:
    def one(number: int, call: dict[str, Any]) -> None:
        steps = iter(call["script"])

        def callee() -> Any:
            seconds, end = next(steps, (0, "ok"))
            seen.append((number, "called", clock.now()))
            clock.sleep(seconds)
            return _end(end)

        clock.sleep(call["at"] + number / 1024)
        chain = _bound(pipeline, callee, fused, sync=True, raising=call["raising"])
        try:
            with nullcontext() if call["within"] is None else deadline(call["within"]):
                result = chain()
        except (Exception, asyncio.CancelledError) as error:
            result = error
        seen.append((number, _describe(result), clock.now()))

    clock.run_threads(*(lambda call=call: one(*call) for call in enumerate(script)))


orders = st.lists(st.sampled_from(sorted(MAKERS)), min_size=1, max_size=5)
everyday = st.permutations(["breaker", "queue"]).flatmap(
    lambda gates: st.sampled_from(
        [
            [*gates],
            [*gates, "timeout"],
            ["retry", *gates, "timeout"],
            ["stubborn retry", gates[1], "timeout"],
            ["fallback", "long timeout", "retry", *gates, "timeout"],
            ["judging breaker", *gates, "timeout"],
        ]
    )
)


@given(names=orders | everyday, script=st.lists(calls, min_size=1, max_size=8))
def test_fused_layers_behave_as_unfused_ones(names: list[str], script: list[Any]) -> None:
    assert happenings(names, script, True, sync=False) == happenings(
        names, script, False, sync=False
    )


@given(names=orders | everyday, script=st.lists(calls, min_size=1, max_size=4))
def test_fused_sync_layers_behave_as_unfused_ones(names: list[str], script: list[Any]) -> None:
    assert happenings(names, script, True, sync=True) == happenings(names, script, False, sync=True)
