"""What the tests of the cache share: processes with one Redis, over networks that can fail."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from holdfast._core.hub import EventHub
from holdfast.cache import ResilientCache, TierState
from holdfast.cache.port import TierError, Trouble
from holdfast.events import Event
from holdfast.testing import VirtualClock
from holdfast.testing.tiers import ChaosTier, MemoryTier, Shelf

DOWN = TierError(Trouble.UNREACHABLE, "connection refused")
SETTLED = 3.0
"""Seconds after which a process has noticed that Redis is down, or back."""


class World:
    """Virtual time, one shelf, and the processes that share it."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.shelf = Shelf(self.clock)
        self.hub = EventHub()
        self.events: list[Event] = []
        self.hub.subscribe(self.events.append)
        self.caches: list[ResilientCache] = []

    def process(self, **options: Any) -> tuple[ResilientCache, ChaosTier]:
        """One more process: its cache, and its way to Redis."""
        tier = ChaosTier(MemoryTier(self.shelf), clock=self.clock)
        cache = ResilientCache(tier=lambda: tier, **self._with(options))
        self.caches.append(cache)
        return cache, tier

    def memory(self, **options: Any) -> ResilientCache:
        """A cache without Redis."""
        cache = ResilientCache(**self._with(options))
        self.caches.append(cache)
        return cache

    def _with(self, options: dict[str, Any]) -> dict[str, Any]:
        # No early refresh unless a test is about it: it rolls dice.
        return {"clock": self.clock, "events": self.hub, "early": 0.0} | options

    def told(self, kind: type[Event]) -> list[Any]:
        """The events of a kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    async def take_down(self, cache: ResilientCache, tier: ChaosTier) -> None:
        """Make Redis unreachable, and wait until the cache has noticed."""
        tier.error = DOWN
        await self.state(cache, TierState.DOWN)

    async def bring_up(self, cache: ResilientCache, tier: ChaosTier) -> None:
        """Let Redis answer again, and wait until the cache has noticed."""
        tier.error = tier.write_error = None
        if tier.frozen:
            await tier.thaw()
        await self.state(cache, TierState.UP)

    async def state(self, cache: ResilientCache, wanted: TierState) -> None:
        """Wait until the cache is in this state."""
        cache._inside.engine.attach()
        await until(lambda: cache.state is wanted, SETTLED)

    async def aclose(self) -> None:
        for cache in self.caches:
            await cache.aclose()


def virtual(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a coroutine test on virtual time, in a `World`, and see that no task is left over."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        world = World()

        async def main() -> None:
            try:
                await test(*args, world=world, **kwargs)
            finally:
                await world.aclose()
            await asyncio.sleep(0)
            assert not asyncio.all_tasks() - {asyncio.current_task()}

        world.clock.run(main())

    signature = inspect.signature(test)
    # pytest would take `world` for a fixture.
    kept = [part for name, part in signature.parameters.items() if name != "world"]
    run.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
    return run


async def gathered(*work: Awaitable[Any]) -> list[Any]:
    """The results of all of these, started in one turn of the loop."""
    return list(await asyncio.gather(*work))


async def until(ready: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for something to come about, on virtual time."""
    async with asyncio.timeout(seconds):
        while not ready():  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.001)
