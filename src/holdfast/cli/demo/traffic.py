"""The users of a task board, and the meter at the door of its user service.

The generator is open-loop: it sends at a fixed rate whatever becomes of the answers. Its own
resources are bounded, by the number of requests under way and by the patience of a user; what goes
beyond either is an error, as it would be for the user. It has to be cheaper than what it measures,
however many answers are outstanding: each request has a connection of its own, without a pool.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from urllib.parse import urlsplit

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
    for number in range(int(rate * seconds)):
        due = number / rate + offset
        await asyncio.sleep(due - clock())
        site.record.late = max(site.record.late, clock() - due)
        request = wish(random)
        if len(under_way) >= UNDER_WAY_AT_MOST:
            site.record.answers.append(Answer(due, 0.0, Kind.ERROR))
            continue
        task = asyncio.create_task(_ask(site, request, due, clock))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)


async def _ask(site: Site, request: Request, due: float, clock: Clock) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            status, body = await _exchange(site.taskboard.url, request)
        answer = answer_in(status, body, due, clock() - due)
    except (OSError, TimeoutError, ValueError):
        answer = Answer(due, clock() - due, Kind.ERROR)
    site.record.answers.append(answer)


async def _exchange(url: str, request: Request) -> tuple[int, bytes]:
    """Status and body of the response.

    Raises:
        OSError: the connection was refused or lost.
        ValueError: there was no response, or half a one.
    """
    address = urlsplit(url)
    body = b"" if request.body is None else json.dumps(request.body).encode()
    head = (
        f"{request.method} {request.path} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(head.encode() + body)
        response = await reader.read()  # to its end, as was asked for
    finally:
        writer.close()
    _, _, status = response[:12].partition(b" ")
    return int(status), response.partition(b"\r\n\r\n")[2]


def answer_in(status: int, body: bytes, due: float, latency: float) -> Answer:
    """What the user got: anything that is neither full nor openly degraded is an error.

    Raises:
        ValueError: the body is cut off.
    """
    if not 200 <= status < 300:
        return Answer(due, latency, Kind.ERROR)
    said = json.loads(body)
    kind = Kind.DEGRADED if said["degraded"] else Kind.FULL
    return Answer(due, latency, kind, said["source"], said["stale"])


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
