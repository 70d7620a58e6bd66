"""What a cache shows of itself: frozen, and plain enough to be sent anywhere."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast._core.sieve import SieveSnapshot
from holdfast._core.snapshots import CircuitSnapshot
from holdfast.cache.journal import JournalSnapshot
from holdfast.cache.lifeline import TierState
from holdfast.cache.port import NodeSnapshot, PoolSnapshot
from holdfast.cache.space import NamespaceSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySnapshot:
    """How long something took, in seconds, within 1 %; None without any sample."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSnapshot:
    """The shared tier of a cache.

    `in_state` is in seconds. `reason` says in one line what is wrong, None if nothing is. `nodes`
    are the servers behind it as of the last look at each. `read_latency` and `write_latency` are
    those of commands, each of which carries many keys; `probe_latency` is that of the last probe.
    """

    address: str
    state: TierState
    in_state: float
    reason: str | None
    reads: CircuitSnapshot
    writes: CircuitSnapshot
    pool: PoolSnapshot | None
    nodes: tuple[NodeSnapshot, ...]
    read_latency: LatencySnapshot
    write_latency: LatencySnapshot
    read_commands_total: int
    write_commands_total: int
    probe_latency: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSnapshot:
    """A cache at one moment.

    `mode` is ``"memory"`` without Redis, else ``"standby"`` or ``"near"``; `listening` says whether
    a near cache hears of the writes of others now, and so may answer from memory. `loading` are
    loads under way. `memory_latency` is that of a sample of the look-ups that memory answered in
    place of Redis; a plain hit in memory takes about a microsecond, less than measuring it.
    """

    name: str
    mode: str
    state: TierState
    listening: bool
    redis: RedisSnapshot | None
    memory: SieveSnapshot
    memory_latency: LatencySnapshot
    journal: JournalSnapshot
    namespaces: tuple[NamespaceSnapshot, ...]
    loading: int
