"""Fallback chains while all is well: what they add to a call, and what their answers weigh.

Every chain has three steps, the first of which answers. Other libraries have nothing to compare
with that says how good an answer is, so the function without protection is the measure: a figure is
the time added to the bare call of the same round.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.harness import Protect, Scenario
from benchmarks.result import BARE, Result
from benchmarks.workload import instant, instant_async
from holdfast.degradation import FallbackStep, GracefulDegradation, Served

ANSWERS = 10_000
MOST_KEPT = 1_000
"""Answers that a tally has not counted yet; see `MOST_PLAIN` there."""


@dataclass(frozen=True)
class AddedScenario(Scenario):
    """As a `Scenario`, but each figure is what is added to the bare function's of its round."""

    def run(self, rounds: int) -> Result:
        whole = super().run(rounds)
        bare = whole.samples[BARE]
        samples = {
            who: [figure - base for figure, base in zip(figures, bare, strict=True)]
            for who, figures in whole.samples.items()
            if who != BARE
        }
        return replace(whole, samples=samples, unit="µs added")


class AnswersScenario:
    """How much memory an answer takes while somebody has it, and what is left of it afterwards."""

    name = "chain-memory"

    def run(self, rounds: int) -> Result:
        service = GracefulDegradation()
        steps = (FallbackStep("primary", int), *_others())

        def serve() -> Served[Any]:
            return service.execute_with_fallback_chain_sync("bench", steps)

        samples: dict[str, list[float]] = {"one answer": [], "left of it": []}
        for _ in range(min(rounds, 5)):
            for _ in range(2 * MOST_KEPT):
                serve()
            taken = _bytes(lambda: [serve() for _ in range(ANSWERS)], keep=True)
            left = _bytes(lambda: [serve() for _ in range(ANSWERS)], keep=False)
            samples["one answer"].append(taken / ANSWERS)
            samples["left of it"].append(max(left, 0) / ANSWERS)
        return Result(
            self.name,
            "an answer of a chain, and its share of a list",
            "bytes",
            "one answer",
            samples,
        )


def _bytes(work: Callable[[], object], *, keep: bool) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        made = work()
        if not keep:
            del made
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


# -- the forms -------------------------------------------------------------------------------------


async def _copy(*args: int) -> int:
    raise LookupError("never asked")


def _others(asynchronous: bool = True) -> tuple[FallbackStep[Any], FallbackStep[Any]]:
    return FallbackStep("cache", _copy if asynchronous else int), FallbackStep("basic", value=0)


def decorated(work: Any) -> Any:
    return GracefulDegradation().with_fallbacks("bench", *_others())(work)


def given(collect: Callable[[Any], Any]) -> Protect:
    """`execute_with_fallback_chain` with steps that are made once and kept in a tuple or a list."""

    def protect(work: Any) -> Any:
        service, asked = GracefulDegradation(), 0

        async def primary() -> Any:
            return await work(asked)

        steps = collect((FallbackStep("primary", primary), *_others()))

        async def call(value: int) -> Any:
            nonlocal asked
            asked = value  # steps take no arguments
            return (await service.execute_with_fallback_chain("bench", steps)).value

        return call

    return protect


def made_anew(work: Any) -> Any:
    service, others = GracefulDegradation(), _others()

    async def call(value: int) -> Any:
        steps = [FallbackStep("primary", lambda: work(value)), *others]
        return (await service.execute_with_fallback_chain("bench", steps)).value

    return call


def degrading(work: Any) -> Any:
    service = GracefulDegradation()

    async def call(value: int) -> Any:
        served = await service.execute_with_degradation(
            "bench", lambda: work(value), fallback_data=0
        )
        return served.value

    return call


def decorated_sync(work: Any) -> Any:
    return GracefulDegradation().with_fallbacks("bench", *_others(asynchronous=False))(work)


def given_sync(work: Any) -> Any:
    service, asked = GracefulDegradation(), 0
    steps = (FallbackStep("primary", lambda: work(asked)), *_others(asynchronous=False))

    def call(value: int) -> Any:
        nonlocal asked
        asked = value
        return service.execute_with_fallback_chain_sync("bench", steps).value

    return call


SCENARIOS = (
    AddedScenario(
        "chain",
        "async chain of three steps, the first answers at once",
        instant_async,
        {
            "decorated": decorated,
            "steps in a tuple": given(tuple),
            "steps in a list": given(list),
            "first step made anew": made_anew,
            "with_degradation": degrading,
        },
        reference="decorated",
    ),
    AddedScenario(
        "chain-sync",
        "the same, sync",
        instant,
        {"decorated": decorated_sync, "steps in a tuple": given_sync},
        reference="decorated",
    ),
    AnswersScenario(),
)
