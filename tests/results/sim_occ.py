"""Row 1: clients that fight for one row of a database, and how they wait between tries.

A client reads the row's version, writes it back with that version, and is refused if another
write came in between; then it waits and starts again. It stops at its first success. Only one
client can win per read-to-write interval, so what they do between tries decides how much work is
wasted (calls) and when the last one is through (time). Set-up: Marc Brooker, *Exponential Backoff
and Jitter*, AWS Architecture Blog, 2015, and its public simulator, aws-arch-backoff-simulator.

One event per try is enough: at the moment of a write it is known whether the row has changed since
its version was read.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heapreplace
from random import Random

from published_figure import Figure

from holdfast import Backoff

CLIENTS = 100
RUNS = 200
ONE_WAY_MS = (10.0, 2.0)
"""Mean and standard deviation of one network leg; the absolute value of a normal draw."""

# The simulator's ceiling after failure n is 5 ms × 2^n, counted from 1: the first one is 10 ms.
# Decorrelated jitter starts from 5 ms itself.
POLICIES: dict[str, Backoff | None] = {
    "full": Backoff(base=0.010, cap=2.0, jitter="full"),
    "decorrelated": Backoff(base=0.005, cap=2.0, jitter="decorrelated"),
    "equal": Backoff(base=0.010, cap=2.0, jitter="equal"),
    "exponential": Backoff(base=0.010, cap=2.0, jitter="none"),
    "none": None,
}

PUBLISHED: dict[str, tuple[float, float]] = {
    "full": (794, 4952),
    "decorrelated": (1006, 4621),
    "equal": (812, 6634),
    "exponential": (1844, 63597),
    "none": (2417, 2027),
}
"""Mean calls and mean milliseconds until the last client is through, at 100 clients."""


def contend(backoff: Backoff | None, clients: int, rng: Random) -> tuple[int, float]:
    """One run: how many writes were tried, and the milliseconds until the last answer arrived."""
    mean, deviation = ONE_WAY_MS
    uniform, normal = rng.random, rng.gauss

    def leg() -> float:
        return abs(normal(mean, deviation))

    # (when the write arrives, when its version was read, failures so far, the delay before)
    tries: list[tuple[float, float, int, float | None]] = []
    for _ in range(clients):
        read = leg()
        tries.append((read + leg() + leg(), read, 0, None))
    heapify(tries)

    calls = 0
    changed = -1.0
    finished = 0.0
    while tries:
        now, read, failures, previous = tries[0]
        calls += 1
        if changed < read:
            changed = now
            finished = max(finished, now + leg())
            heappop(tries)
            continue
        failures += 1
        wait = 0.0
        if backoff is not None:
            previous = backoff.delay(failures, previous, uniform)
            wait = previous * 1000
        read = now + leg() + wait + leg()
        heapreplace(tries, (read + leg() + leg(), read, failures, previous))
    return calls, finished


def averages(policy: str, runs: int = RUNS, clients: int = CLIENTS) -> tuple[float, float]:
    """Mean calls and mean completion in milliseconds over `runs` seeded runs."""
    rng = Random(policy)
    results = [contend(POLICIES[policy], clients, rng) for _ in range(runs)]
    return (
        sum(calls for calls, _ in results) / runs,
        sum(finished for _, finished in results) / runs,
    )


def figures() -> Sequence[Figure]:
    found = []
    for policy, (calls, time) in PUBLISHED.items():
        our_calls, our_time = averages(policy)
        found.append(Figure(1, f"{policy}, calls", our_calls, calls, 0.03 * calls))
        found.append(Figure(1, f"{policy}, time (ms)", our_time, time, 0.06 * time))
    return found
