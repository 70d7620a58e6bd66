"""Many threads and event loops on one machine: whatever they do adds up.

The interpreter switches threads as often as it can here, so that every unguarded step would meet
somebody in the middle of it.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from random import Random

import pytest

from holdfast import CircuitBreaker
from holdfast._core.budget import Budget
from holdfast._core.circuit import Circuit, CircuitOptions, Permit
from holdfast._core.clock import Clock
from holdfast._core.outcome import Rejection
from holdfast._core.permits import Permits, Waiter
from holdfast._core.tally import RetryTally
from holdfast.errors import CircuitOpenError

THREADS = 8
CALLS = 8000
PATIENCE = 30.0


@pytest.fixture(autouse=True)
def _restless() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(work: Callable[[int], None], threads: int = THREADS) -> None:
    """Run `work(0)`, `work(1)`, … at once, each in its thread; raise what one of them raised."""
    start = threading.Barrier(threads)
    errors: list[BaseException] = []

    def run(index: int) -> None:
        try:
            start.wait(PATIENCE)
            work(index)
        except BaseException as error:
            errors.append(error)

    crowd = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(threads)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in crowd), "somebody hangs"
    if errors:
        raise errors[0]


class Ticks:
    """A clock on which time passes by being looked at; never goes back for any thread."""

    def __init__(self) -> None:
        self._count = iter(range(10**9))

    def now(self) -> float:
        return 1000 + next(self._count) / 1024


def admit(circuit: Circuit, now: float) -> Permit | Rejection:
    """As the driver does."""
    era = circuit.era
    return era if era.free else circuit.admit(now)


@pytest.mark.parametrize("window_calls", [None, 20])
def test_a_circuit_counts_every_call_once(window_calls: int | None) -> None:
    ticks = Ticks()
    options = CircuitOptions(
        failure_threshold=3,
        window=1.0,
        window_calls=window_calls,
        reset_timeout=0.25,
        half_open_max_calls=2,
        probe_timeout=0.5,
        ramp=0.25,
    )
    circuit = Circuit("dep", options, ticks.now(), lambda: 0.5)
    counts: list[Counter[str]] = [Counter() for _ in range(THREADS)]

    def work(index: int) -> None:
        draw, count = Random(index).random, counts[index]
        for _ in range(CALLS):
            permit = admit(circuit, ticks.now())
            if isinstance(permit, Rejection):
                count["rejected"] += 1
                continue
            count["admitted"] += 1
            fate = draw()
            if fate < 0.8:
                circuit.succeed(permit, ticks.now())
            elif fate < 0.9:
                circuit.fail(permit, ticks.now())
            else:
                circuit.ignore(permit)

    together(work)
    total = sum(counts, Counter())
    shown = circuit.snapshot(ticks.now())
    assert total["admitted"] + total["rejected"] == THREADS * CALLS
    assert shown.rejected_total == total["rejected"]
    assert total["admitted"] == (
        shown.successes_total + shown.failures_total + shown.ignored_total + shown.late_total
    )
    assert shown.probes == 0
    # It really lived: every kind of thing has happened, and what was told is a way one can go.
    assert min(shown.rejected_total, shown.failures_total, shown.ignored_total) > 0
    told = circuit.drain()
    assert len(told) == shown.transitions_total > 10
    assert told[0].source == "closed"
    assert all(one.target == other.source for one, other in pairwise(told))


def test_a_linear_log_of_decisions_agrees_with_a_sequential_replay() -> None:
    """Decisions are made one at a time; replayed in their order, they must come out the same."""
    ticks = Ticks()
    # With a count window every outcome is recorded under the lock, in the order of the log.
    options = CircuitOptions(
        failure_threshold=3, reset_timeout=0.125, half_open_max_calls=2, window_calls=50
    )
    circuit = Circuit("dep", options, 1000.0, lambda: 0.5)
    log: list[tuple[str, float, object, object]] = []
    lock = circuit._lock = Recording()  # type: ignore[assignment]

    def work(index: int) -> None:
        draw = Random(index).random
        for _ in range(1500):
            now = ticks.now()
            permit = lock.noting(log, "admit", now, None, lambda now=now: circuit.admit(now))
            if not isinstance(permit, Rejection):
                act = circuit.succeed if draw() < 0.7 else circuit.fail
                now = ticks.now()
                lock.noting(
                    log,
                    act.__name__,
                    now,
                    permit,
                    lambda act=act, permit=permit, now=now: act(permit, now),
                )

    together(work)
    assert len(log) > THREADS * 1500
    twin = Circuit("dep", options, 1000.0, lambda: 0.5)
    twins: dict[int, Permit] = {}
    for act, now, permit, result in log:
        if act == "admit":
            again = twin.admit(now)
            assert type(again) is type(result)
            if isinstance(again, Rejection):
                assert again.reason == result.reason  # type: ignore[attr-defined]
            else:
                twins[id(result)] = again
        else:
            getattr(twin, act)(twins[id(permit)], now)
    end = ticks.now()
    assert twin.snapshot(end) == circuit.snapshot(end)
    assert [change.target for change in twin.drain()] == [
        change.target for change in circuit.drain()
    ]


class Recording:
    """A lock that writes down, at the moment it is let go, what the holder did with it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mine = threading.local()

    def acquire(self, blocking: bool = True) -> bool:
        return self._lock.acquire(blocking)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        entry = getattr(self._mine, "entry", None)
        if entry is not None:
            log, record = entry
            log.append(record)
        self._lock.release()

    def noting(
        self,
        log: list[tuple[str, float, object, object]],
        act: str,
        now: float,
        permit: object,
        call: Callable[[], object],
    ) -> object:
        """Run `call`; its place in the log is that of its decision, its result follows."""
        record: list[object] = [act, now, permit, None]
        self._mine.entry = (log, record)
        try:
            record[3] = call()
        finally:
            self._mine.entry = None
        return record[3]


def test_a_hundred_at_once_get_exactly_the_places_of_half_open() -> None:
    options = CircuitOptions(failure_threshold=1, reset_timeout=0, half_open_max_calls=7)
    for _ in range(10):
        circuit = Circuit("dep", options, 0.0, lambda: 0.0)
        circuit.fail(circuit.era, 0.0)
        answers: list[object] = []
        together(lambda index, c=circuit, a=answers: a.append(admit(c, 1.0)), threads=100)
        assert sum(not isinstance(answer, Rejection) for answer in answers) == 7


@pytest.mark.parametrize("resizing", [False, True])
def test_permits_are_never_overdrawn_and_nobody_is_forgotten(resizing: bool) -> None:
    limit, most = 3, 5 if resizing else 3
    permits = Permits(limit, 4)
    inside: list[None] = []
    worst = [0] * THREADS
    counts: list[Counter[str]] = [Counter() for _ in range(THREADS)]

    def wake(waiter: Waiter | None) -> None:
        if waiter is not None:
            waiter.wake()

    def enter(draw: Callable[[], float], count: Counter[str]) -> bool:
        if permits.take() is not None:
            return True
        woken = threading.Event()
        waiter = Waiter(woken.set)
        if not permits.enqueue(waiter):
            count["refused"] += 1
            return False
        if waiter.granted is None:
            if draw() < 0.3:
                # Give up, perhaps at the very moment in which the place arrives.
                wake(permits.abandon(waiter))
                return False
            assert woken.wait(PATIENCE), "a wake-up was lost"
        return True

    def work(index: int) -> None:
        draw, count = Random(index).random, counts[index]
        for step in range(2500):
            if resizing and index == 0 and step % 5 == 0:
                for waiter in permits.resize(Random(step).choice([1, 2, 3, 4, 5]), 4):
                    wake(waiter)
            if enter(draw, count):
                inside.append(None)
                worst[index] = max(worst[index], len(inside))
                if draw() < 0.5:
                    time.sleep(0)  # no wait, only a chance for the others
                inside.pop()
                wake(permits.give_back(permits.place))

    together(work)
    shown = permits.snapshot("dep")
    assert (shown.active, shown.queued, permits.busy) == (0, 0, False)
    assert max(worst) <= most
    assert shown.waited_total > 0
    assert shown.rejected_total == sum(count["refused"] for count in counts)
    free = [permits.take() for _ in range(permits.limit + 1)]
    assert free.count(None) == 1


def test_a_budget_pays_out_what_came_in() -> None:
    budget = Budget(initial=10, capacity=10, ratio=0.5, refill=0)
    spent = [0] * THREADS

    def work(index: int) -> None:
        for _ in range(2000):
            if budget.withdraw(0.0):
                spent[index] += 1
                budget.deposit()

    together(work)
    shown = budget.snapshot()
    assert shown.granted == sum(spent)
    assert shown.granted + shown.refused == THREADS * 2000
    assert shown.tokens == 10 - 0.5 * sum(spent)
    assert 0 <= shown.tokens < 1


def test_a_tally_counts_every_call() -> None:
    tally = RetryTally(None)

    def work(index: int) -> None:
        for step in range(3000):
            if step % 10:
                tally.first_try()
            else:
                tally.over(2, ok=bool(step % 20))

    together(work)
    shown = tally.snapshot("dep")
    assert shown.success_without_retry == THREADS * 2700
    assert shown.success_with_retry == shown.failed_with_retry == THREADS * 150
    assert shown.attempts_total == THREADS * (2700 + 600)


def test_threads_and_event_loops_share_one_breaker() -> None:
    """Eight threads, two of which run an event loop each with tasks of their own."""
    ticks = Ticks()
    breaker = CircuitBreaker(
        "dep",
        failure_threshold=3,
        window=1.0,
        reset_timeout=0.25,
        half_open_max_calls=2,
        clock=Clock(now=ticks.now),
    )
    counts: list[Counter[str]] = [Counter() for _ in range(THREADS)]
    attempts = 2000

    def body(draw: Callable[[], float]) -> str:
        fate = draw()
        if fate < 0.1:
            raise ConnectionError
        if fate < 0.15:
            raise TypeError("says nothing about the dependency")
        return "succeeded"

    async def abody(draw: Callable[[], float]) -> str:
        await asyncio.sleep(0)
        return body(draw)

    def note(count: Counter[str], error: BaseException | None) -> None:
        names = {CircuitOpenError: "rejected", ConnectionError: "failed", TypeError: "ignored"}
        count["succeeded" if error is None else names[type(error)]] += 1

    def sync(index: int) -> None:
        draw = Random(index).random
        for _ in range(attempts):
            try:
                breaker.call(body, draw)
            except (CircuitOpenError, ConnectionError, TypeError) as error:
                note(counts[index], error)
            else:
                note(counts[index], None)

    async def task(index: int, draw: Callable[[], float], times: int) -> None:
        for _ in range(times):
            outcome = await breaker.try_acall(abody, draw)
            note(counts[index], outcome.error)

    async def tasks(index: int) -> None:
        draw = Random(index).random
        await asyncio.gather(*(task(index, draw, attempts // 10) for _ in range(10)))

    together(lambda index: asyncio.run(tasks(index)) if index < 2 else sync(index))
    total = sum(counts, Counter())
    shown = breaker.snapshot()
    assert sum(total.values()) == THREADS * attempts
    assert shown.rejected_total == total["rejected"] > 0
    assert shown.ignored_total == total["ignored"]
    assert shown.late_total == (
        total["succeeded"] + total["failed"] - shown.successes_total - shown.failures_total
    )
    assert shown.successes_total <= total["succeeded"]
    assert shown.failures_total <= total["failed"]
