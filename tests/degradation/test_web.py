"""The header that says how well a request was served."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from holdfast.degradation import FallbackStep, GracefulDegradation, current_degradation
from holdfast.degradation.web import DegradedHeader
from holdfast.errors import ConfigurationError
from holdfast.events import EventHub

service = GracefulDegradation(events=EventHub())


@service.with_fallbacks("profile", FallbackStep("basic", value="nobody"))
async def profile(up: bool) -> str:
    if not up:
        raise ConnectionError
    return "Ada"


@service.with_fallbacks("sync-profile", FallbackStep("basic", value="nobody"))
def sync_profile() -> str:
    raise ConnectionError


Message = MutableMapping[str, Any]


def request(app: Any, kind: str = "http") -> list[Message]:
    """What an app sends."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app({"type": kind, "path": "/"}, receive, send))
    return sent


def answering(up: bool, headers: list[tuple[bytes, bytes]] | None = None) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.gather(profile(up), profile(True))
        start: Message = {"type": "http.response.start", "status": 200}
        if headers is not None:
            start["headers"] = headers
        await send(start)
        await send({"type": "http.response.body", "body": b""})

    return app


def test_a_degraded_response_says_so() -> None:
    start, body = request(DegradedHeader(answering(up=False, headers=[(b"a", b"b")])))
    assert start["headers"] == [(b"a", b"b"), (b"x-degraded", b"static")]
    assert body["type"] == "http.response.body"
    [start, _] = request(DegradedHeader(answering(up=False)))
    assert start["headers"] == [(b"x-degraded", b"static")]


def test_a_full_response_does_not() -> None:
    start, _ = request(DegradedHeader(answering(up=True, headers=[(b"a", b"b")])))
    assert start["headers"] == [(b"a", b"b")]


def test_a_header_by_the_application_stays() -> None:
    own = [(b"X-Degraded", b"own")]
    start, _ = request(DegradedHeader(answering(up=False, headers=own)))
    assert start["headers"] == own


def test_the_header_may_have_another_name() -> None:
    start, _ = request(DegradedHeader(answering(up=False), header="Served-By"))
    assert start["headers"] == [(b"served-by", b"static")]


@pytest.mark.parametrize("header", ["", "a b", "a:b", "naïve", "a\r\nb"])
def test_what_is_no_header_is_refused(header: str) -> None:
    with pytest.raises(ConfigurationError, match="header must be the name of a header"):
        DegradedHeader(answering(up=True), header=header)


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
def test_only_http_is_touched(kind: str) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])
        await send({"type": "http.response.start"})

    assert request(DegradedHeader(app), kind) == [{"type": "http.response.start"}]
    assert seen == [kind]


def test_an_error_of_the_application_comes_out() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await profile(False)
        raise ZeroDivisionError

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await DegradedHeader(app)({"type": "http"}, None, None)  # type: ignore[arg-type]
        assert not current_degradation().degraded

    asyncio.run(main())


def test_with_fastapi() -> None:
    fastapi = pytest.importorskip("fastapi")
    httpx = pytest.importorskip("httpx")
    app: Any = fastapi.FastAPI()
    app.add_middleware(DegradedHeader)

    @app.get("/async/{up}")
    async def read(up: bool) -> str:
        return await profile(up)

    @app.get("/sync")
    def read_in_a_thread() -> str:
        return sync_profile()

    async def main() -> None:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            full, degraded, threaded = await asyncio.gather(
                client.get("/async/true"), client.get("/async/false"), client.get("/sync")
            )
        assert full.json() == "Ada"
        assert "x-degraded" not in full.headers
        for response in (degraded, threaded):
            assert response.json() == "nobody"
            assert response.headers["x-degraded"] == "static"

    asyncio.run(main())
