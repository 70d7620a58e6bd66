"""A portal in this process: opened, warmed up, broken, and asked over its ASGI interface."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import httpx

from holdfast.cli.demo.features_figures import DOWN, Case, Promise, Seen
from holdfast.cli.demo.processes import DemoError, taskboard

ASKED = 4
"""How often each feature is asked in a case: before and after breakers noticed the outage."""

FULL = "full"

Ask = Callable[[Promise], Coroutine[Any, Any, str]]
"""Asks for a feature; the level at which it was served."""


def part(name: str) -> ModuleType:
    """A module of the task board, imported into this process."""
    path, package = taskboard()
    sys.path.insert(0, str(path))
    try:
        return importlib.import_module(f"{package}.{name}")
    finally:
        sys.path.remove(str(path))


def promised() -> tuple[Promise, ...]:
    """What the portal says of its features."""
    return tuple(part("promises").PROMISES)


def dependencies() -> tuple[str, ...]:
    """What the portal depends on."""
    return tuple(part("dependencies").Dependencies().named)


@asynccontextmanager
async def opened(case: Case, seed: int) -> AsyncGenerator[Ask]:
    """A portal of its own for this case: users were there, and then the outage began.

    Raises:
        DemoError: it does not serve everything in full before the outage.
    """
    on = part("dependencies").Dependencies(seed)
    app = part("portal").create(on)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://portal") as http,
    ):

        async def ask(promise: Promise) -> str:
            response = await http.request(promise.method, promise.path)
            served: str = response.headers.get("X-Degraded", FULL)
            return served if response.is_success else DOWN

        for promise in promised():
            level = await ask(promise)
            if level != FULL:
                raise DemoError(f"{promise.feature} is {level} before anything is broken")
        # The last good answers are stored beside the request.
        await app.state.portal.resilience.degradation.aclose()
        for name in case.outage:
            on.named[name].fail(case.how)
        yield ask


async def look(case: Case, seed: int) -> Seen:
    """Ask for every feature several times during an outage, all of them at the same time."""
    promises = promised()
    levels: dict[str, dict[str, None]] = {promise.feature: {} for promise in promises}
    async with opened(case, seed) as ask:
        for _ in range(ASKED):
            answers = await asyncio.gather(*(ask(promise) for promise in promises))
            for promise, level in zip(promises, answers, strict=True):
                levels[promise.feature][level] = None
    return Seen(case, {feature: tuple(seen) for feature, seen in levels.items()})
