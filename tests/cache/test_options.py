"""The options of the cache, of its namespaces and of each call: what is allowed and what is not."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import FrozenInstanceError
from math import inf, nan
from typing import Any

import pytest

from cache.world import World, virtual
from holdfast.cache import CacheKeyError, CacheOptions, Namespace, ResilientCache
from holdfast.cache.options import DEFAULT, given
from holdfast.errors import ConfigurationError
from holdfast.settings import Secret
from holdfast.testing import VirtualClock
from holdfast.testing.tiers import MemoryTier

NOT_POSITIVE = [0, -1, nan, inf, "5", True]
NEGATIVE = [-0.1, nan, inf, "5", True, None]

OPTIONS: list[tuple[str, Any]] = [
    *(("ttl", value) for value in NOT_POSITIVE),
    *(("soft_timeout", value) for value in NOT_POSITIVE),
    *(("hard_timeout", value) for value in NOT_POSITIVE),
    *(("stale_ttl", value) for value in NEGATIVE),
    *(("absent_ttl", value) for value in NEGATIVE),
    *(("early", value) for value in NEGATIVE),
    *(("fallback_to_memory", value) for value in (None, 0, "yes")),
    *(("compression", value) for value in ("yes", -1, 1.5)),
]


@pytest.mark.parametrize(("name", "value"), OPTIONS)
def test_of_a_namespace(name: str, value: Any) -> None:
    cache = ResilientCache(clock=VirtualClock())
    for make in (
        lambda: CacheOptions(**{name: value}),
        lambda: CacheOptions().changed({name: value}),
        lambda: ResilientCache(clock=VirtualClock(), **{name: value}),
        lambda: cache.namespace("n", **{name: value}),
    ):
        with pytest.raises(ConfigurationError, match=f"{name} must be"):
            make()


@pytest.mark.parametrize(
    "options",
    [
        {"ttl": None, "soft_timeout": None, "hard_timeout": None},
        {"stale_ttl": 0, "absent_ttl": 0, "early": 0},
        {"compression": True},
        {"compression": False},
        {"compression": 1},
        {"fallback_to_memory": False},
    ],
)
def test_bounds_are_allowed(options: dict[str, Any]) -> None:
    made = CacheOptions(**options)
    for name, value in options.items():
        assert getattr(made, name) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mode", "far"),
        ("name", ""),
        ("name", "x" * 201),
        ("name", 5),
        ("prefix", ""),
        ("prefix", "x" * 201),
        ("prefix", None),
        ("memory_bytes", 65_535),
        ("memory_bytes", 1e9),
        ("stale_bytes", -1),
        ("stale_bytes", (64 << 20) + 1),
        ("journal_bytes", 65_535),
        ("journal_keys", 0),
        ("standin_ttl", 0),
        ("command_timeout", 0),
        ("command_timeout", -1),
        ("probe_interval", 0),
        ("max_connections", 2),
        ("max_connections", 1001),
        ("max_key_length", 0),
        ("max_payload", 0),
        ("max_payload", 2**32),
        ("encoding", "yaml"),
        ("encoding", "pickle"),
        ("signer", "a bare secret"),
        ("redis", 5),
        ("redis", "http://localhost"),
    ],
)
def test_of_the_cache(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=name) as caught:
        ResilientCache(clock=VirtualClock(), **{name: value})
    assert "a bare secret" not in str(caught.value)


def test_bounds_of_the_cache_are_allowed() -> None:
    ResilientCache(
        clock=VirtualClock(),
        memory_bytes=65_536,
        stale_bytes=65_536,
        journal_bytes=65_536,
        journal_keys=1,
        max_connections=3,
        max_key_length=1,
        max_payload=1,
    )


def test_redis_and_tier_exclude_each_other() -> None:
    with pytest.raises(ConfigurationError, match="either redis or tier"):
        ResilientCache("redis://localhost", tier=MemoryTier)


def test_an_option_that_does_not_exist_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="tll"):
        ResilientCache(tll=5)  # type: ignore[call-arg]


def test_a_url_is_read_at_once_and_nothing_is_connected() -> None:
    cache = ResilientCache(Secret("redis://:s3cret@localhost:1/0"))
    assert cache.mode == "standby"
    assert "s3cret" not in repr(cache) + repr(cache.snapshot())
    seen = cache.snapshot().redis
    assert seen is not None
    assert "localhost:1" in seen.address
    assert seen.pool is None


def test_options_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        CacheOptions().ttl = 5  # type: ignore[misc]


class TestEnds:
    def test_are_those_of_the_call_or_of_the_namespace(self) -> None:
        options = CacheOptions(ttl=100, stale_ttl=7)
        assert options.ends(1000.0, DEFAULT, DEFAULT) == (1100.0, 1107.0)
        assert options.ends(1000.0, 5, DEFAULT) == (1005.0, 1012.0)
        assert options.ends(1000.0, 5, 0) == (1005.0, 1005.0)
        assert options.ends(1000.0, None, 50) == (inf, inf)
        assert CacheOptions(ttl=None).ends(1000.0, DEFAULT, DEFAULT) == (inf, inf)

    def test_given_is_what_was_given(self) -> None:
        assert given(ttl=DEFAULT, stale_ttl=0, early=None) == {"stale_ttl": 0, "early": None}
        assert repr(DEFAULT) == "DEFAULT"


Call = Callable[[Namespace], Coroutine[Any, Any, Any]]

CALLS: list[tuple[str, Call]] = [
    *(
        (f"{name} must be", lambda c, n=name, v=value: c.set("k", "new", **{n: v}))
        for name, value in OPTIONS
        if name in ("ttl", "stale_ttl", "fallback_to_memory")
    ),
    *(
        (f"{name} must be", lambda c, n=name, v=value: c.set_many({"k": "new"}, **{n: v}))
        for name, value in OPTIONS
        if name in ("ttl", "stale_ttl", "fallback_to_memory")
    ),
    *(
        (f"{name} must be", lambda c, n=name, v=value: c.get_or_set("other", lambda: 1, **{n: v}))
        for name, value in OPTIONS
    ),
    *(
        (f"{name} must be", lambda c, n=name, v=value: c.touch("k", **{n: v}))
        for name, value in OPTIONS
        if name == "ttl"
    ),
    *(
        (f"{name} must be", lambda c, n=name, v=value: c.incr("n", **{n: v}))
        for name, value in OPTIONS
        if name == "ttl"
    ),
    ("compression must be", lambda c: c.set("k", "new", compression="yes")),  # type: ignore[arg-type]
    ("fallback_to_memory must be", lambda c: c.get("none", fallback_to_memory=1)),  # type: ignore[arg-type]
    ("fallback_to_memory must be", lambda c: c.get_many(["k"], fallback_to_memory=1)),  # type: ignore[arg-type]
    ("fallback_to_memory must be", lambda c: c.lookup("k", fallback_to_memory=1)),  # type: ignore[arg-type]
    ("keys must be several keys", lambda c: c.get_many("k")),
    ("keys must be several keys", lambda c: c.delete_many("k")),
    ("keys must be several keys", lambda c: c.delete_many(b"k")),  # type: ignore[arg-type]
    ("values must be a mapping", lambda c: c.set_many([("k", "new")])),  # type: ignore[arg-type]
    ("type must be", lambda c: c.get("k", type="nothing that is a type")),
]


@pytest.mark.parametrize(("message", "call"), CALLS)
@virtual
async def test_of_a_call(world: World, message: str, call: Any) -> None:
    for cache in (world.memory(), world.process()[0]):
        await cache.set("k", "old")
        with pytest.raises(ConfigurationError, match=message):
            await call(cache)
        assert await cache.get("k") == "old"
        assert await cache.get_many(["n", "other"]) == {}


@virtual
async def test_of_a_call_that_does_not_exist(world: World) -> None:
    cache = world.memory()
    with pytest.raises(TypeError, match="tll"):
        await cache.lookup_or_set("k", lambda: 1, tll=5)
    with pytest.raises(ConfigurationError, match="name must be"):
        cache.namespace("")
    with pytest.raises(ConfigurationError, match="name must be"):
        cache.namespace("n" * 201)
    assert len(cache.snapshot().namespaces) == 1


BAD_KEYS = ["", "k" * 1025, "\ud800", b"k", 5, None, ("k",)]


KEYED: list[Callable[[Namespace, Any], Coroutine[Any, Any, Any]]] = [
    lambda cache, key: cache.get(key),
    lambda cache, key: cache.get_many(["k", key]),
    lambda cache, key: cache.lookup(key),
    lambda cache, key: cache.exists(key),
    lambda cache, key: cache.ttl(key),
    lambda cache, key: cache.set(key, 1),
    lambda cache, key: cache.set_many({"k": 1, key: 1}),
    lambda cache, key: cache.delete(key),
    lambda cache, key: cache.delete_many(["k", key]),
    lambda cache, key: cache.touch(key),
    lambda cache, key: cache.incr(key),
    lambda cache, key: cache.get_or_set(key, lambda: 1),
]


@pytest.mark.parametrize("key", BAD_KEYS)
@virtual
async def test_a_bad_key(world: World, key: Any) -> None:
    for cache in (world.memory(), world.process()[0]):
        for call in KEYED:
            with pytest.raises(CacheKeyError):
                await call(cache, key)
        assert await cache.get("k") is None
        assert cache.snapshot().memory.entries == 0
