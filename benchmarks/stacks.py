"""The whole stack: retry, circuit breaker, bulkhead and (async only) timeout, in this order.

Why no timeout in sync: a sync timeout means a thread per call in every library that has one, and
would measure the threads.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import hyx.bulkhead
import hyx.circuitbreaker
import hyx.retry
import hyx.timeout
import interlock
import nopanic
import purgatory
import tenacity

from benchmarks.harness import Scenario
from benchmarks.workload import (
    ATTEMPTS,
    FAILURES,
    PLACES,
    RESET,
    SECONDS,
    instant,
    instant_async,
    suspending,
)
from holdfast import Bulkhead, CircuitBreaker, Pipeline, Retry, Timeout


def holdfast_stack() -> Pipeline:
    return Pipeline(
        "bench",
        Retry(attempts=ATTEMPTS),
        CircuitBreaker(failure_threshold=FAILURES, reset_timeout=RESET),
        Bulkhead(max_concurrent=PLACES),
        Timeout(SECONDS),
    )


def holdfast_sync_stack() -> Pipeline:
    return Pipeline(
        "bench",
        Retry(attempts=ATTEMPTS),
        CircuitBreaker(failure_threshold=FAILURES, reset_timeout=RESET),
        Bulkhead(max_concurrent=PLACES),
    )


def nopanic_stack(*innermost: Any) -> Any:
    return nopanic.compose(
        nopanic.retry(attempts=ATTEMPTS, on=ConnectionError),
        nopanic.circuit_breaker(min_calls=FAILURES, reset_timeout=RESET),
        nopanic.bulkhead(PLACES),
        *innermost,
    )


def interlock_stack() -> Any:
    breaker = interlock.CircuitBreaker(
        name="bench",
        config=interlock.Config(minimum_number_of_calls=FAILURES, wait_duration_in_open=RESET),
    )
    return (
        interlock.Pipeline.builder()
        .retry(attempts=ATTEMPTS)
        .circuit_breaker(breaker)
        .bulkhead(PLACES)
    )


def hyx_stack(work: Any) -> Any:
    protected = hyx.timeout.timeout(max_delay_secs=SECONDS)(work)
    protected = hyx.bulkhead.bulkhead(max_concurrency=PLACES, max_capacity=2 * PLACES)(protected)
    protected = hyx.circuitbreaker.consecutive_breaker(
        failure_threshold=FAILURES, recovery_time_secs=RESET
    )(protected)
    # Its `attempts` counts the retries only: one less for as many calls.
    return hyx.retry.retry(on=ConnectionError, attempts=ATTEMPTS - 1)(protected)


def tenacious() -> Any:
    """Tenacity's part of the stack that people write by hand."""
    return tenacity.retry(
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_random_exponential(),
        retry=tenacity.retry_if_exception_type(ConnectionError),
        reraise=True,
    )


async def hand_written(work: Any) -> Any:
    breakers = purgatory.AsyncCircuitBreakerFactory(default_threshold=FAILURES, default_ttl=RESET)
    breaker = await breakers.get_breaker("bench")
    places = asyncio.Semaphore(PLACES)

    @tenacious()
    async def call(value: int) -> Any:
        async with breaker, places, asyncio.timeout(SECONDS):
            return await work(value)

    return call


def hand_written_sync(work: Any) -> Any:
    breakers = purgatory.SyncCircuitBreakerFactory(default_threshold=FAILURES, default_ttl=RESET)
    breaker = breakers.get_breaker("bench")
    places = threading.BoundedSemaphore(PLACES)

    @tenacious()
    def call(value: int) -> Any:
        with breaker, places:
            return work(value)

    return call


FULL = {
    "holdfast": lambda work: holdfast_stack()(work),
    "nopanic": lambda work: nopanic_stack(nopanic.timeout(SECONDS))(work),
    "interlock": lambda work: interlock_stack().timeout(SECONDS).build()(work),
    "hyx": hyx_stack,
    "hand-written": hand_written,
}
ONE_PART = {
    "tenacity, stamina, backoff": "retries only (tenacity is in the hand-written stack)",
    "pybreaker, circuitbreaker, aiobreaker, purgatory": "breakers only (purgatory is in it too)",
}

SCENARIOS = (
    Scenario(
        "async-stack",
        "async retry + breaker + bulkhead + timeout, the function returns at once",
        instant_async,
        FULL,
        reference="nopanic",
        left_out=ONE_PART,
    ),
    Scenario(
        "async-stack-suspending",
        "the same, the function suspends once: time added to the bare function's",
        suspending,
        FULL,
        reference="nopanic",
        added=True,
        left_out=ONE_PART,
    ),
    Scenario(
        "sync-stack",
        "sync retry + breaker + bulkhead",
        instant,
        {
            "holdfast": lambda work: holdfast_sync_stack()(work),
            "nopanic": lambda work: nopanic_stack()(work),
            "interlock": lambda work: interlock_stack().build()(work),
            "hand-written": hand_written_sync,
        },
        reference="nopanic",
        left_out={**ONE_PART, "hyx": "async only"},
    ),
)
