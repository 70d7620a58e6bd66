"""Hints about when to come back: every way in which clients deliver them."""

from __future__ import annotations

import io
import math
import urllib.error
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast._core.clock import Clock, installed
from holdfast.classify import parse_retry_after, retry_after
from holdfast.errors import CircuitOpenError

NOW = datetime(1994, 11, 6, 8, 49, 7, tzinfo=UTC).timestamp()


class _AskedError(Exception):
    def __init__(self, **attributes: object) -> None:
        super().__init__("asked")
        vars(self).update(attributes)


class TestParse:
    @pytest.mark.parametrize(
        "value",
        [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            b"Sun, 06 Nov 1994 08:49:37 GMT",
            "30",
            " 30\t",
            b"30",
            "30.0",
        ],
    )
    def test_thirty_seconds_in_every_form(self, value: object) -> None:
        assert parse_retry_after(value, NOW) == 30.0

    @pytest.mark.parametrize(
        "value",
        [
            "",
            "-1",
            "+1",
            "nan",
            "inf",
            "1e3",
            "1_000",
            "٣",
            "soon",
            "30 s",
            "86401",
            "9" * 500,
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 25:49:37 GMT",
            "Sun, 06 Nov 1994",
            "Sun, 06 Nov 2094 08:49:37 GMT",
            "Sun, 06 Nov 1904 08:49:37 GMT",
            None,
            30,
            [],
        ],
    )
    def test_nonsense(self, value: object) -> None:
        assert parse_retry_after(value, NOW) is None

    def test_a_date_that_has_just_passed(self) -> None:
        assert parse_retry_after("Sun, 06 Nov 1994 08:49:00 GMT", NOW) == 0.0

    def test_a_leap_second(self) -> None:
        assert parse_retry_after("Sun, 06 Nov 1994 08:49:60 GMT", NOW) == 52.0

    @given(st.text(max_size=80) | st.binary(max_size=80))
    def test_nothing_makes_it_raise(self, value: object) -> None:
        seconds = parse_retry_after(value, NOW)
        assert seconds is None or 0 <= seconds <= 86400

    @given(st.integers(0, 86400))
    def test_dates_round_trip(self, seconds: int) -> None:
        moment = datetime.fromtimestamp(NOW, UTC) + timedelta(seconds=seconds)
        assert parse_retry_after(format_datetime(moment, usegmt=True), NOW) == seconds


class TestAttribute:
    def test_own_rejections(self) -> None:
        assert retry_after(CircuitOpenError("circuit_breaker", "x", "open", 12.5)) == 12.5
        assert retry_after(CircuitOpenError("circuit_breaker", "x", "open")) is None

    @pytest.mark.parametrize("value", [7, 7.0, "7", timedelta(seconds=7)])
    def test_numbers_texts_and_timedeltas(self, value: object) -> None:
        assert retry_after(_AskedError(retry_after=value)) == 7.0

    @pytest.mark.parametrize("value", [-1, math.nan, math.inf, 86401, True, "x", object()])
    def test_nonsense(self, value: object) -> None:
        assert retry_after(_AskedError(retry_after=value)) is None

    def test_none_of_all_that(self) -> None:
        assert retry_after(ValueError("x")) is None

    def test_an_attribute_that_raises(self) -> None:
        class HostileError(Exception):
            @property
            def retry_after(self) -> float:
                raise RuntimeError("no")

        assert retry_after(HostileError()) is None


class TestHeaders:
    @pytest.mark.parametrize("name", ["Retry-After", "retry-after", "RETRY-AFTER", b"Retry-After"])
    def test_any_case(self, name: object) -> None:
        for headers in ({"x": "y", name: "5"}, [("x", "y"), (name, "5")]):
            assert retry_after(_AskedError(headers=headers)) == 5.0
            assert retry_after(_AskedError(response=SimpleNamespace(headers=headers))) == 5.0

    def test_other_headers_say_nothing(self) -> None:
        assert retry_after(_AskedError(headers={"x": "5"}), wall=NOW) is None
        assert retry_after(_AskedError(headers=None, response=None)) is None

    def test_dates_are_compared_with_the_clock(self) -> None:
        exc = _AskedError(headers={"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"})
        with installed(Clock(wall=lambda: NOW)):
            assert retry_after(exc) == 30.0
        assert retry_after(exc, wall=NOW + 10) == 20.0

    def test_urllib(self) -> None:
        headers = Message()
        headers["Retry-After"] = "5"
        with urllib.error.HTTPError("http://x", 503, "x", headers, io.BytesIO()) as exc:
            assert retry_after(exc) == 5.0

    def test_httpx(self) -> None:
        httpx = pytest.importorskip("httpx", reason="httpx is not installed")
        request = httpx.Request("GET", "http://x")
        response = httpx.Response(503, headers={"Retry-After": "5"}, request=request)
        exc = httpx.HTTPStatusError("x", request=request, response=response)
        assert retry_after(exc) == 5.0

    def test_requests(self) -> None:
        requests = pytest.importorskip("requests", reason="requests is not installed")
        response = requests.Response()
        response.headers["retry-after"] = "5"
        assert retry_after(requests.HTTPError(response=response)) == 5.0
        assert retry_after(requests.HTTPError()) is None

    def test_aiohttp(self) -> None:
        aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is not installed")
        multidict = pytest.importorskip("multidict", reason="multidict is not installed")
        headers = multidict.CIMultiDict({"Retry-After": "5"})
        request: Any = SimpleNamespace(real_url="http://x")
        exc = aiohttp.ClientResponseError(request, (), status=503, headers=headers)
        assert retry_after(exc) == 5.0

    def test_botocore(self) -> None:
        ex = pytest.importorskip("botocore.exceptions", reason="botocore is not installed")
        metadata = {"HTTPHeaders": {"retry-after": "5"}}
        assert retry_after(ex.ClientError({"ResponseMetadata": metadata}, "x")) == 5.0
        assert retry_after(ex.ClientError({}, "x")) is None

    @pytest.mark.parametrize(("value", "expected"), [("250", 0.25), ("-1", None), ("x", None)])
    def test_grpc(self, value: str, expected: float | None) -> None:
        grpc = pytest.importorskip("grpc", reason="grpcio is not installed")
        from grpc.aio import AioRpcError, Metadata

        trailing = Metadata(("other", "1"), ("grpc-retry-pushback-ms", value))
        exc = AioRpcError(grpc.StatusCode.UNAVAILABLE, Metadata(), trailing)
        assert retry_after(exc) == expected
        silent = AioRpcError(grpc.StatusCode.UNAVAILABLE, Metadata(), Metadata(("other", "1")))
        assert retry_after(silent) is None
