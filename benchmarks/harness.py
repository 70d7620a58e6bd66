"""How time is measured: interleaved samples, and ratios within a round.

A shared machine drifts by tens of percent within seconds: its clock rate, its caches, its
neighbours. Timing one library for a while and then the next puts that drift into their ratio. So
the contenders of a scenario take turns, one short sample each (A B C, A B C, ...): what slows a
round slows all of it alike. A ratio is therefore taken within each round, and the median of the
rounds is what counts.

A sample is one tight loop, long enough (`SAMPLE` seconds) that the timer does not matter and short
enough that a round is over soon. The loop itself is part of every figure, the bare function's
included. The collector is off during a sample and runs between samples.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from benchmarks.result import BARE, Result
from benchmarks.workload import FAILURES

SAMPLE = 0.025
"""Seconds that one sample lasts, more or less."""

Protect = Callable[[Any], Any]
"""Takes the function to protect; returns the protected one, or an awaitable of it."""
Sampler = Callable[[int], float]
"""Makes that many calls and returns the seconds they took."""
Rejection = type[Exception] | tuple[()]
"""The error with which a contender refuses; ``()`` when it raises none."""


@dataclass(frozen=True)
class Scenario:
    """What is protected, and how each contender protects it.

    `rejections` is for open circuits. Such a scenario's function fails, and counts its calls in
    `calls`; the circuits are tripped before the clock starts.
    """

    name: str
    title: str
    work: Callable[[], Any]
    contenders: Mapping[str, Protect]
    reference: str
    rejections: Mapping[str, Rejection] | None = None
    bare: bool = True
    """Whether the function can be timed without protection, which it cannot if it fails."""
    added: bool = False
    """Whether the figure to compare is the time added to the bare function's."""
    left_out: Mapping[str, str] = field(default_factory=dict)

    def run(self, rounds: int) -> Result:
        contenders = {BARE: _unprotected, **self.contenders} if self.bare else self.contenders
        with asyncio.Runner() as runner:
            samplers = {
                name: _sampler(runner, self, name, protect) for name, protect in contenders.items()
            }
            samples = measured(samplers, rounds)
        return Result(
            self.name, self.title, "µs", self.reference, samples, self.added, self.left_out
        )


def _unprotected(work: Any) -> Any:
    return work


def measured(samplers: Mapping[str, Sampler], rounds: int) -> dict[str, list[float]]:
    """Microseconds per call, one sample of each contender in every round."""
    loops = {name: _calibrated(sample) for name, sample in samplers.items()}
    samples: dict[str, list[float]] = {name: [] for name in samplers}
    gc.freeze()  # what lives now lives on: the collections between samples need not visit it
    try:
        for _ in range(rounds):
            for name, sample in samplers.items():
                gc.collect()
                samples[name].append(sample(loops[name]) / loops[name] * 1e6)
    finally:
        gc.unfreeze()
    return samples


def _calibrated(sample: Sampler) -> int:
    """How many calls fill a sample; trying it out also warms the contender up."""
    loops = 1
    while (elapsed := sample(loops)) < SAMPLE / 4:
        loops *= 2
    return max(1, round(loops * SAMPLE / elapsed))


def _sampler(runner: asyncio.Runner, scenario: Scenario, name: str, protect: Protect) -> Sampler:
    """Protect the function, once; prove that the protection works; return its timed loop."""
    work = scenario.work()
    is_async = inspect.iscoroutinefunction(work)

    def do(function: Any, argument: Any) -> Any:
        return runner.run(_awaited(function, argument)) if is_async else function(argument)

    call = do(protect, work)
    rejection: Rejection = ()
    if scenario.rejections is None:
        # More than one call: the first may be special.
        if [do(call, value) for value in range(20)] != list(range(20)):
            raise AssertionError(f"{scenario.name}: {name} must return what the function returns")
    else:
        rejection = scenario.rejections[name]
        if not _trips(do, call, work, rejection):
            raise AssertionError(f"{scenario.name}: {name} must open when the function fails")
    if is_async:
        return lambda loops: runner.run(_asample(call, rejection, loops))
    return lambda loops: _sample(call, rejection, loops)


async def _awaited(function: Any, argument: Any) -> Any:
    result = function(argument)
    return await result if inspect.isawaitable(result) else result


def _trips(do: Any, call: Any, work: Any, rejection: Rejection) -> bool:
    """Whether calls stop reaching the function after enough of them have failed."""
    reached = []
    for _ in ("let it fail", "is it open?"):
        before = work.calls
        for value in range(2 * FAILURES):
            try:
                do(call, value)
            except ConnectionError:
                pass
            except rejection:
                pass
        reached.append(work.calls > before)
    return reached == [True, False]


def _sample(call: Any, rejection: Rejection, loops: int) -> float:
    with no_collector():
        start = perf_counter()
        for value in range(loops):
            try:
                call(value)
            except rejection:
                pass
        return perf_counter() - start


async def _asample(call: Any, rejection: Rejection, loops: int) -> float:
    with no_collector():
        start = perf_counter()
        for value in range(loops):
            try:
                await call(value)
            except rejection:
                pass
        return perf_counter() - start


@contextmanager
def no_collector() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
