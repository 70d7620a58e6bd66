from __future__ import annotations

import asyncio
import json
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.cli.demo.figures import Answer, Kind, Record
from holdfast.cli.demo.traffic import Request, _ask, answer_in, wish


@pytest.mark.parametrize(
    ("degraded", "stale", "source", "kind"),
    [
        (False, False, "redis", Kind.FULL),
        (True, False, "memory", Kind.DEGRADED),
        (True, True, "redis", Kind.DEGRADED),
        (False, False, "user service", Kind.FULL),
    ],
)
def test_an_answer_is_taken_at_its_word(
    degraded: bool, stale: bool, source: str, kind: Kind
) -> None:
    body = {"degraded": degraded, "stale": stale, "source": source}
    answer = answer_in(200, json.dumps(body).encode(), 1.0, 0.2)
    assert answer == Answer(1.0, 0.2, kind, source, stale)


@pytest.mark.parametrize("status", [404, 500, 503])
def test_what_is_no_answer_comes_from_nobody(status: int) -> None:
    assert answer_in(status, b"", 1.0, 0.2) == Answer(1.0, 0.2, Kind.ERROR)


def test_users_ask_for_tasks_mostly_and_a_seed_decides_for_which() -> None:
    asked = [wish(Random(seed)) for seed in range(300)]
    assert asked == [wish(Random(seed)) for seed in range(300)]
    tasks = sum(request.path.startswith("/tasks/") for request in asked)
    assert 200 <= tasks <= 280
    assert {request.method for request in asked} == {"GET", "POST"}


def ask(response: bytes) -> Answer:
    """What a user gets from a server that says this and closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response)
        writer.close()

    async def main() -> Answer:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            board = SimpleNamespace(url=f"http://127.0.0.1:{port}")
            site: Any = SimpleNamespace(taskboard=board, record=Record())
            await _ask(site, Request("GET", "/tasks/1"), 0.1, lambda: 0.5)
        return site.record.answers[0]

    return asyncio.run(main())


FULL = b'{"degraded": false, "stale": false, "source": "redis"}'


def test_a_response_is_read_to_its_end() -> None:
    assert ask(b"HTTP/1.1 200 OK\r\n\r\n" + FULL) == Answer(0.1, 0.4, Kind.FULL, "redis")


@pytest.mark.parametrize(
    "response", [b"", b"HTTP", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n" + FULL[:-1]]
)
def test_half_a_response_is_an_error(response: bytes) -> None:
    assert ask(response) == Answer(0.1, 0.4, Kind.ERROR)


def test_a_board_that_nobody_listens_at_is_an_error() -> None:
    site: Any = SimpleNamespace(
        taskboard=SimpleNamespace(url="http://127.0.0.1:9"), record=Record()
    )
    asyncio.run(_ask(site, Request("POST", "/tasks", {"title": "x"}), 0.1, lambda: 0.5))
    assert site.record.answers == [Answer(0.1, 0.4, Kind.ERROR)]
