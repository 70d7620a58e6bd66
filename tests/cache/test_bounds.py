"""Real memory, as Python counts it, stays within what the options say, whatever is written."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from cache.world import DOWN, World, virtual

MEBIBYTE = 1 << 20


class Meter:
    """The most memory in use since it was made, beyond what was in use then."""

    def __init__(self) -> None:
        gc.collect()
        tracemalloc.start()
        self._base = tracemalloc.get_traced_memory()[0]
        self.peak = 0

    def read(self) -> None:
        self.peak = max(self.peak, tracemalloc.get_traced_memory()[0] - self._base)

    def stop(self) -> None:
        self.read()
        tracemalloc.stop()


@pytest.mark.parametrize("size", [1, 300, 5_000])
@virtual
async def test_memory_in_a_flood_of_writes(world: World, size: int) -> None:
    cache = world.memory(memory_bytes=2 * MEBIBYTE, compression=False)
    await cache.set("warm", "up")
    cache.snapshot()  # loads what it needs
    meter = Meter()
    for number in range(6_000):
        await cache.set(f"key:{number}", "x" * size)
        if number % 100 == 0:
            meter.read()
            assert cache.snapshot().memory.bytes <= 2 * MEBIBYTE
    meter.stop()
    assert cache.snapshot().memory.evictions_total > 1_000
    assert meter.peak <= 1.1 * 2 * MEBIBYTE


@pytest.mark.parametrize("size", [1, 300, 5_000])
@virtual
async def test_the_journal_in_a_flood_of_writes_that_nobody_takes(world: World, size: int) -> None:
    cache, network = world.process(
        memory_bytes=MEBIBYTE // 4,
        journal_bytes=2 * MEBIBYTE,
        journal_keys=1_000_000,
        compression=False,
    )
    await world.take_down(cache, network)
    assert network.error is DOWN
    cache.snapshot()
    meter = Meter()
    for number in range(6_000):
        await cache.set(f"key:{number}", "x" * size)
        if number % 100 == 0:
            meter.read()
            assert cache.snapshot().journal.bytes <= 2 * MEBIBYTE
    meter.stop()
    journal = cache.snapshot().journal
    assert journal.overflowed_total + journal.demoted_total > 0
    assert meter.peak <= 1.1 * (2 + 0.25) * MEBIBYTE
