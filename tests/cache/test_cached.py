"""The decorator: keys made of arguments, sync and async functions, methods, types, invalidation."""

from __future__ import annotations

import datetime
import inspect
import uuid
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from typing import Any

import pytest

from cache.world import World, gathered, virtual
from holdfast.cache import CacheKeyError, ResilientCache, WriteStatus
from holdfast.cache.cached import Keyer
from holdfast.errors import ConfigurationError
from holdfast.testing import VirtualClock


@dataclass
class User:
    id: int
    name: str


def make() -> ResilientCache:
    return ResilientCache(clock=VirtualClock())


class TestAsync:
    @virtual
    async def test_a_result_is_kept_by_its_arguments(self, world: World) -> None:
        cache = world.memory()
        asked: list[Any] = []

        @cache.cached(ttl=60)
        async def load(user_id: int, *, full: bool = False) -> list[Any]:
            """Loads."""
            asked.append((user_id, full))
            return [user_id, full]

        assert (load.__name__, load.__doc__) == ("load", "Loads.")
        assert inspect.iscoroutinefunction(load)
        assert await load(7) == [7, False]
        assert await load(user_id=7, full=False) == [7, False], "the same call, otherwise written"
        assert await load(7, full=True) == [7, True]
        assert asked == [(7, False), (7, True)]

    @virtual
    async def test_by_a_template(self, world: World) -> None:
        cache = world.memory()

        @cache.cached(key="user:{user.id}:{kind}", ttl=60)
        async def load(user: User, kind: str = "full") -> str:
            return user.name

        assert await load(User(7, "Ada")) == "Ada"
        assert await load(User(7, "changed")) == "Ada"
        assert await cache.get("user:7:full") == "Ada"
        assert load.cache.key(User(7, ""), kind="x") == "user:7:x"  # type: ignore[attr-defined]

    @virtual
    async def test_by_a_function(self, world: World) -> None:
        cache = world.memory()

        @cache.cached(key=lambda user: f"u{user.id}")
        async def load(user: User) -> str:
            return user.name

        assert await load(User(7, "Ada")) == "Ada"
        assert await cache.get("u7") == "Ada"

    @virtual
    async def test_methods_name_what_they_depend_on(self, world: World) -> None:
        cache = world.memory()

        class Repository:
            def __init__(self, tenant: str) -> None:
                self.tenant = tenant

            @cache.cached(key="{self.tenant}:{user_id}")
            async def load(self, user_id: int) -> str:
                return f"{self.tenant} {user_id}"

            @cache.cached()
            async def unnamed(self) -> str:
                return ""

        one, two = Repository("one"), Repository("two")
        assert await one.load(7) == "one 7"
        assert await two.load(7) == "two 7"
        assert await cache.get("one:7") == "one 7"
        with pytest.raises(CacheKeyError, match=r"argument 'self' of .*write key='...\{self.id\}"):
            await one.unnamed()

    @virtual
    async def test_results_come_back_as_annotated(self, world: World) -> None:
        cache = world.memory()

        @cache.cached()
        async def annotated() -> User:
            return User(7, "Ada")

        @cache.cached()
        async def bare():  # type: ignore[no-untyped-def]
            return User(7, "Ada")

        @cache.cached(type=User)
        async def typed() -> Any:
            return User(7, "Ada")

        @cache.cached()
        async def unknown() -> NowhereToBeFound:  # type: ignore[name-defined]  # noqa: F821
            return User(7, "Ada")

        for load, wanted in [
            (annotated, User(7, "Ada")),
            (bare, {"id": 7, "name": "Ada"}),
            (typed, User(7, "Ada")),
            (unknown, {"id": 7, "name": "Ada"}),
        ]:
            assert await load() == User(7, "Ada")
            assert await load() == wanted

    @virtual
    async def test_a_result_can_be_invalidated(self, world: World) -> None:
        cache = world.memory()
        asked: list[int] = []

        @cache.namespace("users").cached(key="u:{user_id}")
        async def load(user_id: int) -> int:
            asked.append(user_id)
            return len(asked)

        assert await gathered(load(7), load(7), load(8)) == [1, 1, 2]
        assert await load.cache.invalidate(7) is WriteStatus.APPLIED  # type: ignore[attr-defined]
        assert [await load(7), await load(8)] == [3, 2]

    @virtual
    async def test_none_is_remembered_as_an_absence(self, world: World) -> None:
        cache = world.memory(absent_ttl=10)
        asked: list[int] = []

        @cache.cached()
        async def load() -> int | None:
            asked.append(1)
            return None

        assert [await load(), await load()] == [None, None]
        assert asked == [1]


class TestSync:
    def test_a_plain_function_is_invalidated_without_a_loop(self) -> None:
        cache = ResilientCache(early=0.0)
        asked: list[int] = []

        @cache.cached(key="u:{user_id}")
        def load(user_id: int) -> int:
            asked.append(user_id)
            return len(asked)

        with cache.sync:
            assert [load(7), load(7)] == [1, 1]
            assert load.cache.invalidate_sync(7) is WriteStatus.APPLIED  # type: ignore[attr-defined]
            assert load(7) == 2

    def test_a_plain_function_is_kept_too(self) -> None:
        cache = ResilientCache()
        asked: list[int] = []

        @cache.cached(key="square:{number}")
        def square(number: int) -> int:
            asked.append(number)
            return number * number

        with cache.sync as sync:
            assert [square(4), square(4), square(5)] == [16, 16, 25]
            assert asked == [4, 5]
            assert sync.get("square:4") == 16
            sync.delete(square.cache.key(4))  # type: ignore[attr-defined]
            square(4)
            assert asked == [4, 5, 4]


class TestKeys:
    def keyer(self, key: Any = None) -> Keyer:
        def function(a: Any, b: Any = 1, *rest: Any, c: Any = None) -> None: ...

        return Keyer(function, key)

    def test_say_everything(self) -> None:
        key = self.keyer()
        name = "cache.test_cached.TestKeys.keyer.<locals>.function"
        assert key(1) == f"{name}(a=1, b=1, rest=(), c=None)"
        seen = {
            key(1),
            key("1"),
            key(b"1"),
            key(1.0),
            key(True),
            key(None),
            key(1, 2),
            key(1, 1, 2),
            key(1, c=2),
            key(uuid.UUID(int=1)),
            key(datetime.date(2026, 1, 1)),
            key(datetime.datetime(2026, 1, 1)),
            key((1, 2)),
        }
        assert len(seen) == 13

    @pytest.mark.parametrize("value", [object(), [1], {"a": 1}, {1}, (1, [2]), User(1, "")])
    def test_are_not_guessed(self, value: Any) -> None:
        with pytest.raises(CacheKeyError, match="no key can be made of the argument 'a'"):
            self.keyer()(value)

    def test_a_call_that_does_not_fit_is_a_type_error(self) -> None:
        with pytest.raises(TypeError, match="missing a required argument"):
            self.keyer()()

    @pytest.mark.parametrize(
        ("key", "message"),
        [
            ("{user}", r"format string over the parameters \(a, b, rest, c\), not '\{user\}'"),
            ("{}", "format string over the parameters"),
            ("{0}", "format string over the parameters"),
            ("{a", "key is no format string: expected '}'"),
            ("{a.id}{x[0]}", "format string over the parameters"),
            (7, "key must be a format string, a callable or None, not 7"),
        ],
    )
    def test_a_template_is_tried_out_at_once(self, key: Any, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            self.keyer(key)

    def test_without_parameters_a_template_may_be_plain(self) -> None:
        def nothing() -> None: ...

        assert Keyer(nothing, "all")() == "all"
        with pytest.raises(ConfigurationError, match=r"parameters \(none\)"):
            Keyer(nothing, "{a}")


class TestRefused:
    def test_generators(self) -> None:
        cache = make()

        def generator() -> Generator[int]:
            yield 1

        async def async_generator() -> AsyncGenerator[int]:
            yield 1

        for function in (generator, async_generator):
            with pytest.raises(TypeError, match="generator cannot be cached"):
                cache.cached()(function)

    def test_bad_options_when_decorating(self) -> None:
        cache = make()
        with pytest.raises(ConfigurationError, match="ttl must be"):
            cache.cached(ttl=-1)
        with pytest.raises(TypeError, match="tll"):
            cache.cached(tll=5)  # type: ignore[call-arg]
        with pytest.raises(ConfigurationError, match="key must be"):

            @cache.cached(key="{b}")
            async def load(a: int) -> None: ...
