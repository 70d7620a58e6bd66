"""The child process of the memory figure: ``python -m benchmarks.keyed holdfast|nopanic``.

Prints the bytes that 10,000 stacks hold, by tracemalloc, after each was called once. Everything
that is shared (modules, the function, the event loop) exists before the count starts.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tracemalloc
from collections.abc import Awaitable, Callable

from benchmarks.workload import ATTEMPTS, FAILURES, PLACES, RESET, SECONDS, instant_async

KEYS = 10_000
Call = Callable[[str], Awaitable[int]]


def holdfast_stacks() -> Call:
    from holdfast import Bulkhead, CircuitBreaker, Keyed, Pipeline, Retry, Timeout

    work = instant_async()
    stacks = Keyed(
        "bench",
        lambda key: Pipeline(
            key,
            Retry(attempts=ATTEMPTS),
            CircuitBreaker(failure_threshold=FAILURES, reset_timeout=RESET),
            Bulkhead(max_concurrent=PLACES),
            Timeout(SECONDS),
        ),
        max_keys=2 * KEYS,
    )
    return lambda key: stacks.get(key).acall(work, 1)


def nopanic_stacks() -> Call:
    import nopanic

    work = instant_async()
    stacks: dict[str, Callable[[int], Awaitable[int]]] = {}

    # Its `keyed` takes single policies only, so the stacks stand in a dict.
    def call(key: str) -> Awaitable[int]:
        if key not in stacks:
            stacks[key] = nopanic.compose(
                nopanic.retry(attempts=ATTEMPTS, on=ConnectionError),
                nopanic.circuit_breaker(min_calls=FAILURES, reset_timeout=RESET),
                nopanic.bulkhead(PLACES),
                nopanic.timeout(SECONDS),
            )(work)
        return stacks[key](1)

    return call


async def main(call: Call) -> None:
    await call("warm")
    gc.collect()
    tracemalloc.start()
    for number in range(KEYS):
        await call(f"key-{number}")
        if not number % 100:
            await asyncio.sleep(0)  # the loop drops the timers that were cancelled
    gc.collect()
    print(tracemalloc.get_traced_memory()[0])


if __name__ == "__main__":
    stacks = {"holdfast": holdfast_stacks, "nopanic": nopanic_stacks}[sys.argv[1]]
    asyncio.run(main(stacks()))
