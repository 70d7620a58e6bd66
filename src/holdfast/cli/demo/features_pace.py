"""How quickly features answer during outages that they should not notice.

For each dependency there are two portals, one in which it hangs and one that is whole. They are
asked for the same, in turns, at fixed times whether earlier requests were answered or not. The
dependencies of both take the same times, of which the slow ones make the 99th percentile.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from holdfast.cli.demo.features_figures import Case, Pace, Promise, Round
from holdfast.cli.demo.features_portal import FULL, Ask, dependencies, opened, promised

ROUNDS = 9
TIMES = 4
"""How often each unaffected feature is asked in a round."""

EVERY = 0.0025
"""Seconds between two requests, so that a few are under way and the processor is not the limit."""

SETTLE = 4
"""How often everything is asked before the first round, so that breakers know of the outage."""

Pair = tuple[Ask, Ask]


async def measure(
    seed: int, done: Callable[[int], None], *, rounds: int = ROUNDS, every: float = EVERY
) -> Pace:
    """The pace; `done` is told after each round how many there were."""
    promises = promised()
    async with AsyncExitStack() as stack:
        wanted: list[tuple[Pair, Promise]] = []
        asks: list[Ask] = []
        for name in dependencies():
            whole = await stack.enter_async_context(opened(Case(frozenset(), "refuses"), seed))
            outage = frozenset({name})
            broken = await stack.enter_async_context(opened(Case(outage, "hangs"), seed))
            asks += (whole, broken)
            unaffected = [each for each in promises if each.unaffected(outage)]
            wanted += [((whole, broken), each) for each in unaffected] * TIMES
        await _settle(asks, promises, every)
        dice, measured = random.Random(seed), list[Round]()
        for number in range(rounds):
            dice.shuffle(wanted)
            measured.append(await _round(wanted, every))
            done(number + 1)
    return Pace(measured)


async def _settle(asks: Sequence[Ask], promises: Sequence[Promise], every: float) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(SETTLE):
            for ask in asks:
                for promise in promises:
                    group.create_task(ask(promise))
                    await asyncio.sleep(every)


async def _round(wanted: Sequence[tuple[Pair, Promise]], every: float) -> Round:
    loop = asyncio.get_running_loop()
    due = loop.time()
    taken: tuple[list[float], list[float]] = ([], [])

    async def ask(side: int, pair: Pair, promise: Promise, due: float) -> None:
        level = await pair[side](promise)
        taken[side].append(loop.time() - due if level == FULL else math.inf)

    async with asyncio.TaskGroup() as group:
        for number, (pair, promise) in enumerate(wanted):
            # Whoever goes first has it a little easier, so they take turns in that, too.
            for side in (0, 1) if number % 2 else (1, 0):
                group.create_task(ask(side, pair, promise, due))
                due += every
                await asyncio.sleep(due - loop.time())
    return Round(*taken)
