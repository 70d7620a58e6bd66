"""Random schedules of work and faults with a real server: is anything lost, or back from the dead?

    python -m tests.faults.schedules --count 200 --seed 1

Two caches, each behind a fault proxy of its own as if they were two processes, set, delete, clear,
count and look up, one operation after the other, while the server is frozen, killed, paused or has
its clients thrown out, and while the networks break. Then all is mended, and both are asked.

The rules, by the order in which operations were issued:

- no answer is older than what the same cache wrote last, at any time;
- no answer that comes from Redis is older than the last write that was confirmed;
- in the end both give the newest write, and nothing where that was a deletion or a clearing,
  however it was reported (`applied` or `queued`). A server that was killed came back empty: there
  may be nothing then, or a stand-in that is declared, but never anything older as if it were new.

Values have long lives: what happens when they end is told by tests on the virtual clock.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from dataclasses import dataclass, field
from random import Random
from typing import Any

from holdfast.cache import CacheUnavailableError, ResilientCache, Status, TierState, WriteStatus
from holdfast.testing import DataLimit, Down, FaultProxy, Latency, Reset, Timeout, ValkeyServer

KEYS = ("a", "b", "c", "d")
QUEUED = WriteStatus.QUEUED
COUNTERS = ("m", "n")
STEPS = 40
APART = 0.003
"""Seconds between two operations: more than two processes can be wrong about the time."""
COMMAND_TIMEOUT = 0.05
PROBE_INTERVAL = 0.1
MEND = 10.0


@dataclass
class Write:
    """A set, a deletion or a clearing, seen from one key. None is nothing."""

    cache: int
    value: int | None
    status: WriteStatus


@dataclass
class Outcome:
    """What a schedule, or several, came to."""

    schedules: int = 0
    operations: int = 0
    queued: int = 0
    faults: int = 0
    emptied: int = 0
    violations: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


class Schedule:
    """One schedule, drawn from its seed."""

    def __init__(self, seed: int, server: ValkeyServer, *, empties: bool) -> None:
        self.seed = seed
        self.empties = empties
        self.random = Random(seed)
        self.server = server
        self.outcome = Outcome(schedules=1)
        self.history: dict[str, list[Write]] = {key: [] for key in KEYS}
        self.counted: dict[str, list[bool | None]] = {key: [] for key in COUNTERS}
        """Per counter since it was cleared: whether each addition was confirmed; None stands for a
        clearing, or a server that came back empty, after which fewer may count."""
        self.emptied: dict[str, int] = {}
        """Writes per key that were issued when the server last came back empty."""
        self.number = 0
        self.frozen = False

    def run(self) -> Outcome:
        self.server.flush()
        address = ("127.0.0.1", self.server.port)
        with FaultProxy(address) as one, FaultProxy(address) as two:
            self.proxies = (one, two)
            asyncio.run(self._run())
        return self.outcome

    async def _run(self) -> None:
        prefix = f"schedule-{self.seed}"
        self.caches = [
            ResilientCache(
                f"redis://{proxy.host}:{proxy.port}",
                name=f"{prefix}-{number}",
                prefix=prefix,
                command_timeout=COMMAND_TIMEOUT,
                probe_interval=PROBE_INTERVAL,
                ttl=3600,
            )
            for number, proxy in enumerate(self.proxies)
        ]
        async with self.caches[0], self.caches[1]:
            for cache in (*self.caches, *self.caches):
                # Who has never seen a namespace in Redis cannot tell a new one from a lost one.
                await cache.get("met")
                await asyncio.sleep(0.02)
            for _ in range(STEPS):
                await self._step()
                await asyncio.sleep(APART)
            await self._mend()
            for number in (0, 1):
                for key in KEYS:
                    await self._judge_end(number, key)
                for key in COUNTERS:
                    await self._judge_count(number, key)

    async def _step(self) -> None:
        draw, number = self.random.random(), self.random.randrange(2)
        cache, key = self.caches[number], self.random.choice(KEYS)
        if draw < 0.25:
            self.number += 1
            self._wrote(number, key, self.number, await cache.set(key, self.number))
        elif draw < 0.4:
            self._wrote(number, key, None, await cache.delete(key))
        elif draw < 0.45:
            await self._clear(number)
        elif draw < 0.52:
            await self._count(number)
        elif draw < 0.75:
            self._judge(number, key, await cache.lookup(key))
        elif draw < 0.85:
            await asyncio.sleep(self.random.random() * 0.15)
        else:
            await self._fault(number)

    def _wrote(self, number: int, key: str, value: int | None, status: WriteStatus) -> None:
        self.outcome.operations += 1
        self.outcome.queued += status is WriteStatus.QUEUED
        if status is WriteStatus.FAILED:
            self._violated(f"a write of {key} failed")
        self.history[key].append(Write(number, value, status))

    async def _clear(self, number: int) -> None:
        status = await self.caches[number].clear()
        for key in KEYS:
            self._wrote(number, key, None, status)
        for key in COUNTERS:
            # The other cache may go on adding to what it does not know to be cleared.
            self.counted[key] = [None]

    async def _count(self, number: int) -> None:
        key = self.random.choice(COUNTERS)
        try:
            await self.caches[number].incr(key)
        except CacheUnavailableError:
            self.counted[key].append(False)
        else:
            self.counted[key].append(True)

    # -- faults --------------------------------------------------------------------------------

    async def _fault(self, number: int) -> None:
        self.outcome.faults += 1
        proxy, draw = self.proxies[number], self.random.random()
        if draw < 0.2:
            self.server.freeze()
            self.frozen = True
        elif draw < 0.4:
            self._thaw()
        elif draw < 0.5:
            if self.empties:
                self._thaw()
                self.server.restart()
                self._came_back_empty()
        elif draw < 0.6 and not self.frozen:
            self.server.command("CLIENT", "PAUSE", self.random.randrange(20, 200))
        elif draw < 0.7 and not self.frozen:
            self.server.command("CLIENT", "KILL", "TYPE", "normal")
        elif draw < 0.9:
            toxics = (Down(), Reset(0), Latency(0.1), Timeout(), DataLimit(self.number % 60))
            direction = "down" if self.random.random() < 0.5 else "up"
            proxy.add("fault", self.random.choice(toxics), direction=direction)
        else:
            proxy.clear()

    def _thaw(self) -> None:
        self.server.thaw()
        self.frozen = False

    def _came_back_empty(self) -> None:
        self.outcome.emptied += 1
        self.emptied = {key: len(writes) for key, writes in self.history.items()}
        for count in self.counted.values():
            count.append(None)

    async def _mend(self) -> None:
        """Mend everything, and wait until both caches have told what they owe."""
        self._thaw()
        for proxy in self.proxies:
            proxy.clear()
        give_up = time.monotonic() + MEND
        for cache in self.caches:
            while cache.state is not TierState.UP or _owes(cache):
                if time.monotonic() > give_up:
                    self._violated(f"not recovered after {MEND} s: {cache.snapshot().redis}")
                    return
                await asyncio.sleep(0.01)
        # A probe later each has seen whether the server has lost anything, and has said so again.
        await asyncio.sleep(2 * PROBE_INTERVAL + COMMAND_TIMEOUT)

    # -- judgement -----------------------------------------------------------------------------

    def _judge(self, number: int, key: str, found: Any) -> None:
        writes = self.history[key]
        if found.status not in (Status.HIT, Status.STALE):
            return
        which = next(n for n, write in enumerate(writes) if write.value == found.value)
        own = max((n for n, write in enumerate(writes) if write.cache == number), default=-1)
        if which < own:
            self._violated(f"{key}: {which}, older than own {own}; {found}")
        confirmed = [n for n, write in enumerate(writes) if write.status is WriteStatus.APPLIED]
        if not found.degraded and which < max(confirmed, default=-1):
            self._violated(f"{key}: {which}, older than confirmed {confirmed[-1]}; {found}")

    async def _judge_end(self, number: int, key: str) -> None:
        found = await self.caches[number].lookup(key)
        self._judge(number, key, found)
        writes = self.history[key]
        newest = writes[-1].value if writes else None
        # What was queued when the server came back empty is told to it afterwards.
        gone = len(writes) <= self.emptied.get(key, 0)
        if self.emptied and found.degraded:
            return  # what stands in for lost data is declared, and judged above
        if self.emptied and writes and found.value is None and writes[-1].status is QUEUED:
            return  # it may have been older than what was lost
        if found.value not in ((newest, None) if gone else (newest,)):
            what = "resurrected" if newest is None else "lost" if found.value is None else "stale"
            self._violated(f"{key}: {what}, {found.value} for {newest}; {found}, {writes}")

    async def _judge_count(self, number: int, key: str) -> None:
        found = await self.caches[number].lookup(key)
        counted = self.counted[key]
        value = found.value or 0
        asked = sum(1 for one in counted if one is not None)
        sure = 0 if None in counted else sum(1 for one in counted if one)
        if not sure <= value <= asked:
            self._violated(f"{key}: {value}, not from {sure} to {asked}; {counted}")

    def _violated(self, rule: str) -> None:
        self.outcome.violations.append(f"schedule {self.seed}: {rule}")


def _owes(cache: ResilientCache) -> bool:
    journal = cache.snapshot().journal
    return bool(journal.intents or journal.floors)


def run(count: int, seed: int, *, empties: bool) -> Outcome:
    """Run so many schedules, each with a seed of its own from this one on.

    `empties`: whether the server is also killed, and comes back empty.
    """
    total = Outcome()
    with ValkeyServer() as server:
        for number in range(seed, seed + count):
            total.add(Schedule(number, server, empties=empties).run())
    return total


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.schedules", description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep-data", action="store_true", help="never kill the server")
    options = parser.parse_args()
    logging.getLogger("holdfast").setLevel(logging.CRITICAL)
    began = time.monotonic()
    total = run(options.count, options.seed, empties=not options.keep_data)
    for violation in total.violations:
        sys.stdout.write(f"{violation}\n")
    sys.stdout.write(
        f"{total.schedules} schedules in {time.monotonic() - began:.0f} s: "
        f"{total.operations} writes, {total.queued} of them queued, {total.faults} faults, "
        f"{total.emptied} times an empty server; {len(total.violations)} violations\n"
    )
    return 1 if total.violations else 0


if __name__ == "__main__":
    sys.exit(main())
