"""The twins of the shared tier keep its contract, as far as they claim to, on virtual time."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest

from holdfast.cache.entry import COUNTER
from holdfast.cache.port import APPLIED, SharedTier
from holdfast.testing import VirtualClock
from holdfast.testing.contracts.tier import SharedTierContract, make_blob, make_put
from holdfast.testing.tiers import ChaosTier, MemoryTier, NullTier, Shelf


class VirtualContract(SharedTierContract):
    """On virtual time, so that no test waits for a life to end."""

    __test__ = False

    @pytest.fixture(autouse=True)
    def _clock(self) -> None:
        self.clock = VirtualClock()
        self.shelf = Shelf(self.clock)

    def run(self, test: Coroutine[Any, Any, None]) -> None:
        self.clock.run(test)


class TestMemoryTier(VirtualContract):
    def open_tier(self) -> SharedTier:
        return MemoryTier(self.shelf)


class TestChaosTierAtRest(VirtualContract):
    def open_tier(self) -> SharedTier:
        return ChaosTier(MemoryTier(self.shelf), clock=self.clock)


class TestSlowChaosTier(VirtualContract):
    def open_tier(self) -> SharedTier:
        tier = ChaosTier(MemoryTier(self.shelf), clock=self.clock)
        tier.latency = 0.001
        return tier


class TestNullTier:
    """It takes everything and keeps nothing, so only the form of its answers is that of a tier."""

    def test_takes_everything_and_keeps_nothing(self) -> None:
        async def main() -> None:
            tier = NullTier()
            blank = make_blob(1, kind=COUNTER)
            assert await tier.write([make_put("a", 2), make_put("a", 1)]) == [APPLIED] * 2
            assert await tier.add("n", 5, blank, None, 0) == 5
            assert await tier.add("n", 5, blank, None, 0) == 5
            assert await tier.lease("l", "one", 60)
            assert await tier.lease("l", "two", 60)
            await tier.release("l", "one")
            found = await tier.read(["a", "n"], ["f"])
            assert (list(found.blobs), list(found.floors)) == ([None, None], [None])
            assert [node.ok for node in await tier.nodes()] == [True]
            assert tier.pool().in_use == 0
            await tier.aclose()

        VirtualClock().run(main())

    def test_a_floor_rises(self) -> None:
        async def main() -> None:
            tier = NullTier()
            assert await tier.raise_floor("f", 3) == 3

        VirtualClock().run(main())
