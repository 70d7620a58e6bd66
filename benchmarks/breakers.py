"""The circuit breaker alone: closed and doing nothing, which is its life, and open.

The breakers are not equals. Holdfast, nopanic and interlock keep a window of outcomes under a lock;
pybreaker holds a lock during the whole call; circuitbreaker, aiobreaker, purgatory and hyx count
failures in a row, without a lock. The tables compare what a user pays, not how good the code is.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import aiobreaker
import aiobreaker.state
import circuitbreaker
import hyx.circuitbreaker
import hyx.circuitbreaker.exceptions
import interlock
import nopanic
import purgatory
import purgatory.domain.model
import pybreaker

import holdfast
from benchmarks.harness import Scenario
from benchmarks.workload import FAILURES, RESET, failing_async, instant, instant_async


def ours() -> holdfast.CircuitBreaker:
    return holdfast.CircuitBreaker("bench", failure_threshold=FAILURES, reset_timeout=RESET)


def nopanics() -> Any:
    return nopanic.circuit_breaker(min_calls=FAILURES, reset_timeout=RESET)


def interlocks() -> Any:
    return interlock.CircuitBreaker(
        name="bench",
        config=interlock.Config(minimum_number_of_calls=FAILURES, wait_duration_in_open=RESET),
    )


def pybreakers() -> Any:
    return pybreaker.CircuitBreaker(fail_max=FAILURES, reset_timeout=RESET)


def circuitbreakers() -> Any:
    return circuitbreaker.CircuitBreaker(failure_threshold=FAILURES, recovery_timeout=RESET)


def aiobreakers() -> Any:
    return aiobreaker.CircuitBreaker(fail_max=FAILURES, timeout_duration=timedelta(seconds=RESET))


def hyxs() -> Any:
    return hyx.circuitbreaker.consecutive_breaker(
        failure_threshold=FAILURES, recovery_time_secs=RESET
    )


def purgatory_sync(work: Any) -> Any:
    breakers = purgatory.SyncCircuitBreakerFactory(default_threshold=FAILURES, default_ttl=RESET)
    breaker = breakers.get_breaker("bench")

    # Its own decorator looks the breaker up in every call; holding it is its fast way.
    def call(value: int) -> Any:
        with breaker:
            return work(value)

    return call


async def purgatory_async(work: Any) -> Any:
    breakers = purgatory.AsyncCircuitBreakerFactory(default_threshold=FAILURES, default_ttl=RESET)
    breaker = await breakers.get_breaker("bench")

    async def call(value: int) -> Any:
        async with breaker:
            return await work(value)

    return call


BOTH = {
    "holdfast": lambda work: ours()(work),
    "nopanic": lambda work: nopanics()(work),
    "interlock": lambda work: interlocks()(work),
    "circuitbreaker": lambda work: circuitbreakers()(work),
    "aiobreaker": lambda work: aiobreakers()(work),
}
ASYNC = {**BOTH, "hyx": lambda work: hyxs()(work), "purgatory": purgatory_async}
NO_ASYNC = {"pybreaker": "async under Tornado only"}

SCENARIOS = (
    Scenario(
        "breaker-sync",
        "breaker alone, sync, closed",
        instant,
        {**BOTH, "pybreaker": lambda work: pybreakers()(work), "purgatory": purgatory_sync},
        reference="nopanic",
        left_out={"hyx": "async only"},
    ),
    Scenario(
        "breaker-async",
        "breaker alone, async, closed",
        instant_async,
        ASYNC,
        reference="nopanic",
        left_out=NO_ASYNC,
    ),
    Scenario(
        "open-circuit",
        "open circuit, async: what a refusal costs",
        failing_async,
        {
            "holdfast try_acall": lambda work: partial(ours().try_acall, work),
            "holdfast acall": lambda work: partial(ours().acall, work),
            **ASYNC,
        },
        reference="holdfast acall",
        bare=False,
        rejections={
            "holdfast try_acall": (),
            "holdfast acall": holdfast.CircuitOpenError,
            "holdfast": holdfast.CircuitOpenError,
            "nopanic": nopanic.CircuitOpen,
            "interlock": interlock.CircuitOpenError,
            "circuitbreaker": circuitbreaker.CircuitBreakerError,
            "aiobreaker": aiobreaker.state.CircuitBreakerError,
            "hyx": hyx.circuitbreaker.exceptions.BreakerFailing,
            "purgatory": purgatory.domain.model.OpenedState,
        },
        left_out=NO_ASYNC,
    ),
)
