"""Looking up, touching and clearing, in namespaces, with Redis and without."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from math import inf
from typing import Any

import pytest

from cache.world import World, gathered, virtual
from holdfast import deadline
from holdfast.cache import (
    CacheUnavailableError,
    Lookup,
    Namespace,
    ResilientCache,
    Status,
    Tier,
    TierState,
    WriteStatus,
)
from holdfast.errors import ConfigurationError
from holdfast.testing import VirtualClock


@dataclass
class User:
    id: int
    name: str


def both(world: World, **options: Any) -> list[ResilientCache]:
    """A cache in memory and one with Redis."""
    return [world.memory(**options), world.process(**options)[0]]


class TestLookingUp:
    @virtual
    async def test_a_hit(self, world: World) -> None:
        for cache, tier in zip(both(world), (Tier.MEMORY, Tier.REDIS), strict=True):
            assert await cache.set("k", {"a": [1, None]}) is WriteStatus.APPLIED
            await asyncio.sleep(5)
            found = await cache.lookup("k")
            assert found == Lookup(
                status=Status.HIT,
                value={"a": [1, None]},
                tier=tier,
                age=found.age,
                degraded=False,
                absent=False,
            )
            assert found.age == pytest.approx(5, abs=0.01)
            assert found.value_or("default") == {"a": [1, None]}
            assert await cache.get("k") == {"a": [1, None]}
            assert await cache.exists("k")

    @virtual
    async def test_a_miss(self, world: World) -> None:
        for cache, tier in zip(both(world), (Tier.MEMORY, Tier.REDIS), strict=True):
            assert await cache.lookup("k") == Lookup(status=Status.MISS, value=None, tier=tier)
            assert await cache.get("k", "default") == "default"
            assert (await cache.lookup("k")).value_or("default") == "default"
            assert not await cache.exists("k")
            assert await cache.ttl("k") is None

    @virtual
    async def test_none_is_a_value(self, world: World) -> None:
        for cache in both(world):
            await cache.set("k", None)
            assert await cache.get("k", "default") is None
            assert await cache.exists("k")
            assert await cache.get_many(["k"]) == {"k": None}

    @virtual
    async def test_a_stale_value_is_given_only_by_its_name(self, world: World) -> None:
        for cache in both(world):
            await cache.set("k", 1, ttl=10, stale_ttl=20)
            await asyncio.sleep(10)
            found = await cache.lookup("k")
            assert (found.status, found.value, found.degraded) == (Status.STALE, 1, False)
            assert await cache.get("k") is None
            assert await cache.get_many(["k"]) == {}
            assert not await cache.exists("k")
            assert await cache.ttl("k") is None
            await asyncio.sleep(20)
            assert (await cache.lookup("k")).status is Status.MISS

    @virtual
    async def test_values_come_as_the_type_that_is_wanted(self, world: World) -> None:
        for cache in both(world):
            await cache.set("k", User(7, "Ada"))
            for _ in range(2):
                assert await cache.get("k", type=User) == User(7, "Ada")
                assert await cache.get("k") == {"id": 7, "name": "Ada"}
                assert (await cache.lookup("k", type=User)).value == User(7, "Ada")
                assert await cache.get_many(["k"], type=User) == {"k": User(7, "Ada")}
            assert await cache.get("k", "default", type=int) == "default"
            assert (await cache.lookup("k", type=int)).status is Status.MISS

    @virtual
    async def test_large_values_are_compressed_and_come_back(self, world: World) -> None:
        for cache in both(world):
            await cache.set("k", "x" * 100_000, compression=True)
            assert await cache.get("k") == "x" * 100_000
            assert cache.snapshot().memory.bytes < 5_000
            await cache.set("k", "x" * 100_000, compression=False)
            assert cache.snapshot().memory.bytes > 100_000

    @virtual
    async def test_any_text_is_a_key(self, world: World) -> None:
        keys = ["a b", "a:b", "ключ", "k" * 1024, "{x}", "\n", "😀"]
        for cache in both(world):
            await cache.set_many({key: key for key in keys})
            assert await cache.get_many(keys) == {key: key for key in keys}
            for key in keys:
                assert await cache.get(key) == key
            await cache.delete_many(keys)
            assert await cache.get_many(keys) == {}


class TestTimeToLive:
    @virtual
    async def test_is_what_is_left(self, world: World) -> None:
        for cache in both(world, ttl=100):
            await cache.set("default", 1)
            await cache.set("own", 1, ttl=7)
            await cache.set("for ever", 1, ttl=None)
            await asyncio.sleep(5)
            assert await cache.ttl("default") == pytest.approx(95)
            assert await cache.ttl("own") == pytest.approx(2)
            assert await cache.ttl("for ever") == inf

    @virtual
    async def test_can_be_begun_anew(self, world: World) -> None:
        for cache in both(world, ttl=100):
            await cache.set("k", "value")
            await asyncio.sleep(60)
            assert await cache.touch("k")
            assert await cache.ttl("k") == pytest.approx(100)
            assert await cache.touch("k", ttl=7)
            assert await cache.ttl("k") == pytest.approx(7)
            assert await cache.touch("k", ttl=None)
            assert await cache.ttl("k") == inf
            assert await cache.get("k") == "value"

    @virtual
    async def test_of_nothing_cannot(self, world: World) -> None:
        for cache in both(world):
            assert not await cache.touch("k")
            await cache.set("k", 1, ttl=5, stale_ttl=50)
            await asyncio.sleep(6)
            assert not await cache.touch("k"), "stale is no hit"
            await cache.set("k", 1)
            await cache.delete("k")
            assert not await cache.touch("k")

    @virtual
    async def test_begun_anew_does_not_undo_a_write_meanwhile(self, world: World) -> None:
        (one, network), (two, _) = world.process(), world.process()
        await two.set("k", "old")
        inner = network.inner.read

        async def slow(keys: Any, floors: Any) -> Any:
            found = await inner(keys, floors)
            await asyncio.sleep(0.1)
            return found

        network.inner.read = slow  # type: ignore[method-assign]
        touching = asyncio.ensure_future(one.touch("k", ttl=1000))
        await asyncio.sleep(0.05)
        await two.set("k", "new")
        assert await touching, "there was a value when it looked"
        assert await two.get("k") == "new"
        touching = asyncio.ensure_future(one.touch("k", ttl=1000))
        await asyncio.sleep(0.05)
        await two.delete("k")
        await touching
        assert await two.get("k") is None

    @virtual
    async def test_begun_anew_in_an_outage_is_owed(self, world: World) -> None:
        (one, network), (two, _) = world.process(), world.process()
        await one.set("k", 1, ttl=100)
        await world.take_down(one, network)
        assert await one.touch("k", ttl=1000)
        assert await one.ttl("k") == pytest.approx(1000)
        await world.bring_up(one, network)
        left = await two.ttl("k")
        assert left is not None
        assert left > 900


class TestNamespaces:
    @virtual
    async def test_do_not_know_each_other(self, world: World) -> None:
        for cache in both(world):
            spaces = [cache, cache.namespace("a"), cache.namespace("a:b"), cache.namespace("b")]
            for number, space in enumerate(spaces):
                await space.set("k", number)
                await space.set("b:k", -number)
            assert [await space.get("k") for space in spaces] == [0, 1, 2, 3]
            await spaces[1].delete("k")
            assert [await space.get("k") for space in spaces] == [0, None, 2, 3]

    @virtual
    async def test_are_cleared_one_by_one(self, world: World) -> None:
        for cache in both(world):
            users, orders = cache.namespace("users"), cache.namespace("orders")
            await gathered(*(space.set("k", 1) for space in (cache, users, orders)))
            assert await users.clear() is WriteStatus.APPLIED
            assert await users.get("k") is None
            assert await orders.get("k") == await cache.get("k") == 1
            assert await cache.clear() is WriteStatus.APPLIED
            assert await cache.get("k") is None
            assert await orders.get("k") == 1
            await users.set("k", 2)
            assert await users.get("k") == 2
            assert cache.glance("k") is not None

    @virtual
    async def test_are_cleared_for_all_processes(self, world: World) -> None:
        (one, network), (two, _) = world.process(), world.process()
        await one.namespace("users").set("k", 1)
        assert await two.namespace("users").get("k") == 1
        await one.namespace("users").clear()
        assert await two.namespace("users").get("k") is None
        assert network.commands["raise_floor"] < 5, "in one step, however much it is"

    @virtual
    async def test_have_defaults_of_their_own(self, world: World) -> None:
        cache = world.memory(ttl=100, stale_ttl=7)
        users = cache.namespace("users", ttl=None)
        assert (users.options.ttl, users.options.stale_ttl) == (None, 7)
        assert cache.options.ttl == 100
        await users.set("k", 1)
        assert await users.ttl("k") == inf
        assert (users.name, cache.name) == ("users", "")

    @virtual
    async def test_of_one_name_are_the_same(self, world: World) -> None:
        cache = world.memory()
        await cache.namespace("users").set("k", 1)
        assert await cache.namespace("users", ttl=5).get("k") == 1
        assert len(cache.snapshot().namespaces) == 2

    def test_are_a_thousand_at_most(self) -> None:
        cache = ResilientCache(clock=VirtualClock())
        for number in range(999):
            cache.namespace(f"n{number}")
        with pytest.raises(ConfigurationError, match="namespace 'extra' is one too many"):
            cache.namespace("extra")
        assert isinstance(cache.namespace("n5"), Namespace)
        assert len(cache.snapshot().namespaces) == 1000

    @virtual
    async def test_prefixes_keep_applications_apart(self, world: World) -> None:
        (one, _), (two, _) = world.process(prefix="one"), world.process(prefix="two")
        await one.set("k", 1)
        assert await two.get("k") is None
        await two.clear()
        assert await one.get("k") == 1


class TestWithoutRedis:
    def test_says_so_once(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING, "holdfast"):
            cache = ResilientCache(name="mine", clock=VirtualClock())
            cache.namespace("a")
        assert [record.getMessage() for record in caplog.records] == [
            "cache 'mine': no Redis is configured; it lives in memory only"
        ]
        assert cache.mode == "memory"
        assert cache.state is TierState.NONE

    @virtual
    async def test_nothing_can_be_required_of_it(self, world: World) -> None:
        cache = world.memory()
        await cache.set("kept", 7)
        for work in (
            lambda: cache.set("k", 1, require_redis=True),
            lambda: cache.set_many({"k": 1}, require_redis=True),
            lambda: cache.delete("k", require_redis=True),
            lambda: cache.delete_many(["k"], require_redis=True),
            lambda: cache.clear(require_redis=True),
        ):
            with pytest.raises(CacheUnavailableError, match="no Redis is configured"):
                await work()
            assert await cache.get("kept") == 7

    @virtual
    async def test_a_near_cache_is_one_in_memory(self, world: World) -> None:
        cache = world.memory(mode="near")
        await cache.set("k", 1)
        assert await cache.get("k") == 1
        assert cache.mode == "memory"

    @virtual
    async def test_what_is_required_of_a_redis_that_is_there_is_done(self, world: World) -> None:
        cache, _ = world.process()
        assert await cache.set("k", 1, require_redis=True) is WriteStatus.APPLIED
        assert await cache.set_many({"m": 1}, require_redis=True) == {"m": WriteStatus.APPLIED}
        assert await cache.delete("k", require_redis=True) is WriteStatus.APPLIED
        assert await cache.clear(require_redis=True) is WriteStatus.APPLIED

    @virtual
    async def test_what_is_not_confirmed_in_time_is_not_done(self, world: World) -> None:
        cache, network = world.process()
        await cache.get("k")
        network.latency = 0.2
        with (
            deadline(0.05, clock=world.clock),
            pytest.raises(CacheUnavailableError, match="it was not confirmed in time"),
        ):
            await cache.delete("k", require_redis=True)


class TestGlance:
    @virtual
    async def test_answers_only_plain_hits_in_memory(self, world: World) -> None:
        from holdfast.cache.namespace import MISSING

        cache = world.memory()
        await cache.set("k", [1])
        await cache.get_or_set("absent", lambda: None)
        await cache.set("brief", 1, ttl=5)
        assert cache.glance("k") == [1]
        for key in ("absent", "none", 5, None):
            assert cache.glance(key) is MISSING  # type: ignore[arg-type]
        await asyncio.sleep(5)
        assert cache.glance("brief") is MISSING
        await cache.clear()
        assert cache.glance("k") is MISSING
        standby, _ = world.process()
        await standby.set("k", 1)
        assert standby.glance("k") is MISSING, "Redis is to be asked"


def test_reprs_name_them_and_nothing_else() -> None:
    cache = ResilientCache(name="mine", clock=VirtualClock())
    assert repr(cache) == "<ResilientCache 'mine' memory>"
    assert repr(cache.namespace("users")) == "<Namespace 'users'>"
