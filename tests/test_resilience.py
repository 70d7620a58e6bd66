"""The container: settings, services, named pipelines, and one snapshot of them all."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass, fields
from typing import Any

import pytest

import holdfast
from holdfast import (
    Bulkhead,
    CacheFallback,
    CircuitBreaker,
    ConfigurationError,
    Fallback,
    FallbackStep,
    Keyed,
    Pipeline,
    Resilience,
    ResilientCache,
    Retry,
    RetryService,
    Settings,
    Timeout,
)
from holdfast.cache.port import TierError, Trouble
from holdfast.degradation import EssentialPartFailedError, MemoryLastGood, degradation_scope
from holdfast.events import EVENTS, CallRejected, Event, EventHub
from holdfast.policies.base import Inner, Policy, Reject
from holdfast.resilience import MOST_NAMES
from holdfast.settings import Secret
from holdfast.testing import ChaosTier, MemoryTier, VirtualClock


def fail() -> None:
    raise ConnectionError


def refused(pipeline: Policy) -> None:
    """Have a policy with one place refuse a call."""
    with pytest.raises(holdfast.BulkheadFullError):
        pipeline.call(lambda: pipeline.call(print))


# -- how it comes to be ----------------------------------------------------------------------------


def test_it_needs_nothing_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CB_FAILURE_THRESHOLD", "77")
    resilience = Resilience()
    assert resilience.settings == Settings()  # only from_env reads the environment
    assert isinstance(resilience.retry, RetryService)
    assert resilience.retry.execute_with_retry_sync(lambda: 42, "x") == 42


def test_from_env_reads_the_process_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CB_FAILURE_THRESHOLD", "1")
    monkeypatch.setenv("CB_RESET_TIMEOUT", "2500")
    resilience = Resilience.from_env()
    assert resilience.settings.reset_timeout == 2.5
    with pytest.raises(ConnectionError):
        resilience.retry.execute_with_circuit_breaker_sync(fail, "x")
    [breaker] = resilience.snapshot().breakers
    assert breaker.state == "open"


def test_from_env_refuses_bad_values_by_name_and_keeps_secrets() -> None:
    environ = {
        "CB_FAILURE_THRESHOLD": "none",
        "CB_RESET_TIMEOUT": "-5",
        "REDIS_URL": "redis://:hunter2@cache:99999/0",
    }
    with pytest.raises(ConfigurationError) as caught:
        Resilience.from_env(environ)
    message = str(caught.value)
    for part in ("CB_FAILURE_THRESHOLD", "'none'", "CB_RESET_TIMEOUT", "'-5'", "REDIS_URL"):
        assert part in message
    assert "hunter2" not in message


def test_no_secret_in_what_it_shows() -> None:
    resilience = Resilience.from_env({"REDIS_HOST": "cache", "REDIS_PASSWORD": "hunter2"})
    resilience.retry.execute_with_retry_sync(lambda: 42, "x")
    shown = f"{resilience!r} {resilience.snapshot()!r} {asdict(resilience.snapshot())}"
    assert "hunter2" not in shown


# -- named pipelines -------------------------------------------------------------------------------


def test_a_named_pipeline_is_made_once_and_found_again() -> None:
    resilience = Resilience()
    retry, breaker = Retry(), CircuitBreaker()
    made = resilience.pipeline("user-db", retry, breaker)
    assert isinstance(made, Pipeline)
    assert resilience.pipeline("user-db") is made
    assert resilience.pipeline("user-db", retry, breaker) is made
    assert retry.name == breaker.name == "user-db"


def test_the_same_name_with_other_policies_is_an_error() -> None:
    resilience = Resilience()
    resilience.pipeline("user-db", Retry())
    with pytest.raises(ConfigurationError, match=r"pipeline 'user-db' exists with .*Retry.*and is"):
        resilience.pipeline("user-db", Retry())


def test_a_pipeline_nobody_registered_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="pipeline 'user-db' is not known"):
        Resilience().pipeline("user-db")


@pytest.mark.parametrize("name", ["", "a\n", 5, None, ["x"]])
def test_names_are_checked(name: Any) -> None:
    resilience = Resilience()
    with pytest.raises(ConfigurationError, match=r"^name must be"):
        resilience.pipeline(name, Retry())
    with pytest.raises(ConfigurationError, match=r"^name must be"):
        resilience.pipeline(name)
    with pytest.raises(ConfigurationError, match=r"^name must be"):
        resilience.keyed(name, CircuitBreaker)


def test_what_is_no_policy_is_refused() -> None:
    with pytest.raises(TypeError, match="not a policy"):
        Resilience().pipeline("x", 5)  # type: ignore[arg-type]


def test_names_are_bounded() -> None:
    resilience = Resilience()
    for number in range(MOST_NAMES):
        resilience.pipeline(f"n{number}", Timeout(1.0))
    with pytest.raises(ConfigurationError, match="one too many"):
        resilience.pipeline("one-more", Timeout(1.0))


def test_keyed_pipelines_are_made_once_and_found_again() -> None:
    clock = VirtualClock()
    resilience = Resilience(clock=clock)
    hosts = resilience.keyed("hosts", CircuitBreaker, idle=10.0, max_keys=5)
    assert isinstance(hosts, Keyed)
    assert resilience.keyed("hosts") is hosts
    assert resilience.keyed("hosts", CircuitBreaker, idle=10.0, max_keys=5) is hosts
    with pytest.raises(ConfigurationError, match="keyed 'hosts' exists"):
        resilience.keyed("hosts", CircuitBreaker, idle=20.0, max_keys=5)
    hosts.get("a")
    clock.advance(11)
    hosts.get("b")
    [snapshot] = resilience.snapshot().keyed
    assert (snapshot.name, snapshot.keys, snapshot.retired_total) == ("hosts", 1, 1)


def test_a_keyed_factory_must_still_return_a_policy() -> None:
    keyed: Keyed[Any] = Resilience().keyed("x", lambda key: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(TypeError, match="factory must return a policy"):
        keyed.get("k")


def test_eight_threads_that_register_one_name_get_one_pipeline() -> None:
    resilience = Resilience()
    policies = [Retry(), CircuitBreaker()]
    start = threading.Barrier(8)
    found: list[Pipeline] = []

    def work() -> None:
        start.wait()
        found.append(resilience.pipeline("user-db", *policies))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


# -- events ----------------------------------------------------------------------------------------


def test_events_of_a_container_reach_its_hub_and_that_of_the_process() -> None:
    resilience, other = Resilience(), Resilience()
    here, elsewhere, everywhere = list[Event](), list[Event](), list[Event]()
    resilience.events.subscribe(here.append)
    other.events.subscribe(elsewhere.append)
    unsubscribe = EVENTS.subscribe(everywhere.append)
    try:
        refused(resilience.pipeline("a", Bulkhead(max_concurrent=1)))
        keyed = resilience.keyed("b", lambda key: Bulkhead(key, max_concurrent=1))
        refused(keyed.get("b-1"))
        with pytest.raises(holdfast.BulkheadFullError):
            resilience.retry.execute_with_bulkhead_sync(
                lambda: resilience.retry.execute_with_bulkhead_sync(print, 1, "c", max_queue=0),
                1,
                "c",
                max_queue=0,
            )
    finally:
        unsubscribe()
    assert [event.name for event in here] == ["a", "b-1", "c"]
    assert all(isinstance(event, CallRejected) for event in here)
    assert everywhere == here
    assert elsewhere == []


def test_a_policy_with_a_hub_of_its_own_keeps_it() -> None:
    hub, heard = EventHub(), list[Event]()
    hub.subscribe(heard.append)
    resilience = Resilience(events=EventHub())
    refused(resilience.pipeline("a", Bulkhead(max_concurrent=1, events=hub)))
    assert len(heard) == 1


# -- the snapshot ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Noted:
    name: str


class Note(Policy):
    """A policy that Holdfast does not know."""

    kind = "note"

    def snapshot(self) -> Noted:
        return Noted(self.name)

    def _bind_sync(self, inner: Inner, reject: Reject) -> Inner:
        return inner

    _bind_async = _bind_sync

    def _bind_generator(self, inner: Inner) -> Inner:
        return inner

    _bind_async_generator = _bind_generator


def test_the_snapshot_shows_every_policy_once() -> None:
    clock = VirtualClock()
    resilience = Resilience(clock=clock)
    shared = CircuitBreaker("shared")
    resilience.pipeline(
        "a", Fallback(value=0), Retry(), shared, Bulkhead(), Note(None, None, None), Timeout(1.0)
    )
    resilience.pipeline("b", shared)
    resilience.retry.execute_with_retry_sync(lambda: 1, "c")
    resilience.retry.execute_with_circuit_breaker_sync(lambda: 1, "d")
    resilience.retry.execute_with_bulkhead_sync(lambda: 1, 1, "e")
    snapshot = resilience.snapshot()
    names = {
        field.name: [entry.name for entry in getattr(snapshot, field.name)]
        for field in fields(snapshot)
        if field.name not in ("at", "cache", "degradation", "health")
    }
    assert names == {
        "retries": ["a", "c"],
        "breakers": ["shared", "d"],
        "bulkheads": ["a", "e"],
        "timeouts": ["a", "d"],
        "fallbacks": ["a"],
        "others": ["a"],
        "keyed": [],
        "statistics": ["c", "d", "e"],
    }
    assert snapshot.at == clock.wall()
    assert snapshot.cache is None
    assert snapshot.degradation is None
    watched = {component.name for component in snapshot.health.components}
    assert watched == {"a", "b", "c", "d", "e"}


# -- the lifespan ----------------------------------------------------------------------------------


def test_with_closes_it_and_closing_twice_is_fine() -> None:
    with Resilience() as resilience:
        pipeline = resilience.pipeline("a", Retry())
    resilience.close()
    assert pipeline.call(lambda: 42) == 42  # calls under way are not disturbed
    assert resilience.pipeline("a") is pipeline
    with pytest.raises(ConfigurationError, match="is closed"):
        resilience.pipeline("b", Retry())
    with pytest.raises(ConfigurationError, match="is closed"):
        resilience.keyed("b", CircuitBreaker)
    with resilience:
        resilience.pipeline("b", Retry())


def test_async_with_closes_it_also_after_an_error() -> None:
    resilience = Resilience()

    async def main() -> None:
        async with resilience:
            assert await resilience.retry.execute_with_retry(answer, "a") == 42
            raise LookupError

    with pytest.raises(LookupError):
        asyncio.run(main())
    with pytest.raises(ConfigurationError, match="is closed"):
        resilience.pipeline("b", Retry())


async def answer() -> int:
    return 42


# -- the package -----------------------------------------------------------------------------------


def test_the_late_names_are_public_but_loaded_when_used() -> None:
    late = {"Keyed", "Resilience", "RetryService", "Settings"}
    assert late <= set(holdfast.__all__)
    assert late <= set(dir(holdfast))
    assert list(holdfast.__all__) == sorted(holdfast.__all__)
    script = (
        "import sys, holdfast\n"
        "names = ('keyed', 'resilience', 'retry_service', 'settings')\n"
        "assert not [name for name in names if f'holdfast.{name}' in sys.modules]\n"
        "assert holdfast.Keyed is __import__('holdfast.keyed').keyed.Keyed\n"
        "from holdfast import *\n"
        "assert Resilience is holdfast.Resilience and Settings is holdfast.Settings\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_package_refuses_other_names_as_usual() -> None:
    with pytest.raises(AttributeError, match="module 'holdfast' has no attribute 'Nonsense'"):
        holdfast.Nonsense  # type: ignore[attr-defined]  # noqa: B018


# -- the other services ----------------------------------------------------------------------------


def test_the_services_are_made_once_and_share_clock_and_events() -> None:
    clock = VirtualClock()
    heard: list[object] = []
    with Resilience(clock=clock) as resilience:
        resilience.events.subscribe(heard.append)
        assert resilience.cache is resilience.cache
        assert resilience.degradation is resilience.degradation
        assert resilience.health is resilience.health
        resilience.cache.snapshot()
        resilience.degradation.features.declare("extras", tier=3)
        resilience.degradation.features.brown_out(2, "a test")
        assert [type(event).__name__ for event in heard] == ["BrownoutChanged"]
        assert heard[0].at == clock.wall()  # type: ignore[attr-defined]


def test_the_cache_is_on_the_redis_of_the_settings() -> None:
    settings = Settings(redis_host="cache.example", redis_password=Secret("hunter2"))
    resilience = Resilience(settings)
    assert resilience.cache.mode == "standby"
    shown = resilience.snapshot()
    assert shown.cache is not None
    assert shown.cache.redis is not None
    assert shown.cache.redis.address == "redis://***@cache.example:6379/0"
    assert "hunter2" not in repr(shown) + repr(resilience.cache)
    assert Resilience().cache.mode == "memory"


def test_a_cache_of_ones_own_is_used_and_closed() -> None:
    async def main() -> None:
        tier = ChaosTier(MemoryTier())
        cache = ResilientCache(tier=lambda: tier)
        async with Resilience(cache=cache) as resilience:
            assert resilience.cache is cache
            await cache.set("a", 1)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        assert not tasks

    VirtualClock().run(main())


def test_entering_starts_the_watch_over_redis() -> None:
    async def main() -> None:
        tier = ChaosTier(MemoryTier())
        tier.error = TierError(Trouble.UNREACHABLE, "connection refused")
        async with Resilience(cache=ResilientCache(tier=lambda: tier)) as resilience:
            await asyncio.sleep(2)
            assert resilience.cache.state == "down"

    clock = VirtualClock()
    with clock:
        clock.run(main())


def test_last_good_responses_are_kept_in_the_cache_and_typed() -> None:
    @dataclass
    class User:
        id: int

    async def load() -> User:
        if broken:
            raise ConnectionResetError
        return User(7)

    broken = False

    async def main() -> None:
        nonlocal broken
        async with Resilience() as resilience:
            ask = resilience.degradation.execute_with_degradation
            kept = CacheFallback(key="user:7", ttl=60.0, type=User)
            served = await ask("users", load, cache_fallback=kept)
            assert (served.value, served.level) == (User(7), "primary")
            await asyncio.sleep(1)
            broken = True
            served = await ask("users", load, cache_fallback=kept)
            assert (served.value, served.level, served.degraded) == (User(7), "cached", True)
            assert served.age == pytest.approx(1.0, abs=0.1)
            component = resilience.health.snapshot().component("users")
            assert (component.traffic.calls, component.traffic.failures) == (2, 0)
            assert component.traffic.fallback_rate == 0.5

    clock = VirtualClock()
    with clock:
        clock.run(main())


def test_last_good_responses_of_sync_code() -> None:
    answers = iter([{"id": 7}, ConnectionResetError()])

    def load() -> dict[str, int]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with Resilience() as resilience, degradation_scope():
        ask = resilience.degradation.execute_with_degradation_sync
        kept = CacheFallback(key="user:7", ttl=60.0)
        assert ask("users", load, cache_fallback=kept).level == "primary"
        served = ask("users", load, cache_fallback=kept)
        assert (served.value, served.level) == ({"id": 7}, "cached")


def test_without_msgspec_last_good_responses_are_kept_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "msgspec", None)
    resilience = Resilience()
    with pytest.raises(ConfigurationError, match=r"holdfast\[cache\]"):
        _ = resilience.cache
    assert isinstance(resilience.degradation._store, MemoryLastGood)
    with pytest.raises(ConfigurationError, match=r"holdfast\[cache\]"):
        _ = Resilience(Settings(redis_host="cache.example")).degradation


def test_the_health_monitor_hears_of_the_calls_of_the_retry_service() -> None:
    resilience = Resilience(clock=VirtualClock())
    for _ in range(3):
        resilience.retry.execute_with_circuit_breaker_sync(lambda: 1, "geo")
    with pytest.raises(ConnectionError):
        resilience.retry.execute_with_circuit_breaker_sync(fail, "geo")
    traffic = resilience.health.snapshot().component("geo").traffic
    assert (traffic.calls, traffic.failures, traffic.p50) == (4, 1, 0.0)


def test_the_health_monitor_hears_how_callers_were_served() -> None:
    async def full() -> int:
        return 1

    async def broken() -> int:
        raise ConnectionResetError

    async def main() -> None:
        async with Resilience() as resilience:
            degradation = resilience.degradation
            basic = FallbackStep("basic", value=0)
            await degradation.execute_with_fallback_chain("one", [FallbackStep("a", broken), basic])
            with pytest.raises(holdfast.AllFallbacksFailedError):
                await degradation.execute_with_fallback_chain("one", [FallbackStep("a", broken)])
            await degradation.compose("two", essential={"a": full}, optional={"b": broken})
            with pytest.raises(EssentialPartFailedError):
                await degradation.compose("two", essential={"a": broken})
            health = resilience.health.snapshot()
            for name in ("one", "two"):
                traffic = health.component(name).traffic
                assert (traffic.calls, traffic.failures, traffic.fallbacks) == (2, 1, 1)

    clock = VirtualClock()
    with clock:
        clock.run(main())
