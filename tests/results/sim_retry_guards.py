"""Row 2: what three ways to hold back retries cost in success and save in load.

A hundred clients make ten calls a second for ten seconds to a service where each attempt fails with
probability p, whatever the load. Retries go out at once. Success is calls that got through, load is
attempts sent, both per call made. Set-up: Marc Brooker, *Fixing retries with token buckets and
circuit breakers*, 2022, and its simulator (mbrooker/simulator_example, retry_sim).

First attempts are always sent; a guard only decides whether a failed one is followed by another.
The service has no memory and every client its own guard, so clients can be run one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any, Protocol

from published_figure import Figure

from holdfast import Backoff, RetryBudget
from holdfast._core.circuit import Circuit, CircuitOptions, Permit
from holdfast._core.outcome import Rejection
from holdfast._core.plan import Plan, RetryOptions, Wait

CLIENTS = 100
RATE = 10.0
SECONDS = 10.0
ONE_WAY = 0.010
"""Mean of one network leg, exponentially distributed."""
RETRIES = 3
SEEDS = 10


AT_ONCE = Backoff(base=1e-9, cap=1e-9)
"""The published retries do not wait; a nanosecond changes nothing among milliseconds."""


class Guard(Protocol):
    """Decides about the retries of one client; `call` is what it remembers of one call."""

    def start(self, now: float) -> Any: ...
    def success(self, call: Any, now: float) -> None: ...
    def failure(self, call: Any, now: float) -> bool:
        """Whether another attempt follows."""
        ...


class Planned:
    """Up to `retries` retries per call, each paid for by `budget` if there is one."""

    def __init__(self, retries: int = RETRIES, budget: RetryBudget | None = None) -> None:
        self.budget = budget
        self._random = Random(0).random
        self._options = RetryOptions(
            attempts=1 + retries,
            backoff=AT_ONCE,
            max_elapsed=None,
            max_retry_after=0,
            budget=budget,
        )

    def start(self, now: float) -> Plan:
        return Plan(self._options, now, self._random)

    def success(self, call: Plan, now: float) -> None: ...

    def failure(self, call: Plan, now: float) -> bool:
        return isinstance(call.next(now, retryable=True), Wait)


def five_tokens() -> RetryBudget:
    """The published bucket: full at the start, and no trickle."""
    return RetryBudget(ratio=0.1, capacity=5, initial=5, refill=0)


class CallFunded(Planned):
    """The published way to fill it: every *call* pays in, whatever comes of it.

    Nothing else limits the retries of a call.
    """

    def __init__(self) -> None:
        super().__init__(retries=1_000, budget=five_tokens())

    def start(self, now: float) -> Plan:
        assert self.budget is not None
        self.budget.deposit()
        return super().start(now)


class SuccessFunded(Planned):
    """Holdfast's way to fill it, as `Retry` does: every success pays in."""

    def __init__(self) -> None:
        super().__init__(budget=five_tokens())

    def success(self, call: Plan, now: float) -> None:
        assert self.budget is not None
        self.budget.deposit()


class Breaker:
    """Three retries while a circuit is closed that opens at 10 % failures.

    The published breaker is one comparison, failures / calls > 0.1 since the start, and closes by
    itself as calls outweigh failures: ten calls, one second here, for each failure. A circuit does
    not watch while it is open; it asks again after that second.
    """

    def __init__(self) -> None:
        options = CircuitOptions(
            failure_rate=0.1,
            minimum_calls=1,
            window=10 * SECONDS,
            reset_timeout=1.0,
            reset_backoff=1.0,
            reset_jitter=0.0,
        )
        self._circuit = Circuit("row 2", options, 0.0, Random(0).random)
        self._planned = Planned()

    def start(self, now: float) -> tuple[Plan, list[Permit]]:
        # A first attempt goes out even if it is refused a permit; it is only not counted then.
        permit = self._circuit.admit(now)
        permits = [] if isinstance(permit, Rejection) else [permit]
        return self._planned.start(now), permits

    def success(self, call: tuple[Plan, list[Permit]], now: float) -> None:
        for permit in call[1]:
            self._circuit.succeed(permit, now)

    def failure(self, call: tuple[Plan, list[Permit]], now: float) -> bool:
        plan, permits = call
        while permits:
            self._circuit.fail(permits.pop(), now)
        if not self._planned.failure(plan, now):
            return False
        permit = self._circuit.admit(now)
        if isinstance(permit, Rejection):
            return False
        permits.append(permit)
        return True


GUARDS: dict[str, Callable[[], Guard]] = {
    "3 retries": Planned,
    "bucket": CallFunded,
    "breaker": Breaker,
    "success-funded": SuccessFunded,
}

PUBLISHED: dict[tuple[str, float], tuple[float, float]] = {
    ("3 retries", 0.1): (1.000, 1.113),
    ("bucket", 0.1): (0.990, 1.104),
    ("breaker", 0.1): (0.928, 1.032),
    ("3 retries", 0.5): (0.938, 1.87),
    ("bucket", 0.5): (0.579, 1.14),
    ("breaker", 0.5): (0.493, 1.00),
    ("3 retries", 1.0): (0.0, 4.0),
    ("bucket", 1.0): (0.0, 1.143),
    ("breaker", 1.0): (0.0, 1.0),
}
"""(guard, failure probability) -> (success, load)."""
SUCCESS_WITHIN, LOAD_WITHIN = 0.015, 0.02


def one_client(guard: Guard, failing: float, rng: Random) -> tuple[int, int, int]:
    """Ten seconds of calls, all seen to their end: how many calls, attempts and successes."""
    calls = attempts = successes = 0

    def trip() -> float:
        return rng.expovariate(1 / ONE_WAY) + rng.expovariate(1 / ONE_WAY)

    # (time, tie break, the call that is answered; None where a new call starts).
    order = count()
    events: list[tuple[float, int, Any]] = [(rng.expovariate(1 / ONE_WAY), next(order), None)]
    while events:
        now, _, call = heappop(events)
        if call is None:
            if now > SECONDS:
                continue
            heappush(events, (now + rng.expovariate(RATE), next(order), None))
            calls += 1
            call = guard.start(now)
        elif rng.random() >= failing:
            successes += 1
            guard.success(call, now)
            continue
        elif not guard.failure(call, now):
            continue
        attempts += 1
        heappush(events, (now + trip(), next(order), call))
    return calls, attempts, successes


@cache
def success_and_load(guard: str, failing: float, seeds: int = SEEDS) -> tuple[float, float]:
    """Both figures over `seeds` runs of all clients."""
    rng = Random(f"{guard} at {failing}")
    clients = [one_client(GUARDS[guard](), failing, rng) for _ in range(seeds * CLIENTS)]
    calls, attempts, successes = (sum(column) for column in zip(*clients, strict=True))
    return successes / calls, attempts / calls


def figures() -> Sequence[Figure]:
    found = []
    for (guard, failing), (success, load) in PUBLISHED.items():
        our_success, our_load = success_and_load(guard, failing)
        label = f"{guard}, p = {failing:g}"
        found.append(Figure(2, f"{label}, success", our_success, success, SUCCESS_WITHIN))
        found.append(Figure(2, f"{label}, load", our_load, load, LOAD_WITHIN))
    return found


def comparison() -> Sequence[tuple[float, float, float]]:
    """(p, success, load) of the success-funded bucket, which nobody published."""
    return [(failing, *success_and_load("success-funded", failing)) for failing in (0.1, 0.5, 1.0)]
