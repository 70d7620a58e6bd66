"""GracefulDegradation: primary, last good response, fixed answer; the original's examples."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast import CircuitBreaker, ConfigurationError, RetryService
from holdfast.degradation import (
    AllFallbacksFailedError,
    CacheFallback,
    FallbackStep,
    GracefulDegradation,
    Level,
    MemoryLastGood,
    NothingKeptError,
    Served,
)
from holdfast.events import EventHub
from holdfast.testing import VirtualClock


class Users:
    """A dependency that can be switched off; in both forms."""

    def __init__(self) -> None:
        self.up = True
        self.version = 0

    def sync(self) -> dict[str, int]:
        if not self.up:
            raise ConnectionError
        self.version += 1
        return {"version": self.version}

    async def __call__(self) -> dict[str, int]:
        return self.sync()


class Bench:
    def __init__(self, form: str, store: Any = None) -> None:
        self.is_async = form == "async"
        self.clock = VirtualClock()
        self.service = GracefulDegradation(store, clock=self.clock, events=EventHub())
        self.users = Users()

    def call(self, name: str = "users", **options: Any) -> Served[Any]:
        primary = options.pop("primary", self.users if self.is_async else self.users.sync)
        if not self.is_async:
            return self.service.execute_with_degradation_sync(name, primary, **options)

        async def main() -> Served[Any]:
            async with self.service:
                return await self.service.execute_with_degradation(name, primary, **options)

        return self.clock.run(main())


@pytest.fixture(params=["async", "sync"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param)


KEPT = CacheFallback(key="user:7", ttl=60)


def test_primary_then_last_good_then_fixed_then_error(bench: Bench) -> None:
    served = bench.call(cache_fallback=KEPT, fallback_data={"version": 0})
    assert (served.value, served.level, served.step) == ({"version": 1}, Level.PRIMARY, "primary")
    bench.users.up = False
    bench.clock.advance(12)
    served = bench.call(cache_fallback=KEPT, fallback_data={"version": 0})
    assert (served.value, served.level, served.step) == ({"version": 1}, Level.CACHED, "cached")
    assert (served.age, served.degraded) == (12, True)
    bench.clock.advance(48)
    served = bench.call(cache_fallback=KEPT, fallback_data={"version": 0})
    assert (served.value, served.level, served.step) == ({"version": 0}, Level.STATIC, "static")
    assert [type(cause.error) for cause in served.causes] == [ConnectionError, NothingKeptError]
    with pytest.raises(AllFallbacksFailedError) as caught:
        bench.call(cache_fallback=KEPT)
    assert [cause.step for cause in caught.value.causes] == ["primary", "cached"]
    with pytest.raises(AllFallbacksFailedError):
        bench.call()


def test_each_success_refreshes_what_is_kept(bench: Bench) -> None:
    for _ in range(3):
        bench.call(cache_fallback=KEPT)
        bench.clock.advance(50)
    bench.users.up = False
    served = bench.call(cache_fallback=KEPT)
    assert (served.value, served.age) == ({"version": 3}, 50)
    assert bench.service.snapshot().refreshes.stored_total == 3


def test_a_degraded_answer_is_never_kept_as_a_good_one(bench: Bench) -> None:
    stale: Any = Served({"version": -1}, Level.CACHED, age=500.0)

    def old() -> Any:
        return stale

    async def old_later() -> Any:
        return stale

    primary = old_later if bench.is_async else old
    assert bench.call(primary=primary, cache_fallback=KEPT).age == 500
    bench.users.up = False
    with pytest.raises(AllFallbacksFailedError):
        bench.call(cache_fallback=KEPT)


def test_services_of_other_names_keep_their_own(bench: Bench) -> None:
    bench.call(cache_fallback=KEPT)
    bench.users.up = False
    with pytest.raises(AllFallbacksFailedError):
        bench.call("orders", cache_fallback=KEPT)


def test_none_is_a_fixed_answer(bench: Bench) -> None:
    bench.users.up = False
    served = bench.call(fallback_data=None)
    assert (served.value, served.level) == (None, Level.STATIC)


def test_the_primary_may_be_a_step_with_options(bench: Bench) -> None:
    breaker = CircuitBreaker("users", clock=bench.clock)
    breaker.isolate("test")
    operation: Any = bench.users if bench.is_async else bench.users.sync
    primary = FallbackStep("database", operation, pipeline=breaker, priority=-1)
    served = bench.call(primary=primary, fallback_data=None)
    assert [(cause.step, cause.skipped) for cause in served.causes] == [("database", True)]
    with pytest.raises(ConfigurationError, match="another name than 'static'"):
        bench.call(primary=FallbackStep("static", operation), fallback_data=None)


def test_fallback_data_of_the_wrong_type_is_refused(bench: Bench) -> None:
    def name() -> str:
        return "Ada"

    async def name_later() -> str:
        return "Ada"

    primary = name_later if bench.is_async else name
    with pytest.raises(ConfigurationError) as caught:
        bench.call(primary=primary, fallback_data={"private": 1})
    assert "fallback_data must be of type str, as " in str(caught.value)
    assert "private" not in str(caught.value)
    assert bench.call(primary=primary, fallback_data="nobody").value == "Ada"


def test_names_are_bounded() -> None:
    service = GracefulDegradation(max_names=1, events=EventHub())
    service.execute_with_degradation_sync("one", lambda: 1)
    with pytest.raises(ConfigurationError, match="one too many"):
        service.execute_with_degradation_sync("two", lambda: 1)
    with pytest.raises(ConfigurationError, match="name must be a printable"):
        service.execute_with_degradation_sync("", lambda: 1)
    with pytest.raises(ConfigurationError, match="max_names must be a whole number"):
        GracefulDegradation(max_names=0)


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="operation must be a function"):
        GracefulDegradation().execute_with_degradation_sync("x", 42)  # type: ignore[arg-type]


# -- a store of another kind -------------------------------------------------------------------


class Store:
    """A shared cache: slow, sometimes down, generous about time."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[Any, float]] = {}
        self.delay = 0.0
        self.error: Exception | None = None
        self.age = 3.0

    async def _work(self) -> None:
        await asyncio.sleep(self.delay)
        if self.error is not None:
            raise self.error

    async def get(self, key: str, type: Any) -> tuple[Any, float] | None:
        await self._work()
        found = self.kept.get(key)
        return None if found is None else (found[0], self.age)

    async def put(self, key: str, value: Any, ttl: float) -> None:
        await self._work()
        self.kept[key] = (value, ttl)


def test_another_store_is_refreshed_in_the_background() -> None:
    store = Store()
    store.delay = 2.0
    bench = Bench("async", store)

    async def main() -> None:
        async with bench.service:
            served = await bench.service.execute_with_degradation(
                "users", bench.users, cache_fallback=KEPT
            )
            assert served.level is Level.PRIMARY
            assert bench.clock.now() == 0, "nobody waits for the store"
            assert store.kept == {}
            assert bench.service.snapshot().refreshes.pending == 1
        assert store.kept == {"users/user:7": ({"version": 1}, 60)}
        assert asyncio.all_tasks() == {asyncio.current_task()}

    bench.clock.run(main())


@pytest.mark.parametrize("trouble", ["down", "hangs", "too old"])
def test_a_store_in_trouble_is_one_more_cause(trouble: str) -> None:
    store = Store()
    bench = Bench("async", store)
    bench.call(cache_fallback=KEPT)
    bench.users.up = False
    assert bench.call(cache_fallback=KEPT).age == 3
    if trouble == "down":
        store.error = ConnectionResetError()
    elif trouble == "hangs":
        store.delay = 3_600
    else:
        store.age = KEPT.ttl + 1
    before = bench.clock.now()
    served = bench.call(cache_fallback=KEPT, fallback_data=None)
    assert served.level is Level.STATIC
    assert len(served.causes) == 2
    assert bench.clock.now() - before <= 1


def test_a_sync_method_cannot_ask_another_store() -> None:
    bench = Bench("sync", Store())
    with pytest.raises(ConfigurationError, match="a BlockingLastGood, not with a Store"):
        bench.call(cache_fallback=KEPT)
    assert bench.call().level is Level.PRIMARY


def test_memory_may_be_given() -> None:
    store = MemoryLastGood(max_entries=5)
    bench = Bench("sync", store)
    bench.call(cache_fallback=KEPT)
    assert len(store) == 1


# -- the original's examples -------------------------------------------------------------------


def test_the_originals_full_stack() -> None:
    clock = VirtualClock()
    retry = RetryService(clock=clock, events=EventHub())
    degradation = GracefulDegradation(clock=clock, events=EventHub())
    up = True

    async def find_by_id() -> dict[str, Any]:
        if not up:
            raise ConnectionError
        return {"id": 7, "name": "Ada"}

    async def request() -> Served[Any]:
        return await degradation.execute_with_degradation(
            "user-service",
            lambda: retry.execute_with_circuit_breaker(find_by_id, "user-db", failure_threshold=3),
            cache_fallback=CacheFallback(key="user:7", ttl=300),
            fallback_data={"id": 7, "name": "Unknown User"},
        )

    async def main() -> None:
        nonlocal up
        assert (await request()).value["name"] == "Ada"
        up = False
        for number in range(5):
            served = await request()
            assert (served.value["name"], served.level) == ("Ada", Level.CACHED)
            assert served.causes[0].skipped is (number >= 3)
        clock.advance(300)
        served = await request()
        assert (served.value["name"], served.level) == ("Unknown User", Level.STATIC)

    clock.run(main())
