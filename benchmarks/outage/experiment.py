"""One contender under one fault: steady traffic before, during and after, and what came of it.

The load is open: a call is due at its time, whether earlier ones have ended or not, and its latency
counts from when it was due. A caller who waits for a frozen server does not stop others from coming
in, as a closed loop would have it.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import accumulate
from math import inf
from random import Random
from typing import Any

from benchmarks.outage.contenders import Contender, Make, Record
from benchmarks.outage.faults import Fault
from holdfast.testing import FaultProxy, ValkeyServer

RATE = 200
KEYS = 500
ORIGIN = 0.005
CHANGES = 20
"""One call in so many is a change of a record, with a deletion from the cache, not a read."""
AT_ONCE = 25
"""Reads at once while the cache is filled before the traffic begins."""
GOOD = 0.05
"""Seconds within which an answer is as good as without a fault."""
PATIENCE = 2.0
"""Seconds that are waited, once all is over, for what is then asked."""
GOODPUT = 0.99
"""The share of good calls from which on things are back to normal."""
LEAST = 100
"""Calls at the end that are needed to say so."""
BEFORE, DURING, AFTER = "before", "during", "after"


@dataclass(frozen=True)
class Phases:
    """Seconds of traffic before, during and after the fault."""

    before: float
    during: float
    after: float


@dataclass
class Call:
    due: float
    phase: str
    key: str
    deletes: bool
    wanted: int
    """The version of the record as of the last deletion that had ended when the call was due."""
    took: float = inf
    """Seconds from then; `inf` for a call that never ended."""
    error: str | None = None
    version: int | None = None
    loaded: bool = False


_CALL: ContextVar[Call] = ContextVar("call")
"""The call on whose behalf the code that runs was started."""


@dataclass
class Origin:
    """Where records come from; they change there."""

    versions: dict[str, int]
    told: dict[str, int] = field(default_factory=dict)
    """The versions that the cache has been told of, whatever it made of that."""

    async def load(self, key: str) -> Record:
        call = _CALL.get(None)
        if call is not None:
            call.loaded = True
        await asyncio.sleep(ORIGIN)
        return {"key": key, "version": self.versions[key], "name": "Unknown User", "active": True}


@dataclass(frozen=True)
class Report:
    """What callers noticed while the fault lasted, and after it.

    Latencies are in seconds. `recovery` is how long after the mending it took until 99 % of all
    later calls were answered within `GOOD`; `inf` if that did not come about. `lost_deletes` are
    records that were deleted from the cache during the fault, and are still given as they were.
    """

    calls: int
    errors: int
    unfinished: int
    p50: float
    p99: float
    slowest: float
    """`inf` if a call had not ended when the experiment did."""
    stale: float
    """Of the answers: older than the record as of the last deletion that had ended by then."""
    hits: float
    """Of the reads: answered without a load of their own."""
    deletes: int
    lost_deletes: int
    recovery: float
    cpu: float
    """The share of a CPU that the thread of the event loop took, and without the fault."""
    cpu_before: float
    kinds: tuple[str, ...]
    """Of the errors."""


def run(make: Make, fault: Fault, phases: Phases, seed: int, *, proxied: bool) -> Report:
    """One experiment, with a server and an event loop of its own."""
    with ValkeyServer() as server, FaultProxy(("127.0.0.1", server.port)) as proxy:
        port = proxy.port if proxied else server.port
        return asyncio.run(_run(make, fault, phases, seed, server, proxy, port))


async def _run(
    make: Make,
    fault: Fault,
    phases: Phases,
    seed: int,
    server: ValkeyServer,
    proxy: FaultProxy,
    port: int,
) -> Report:
    origin = Origin({f"user:{number}": 0 for number in range(KEYS)})
    contender = make("127.0.0.1", port, origin.load)
    keys = list(origin.versions)
    for first in range(0, KEYS, AT_ONCE):
        await asyncio.gather(*map(contender.read, keys[first : first + AT_ONCE]))
    traffic = _Traffic(contender, origin, seed)
    cpu_before = await traffic.flow(BEFORE, phases.before)
    async with fault(server, proxy):
        cpu = await traffic.flow(DURING, phases.during)
    mended = asyncio.get_running_loop().time()
    await traffic.flow(AFTER, phases.after)
    await traffic.end()
    lost = await _lost_deletes(contender, origin, traffic.calls)
    try:
        async with asyncio.timeout(PATIENCE):
            await contender.close()
    except Exception:
        pass  # what matters has been seen
    return _report(traffic.calls, lost, mended, cpu, cpu_before)


class _Traffic:
    """The calls of one experiment."""

    def __init__(self, contender: Contender, origin: Origin, seed: int) -> None:
        self._contender = contender
        self._origin = origin
        self._random = Random(seed)
        self._keys = list(origin.versions)
        self._weights = list(accumulate(1 / rank for rank in range(1, KEYS + 1)))
        self._tasks: set[asyncio.Task[None]] = set()
        self.calls: list[Call] = []

    async def flow(self, phase: str, seconds: float) -> float:
        """Call for so long; the share of a CPU that the event loop's thread took."""
        loop = asyncio.get_running_loop()
        start, cpu = loop.time(), time.thread_time()
        for number in range(int(seconds * RATE)):
            due = start + number / RATE
            await asyncio.sleep(due - loop.time())
            task = asyncio.create_task(self._call(due, phase))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await asyncio.sleep(start + seconds - loop.time())
        return (time.thread_time() - cpu) / (loop.time() - start)

    async def end(self) -> None:
        """Whoever still waits has waited long enough."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10 * GOOD)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5)

    async def _call(self, due: float, phase: str) -> None:
        key = self._keys[bisect(self._weights, self._random.random() * self._weights[-1])]
        deletes = len(self.calls) % CHANGES == 0
        if deletes:
            self._origin.versions[key] += 1
        call = Call(due, phase, key, deletes, self._origin.told.get(key, 0))
        self.calls.append(call)
        act = self._delete if deletes else self._read
        try:
            await act(call)
        except Exception as error:
            call.error = type(error).__name__
        # Not for a cancelled call: that one never ended.
        call.took = asyncio.get_running_loop().time() - due

    async def _read(self, call: Call) -> None:
        _CALL.set(call)
        record = await self._contender.read(call.key)
        call.version = record["version"]

    async def _delete(self, call: Call) -> None:
        version = self._origin.versions[call.key]
        try:
            await self._contender.delete(call.key)
        finally:
            self._origin.told[call.key] = version


async def _lost_deletes(contender: Contender, origin: Origin, calls: list[Call]) -> int:
    """How many records that were deleted during the fault are still as they were."""

    async def is_lost(key: str) -> bool:
        try:
            async with asyncio.timeout(PATIENCE):
                version: int = (await contender.read(key))["version"]
        except Exception:
            return True  # nobody knows, so nobody has seen it deleted
        return version < origin.versions[key]

    deleted = {call.key for call in calls if call.deletes and call.phase == DURING}
    return sum(await asyncio.gather(*map(is_lost, deleted)))


def _report(
    calls: list[Call],
    lost: int,
    mended: float,
    cpu: float,
    cpu_before: float,
) -> Report:
    during = [call for call in calls if call.phase == DURING]
    reads = [call for call in during if call.version is not None]
    times = sorted(call.took for call in during)
    recovery = _recovery([call for call in calls if call.phase == AFTER], mended)
    deleted = {call.key for call in during if call.deletes}
    return Report(
        calls=len(during),
        errors=sum(call.error is not None for call in during),
        unfinished=sum(call.took == inf for call in during),
        p50=times[len(times) // 2],
        p99=times[int(0.99 * (len(times) - 1))],
        slowest=times[-1],
        stale=_share(call.version < call.wanted for call in reads if call.version is not None),
        hits=_share(
            call.version is not None and not call.loaded for call in during if not call.deletes
        ),
        deletes=len(deleted),
        lost_deletes=lost,
        recovery=recovery,
        cpu=cpu,
        cpu_before=cpu_before,
        kinds=tuple(sorted({call.error for call in during if call.error is not None})),
    )


def _recovery(after: list[Call], mended: float) -> float:
    """Seconds from the mending until so many of all later calls are good."""
    bad = 0
    recovered = inf
    for later, call in enumerate(reversed(after), start=1):
        bad += call.error is not None or call.took > GOOD
        if later >= LEAST and bad <= (1 - GOODPUT) * later:
            recovered = max(0.0, call.due - mended)
    return recovered


def _share(those: Any) -> float:
    flags = list(those)
    return sum(flags) / len(flags) if flags else 0.0
