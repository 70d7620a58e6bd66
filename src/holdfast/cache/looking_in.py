"""How a cache's snapshot is put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast._core.sketch import Sketch
from holdfast.cache.lifeline import TierState
from holdfast.cache.snapshots import CacheSnapshot, LatencySnapshot, RedisSnapshot
from holdfast.cache.space import snapshot as snapshot_of

if TYPE_CHECKING:
    from holdfast.cache.cache import ResilientCache


def snapshot(cache: ResilientCache) -> CacheSnapshot:
    """See `ResilientCache.snapshot`."""
    inside = cache._inside
    engine = inside.engine
    return CacheSnapshot(
        name=engine.options.name,
        mode=cache.mode,
        state=engine.lifeline.state,
        listening=cache._backplane is not None and cache._backplane.listening,
        redis=_redis(cache) if engine.lifeline.state is not TierState.NONE else None,
        memory=engine.memory.snapshot(),
        memory_latency=_latency(inside.reader.memory_times),
        journal=engine.journal.snapshot(engine.clock.now()),
        namespaces=tuple(snapshot_of(space) for space in list(engine.spaces.values())),
        loading=inside.loading.under_way,
    )


def _redis(cache: ResilientCache) -> RedisSnapshot:
    inside = cache._inside
    engine, lifeline, tier = inside.engine, inside.engine.lifeline, inside.engine.tier
    return RedisSnapshot(
        address=engine.address,
        state=lifeline.state,
        in_state=engine.clock.now() - lifeline.since,
        reason=lifeline.reason,
        reads=lifeline.reads.breaker.snapshot(),
        writes=lifeline.writes.breaker.snapshot(),
        pool=None if tier is None else tier.pool(),
        nodes=tuple(cache._monitor.nodes),
        read_latency=_latency(lifeline.reads.times),
        write_latency=_latency(lifeline.writes.times),
        read_commands_total=inside.reader.commands,
        write_commands_total=inside.writer.commands,
        probe_latency=cache._monitor.latency,
    )


def _latency(times: Sketch) -> LatencySnapshot:
    # A copy: the cache's loop may add to it meanwhile.
    seen = times.copy()
    return LatencySnapshot(
        count=seen.count,
        p50=seen.quantile(0.5),
        p95=seen.quantile(0.95),
        p99=seen.quantile(0.99),
    )
