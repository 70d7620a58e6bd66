"""The three ways to ask for a user, on virtual time and without a network."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import httpx
import pytest

from holdfast.testing import VirtualClock

Respond = Callable[[httpx.Request], Awaitable[httpx.Response]]


class UserService:
    """Answers, or does not, as it is told; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.fault: str | None = None

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        match self.fault:
            case "dead":
                await asyncio.sleep(3600)
            case "silent":  # until httpx gives up; its own timeouts do not reach a mock
                await asyncio.sleep(1.0)
                raise httpx.ReadTimeout("no reply")
            case "cut off":
                raise httpx.ReadError("connection reset")
            case "unknown user":
                return httpx.Response(404, request=request)
        number = int(request.url.path.rpartition("/")[2])
        return httpx.Response(200, json={"id": number, "name": f"Ada {number}"})


def variant(users: ModuleType, name: str, service: UserService) -> Callable[[int], Awaitable[Any]]:
    http = httpx.AsyncClient(base_url="http://users", transport=httpx.MockTransport(service))
    return users.VARIANTS[name](http)


@pytest.mark.parametrize("name", ["bare", "handmade", "holdfast"])
def test_all_variants_give_the_user(users: ModuleType, name: str) -> None:
    find_user = variant(users, name, UserService())
    assert VirtualClock().run(find_user(7)) == users.User(7, "Ada 7", degraded=False)


def test_the_bare_variant_asks_once_and_fails_with_the_service(users: ModuleType) -> None:
    service = UserService()
    service.fault = "cut off"
    with pytest.raises(httpx.ReadError):
        VirtualClock().run(variant(users, "bare", service)(7))
    assert service.asked == 1


def test_the_handmade_variant_asks_four_times_and_keeps_its_user_waiting(
    users: ModuleType,
) -> None:
    service, clock = UserService(), VirtualClock()
    service.fault = "silent"
    with pytest.raises(httpx.ReadTimeout):
        clock.run(variant(users, "handmade", service)(7))
    assert service.asked == 4
    assert 4.0 <= clock.now() <= 4.7


def test_holdfast_answers_with_what_it_knew_and_says_so(users: ModuleType) -> None:
    service, clock = UserService(), VirtualClock()

    async def main() -> None:
        find_user = variant(users, "holdfast", service)
        await find_user(7)
        service.fault = "dead"
        before = clock.now()
        assert await find_user(7) == users.User(7, "Ada 7", degraded=True, source="memory")
        unknown = users.User(8, "Unknown User", degraded=True, source="memory")
        assert await find_user(8) == unknown
        assert clock.now() - before <= 2 * 0.8 + 1e-6
        service.fault = None
        assert await find_user(8) == users.User(8, "Ada 8", degraded=False)

    with clock:
        clock.run(main())


def test_holdfast_leaves_a_service_that_is_down_alone_and_finds_out_when_it_is_back(
    users: ModuleType,
) -> None:
    service, clock = UserService(), VirtualClock()

    async def main() -> None:
        find_user = variant(users, "holdfast", service)
        service.fault = "cut off"
        for _ in range(100):
            assert (await find_user(7)).degraded
        assert service.asked == 5
        service.fault = None
        await asyncio.sleep(1.0)
        assert not (await find_user(7)).degraded

    with clock:
        clock.run(main())


def test_holdfast_passes_on_that_there_is_no_such_user(users: ModuleType) -> None:
    service = UserService()
    service.fault = "unknown user"
    with pytest.raises(httpx.HTTPStatusError):
        VirtualClock().run(variant(users, "holdfast", service)(99))
    assert service.asked == 1
