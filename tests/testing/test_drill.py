"""The drill: what it makes fail, what it writes down, and what a test can assert."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from holdfast import CircuitBreaker
from holdfast.degradation import (
    CacheFallback,
    FallbackStep,
    GracefulDegradation,
    Level,
    Served,
    current_degradation,
)
from holdfast.degradation.chain import DRILLS
from holdfast.errors import ConfigurationError
from holdfast.events import EventHub
from holdfast.testing.drill import MOST_ROWS, DrillMatrix, drill


class Shop:
    """Two operations and three dependencies."""

    def __init__(self) -> None:
        self.service = GracefulDegradation(events=EventHub())
        self.down: set[str] = set()
        self.switched: list[str] = []

        async def default() -> str:
            self.ask("cache")
            return "cached"

        @self.service.with_fallbacks("profile", FallbackStep("cache", default))
        async def profile() -> str:
            self.ask("database")
            return "full"

        self.profile = profile

    def ask(self, dependency: str) -> None:
        if dependency in self.down:
            raise ConnectionError(dependency)

    async def part(self, dependency: str) -> str:
        self.ask(dependency)
        return dependency

    async def home(self) -> Served[Any]:
        return await self.service.compose(
            "home",
            essential={"account": self.profile},
            optional={"news": lambda: self.part("news")},
        )

    @contextmanager
    def without(self, dependency: str) -> Generator[None]:
        self.switched.append(dependency)
        self.down.add(dependency)
        try:
            yield
        finally:
            self.down.discard(dependency)

    @asynccontextmanager
    async def without_async(self, dependency: str) -> AsyncGenerator[None]:
        await asyncio.sleep(0)
        with self.without(dependency):
            yield


@pytest.fixture
def shop() -> Shop:
    return Shop()


def run(main: Any) -> Any:
    return asyncio.run(main)


def test_each_dependency_and_each_pair_of_them(shop: Shop) -> None:
    matrix = run(
        drill(
            {"profile": shop.profile, "home": shop.home},
            faults={
                "database": lambda: shop.without("database"),
                "cache": lambda: shop.without_async("cache"),
                "news": (lambda: shop.down.add("news"), lambda: shop.down.discard("news")),
            },
            steps=False,
        )
    )
    assert {fault: dict(cells) for fault, cells in matrix.items()} == {
        "(none)": {"profile": "primary", "home": "primary"},
        "database": {"profile": "cached", "home": "cached"},
        "cache": {"profile": "primary", "home": "primary"},
        "news": {"profile": "primary", "home": "partial"},
        "database + cache": {"profile": "failed", "home": "failed"},
        "database + news": {"profile": "cached", "home": "partial"},
        "cache + news": {"profile": "primary", "home": "partial"},
    }
    assert matrix["database"]["profile"] is Level.CACHED
    assert shop.down == set()
    assert len(matrix) == 7
    assert repr(matrix) == "<DrillMatrix of 7 rows>"


def test_the_steps_of_the_chains_that_are_used_fail_by_themselves(shop: Shop) -> None:
    matrix = run(drill({"profile": shop.profile, "home": shop.home}, max_faults=1))
    assert list(matrix) == [
        "(none)",
        "profile:primary",
        "profile:cache",
        "home.account:account",
        "home.news:news",
    ]
    assert matrix["profile:primary"] == {"profile": "cached", "home": "cached"}
    assert matrix["home.account:account"] == {"profile": "primary", "home": "failed"}
    assert matrix["home.news:news"] == {"profile": "primary", "home": "partial"}
    assert DRILLS.intercept is None
    assert run(shop.profile()) == "full", "nothing is left broken"


def test_the_steps_of_one_chain() -> None:
    async def answer() -> int:
        return 1

    steps = [
        FallbackStep("database", answer, priority=3, pipeline=CircuitBreaker("b")),
        FallbackStep("cache", answer, priority=2),
        FallbackStep("basic", value=1),
    ]
    matrix = run(drill(steps))
    assert {fault: cells["chain"] for fault, cells in matrix.items()} == {
        "(none)": "primary",
        "chain:database": "cached",
        "chain:cache": "primary",
        "chain:database + chain:cache": "static",
    }
    matrix.assert_survives(at_worst=Level.STATIC)


def test_sync_operations_and_chains_that_turn_up_late() -> None:
    service = GracefulDegradation(events=EventHub())

    @service.with_fallbacks("inner", FallbackStep("basic", value="basic"))
    def inner() -> str:
        return "kept"

    def outer() -> Served[str]:
        return service.execute_with_degradation_sync(
            "outer", FallbackStep("database", lambda: "full"), fallback_data="static"
        )

    @service.with_fallbacks("other", FallbackStep("inner", inner))
    def other() -> str:
        return "full"

    matrix = run(drill({"outer": outer, "other": other}))
    # "inner" is only used once "other" has failed, and is found then.
    assert matrix["inner:primary"] == {"outer": "primary", "other": "primary"}
    assert matrix["other:primary + inner:primary"]["other"] == "static"
    assert matrix["outer:database + other:primary"] == {"outer": "static", "other": "cached"}
    assert not current_degradation().degraded


def test_the_last_good_response_is_drilled_too() -> None:
    service = GracefulDegradation(events=EventHub())

    async def load() -> int:
        return 1

    async def operation() -> Served[int]:
        return await service.execute_with_degradation(
            "users", load, cache_fallback=CacheFallback(key="7"), fallback_data=0
        )

    matrix = run(drill(operation))
    assert {fault: cells["operation"] for fault, cells in matrix.items()} == {
        "(none)": "primary",
        "users:primary": "cached",
        "users:cached": "primary",
        "users:primary + users:cached": "static",
    }


@pytest.mark.parametrize("is_async", [True, False])
def test_before_each_row(shop: Shop, is_async: bool) -> None:
    calls: list[int] = []

    async def later() -> None:
        calls.append(1)

    before = later if is_async else lambda: calls.append(1)
    matrix = run(drill(shop.profile, before=before))
    assert len(calls) == len(matrix) == 4


def test_more_faults_at_a_time(shop: Shop) -> None:
    faults: dict[str, Any] = {name: lambda: shop.without("x") for name in "abcd"}
    assert len(run(drill(shop.profile, faults=faults, steps=False, max_faults=4))) == 2**4
    assert len(run(drill(shop.profile, faults=faults, steps=False, max_faults=9))) == 2**4


def test_a_fault_that_cannot_be_switched_off_is_an_error_and_all_is_put_back(shop: Shop) -> None:
    back: list[str] = []

    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(
            drill(
                shop.profile,
                faults={
                    "a": lambda: shop.without("database"),
                    "b": (broken, lambda: back.append("b")),
                },
            )
        )
    assert back == ["b"]
    assert shop.down == set()
    assert DRILLS.intercept is None


def test_cancellation_passes_through_and_all_is_put_back(shop: Shop) -> None:
    down = asyncio.Event()

    async def hang() -> None:
        if shop.down:
            down.set()
            await asyncio.sleep(3_600)

    async def main() -> None:
        task = asyncio.create_task(
            drill(hang, faults={"database": lambda: shop.without("database")})
        )
        await down.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert shop.down == set()
    assert DRILLS.intercept is None


@pytest.mark.parametrize(
    ("operations", "options", "message"),
    [
        ({}, {}, "operations must be at least one function, or the steps of a chain"),
        ([], {}, "operations must be at least one function, or the steps of a chain"),
        ({"a": 42}, {}, "operation 'a' must be a function"),
        ({"": print}, {"faults": {"x": print}}, "the name of an operation must be a printable"),
        (lambda: 1, {}, "operations must use a fallback chain, or faults must be given"),
        (lambda: 1, {"faults": {"": print}}, "the name of a fault must be a printable"),
        (lambda: 1, {"max_faults": 0}, "max_faults must be a whole number of at least 1, not 0"),
    ],
)
def test_bad_input_is_refused(operations: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        run(drill(operations, **options))
    assert str(caught.value).startswith(message)


def test_the_rows_are_bounded(shop: Shop) -> None:
    faults: dict[str, Any] = {str(number): lambda: shop.without("x") for number in range(100)}
    with pytest.raises(ConfigurationError) as caught:
        run(drill(lambda: 1, faults=faults, max_faults=2))
    assert str(caught.value) == (
        f"max_faults must be less than 2: 100 faults make 4950 rows, and {MOST_ROWS} are the most"
    )


# -- the matrix --------------------------------------------------------------------------------

MATRIX = DrillMatrix(
    {
        "(none)": {"profile": Level.PRIMARY, "home": Level.PRIMARY},
        "database": {"profile": Level.CACHED, "home": Level.PARTIAL},
        "database + cache": {"profile": Level.STATIC, "home": "failed"},
    }
)


def test_it_prints_as_a_table() -> None:
    assert str(MATRIX).splitlines() == [
        "fault             profile  home",
        "(none)            primary  primary",
        "database          cached   partial",
        "database + cache  static   failed",
    ]


def test_what_survives() -> None:
    MATRIX.assert_survives("profile")
    MATRIX.assert_survives("profile", at_worst=Level.STATIC)
    MATRIX.assert_survives(faults=["(none)", "database"])
    MATRIX.assert_survives(faults=["(none)"], at_worst=Level.PRIMARY)
    with pytest.raises(AssertionError) as caught:
        MATRIX.assert_survives(at_worst=Level.CACHED)
    assert str(caught.value).splitlines() == [
        "not served cached or better:",
        "  home during database: partial",
        "  profile during database + cache: static",
        "  home during database + cache: failed",
        "",
        "fault             profile  home",
        "database          cached   partial",
        "database + cache  static   failed",
    ]


def test_exact_levels() -> None:
    MATRIX.assert_levels(
        {"database": {"profile": "cached"}, "database + cache": {"home": "failed"}}
    )
    with pytest.raises(AssertionError) as caught:
        MATRIX.assert_levels({"database": {"profile": "primary", "home": "partial"}})
    assert str(caught.value).splitlines()[:2] == [
        "not as expected:",
        "  profile during database: cached, not primary",
    ]


def test_a_row_or_column_that_is_not_there() -> None:
    with pytest.raises(AssertionError, match="there is no fault 'redis'; there are"):
        MATRIX.assert_survives(faults=["redis"])
    with pytest.raises(AssertionError, match="there is no operation 'tasks'"):
        MATRIX.assert_survives("tasks")
