"""The users of a task board, and the meter at the door of its user service.

The generator is open-loop: it sends at a fixed rate whatever becomes of the answers. Its own
resources are bounded, by the number of requests under way and by the patience of a user; what goes
beyond either is an error, as it would be for the user.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import httpx

from holdfast.cli.demo.figures import Answer, Kind, Reading
from holdfast.cli.demo.site import Site

PATIENCE = 10.0
UNDER_WAY_AT_MOST = 1000
METER_EVERY = 0.5
TASKS, USERS = 200, 40

Clock = Callable[[], float]
"""Seconds since the traffic began."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a user asks for."""

    method: str
    path: str
    body: dict[str, object] | None = None


def wish(random: Random) -> Request:
    """The next request: mostly one task, now and then a user's page or a new task."""
    user = random.randint(1, USERS)
    match random.choices(("task", "user", "new"), weights=(8, 1, 1)):
        case ["task"]:
            return Request("GET", f"/tasks/{random.randint(1, TASKS)}")
        case ["user"]:
            return Request("GET", f"/users/{user}")
        case _:
            return Request("POST", "/tasks", {"title": "Buy a lantern", "assignee": user})


async def send_traffic(
    site: Site, clock: Clock, *, rate: float, seconds: float, seed: int, offset: float
) -> None:
    """Send `rate` requests per second for `seconds`, then wait for the last answers."""
    random = Random(seed)
    under_way: set[asyncio.Task[None]] = set()
    async with httpx.AsyncClient(
        base_url=site.taskboard.url,
        timeout=PATIENCE,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=50),
    ) as http:
        for number in range(int(rate * seconds)):
            due = number / rate + offset
            await asyncio.sleep(due - clock())
            request = wish(random)
            if len(under_way) >= UNDER_WAY_AT_MOST:
                site.record.answers.append(Answer(due, clock() - due, Kind.ERROR))
                continue
            task = asyncio.create_task(_ask(site, http, request, due, clock))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)


async def _ask(
    site: Site, http: httpx.AsyncClient, request: Request, due: float, clock: Clock
) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            response = await http.request(request.method, request.path, json=request.body)
    except (httpx.HTTPError, TimeoutError):
        kind = Kind.ERROR
    else:
        kind = kind_of(response)
    site.record.answers.append(Answer(due, clock() - due, kind))


def kind_of(response: httpx.Response) -> Kind:
    """What the user got: anything that is neither full nor openly degraded is an error."""
    if not response.is_success:
        return Kind.ERROR
    return Kind.DEGRADED if response.json()["degraded"] else Kind.FULL


async def watch_load(site: Site, clock: Clock, *, seconds: float) -> None:
    """Read the user service's own counter now and then, past the faults."""
    async with httpx.AsyncClient(base_url=site.user_service.url) as http:
        while True:
            last = clock() >= seconds
            asked = clock()
            try:
                seen = (await http.get("/health")).json()["seen"]
            except httpx.TransportError:
                pass  # too busy: the next reading covers this one
            else:
                site.record.readings.append(Reading((asked + clock()) / 2, seen))
            if last:
                return
            await asyncio.sleep(METER_EVERY)
