"""Row 5: retries under retries, multiplied and bounded.

When every layer of a call chain retries, the bottom one sees the product: three layers that try
four times each make 4³ = 64 attempts of one request (Google, *Site Reliability Engineering*,
"Addressing Cascading Failures"), five layers of three make 3⁵ = 243 (AWS Builders' Library,
*Timeouts, retries, and backoff with jitter*). And a budget that allows one retry per ten requests
keeps the load of a failing service at 1.1 instead of 3 times what it was asked ("Handling
Overload", three attempts).

The layers stand in one process, or each in a process of its own; the second is simulated by giving
every layer a fresh context, because nothing about the caller's retries crosses a socket.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import Context
from functools import partial
from random import Random

from published_figure import Figure

from holdfast import Pipeline, Retry, RetryBudget
from holdfast._core.clock import Clock

Call = Callable[[], None]
NewBudget = Callable[[], RetryBudget | None]
REQUESTS = 5_000
TEN_PERCENT = 1.1
FAILING = (0.01, 0.1, 0.3, 0.5, 0.75, 0.9, 1.0)
SETUPS = ((4, 3), (3, 5))
"""(attempts, layers) of the two published products."""


class Dependency:
    """What stands below all layers: counts its calls and fails a share of them."""

    def __init__(self, failing: float, seed: int = 5) -> None:
        self.failing = failing
        self.calls = 0
        self._draw = Random(seed).random

    def __call__(self) -> None:
        self.calls += 1
        if self._draw() < self.failing:
            raise ConnectionResetError


def simulated_clock() -> Clock:
    """Time passes when somebody sleeps, and only then."""
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    async def asleep(seconds: float) -> None:
        sleep(seconds)

    return Clock(
        now=lambda: now,
        wall=lambda: now,
        sleep=sleep,
        asleep=asleep,
        random=Random(5).random,
    )


def by_hand(attempts: int) -> Callable[[Call], Call]:
    """The loop that people write."""

    def layer(inner: Call) -> Call:
        def call() -> None:
            for _ in range(attempts - 1):
                try:
                    return inner()
                except ConnectionResetError:
                    pass
            return inner()

        return call

    return layer


def by_holdfast(
    attempts: int, budget: NewBudget, *, retry_when_nested: bool = False
) -> Callable[[Call], Call]:
    """A `Retry` of its own for every layer, with a budget of its own."""
    clock = simulated_clock()

    def layer(inner: Call) -> Call:
        retry = Retry(
            attempts=attempts,
            budget=budget(),
            retry_when_nested=retry_when_nested,
            clock=clock,
        )
        return retry(inner)

    return layer


def by_pipeline(attempts: int) -> Callable[[Call], Call]:
    """The same inside of a `Pipeline`, as services use it."""
    clock = simulated_clock()
    return lambda inner: Pipeline("layer", Retry(attempts=attempts, clock=clock))(inner)


def in_own_process(layer: Callable[[Call], Call]) -> Callable[[Call], Call]:
    def apart(inner: Call) -> Call:
        protected = layer(inner)
        return lambda: Context().run(protected)

    return apart


def tower(dependency: Call, layers: int, layer: Callable[[Call], Call]) -> Call:
    call = dependency
    for _ in range(layers):
        call = layer(call)
    return call


def unlimited() -> None:
    """No budget: shows what nesting alone does."""


def ten_percent() -> RetryBudget:
    """Exactly what was earned: nothing at the start, nothing with time."""
    return RetryBudget(ratio=0.1, capacity=10, initial=0, refill=0)


def attempts_of_one_request(layers: int, layer: Callable[[Call], Call]) -> int:
    """How often a dead dependency is called for one request."""
    dead = Dependency(failing=1.0)
    request(tower(dead, layers, layer))
    return dead.calls


def request(call: Call) -> bool:
    try:
        call()
    except ConnectionResetError:
        return False
    return True


def load(
    failing: float, attempts: int, layers: int, budget: NewBudget, *, apart: bool = False
) -> float:
    """Calls that reach the dependency per request made at the top."""
    dependency = Dependency(failing)
    layer = by_holdfast(attempts, budget)
    call = tower(dependency, layers, in_own_process(layer) if apart else layer)
    for _ in range(REQUESTS):
        request(call)
    return dependency.calls / REQUESTS


def figures() -> Sequence[Figure]:
    found = []
    for attempts, layers in SETUPS:
        nested = partial(attempts_of_one_request, layers)
        label = f"{layers} layers × {attempts} attempts"
        found.append(Figure(5, f"{label}, by hand", nested(by_hand(attempts)), attempts**layers))
        ours = nested(by_holdfast(attempts, unlimited))
        found.append(Figure(5, f"{label}, Retry in Retry", ours, attempts))
    tripled = load(1.0, 3, 1, unlimited)
    found.append(Figure(5, "no budget, one Retry × 3, p = 1, load", tripled, 3))
    for attempts, layers in ((3, 1), *SETUPS):
        worst = max(load(failing, attempts, layers, ten_percent) for failing in FAILING)
        label = f"10 % budget, {layers} × {attempts}, worst load"
        found.append(Figure(5, label, worst, TEN_PERCENT, within=None))
    return found
