"""RetryService: one retry, breaker and bulkhead per name, and statistics of what callers got."""

from __future__ import annotations

import asyncio
import math
import random
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import FrozenInstanceError, asdict
from functools import partial
from typing import Any, cast

import pytest

from holdfast import (
    Backoff,
    BulkheadFullError,
    CallTimeoutError,
    Category,
    CircuitOpenError,
    ConfigurationError,
    DeadlineExceededError,
    RetryService,
    Settings,
    deadline,
)
from holdfast._core.clock import Clock
from holdfast.events import CircuitChanged, Event, EventHub, RetryScheduled
from holdfast.service_statistics import ServiceStatistics
from holdfast.testing import VirtualClock


class Flaky:
    """Fails so many times with this error, then answers 42; in both forms."""

    def __init__(self, failures: int, error: Callable[[], Exception] = ConnectionResetError):
        self.left = failures
        self.error = error
        self.calls = 0

    def sync(self) -> int:
        self.calls += 1
        if self.left > 0:
            self.left -= 1
            raise self.error()
        return 42

    async def __call__(self) -> int:
        return self.sync()


async def answer() -> int:
    return 42


def one(service: RetryService, name: str) -> ServiceStatistics:
    [statistics] = service.statistics(name)
    return statistics


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def service(clock: VirtualClock) -> RetryService:
    return RetryService(clock=clock, events=EventHub())


# -- the three ways, as the original was called ----------------------------------------------------


def test_circuit_breaker_with_the_originals_options(
    service: RetryService, clock: VirtualClock
) -> None:
    operation = Flaky(5)

    async def call() -> int:
        return await service.execute_with_circuit_breaker(
            operation, "user-service", failure_threshold=5, timeout=60.0, reset_timeout=300.0
        )

    async def main() -> None:
        for _ in range(5):
            with pytest.raises(ConnectionResetError):
                await call()
        with pytest.raises(CircuitOpenError) as caught:
            await call()
        assert caught.value.name == "user-service"
        assert operation.calls == 5
        await asyncio.sleep(300)
        assert await call() == 42

    clock.run(main())


def test_the_breakers_defaults_come_from_the_settings(clock: VirtualClock) -> None:
    settings = Settings(failure_threshold=2, reset_timeout=7.0, monitor_period=3.0)
    service = RetryService(settings, clock=clock)
    operation = Flaky(3)

    async def call() -> int:
        return await service.execute_with_circuit_breaker(operation, "user-db")

    async def main() -> None:
        with pytest.raises(ConnectionResetError):
            await call()
        await asyncio.sleep(4)  # longer than the window: forgotten
        for _ in range(2):
            with pytest.raises(ConnectionResetError):
                await call()
        await asyncio.sleep(6.9)
        with pytest.raises(CircuitOpenError):
            await call()
        await asyncio.sleep(0.1)
        assert await call() == 42

    clock.run(main())


def test_the_breakers_timeout_cuts_off_and_counts(
    service: RetryService, clock: VirtualClock
) -> None:
    async def main() -> None:
        for _ in range(2):
            with pytest.raises(CallTimeoutError) as caught:
                await service.execute_with_circuit_breaker(
                    lambda: asyncio.sleep(100), "slow", failure_threshold=2, timeout=2.0
                )
            assert caught.value.name == "slow"
        assert clock.now() == 4
        with pytest.raises(CircuitOpenError):
            await service.execute_with_circuit_breaker(
                answer, "slow", failure_threshold=2, timeout=2.0
            )

    clock.run(main())


def test_without_a_timeout_an_operation_may_take_its_time(
    service: RetryService, clock: VirtualClock
) -> None:
    async def main() -> None:
        await service.execute_with_circuit_breaker(
            lambda: asyncio.sleep(86_400), "report", timeout=None
        )

    clock.run(main())
    assert clock.now() == 86_400


def test_bulkhead_as_the_original_was_called(service: RetryService, clock: VirtualClock) -> None:
    running = highest = 0

    async def operation() -> int:
        nonlocal running, highest
        running += 1
        highest = max(highest, running)
        await asyncio.sleep(1)
        running -= 1
        return highest

    async def main() -> None:
        calls = (
            service.execute_with_bulkhead(operation, 5, "overdue-notifications") for _ in range(20)
        )
        await asyncio.gather(*calls)

    clock.run(main())
    assert highest == 5
    assert clock.now() == 4


def test_a_full_bulkhead_and_queue_refuse(service: RetryService, clock: VirtualClock) -> None:
    async def call() -> None:
        await service.execute_with_bulkhead(lambda: asyncio.sleep(9), 1, "x", max_queue=1)

    async def main() -> None:
        results = await asyncio.gather(call(), call(), call(), return_exceptions=True)
        assert [type(result) for result in results] == [type(None), type(None), BulkheadFullError]

    clock.run(main())


def test_max_wait_bounds_the_time_in_the_queue(service: RetryService, clock: VirtualClock) -> None:
    async def call() -> None:
        await service.execute_with_bulkhead(lambda: asyncio.sleep(9), 1, "x", max_wait=2.0)

    async def main() -> None:
        first = asyncio.create_task(call())
        await asyncio.sleep(0)
        with pytest.raises(BulkheadFullError):
            await call()
        assert clock.now() == 2
        await first

    clock.run(main())


def test_retry_repeats_what_may_pass(service: RetryService, clock: VirtualClock) -> None:
    operation = Flaky(3)
    assert clock.run(service.execute_with_retry(operation, "geo-api", attempts=4)) == 42
    assert operation.calls == 4


def test_retry_leaves_the_callers_own_mistakes_alone(
    service: RetryService, clock: VirtualClock
) -> None:
    operation = Flaky(3, ValueError)
    with pytest.raises(ValueError):
        clock.run(service.execute_with_retry(operation, "geo-api"))
    assert operation.calls == 1


def test_retry_takes_predicates_waits_and_a_limit(
    service: RetryService, clock: VirtualClock
) -> None:
    operation = Flaky(9, LookupError)
    backoff = Backoff(base=4.0, jitter="none")

    async def main() -> None:
        with pytest.raises(LookupError):
            await service.execute_with_retry(
                operation, "geo-api", attempts=9, on=LookupError, backoff=backoff, max_elapsed=5.0
            )

    clock.run(main())
    assert operation.calls == 2


def test_the_originals_nesting(service: RetryService, clock: VirtualClock) -> None:
    async def find(user: int) -> dict[str, int]:
        return {"id": user}

    async def main() -> None:
        found = await service.execute_with_bulkhead(
            lambda: service.execute_with_circuit_breaker(
                lambda: find(7), "user-db", failure_threshold=3
            ),
            5,
            "user-db",
        )
        assert found == {"id": 7}

    clock.run(main())
    assert {entry.kind for entry in service.statistics("user-db")} == {
        "bulkhead",
        "circuit_breaker",
    }


# -- sync ------------------------------------------------------------------------------------------


def test_the_sync_twins(service: RetryService, clock: VirtualClock) -> None:
    assert service.execute_with_retry_sync(Flaky(2).sync, "a") == 42
    broken = Flaky(9)
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            service.execute_with_circuit_breaker_sync(broken.sync, "b", failure_threshold=2)
    with pytest.raises(CircuitOpenError):
        service.execute_with_circuit_breaker_sync(broken.sync, "b", failure_threshold=2)
    assert service.execute_with_bulkhead_sync(lambda: "x", 1, "c") == "x"
    kinds = [(entry.name, entry.kind, entry.calls) for entry in service.statistics()]
    assert kinds == [("a", "retry", 1), ("b", "circuit_breaker", 3), ("c", "bulkhead", 1)]


def test_sync_and_async_calls_of_one_name_share_the_circuit(
    service: RetryService, clock: VirtualClock
) -> None:
    with pytest.raises(ConnectionResetError):
        service.execute_with_circuit_breaker_sync(Flaky(1).sync, "b", failure_threshold=1)
    with pytest.raises(CircuitOpenError):
        clock.run(service.execute_with_circuit_breaker(answer, "b", failure_threshold=1))


ASYNC: dict[str, Callable[[RetryService, Any], Awaitable[Any]]] = {
    "retry": lambda service, operation: service.execute_with_retry(operation, "x"),
    "breaker": lambda service, operation: service.execute_with_circuit_breaker(operation, "x"),
    "bulkhead": lambda service, operation: service.execute_with_bulkhead(operation, 1, "x"),
}
SYNC: dict[str, Callable[[RetryService, Any], Any]] = {
    "retry": lambda service, operation: service.execute_with_retry_sync(operation, "x"),
    "breaker": lambda service, operation: service.execute_with_circuit_breaker_sync(operation, "x"),
    "bulkhead": lambda service, operation: service.execute_with_bulkhead_sync(operation, 1, "x"),
}


@pytest.mark.parametrize("way", ASYNC)
def test_a_plain_function_in_the_async_form_is_told_apart(
    service: RetryService, clock: VirtualClock, way: str
) -> None:
    calls: list[int] = []

    async def main() -> None:
        with pytest.raises(TypeError, match="ends in _sync for plain functions"):
            await ASYNC[way](service, lambda: calls.append(1))

    clock.run(main())
    assert calls == [1]


@pytest.mark.parametrize("way", SYNC)
def test_a_coroutine_function_in_the_sync_form_is_told_apart(
    service: RetryService, way: str
) -> None:
    with pytest.raises(TypeError, match="returned a coroutine"):
        SYNC[way](service, answer)


@pytest.mark.parametrize("way", ASYNC)
def test_anything_that_gives_an_awaitable_is_an_operation(
    service: RetryService, clock: VirtualClock, way: str
) -> None:
    async def add(one: int, other: int) -> int:
        return one + other

    async def main() -> None:
        for operation in (partial(add, 20, 22), lambda: add(20, 22), Flaky(0), answer):
            assert await ASYNC[way](service, operation) == 42
        assert await ASYNC[way](service, lambda: asyncio.ensure_future(answer())) == 42

    clock.run(main())


@pytest.mark.parametrize("way", ASYNC)
def test_an_operation_must_be_callable(
    service: RetryService, clock: VirtualClock, way: str
) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="operation must be a function"):
            await ASYNC[way](service, 42)

    clock.run(main())
    with pytest.raises(TypeError, match="operation must be a function"):
        SYNC[way](service, "text")
    assert service.statistics() == ()


# -- names and options -----------------------------------------------------------------------------


def test_the_same_name_with_other_options_is_an_error_that_says_both(
    service: RetryService, clock: VirtualClock
) -> None:
    async def main() -> None:
        await service.execute_with_retry(answer, "geo-api", attempts=4)
        await service.execute_with_retry(answer, "geo-api", attempts=4)
        with pytest.raises(ConfigurationError) as caught:
            await service.execute_with_retry(answer, "geo-api", attempts=5)
        message = str(caught.value)
        for part in ("retry 'geo-api'", "attempts=4", "attempts=5", "another name"):
            assert part in message
        await service.execute_with_bulkhead(answer, 1, "b")
        with pytest.raises(ConfigurationError, match="bulkhead 'b' exists"):
            await service.execute_with_bulkhead(answer, 2, "b")

    clock.run(main())
    assert one(service, "geo-api").calls == 2


def test_writing_a_default_out_is_not_another_option(
    service: RetryService, clock: VirtualClock
) -> None:
    async def main() -> None:
        await service.execute_with_circuit_breaker(answer, "x")
        await service.execute_with_circuit_breaker(
            answer, "x", failure_threshold=5, timeout=60.0, reset_timeout=300.0, window=10.0
        )

    clock.run(main())
    assert one(service, "x").calls == 2


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda s: s.execute_with_retry_sync(print, "x", attempts=0), "attempts"),
        (lambda s: s.execute_with_retry_sync(print, "x", max_elapsed=-1), "max_elapsed"),
        (lambda s: s.execute_with_retry_sync(print, "x", on=5), "on"),
        (lambda s: s.execute_with_retry_sync(print, "x", backoff=2), "backoff"),
        (lambda s: s.execute_with_retry_sync(print, ""), "name"),
        (lambda s: s.execute_with_retry_sync(print, 7), "name"),
        (lambda s: s.execute_with_retry_sync(print, ["x"]), "name"),
        (lambda s: s.execute_with_circuit_breaker_sync(print, "x", timeout=0), "timeout"),
        (
            lambda s: s.execute_with_circuit_breaker_sync(print, "x", failure_threshold=0),
            "failure_threshold",
        ),
        (
            lambda s: s.execute_with_circuit_breaker_sync(print, "x", reset_timeout=math.nan),
            "reset_timeout",
        ),
        (lambda s: s.execute_with_circuit_breaker_sync(print, "x", window=0), "window"),
        (lambda s: s.execute_with_bulkhead_sync(print, 0, "x"), "max_concurrent"),
        (lambda s: s.execute_with_bulkhead_sync(print, "x", 5), "name"),
        (lambda s: s.execute_with_bulkhead_sync(print, 1, "x", max_queue=-1), "max_queue"),
        (lambda s: s.execute_with_bulkhead_sync(print, 1, "x", max_wait="1"), "max_wait"),
    ],
)
def test_bad_options_are_refused_by_name_before_anything_runs(
    service: RetryService, call: Callable[[RetryService], object], named: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"^{named} must be"):
        call(service)
    assert service.statistics() == ()


def test_names_are_bounded(clock: VirtualClock) -> None:
    service = RetryService(clock=clock, max_names=3)
    for number in range(3):
        service.execute_with_retry_sync(Flaky(0).sync, f"n{number}")
    with pytest.raises(ConfigurationError, match=r"'n3' is one too many: there are 3 .* Keyed"):
        service.execute_with_retry_sync(Flaky(0).sync, "n3")
    assert service.execute_with_retry_sync(Flaky(0).sync, "n0") == 42
    assert service.execute_with_bulkhead_sync(lambda: 1, 1, "n3") == 1  # another kind
    assert len(service.statistics()) == 4


def test_max_names_is_checked() -> None:
    with pytest.raises(ConfigurationError, match=r"^max_names must be"):
        RetryService(max_names=0)


def test_eight_threads_that_use_one_name_share_one_circuit() -> None:
    service = RetryService()
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        for number in range(100):
            service.execute_with_circuit_breaker_sync(lambda: 1, f"n{number % 10}")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.calls for entry in service.statistics()] == [80] * 10
    breakers = [policy for policy in service.policies() if policy.kind == "circuit_breaker"]
    assert [breaker.snapshot().successes_total for breaker in breakers] == [80] * 10


# -- events ----------------------------------------------------------------------------------------


def test_policies_tell_the_services_hub(clock: VirtualClock) -> None:
    hub, heard = EventHub(), list[Event]()
    hub.subscribe(heard.append)
    service = RetryService(clock=clock, events=hub)
    service.execute_with_retry_sync(Flaky(1).sync, "a")
    with pytest.raises(ConnectionResetError):
        service.execute_with_circuit_breaker_sync(Flaky(1).sync, "b", failure_threshold=1)
    assert [(type(event), event.name) for event in heard] == [
        (RetryScheduled, "a"),
        (CircuitChanged, "b"),
    ]


# -- statistics ------------------------------------------------------------------------------------


def test_statistics_tell_outcomes_apart(service: RetryService, clock: VirtualClock) -> None:
    async def call(operation: Callable[[], Awaitable[Any]]) -> Any:
        return await service.execute_with_circuit_breaker(
            operation, "x", failure_threshold=2, timeout=5.0
        )

    async def main() -> None:
        await call(lambda: asyncio.sleep(2))
        with pytest.raises(ValueError):
            await call(Flaky(1, ValueError))
        task = asyncio.create_task(call(lambda: asyncio.sleep(4)))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(ConnectionRefusedError):
            await call(Flaky(1, ConnectionRefusedError))
        with pytest.raises(CallTimeoutError):
            await call(lambda: asyncio.sleep(9))
        await asyncio.sleep(1)
        with pytest.raises(CircuitOpenError):
            await call(answer)

    before = clock.wall()
    clock.run(main())
    statistics = one(service, "x")
    assert (statistics.name, statistics.kind) == ("x", "circuit_breaker")
    assert statistics.calls == 6
    assert statistics.attempts == 5
    assert statistics.successes == 1
    assert statistics.failures == {
        Category.PERMANENT: 1,
        Category.UNAVAILABLE: 1,
        Category.TIMEOUT: 1,
    }
    assert (statistics.rejected, statistics.cancelled) == (1, 1)
    assert statistics.p99 == pytest.approx(2, rel=0.01)  # of 0, 0, 2 and 5 by rank
    assert statistics.last_error == "CallTimeoutError"
    assert statistics.last_error_at == before + 8


def test_a_retrys_attempts_are_counted_and_its_waits_are_part_of_the_latency(
    service: RetryService, clock: VirtualClock
) -> None:
    backoff = Backoff(base=3.0, jitter="none", growth="constant")
    for failures in (2, 9):
        operation = Flaky(failures)
        call = partial(service.execute_with_retry_sync, operation.sync, "x", backoff=backoff)
        if failures == 2:
            assert call() == 42
        else:
            with pytest.raises(ConnectionResetError):
                call()
    statistics = one(service, "x")
    assert (statistics.calls, statistics.attempts, statistics.successes) == (2, 6, 1)
    assert statistics.failures == {Category.TRANSIENT: 1}
    assert statistics.p50 == pytest.approx(6, rel=0.01)


def test_a_call_that_is_refused_before_it_starts_has_no_latency(
    service: RetryService, clock: VirtualClock
) -> None:
    with deadline(1.0, clock=clock):
        clock.advance(2)
        with pytest.raises(DeadlineExceededError):
            service.execute_with_retry_sync(Flaky(0).sync, "x")
    statistics = one(service, "x")
    assert (statistics.calls, statistics.attempts, statistics.rejected) == (1, 0, 1)
    assert statistics.p50 is statistics.p95 is statistics.p99 is statistics.last_error is None


def test_statistics_agree_with_a_model(service: RetryService, clock: VirtualClock) -> None:
    dice = random.Random(4)
    expected: Counter[str] = Counter()
    durations: list[float] = []
    errors = {"transient": ConnectionResetError, "permanent": ValueError, "unknown": Exception}

    def operation(kind: str, seconds: float) -> None:
        clock.advance(seconds)
        if kind == "cancelled":
            raise KeyboardInterrupt
        if kind != "success":
            raise errors[kind]

    for _ in range(500):
        kind = dice.choice([*errors, "success", "success", "cancelled"])
        seconds = dice.lognormvariate(0, 1)
        expected[kind] += 1
        if kind != "cancelled":
            durations.append(seconds)
        with suppress(BaseException):
            service.execute_with_bulkhead_sync(partial(operation, kind, seconds), 3, "x")
    statistics = one(service, "x")
    assert statistics.calls == statistics.attempts == 500
    assert statistics.successes == expected["success"]
    assert statistics.cancelled == expected["cancelled"]
    assert {str(k): n for k, n in statistics.failures.items()} == {k: expected[k] for k in errors}
    durations.sort()
    for q, found in ((0.5, statistics.p50), (0.95, statistics.p95), (0.99, statistics.p99)):
        assert found == pytest.approx(durations[int(q * (len(durations) - 1))], rel=0.0101)


def test_statistics_of_a_name_nobody_used_are_empty(service: RetryService) -> None:
    assert service.statistics("never") == ()


def test_statistics_are_frozen_plain_data(service: RetryService) -> None:
    service.execute_with_retry_sync(Flaky(0).sync, "x")
    statistics = one(service, "x")
    with pytest.raises(FrozenInstanceError):
        statistics.calls = 5  # type: ignore[misc]
    assert asdict(statistics)["successes"] == 1
    statistics.failures[Category.UNKNOWN] = 9  # a copy of one's own
    assert one(service, "x").failures == {}


def test_reset_starts_counting_anew_but_keeps_circuits(service: RetryService) -> None:
    call = partial(
        service.execute_with_circuit_breaker_sync, Flaky(1).sync, "x", failure_threshold=1
    )
    with pytest.raises(ConnectionResetError):
        call()
    service.reset_statistics()
    statistics = one(service, "x")
    assert (statistics.calls, statistics.attempts, statistics.failures) == (0, 0, {})
    assert statistics.p50 is statistics.last_error is statistics.last_error_at is None
    with pytest.raises(CircuitOpenError):
        call()


@pytest.mark.parametrize("reading", [math.nan, math.inf])
def test_a_clock_that_lies_costs_the_numbers_but_not_the_call(
    reading: float, caplog: pytest.LogCaptureFixture
) -> None:
    readings = iter([0.0, reading] * 10)
    service = RetryService(clock=Clock(now=lambda: next(readings)))
    for _ in range(2):
        assert service.execute_with_bulkhead_sync(lambda: 42, 1, "x") == 42
    assert [record.message for record in caplog.records] == [
        "the statistics of bulkhead 'x' miss a part of a call"
    ]
    assert one(service, "x").p50 is None


def test_a_forked_child_does_not_inherit_taken_locks(service: RetryService) -> None:
    service.execute_with_bulkhead_sync(lambda: 42, 1, "x")
    [protected] = service._everything()
    locked = (protected.tally, service._bulkheads)
    for each in locked:
        other = threading.Thread(target=each._lock.acquire)
        other.start()
        other.join()
        each._after_fork()
    assert service.execute_with_bulkhead_sync(lambda: 42, 1, "x") == 42
    assert one(service, "x").calls == 2


class Suspension:
    def __await__(self) -> Any:
        yield


@pytest.mark.parametrize("way", ASYNC)
def test_a_call_that_is_garbage_collected_counts_as_cancelled(
    service: RetryService, way: str
) -> None:
    async def operation() -> None:
        await Suspension()

    async def main() -> None:
        call = cast("Coroutine[Any, Any, Any]", ASYNC[way](service, operation))
        call.send(None)
        del call

    asyncio.run(main())
    statistics = one(service, "x")
    assert (statistics.calls, statistics.attempts, statistics.cancelled) == (1, 1, 1)
    assert statistics.p50 is None


def test_a_call_may_end_while_its_own_thread_is_counting_another(service: RetryService) -> None:
    # What happens when the collector runs at an allocation inside the statistics.
    service.execute_with_bulkhead_sync(lambda: 42, 1, "x")
    [protected] = service._everything()

    def nested() -> None:
        with protected.tally._lock:
            protected.tally.record(1, 0.0, None)

    thread = threading.Thread(target=nested, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert one(service, "x").calls == 2


@pytest.mark.parametrize("settings", [{"REDIS_PASSWORD": "hunter2"}, "hunter2", 5])
def test_settings_are_checked_without_showing_them(settings: Any) -> None:
    with pytest.raises(ConfigurationError, match="settings must be Settings or None") as caught:
        RetryService(settings)
    assert "hunter2" not in str(caught.value)
