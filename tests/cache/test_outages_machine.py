"""The whole cache under arbitrary outages, against a model that knows which answers are allowed.

Two processes use one Redis, each over a network of its own that fails on command. Operations come
one after the other, so the order in which they were issued is the order that counts. The model
keeps all of them, per key, and what became of each:

- an answer that comes from Redis is never older than the last write that was confirmed, unless
  Redis has lost that: then it is one that was still queued elsewhere, or was the truth at most
  `STANDIN` seconds ago;
- no answer is older than what the same process wrote last, unless Redis has lost that since and
  something older was still queued elsewhere;
- a stand-in that is called a hit was the truth at most `STANDIN` seconds ago;
- when all is well again, both processes see the newest write, whether it was confirmed or queued,
  unless Redis has lost its data since.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.cache import ResilientCache, Status, TierState, WriteStatus
from holdfast.cache.port import TierError, Trouble
from holdfast.testing import VirtualClock
from holdfast.testing.tiers import ChaosTier, MemoryTier, Shelf

KEYS = ("a", "b", "c")
STANDIN = 30.0
TIMEOUT = 0.25
GONE = "gone"


@dataclass
class Operation:
    """A write, a deletion or a clearing, seen from one key."""

    process: int
    value: int | None
    status: WriteStatus
    issued: float
    ended: float
    dies: float
    """When a value is no longer to be served."""


class Outages(RuleBasedStateMachine):
    mode = "standby"
    journal_keys = 10_000

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.runner = asyncio.Runner(loop_factory=self.clock.loop_factory)
        self.shelf = Shelf(self.clock)
        self.tiers: list[ChaosTier] = []
        self.history: dict[str, list[Operation]] = {key: [] for key in KEYS}
        self.numbers = 0
        self.flushed_at: float | None = None

    @initialize()
    def start(self) -> None:
        async def make() -> None:
            self.tiers = [
                ChaosTier(MemoryTier(self.shelf), clock=self.clock, seed=n) for n in (0, 1)
            ]
            self.caches = [
                ResilientCache(
                    tier=lambda tier=tier: tier,
                    clock=self.clock,
                    name=f"process-{number}",
                    mode=self.mode,  # type: ignore[arg-type]
                    standin_ttl=STANDIN,
                    command_timeout=TIMEOUT,
                    journal_keys=self.journal_keys,
                    ttl=None,
                )
                for number, tier in enumerate(self.tiers)
            ]
            for cache in self.caches:
                await cache.__aenter__()
            await asyncio.sleep(0.01)

        self.runner.run(make())

    def teardown(self) -> None:
        async def end() -> None:
            for tier in self.tiers:
                tier.error = tier.write_error = None
                tier.lost_replies = 0.0
                await tier.thaw()
            for cache in self.caches:
                await cache.aclose()
            assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

        if self.tiers:
            self.runner.run(end())
        self.runner.close()

    # -- operations ----------------------------------------------------------------------------

    @rule(process=st.integers(0, 1), key=st.sampled_from(KEYS), ttl=st.sampled_from([None, 5.0]))
    def set(self, process: int, key: str, ttl: float | None) -> None:
        self.numbers += 1
        value = self.numbers
        issued = self.clock.now()
        status = self.runner.run(self.caches[process].set(key, value, ttl=ttl))
        dies = float("inf") if ttl is None else issued + ttl
        self.done(key, Operation(process, value, status, issued, self.clock.now(), dies))

    @rule(process=st.integers(0, 1), key=st.sampled_from(KEYS))
    def delete(self, process: int, key: str) -> None:
        issued = self.clock.now()
        status = self.runner.run(self.caches[process].delete(key))
        self.done(key, Operation(process, None, status, issued, self.clock.now(), 0.0))

    @rule(process=st.integers(0, 1))
    def clear(self, process: int) -> None:
        issued = self.clock.now()
        status = self.runner.run(self.caches[process].clear())
        for key in KEYS:
            self.done(key, Operation(process, None, status, issued, self.clock.now(), 0.0))

    @rule(process=st.integers(0, 1), keys=st.sets(st.sampled_from(KEYS), min_size=2))
    def set_many(self, process: int, keys: set[str]) -> None:
        values = {}
        for key in sorted(keys):
            self.numbers += 1
            values[key] = self.numbers
        issued = self.clock.now()
        statuses = self.runner.run(self.caches[process].set_many(values))
        for key, value in values.items():
            self.done(
                key,
                Operation(process, value, statuses[key], issued, self.clock.now(), float("inf")),
            )

    def done(self, key: str, operation: Operation) -> None:
        # Clocks order what processes do: what comes later does so by more than their error.
        self.clock.advance(0.002)
        assert operation.ended - operation.issued <= TIMEOUT + 0.05
        assert operation.status is not WriteStatus.FAILED or self.journal_keys < 10
        self.history[key].append(operation)

    @rule(process=st.integers(0, 1), key=st.sampled_from(KEYS))
    def look(self, process: int, key: str) -> None:
        started = self.clock.now()
        found = self.runner.run(self.caches[process].lookup(key))
        assert self.clock.now() - started <= TIMEOUT + 0.05
        self.judge(process, key, found)

    def judge(self, process: int, key: str, found: Any) -> None:
        now = self.clock.now()
        operations = self.history[key]
        own = max((n for n, op in enumerate(operations) if op.process == process), default=-1)
        if found.status in (Status.HIT, Status.STALE):
            which = next(n for n, op in enumerate(operations) if op.value == found.value)
            assert now < operations[which].dies, "served past its time to live"
            resurfaced = (
                operations[which].status is WriteStatus.QUEUED
                and self.flushed_at is not None
                and operations[own].issued <= self.flushed_at
            )
            assert which >= own or resurfaced, "older than what this process wrote last"
            newer = [op for op in operations[which + 1 :] if op.status is WriteStatus.APPLIED]
            lost = self.flushed_at is not None and all(op.issued <= self.flushed_at for op in newer)
            if newer and not (lost and operations[which].status is WriteStatus.QUEUED):
                # Only a stand-in may be older than what was confirmed, and not by much.
                near = self.mode == "near" and found.tier == "memory"
                assert found.degraded or near or lost, "older than what was confirmed"
                if found.status is Status.HIT:
                    beyond = min(op.ended for op in newer)
                    assert now - beyond <= STANDIN, "a stand-in that was overwritten long ago"
        elif found.status is Status.MISS and not found.degraded and self.mode == "standby":
            # There must be a reason for there being nothing.
            last = operations[-1] if operations else None
            if last is not None and last.status is WriteStatus.APPLIED:
                assert (
                    last.value is None
                    or now >= last.dies
                    or (self.flushed_at is not None and self.flushed_at >= last.issued)
                    or self.journal_keys < 10
                ), "lost"
        if found.status is Status.UNAVAILABLE:
            assert found.degraded

    # -- trouble -------------------------------------------------------------------------------

    @rule(process=st.integers(0, 1))
    def freeze(self, process: int) -> None:
        self.tiers[process].freeze()

    @rule(process=st.integers(0, 1), late=st.booleans())
    def thaw(self, process: int, late: bool) -> None:
        self.runner.run(self.tiers[process].thaw(late=late))

    @rule(process=st.integers(0, 1))
    def deliver(self, process: int) -> None:
        self.runner.run(self.tiers[process].deliver())

    @rule(
        process=st.integers(0, 1),
        trouble=st.sampled_from([Trouble.UNREACHABLE, Trouble.BUSY, Trouble.CONFIGURATION]),
    )
    def fail(self, process: int, trouble: Trouble) -> None:
        self.tiers[process].error = TierError(trouble, str(trouble))

    @rule(process=st.integers(0, 1))
    def refuse_writes(self, process: int) -> None:
        self.tiers[process].write_error = TierError(Trouble.WRITES_REFUSED, "READONLY")

    @rule(process=st.integers(0, 1), share=st.sampled_from([0.0, 0.5, 1.0]))
    def lose_replies(self, process: int, share: float) -> None:
        self.tiers[process].lost_replies = share

    @rule(process=st.integers(0, 1))
    def heal(self, process: int) -> None:
        self.tiers[process].error = self.tiers[process].write_error = None
        self.tiers[process].lost_replies = 0.0

    @rule()
    def flush(self) -> None:
        self.shelf.flush()
        self.flushed_at = self.clock.now()

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.5, 7.0]))
    def wait(self, seconds: float) -> None:
        self.runner.run(asyncio.sleep(seconds))

    @precondition(lambda self: self.tiers)
    @rule()
    def recover(self) -> None:
        """All is well again: both see the newest write of each key."""
        for process in (0, 1):
            self.heal(process)
            self.runner.run(self.tiers[process].thaw())
        # Longer than a pause for configuration, a probe, and the life of tombstones of its own.
        self.runner.run(asyncio.sleep(45.0))
        for process, cache in enumerate(self.caches):
            assert cache.state is TierState.UP
            assert cache.snapshot().journal.intents == 0
            assert cache.snapshot().journal.floors == 0
            for key in KEYS:
                found = self.runner.run(cache.lookup(key))
                self.judge(process, key, found)
                assert not found.degraded or self.flushed_at is not None
                self.newest(key, found)

    def newest(self, key: str, found: Any) -> None:
        operations = self.history[key]
        last = operations[-1] if operations else None
        if last is not None and self.flushed_at is not None and self.flushed_at >= last.issued:
            return
        if found.status is Status.HIT:
            assert last is not None
            assert found.value == last.value, "not the newest write"
        else:
            assert found.status is Status.MISS
            assert (
                last is None
                or last.value is None
                or self.clock.now() >= last.dies
                or self.journal_keys < 10
                # Owed since before a loss was noticed: something newer may have been lost with it.
                or (self.flushed_at is not None and last.status is WriteStatus.QUEUED)
            ), "a write was lost"

    @invariant()
    def bounded(self) -> None:
        for cache in getattr(self, "caches", ()):
            snapshot = cache.snapshot()
            assert snapshot.journal.intents <= self.journal_keys
            assert snapshot.journal.bytes <= snapshot.journal.max_bytes


class NearOutages(Outages):
    mode = "near"


class FullJournal(Outages):
    journal_keys = 1


SETTINGS = settings(max_examples=60, stateful_step_count=40, deadline=None)

TestOutages = Outages.TestCase
TestOutages.settings = SETTINGS
TestNearOutages = NearOutages.TestCase
TestNearOutages.settings = SETTINGS
TestFullJournal = FullJournal.TestCase
TestFullJournal.settings = SETTINGS
