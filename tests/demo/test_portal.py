"""The portal of the task board: what it promises, and what it does in every outage."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import combinations
from types import ModuleType
from typing import Any

import httpx
import pytest

from holdfast.testing import VirtualClock
from holdfast.testing.drill import drill

from .conftest import module

DEPENDENCIES = ("database", "cache", "users", "avatars", "recommendations")
OUTAGES = [frozenset(outage) for size in range(6) for outage in combinations(DEPENDENCIES, size)]


@pytest.fixture(scope="session")
def promises() -> ModuleType:
    return module("promises")


@pytest.fixture(scope="session")
def portal() -> ModuleType:
    return module("portal")


@pytest.fixture(scope="session")
def dependencies() -> ModuleType:
    return module("dependencies")


class Site:
    """A portal, what it depends on, and a user."""

    def __init__(self, app: Any, on: Any, http: httpx.AsyncClient) -> None:
        self.portal = app.state.portal
        self.on = on
        self.http = http

    async def get(self, path: str) -> httpx.Response:
        return await self.http.get(path)

    async def warm(self, promises: ModuleType) -> None:
        for promise in promises.PROMISES:
            response = await self.http.request(promise.method, promise.path)
            assert response.is_success
            assert "X-Degraded" not in response.headers
        await self.portal.resilience.degradation.aclose()


@asynccontextmanager
async def opened() -> AsyncGenerator[Site]:
    on = module("dependencies").Dependencies()
    app = module("portal").create(on)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://portal") as http,
    ):
        yield Site(app, on, http)


def run(main: Callable[[Site, VirtualClock], Coroutine[Any, Any, None]]) -> None:
    """Run this with a portal, on a virtual clock."""

    async def whole(clock: VirtualClock) -> None:
        async with opened() as site:
            await main(site, clock)

    with VirtualClock() as clock:
        clock.run(whole(clock))


# -- the promises ----------------------------------------------------------------------------------


def test_the_oracle_and_the_rungs_of_a_promise_agree_on_every_outage(promises: ModuleType) -> None:
    assert len(promises.PROMISES) >= 6
    for promise in promises.PROMISES:
        for outage in OUTAGES:
            assert (promise.level(outage) != "down") == promise.survives(outage), promise.feature
        assert promise.unaffected(frozenset())


def test_the_promises_name_what_there_is(promises: ModuleType, dependencies: ModuleType) -> None:
    assert tuple(dependencies.Dependencies().named) == DEPENDENCIES
    for promise in promises.PROMISES:
        needed = promise.hard.union(*(needs for _, needs in promise.rungs))
        assert needed <= set(DEPENDENCIES), promise.feature


# -- every outage ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["refuses", "hangs"])
def test_in_every_outage_each_feature_is_served_as_promised(promises: ModuleType, how: str) -> None:
    """All 2^5 outages: by the status of the response, its header and its body."""
    for outage in OUTAGES:

        async def main(site: Site, clock: VirtualClock, outage: frozenset[str] = outage) -> None:
            await site.warm(promises)
            for name in outage:
                site.on.named[name].fail(how)
            for promise in promises.PROMISES * 4:  # breakers closed, and open
                response = await site.http.request(promise.method, promise.path)
                wanted = promise.level(outage)
                where = f"{promise.feature} without {sorted(outage)}"
                assert response.is_success == promise.survives(outage), where
                assert response.status_code in (200, 503), where
                declared = wanted if wanted not in ("full", "down") else None
                assert response.headers.get("X-Degraded") == declared, where
                if declared and promise.feature != "avatar":  # which gives the bare value
                    assert response.json()["level"] == declared, where

        run(main)


def test_the_drill_of_the_library_comes_to_the_same(promises: ModuleType) -> None:
    """The same matrix, this time by `drill`, which asks the portal's methods and no web."""

    async def main(site: Site, clock: VirtualClock) -> None:
        portal = site.portal
        operations: dict[str, Callable[[], Awaitable[Any]]] = {
            "profile": lambda: portal.profile(7),
            "person": lambda: portal.person(7),
            "avatar": lambda: portal.avatar(7),
            "tasks": lambda: portal.tasks(7),
            "search": lambda: portal.search("Ada"),
            "sign-in": lambda: portal.sign_in(7),
            "admin": portal.admin,
            "status": portal.status,
        }
        await site.warm(promises)
        matrix = await drill(
            operations,
            faults={
                "database": (
                    lambda: site.on.database.fail("refuses"),
                    lambda: site.on.database.mend(),
                )
            },
            steps=False,
        )
        names = {"down": "failed", "full": "primary"}
        matrix.assert_levels(
            {
                "database": {
                    promise.feature: names.get(level, level)
                    for promise in promises.PROMISES
                    for level in [promise.level({"database"})]
                }
            }
        )

    run(main)


# -- one by one ------------------------------------------------------------------------------------


def test_a_copy_says_how_old_it_is(promises: ModuleType) -> None:
    async def main(site: Site, clock: VirtualClock) -> None:
        await site.get("/users/7")
        site.on.database.fail("refuses")
        clock.advance(12)
        answer = (await site.get("/users/7")).json()
        assert answer["value"]["plan"] == "pro"
        assert answer["level"] == "cached"
        assert answer["age"] == pytest.approx(12, abs=0.1)
        assert answer["missing"] == ["database"]

    run(main)


def test_who_was_never_seen_is_a_stranger_in_an_outage() -> None:
    async def main(site: Site, clock: VirtualClock) -> None:
        site.on.users.fail("refuses")
        site.on.database.fail("refuses")
        person, profile = await site.get("/people/9"), await site.get("/users/9")
        assert person.json()["value"] == {"id": 9, "name": "Unknown User"}
        assert profile.json()["value"] == {"id": 9}
        assert [each.headers["X-Degraded"] for each in (person, profile)] == ["static"] * 2

    run(main)


def test_the_tasks_say_what_is_left_out() -> None:
    async def main(site: Site, clock: VirtualClock) -> None:
        site.on.avatars.fail("hangs")
        response = await site.get("/users/7/tasks")
        assert set(response.json()["value"]) == {"tasks", "recommendations", "views"}
        assert response.json()["missing"] == ["avatar"]
        assert clock.now() == pytest.approx(module("portal").PATIENCE)

    run(main)


def test_a_brownout_switches_off_the_least_important_first() -> None:
    async def main(site: Site, clock: VirtualClock) -> None:
        features = site.portal.resilience.degradation.features
        features.brown_out(3, "a sale")
        tasks = await site.get("/users/7/tasks")
        assert tasks.json()["missing"] == ["recommendations"]
        assert tasks.headers["X-Degraded"] == "partial"
        assert (await site.get("/search?words=Ada")).is_success
        features.brown_out(2, "a sale")
        search = await site.get("/search?words=Ada")
        assert search.status_code == 503
        assert search.json() == {"detail": "switched off for a while"}
        features.release()
        assert (await site.get("/search?words=Ada")).is_success
        assert "X-Degraded" not in (await site.get("/users/7/tasks")).headers

    run(main)


def test_health_says_which_dependency_it_is() -> None:
    async def main(site: Site, clock: VirtualClock) -> None:
        async def a_minute() -> Any:
            for _ in range(60):
                for path in ("/users/7", "/users/7/tasks", "/admin", "/people/7"):
                    await site.get(path)
                await clock.asleep(1)
            return (await site.get("/status")).json()["value"]

        status = await a_minute()
        assert status["system"] == "healthy"
        assert {status["components"][name] for name in ("database", "cache", "tasks")} == {
            "healthy"
        }
        site.on.database.fail("refuses")
        status = await a_minute()
        assert status["system"] == "unhealthy"
        assert status["reason"].startswith("'database' is unhealthy")
        assert status["components"]["tasks"] == "unhealthy"
        assert status["components"]["profile"] == "degraded", "others serve it"
        site.on.database.mend()
        site.on.cache.fail("refuses")
        status = await a_minute()
        status = await a_minute()
        assert status["system"] == "degraded"
        assert status["components"]["cache"] == "unhealthy"

    run(main)


def test_it_starts_without_being_given_anything(portal: ModuleType) -> None:
    assert portal.create().title == "Portal"
