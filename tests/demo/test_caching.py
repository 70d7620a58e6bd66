"""The three ways to keep a user, with a real Valkey."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import httpx
import pytest

from holdfast.testing import ValkeyServer

pytestmark = pytest.mark.skipif(
    ValkeyServer.missing_reason() is not None, reason=str(ValkeyServer.missing_reason())
)


@pytest.fixture(scope="module")
def shared() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def valkey(shared: ValkeyServer) -> ValkeyServer:
    """One that runs and is empty."""
    shared.restart()
    return shared


class UserService:
    """Knows users; counts how often it was asked."""

    def __init__(self, users: ModuleType) -> None:
        self.users, self.asked, self.takes = users, 0, 0.0

    async def __call__(self, user_id: int) -> Any:
        self.asked += 1
        await asyncio.sleep(self.takes)
        return self.users.User(user_id, f"Ada {user_id}")


@pytest.fixture
def service(users: ModuleType) -> UserService:
    return UserService(users)


@pytest.mark.parametrize("name", ["bare", "handmade", "holdfast"])
def test_a_user_is_kept_and_the_service_left_alone(
    name: str, caching: ModuleType, service: UserService, valkey: ValkeyServer
) -> None:
    async def main() -> None:
        async with caching.VARIANTS[name](service, valkey.url) as find_user:
            assert await find_user(7) == service.users.User(7, "Ada 7", source="user service")
            assert await find_user(7) == service.users.User(7, "Ada 7", source="redis")
            assert service.asked == 1
            valkey.flush()
            assert (await find_user(8)).source == "user service"

    asyncio.run(main())


def test_bare_fails_with_its_server(
    caching: ModuleType, service: UserService, valkey: ValkeyServer
) -> None:
    from redis.exceptions import RedisError

    async def main() -> None:
        async with caching.bare(service, valkey.url) as find_user:
            await find_user(7)
            valkey.kill()
            with pytest.raises(RedisError):
                await find_user(7)
            assert service.asked == 1

    asyncio.run(main())


def test_handmade_pays_for_a_frozen_server_twice_and_asks_the_service_each_time(
    caching: ModuleType, service: UserService, valkey: ValkeyServer
) -> None:
    async def main() -> None:
        async with caching.handmade(service, valkey.url) as find_user:
            await find_user(7)
            valkey.freeze()
            begun = time.monotonic()
            assert (await find_user(7)).source == "user service"
            assert time.monotonic() - begun >= 0.99
            assert service.asked == 2

    asyncio.run(main())


def test_holdfast_answers_from_memory_and_says_so(
    caching: ModuleType, service: UserService, valkey: ValkeyServer
) -> None:
    async def main() -> None:
        async with caching.protected(service, valkey.url) as find_user:
            await find_user(7)
            valkey.kill()
            stand_in = service.users.User(7, "Ada 7", degraded=True, source="memory")
            for _ in range(20):
                assert await find_user(7) == stand_in
            assert service.asked == 1
            # What nobody knows is asked for, and is the truth.
            assert await find_user(8) == service.users.User(8, "Ada 8", source="user service")

    asyncio.run(main())


def test_holdfast_gives_what_is_past_its_time_rather_than_wait_and_says_so(
    caching: ModuleType,
    service: UserService,
    valkey: ValkeyServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(caching, "kept_for", lambda: 0.3)

    async def main() -> None:
        async with caching.protected(service, valkey.url) as find_user:
            await find_user(7)
            await asyncio.sleep(0.35)
            service.takes = 0.2
            begun = time.monotonic()
            old = await find_user(7)
            assert time.monotonic() - begun < 0.15
            assert old == service.users.User(7, "Ada 7", degraded=True, stale=True, source="redis")
            await asyncio.sleep(0.25)
            assert service.asked == 2
            assert (await find_user(7)).stale is False

    asyncio.run(main())


def test_users_are_kept_for_different_times(caching: ModuleType) -> None:
    times = {caching.kept_for() for _ in range(200)}
    assert len(times) > 20
    assert min(times) >= 2


@asynccontextmanager
async def board(app: ModuleType) -> AsyncIterator[httpx.AsyncClient]:
    """The task board in this process."""
    made = app.create()
    async with (
        made.router.lifespan_context(made),
        httpx.AsyncClient(transport=httpx.ASGITransport(made), base_url="http://board") as http,
    ):
        yield http


def test_the_task_board_keeps_users_where_the_environment_says(
    app: ModuleType, valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("TASKBOARD_VARIANT", "bare")
    monkeypatch.setenv("TASKBOARD_DATABASE", str(tmp_path / "tasks.sqlite"))
    monkeypatch.setenv("REDIS_URL", valkey.url)
    valkey.command("SET", "user:1", '{"id": 1, "name": "Ada 1"}')

    async def main() -> None:
        async with board(app) as http:
            assert (await http.get("/users/1")).json() | {"tasks": []} == {
                "user": {"id": 1, "name": "Ada 1"},
                "tasks": [],
                "degraded": False,
                "stale": False,
                "source": "redis",
            }
            valkey.kill()
            answer = await http.get("/users/1")
            assert answer.status_code == 503
            assert answer.json() == {"detail": "the cache does not answer"}

    asyncio.run(main())
