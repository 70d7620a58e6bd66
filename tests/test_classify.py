"""The categories of real exceptions: the standard library's, the clients', one's own."""

from __future__ import annotations

import asyncio
import builtins
import concurrent.futures
import errno
import gc
import http.client
import io
import json
import logging
import queue
import smtplib
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import weakref
from collections.abc import Callable, Iterator
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast import errors
from holdfast._classify_looks import _RECIPES_AT_MOST, _recipes, driver, rooted
from holdfast.classify import classifier, classify, classify_status
from holdfast.errors import Category

TRANSIENT, TIMEOUT, OVERLOAD = Category.TRANSIENT, Category.TIMEOUT, Category.OVERLOAD
UNAVAILABLE, PERMANENT = Category.UNAVAILABLE, Category.PERMANENT
CANCELLED, UNKNOWN = Category.CANCELLED, Category.UNKNOWN


def client(name: str) -> Any:
    return pytest.importorskip(name, reason=f"{name} is not installed: its errors are not tested")


def caused(exc: BaseException, cause: BaseException) -> BaseException:
    """`exc` as a client raises it, while handling `cause`."""
    try:
        try:
            raise cause
        except BaseException:
            raise exc  # noqa: B904  many clients leave the cause implicit
    except BaseException as raised:
        return raised


def check(expected: Category, *excs: BaseException) -> None:
    assert {repr(exc): classify(exc) for exc in excs} == {repr(exc): expected for exc in excs}


REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "refused")
RESET = ConnectionResetError(errno.ECONNRESET, "reset")


class TestStandardLibrary:
    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            ("ECONNRESET EPIPE ECONNABORTED ENOTCONN EINTR EBUSY", TRANSIENT),
            ("ETIMEDOUT", TIMEOUT),
            ("EMFILE ENFILE ENOBUFS ENOMEM EAGAIN", OVERLOAD),
            ("ECONNREFUSED EHOSTUNREACH ENETUNREACH ENETDOWN EADDRNOTAVAIL", UNAVAILABLE),
            ("EACCES EPERM ENOENT EEXIST EISDIR EINVAL EBADF EADDRINUSE", PERMANENT),
            ("ENOSPC EIO", UNKNOWN),
        ],
    )
    def test_system_errors_by_number(self, names: str, expected: Category) -> None:
        for name in names.split():
            assert classify(OSError(getattr(errno, name), "x")) is expected, name

    def test_without_a_number_the_type_decides(self) -> None:
        check(UNAVAILABLE, ConnectionRefusedError())
        check(TRANSIENT, ConnectionResetError(), BrokenPipeError(), ConnectionError(), EOFError())
        check(UNKNOWN, OSError("something"), OSError())

    def test_several_addresses_that_all_failed(self) -> None:
        check(UNAVAILABLE, OSError("Multiple exceptions: [Errno 111] a, [Errno 101] b"))

    def test_names(self) -> None:
        check(TRANSIENT, socket.gaierror(socket.EAI_AGAIN, "x"))
        check(UNAVAILABLE, socket.gaierror(socket.EAI_NONAME, "x"), socket.gaierror())
        check(PERMANENT, socket.gaierror(socket.EAI_SERVICE, "x"))
        check(TRANSIENT, socket.herror(2, "try again"))
        check(UNAVAILABLE, socket.herror(1, "unknown host"))

    def test_timeouts(self) -> None:
        check(TIMEOUT, TimeoutError(), concurrent.futures.TimeoutError())
        check(TIMEOUT, subprocess.TimeoutExpired("sleep", 1))

    def test_giving_up(self) -> None:
        check(CANCELLED, asyncio.CancelledError(), concurrent.futures.CancelledError())
        check(CANCELLED, GeneratorExit(), KeyboardInterrupt(), SystemExit(1))

    def test_a_foreign_base_exception_is_no_failure(self) -> None:
        class Stop(BaseException):
            pass

        check(CANCELLED, Stop())

    @pytest.mark.parametrize(
        "name",
        [
            "ValueError",
            "TypeError",
            "KeyError",
            "IndexError",
            "AttributeError",
            "NameError",
            "ZeroDivisionError",
            "AssertionError",
            "ImportError",
            "NotImplementedError",
            "PermissionError",
            "FileNotFoundError",
            "StopIteration",
        ],
    )
    def test_the_callers_fault(self, name: str) -> None:
        check(PERMANENT, getattr(builtins, name)("x"))

    def test_unknown(self) -> None:
        check(UNKNOWN, Exception("x"), RuntimeError("x"), MemoryError())

    def test_json(self) -> None:
        with pytest.raises(json.JSONDecodeError) as caught:
            json.loads("{")
        check(PERMANENT, caught.value)

    def test_full_queues(self) -> None:
        check(OVERLOAD, queue.Full(), asyncio.QueueFull())

    def test_tls(self) -> None:
        untrusted = ssl.SSLCertVerificationError(1, "certificate verify failed")
        check(PERMANENT, untrusted, ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"))
        check(TRANSIENT, ssl.SSLEOFError(8, "EOF"), ssl.SSLZeroReturnError(6, "closed"))
        cut = ssl.SSLError(1, "x")
        cut.reason = "UNEXPECTED_EOF_WHILE_READING"
        check(TRANSIENT, cut)

    def test_http_client(self) -> None:
        check(TRANSIENT, http.client.RemoteDisconnected("x"), http.client.IncompleteRead(b""))
        check(PERMANENT, http.client.CannotSendRequest(), http.client.InvalidURL("x"))

    def test_urllib(self) -> None:
        check(UNAVAILABLE, urllib.error.URLError(REFUSED))
        check(UNAVAILABLE, urllib.error.URLError(socket.gaierror(socket.EAI_NONAME, "x")))
        check(TIMEOUT, urllib.error.URLError(TimeoutError("timed out")))
        check(PERMANENT, urllib.error.URLError(ssl.SSLCertVerificationError(1, "x")))
        check(UNKNOWN, urllib.error.URLError("no host given"))

    @pytest.mark.parametrize(("status", "expected"), [(404, PERMANENT), (503, OVERLOAD)])
    def test_urllib_status(self, status: int, expected: Category) -> None:
        with urllib.error.HTTPError("http://x", status, "x", Message(), io.BytesIO()) as exc:
            check(expected, exc)

    def test_smtp(self) -> None:
        check(TRANSIENT, smtplib.SMTPDataError(451, b"x"), smtplib.SMTPServerDisconnected())
        check(PERMANENT, smtplib.SMTPAuthenticationError(535, b"x"))

    def test_sqlite(self, tmp_path: Path) -> None:
        first = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
        second = sqlite3.connect(tmp_path / "a.db", isolation_level=None, timeout=0)
        try:
            first.execute("create table t (x unique)")
            first.execute("begin exclusive")
            with pytest.raises(sqlite3.OperationalError) as locked:
                second.execute("insert into t values (1)")
            first.execute("insert into t values (1)")
            with pytest.raises(sqlite3.IntegrityError) as twice:
                first.execute("insert into t values (1)")
            with pytest.raises(sqlite3.OperationalError) as wrong:
                first.execute("select * from missing")
            with pytest.raises(sqlite3.OperationalError) as nowhere:
                sqlite3.connect(tmp_path / "no" / "a.db")
        finally:
            first.close()
            second.close()
        check(TRANSIENT, locked.value, sqlite3.OperationalError("database is locked"))
        check(PERMANENT, twice.value, wrong.value)
        check(UNAVAILABLE, nowhere.value)
        check(UNKNOWN, sqlite3.OperationalError("x"))


class TestGroups:
    @pytest.mark.parametrize(
        ("members", "expected"),
        [
            ([TimeoutError()], TIMEOUT),
            ([TimeoutError(), RESET], TIMEOUT),
            ([queue.Full(), TimeoutError(), RESET], OVERLOAD),
            ([REFUSED, ValueError()], UNAVAILABLE),
            ([ValueError(), KeyError()], PERMANENT),
            ([ValueError(), TimeoutError()], UNKNOWN),
            ([RuntimeError(), RESET], UNKNOWN),
            ([concurrent.futures.CancelledError(), RESET], TRANSIENT),
            ([concurrent.futures.CancelledError()], CANCELLED),
            ([ExceptionGroup("inner", [TimeoutError()]), TimeoutError()], TIMEOUT),
        ],
    )
    def test_the_gravest_member_speaks(self, members: list[Exception], expected: Category) -> None:
        assert classify(ExceptionGroup("several", members)) is expected

    def test_a_group_that_holds_an_exit_is_an_exit(self) -> None:
        check(CANCELLED, BaseExceptionGroup("x", [KeyboardInterrupt(), RESET]))

    def test_a_huge_or_deep_group_is_read_in_part(self) -> None:
        deep: Exception = TimeoutError()
        for _ in range(2000):
            deep = ExceptionGroup("x", [deep])
        assert classify(ExceptionGroup("x", [TimeoutError()] * 100_000)) is TIMEOUT
        assert classify(deep) is CANCELLED


class TestOwnErrors:
    def test_rejections(self) -> None:
        check(UNAVAILABLE, errors.CircuitOpenError("circuit_breaker", "x", "open"))
        check(OVERLOAD, errors.BulkheadFullError("bulkhead", "x", "full"))
        check(OVERLOAD, errors.RateLimitedError("rate_limit", "x", "empty"))
        check(OVERLOAD, errors.BudgetExhaustedError("retry", "x", "budget"))
        check(TIMEOUT, errors.DeadlineExceededError("deadline", "x", "passed"))
        check(TIMEOUT, errors.CallTimeoutError("x", 1.0))
        check(PERMANENT, errors.ConfigurationError("x"))
        check(UNKNOWN, errors.ResilienceError("x"))


class TestStatus:
    @pytest.mark.parametrize(
        ("statuses", "expected"),
        [
            ([400, 401, 403, 404, 409, 418, 422, 499, 501, 505, 511], PERMANENT),
            ([408, 504, 522, 524, 598, 599], TIMEOUT),
            ([425, 500, 502, 520, 555], TRANSIENT),
            ([429, 503, 507, 509, 529], OVERLOAD),
            ([521, 523, 530], UNAVAILABLE),
            ([-1, 0, 100, 200, 204, 301, 304, 399, 600, 10**9], UNKNOWN),
        ],
    )
    def test_table(self, statuses: list[int], expected: Category) -> None:
        assert {status: classify_status(status) for status in statuses} == dict.fromkeys(
            statuses, expected
        )

    def test_the_enum_of_the_standard_library(self) -> None:
        assert classify_status(HTTPStatus.TOO_MANY_REQUESTS) is OVERLOAD


class _Foreign(Exception):
    """An error of a library nobody has heard of."""

    def __init__(self, **attributes: object) -> None:
        super().__init__("foreign")
        vars(self).update(attributes)


def nested(depth: int, root: BaseException) -> BaseException:
    """An error that `root` caused, `depth` steps away."""
    exc = root
    for _ in range(depth):
        outer = Exception("outer")
        outer.__cause__ = exc
        exc = outer
    return exc


class TestWrappers:
    """urllib3's and SQLAlchemy's wrappers stand for all that look at their causes."""

    @pytest.mark.parametrize(
        ("depth", "expected"), [(0, UNAVAILABLE), (7, UNAVAILABLE), (8, TIMEOUT)]
    )
    def test_only_so_many_causes_are_read(self, depth: int, expected: Category) -> None:
        look = rooted(TIMEOUT)
        outer = Exception("wrapper")
        outer.__cause__ = nested(depth, REFUSED)
        assert look(outer) is expected

    def test_a_circle_of_causes_ends(self) -> None:
        first, second = Exception("1"), Exception("2")
        first.__cause__, second.__cause__ = second, first
        assert rooted(TIMEOUT)(first) is TIMEOUT

    def test_a_system_error_that_says_nothing_is_passed_over(self) -> None:
        assert rooted(TIMEOUT)(caused(Exception("x"), OSError("odd"))) is TIMEOUT

    def test_from_none_hides_the_context(self) -> None:
        exc = caused(Exception("x"), REFUSED)
        assert rooted(TIMEOUT)(exc) is UNAVAILABLE
        exc.__suppress_context__ = True
        assert rooted(TIMEOUT)(exc) is TIMEOUT

    def test_a_driver_error_that_is_wrapped_too_often(self) -> None:
        exc = _Foreign(orig=nested(8, REFUSED))
        assert driver(OVERLOAD)(exc) is OVERLOAD
        assert driver(OVERLOAD)(_Foreign(orig=nested(7, REFUSED))) is UNAVAILABLE


class TestUnknownLibraries:
    def test_a_status_is_believed(self) -> None:
        check(OVERLOAD, _Foreign(status_code=503))
        check(PERMANENT, _Foreign(status=404))
        check(TIMEOUT, _Foreign(response=SimpleNamespace(status_code=504)))
        check(OVERLOAD, _Foreign(response=SimpleNamespace(status=HTTPStatus.TOO_MANY_REQUESTS)))

    def test_what_is_no_error_status_says_nothing(self) -> None:
        check(UNKNOWN, _Foreign(), _Foreign(status_code=200), _Foreign(status_code="503"))
        check(UNKNOWN, _Foreign(status=True), _Foreign(status=5030), _Foreign(status=None))

    def test_a_subclass_of_a_builtin_may_carry_one_too(self) -> None:
        class ApiError(ValueError):
            status_code = 503

        class OtherApiError(ValueError):
            pass

        check(OVERLOAD, ApiError())
        check(PERMANENT, OtherApiError())

    def test_an_attribute_that_raises_breaks_nothing(self) -> None:
        class Hostile(Exception):
            @property
            def status_code(self) -> int:
                raise RuntimeError("no")

        check(UNKNOWN, Hostile())


class TestHttpClients:
    def test_httpx(self) -> None:
        httpx = client("httpx")
        check(TIMEOUT, httpx.ConnectTimeout("x"), httpx.ReadTimeout("x"), httpx.WriteTimeout("x"))
        check(OVERLOAD, httpx.PoolTimeout("x"))
        check(UNAVAILABLE, httpx.ConnectError("x"), caused(httpx.ConnectError("x"), REFUSED))
        again = socket.gaierror(socket.EAI_AGAIN, "x")
        check(TRANSIENT, caused(httpx.ConnectError("x"), again))
        untrusted = ssl.SSLCertVerificationError(1, "x")
        check(PERMANENT, caused(httpx.ConnectError("x"), untrusted))
        check(TRANSIENT, httpx.ReadError("x"), httpx.WriteError("x"), httpx.CloseError("x"))
        check(TRANSIENT, httpx.RemoteProtocolError("x"))
        check(PERMANENT, httpx.LocalProtocolError("x"), httpx.UnsupportedProtocol("x"))
        check(PERMANENT, httpx.InvalidURL("x"), httpx.TooManyRedirects("x"))
        check(UNKNOWN, httpx.DecodingError("x"), httpx.HTTPError("x"))

    @pytest.mark.parametrize(
        ("status", "expected"), [(404, PERMANENT), (429, OVERLOAD), (500, TRANSIENT)]
    )
    def test_httpx_status(self, status: int, expected: Category) -> None:
        httpx = client("httpx")
        response = httpx.Response(status, request=httpx.Request("GET", "http://x"))
        with pytest.raises(httpx.HTTPStatusError) as caught:
            response.raise_for_status()
        check(expected, caught.value)

    def test_aiohttp(self) -> None:
        aiohttp = client("aiohttp")
        key = aiohttp.client_reqrep.ConnectionKey("x", 80, False, True, None, None, None)
        check(TIMEOUT, aiohttp.ServerTimeoutError(), aiohttp.ConnectionTimeoutError())
        check(TIMEOUT, aiohttp.SocketTimeoutError())
        connector = aiohttp.ClientConnectorError
        check(UNAVAILABLE, connector(key, REFUSED), caused(connector(key, REFUSED), REFUSED))
        again = socket.gaierror(socket.EAI_AGAIN, "x")
        check(TRANSIENT, caused(aiohttp.ClientConnectorDNSError(key, again), again))
        untrusted = ssl.SSLCertVerificationError(1, "x")
        check(PERMANENT, aiohttp.ClientConnectorCertificateError(key, untrusted))
        check(TRANSIENT, aiohttp.ServerDisconnectedError(), aiohttp.ClientPayloadError("x"))
        check(TRANSIENT, aiohttp.ClientOSError(errno.ECONNRESET, "x"))
        check(TRANSIENT, aiohttp.ClientConnectionResetError("x"))
        check(PERMANENT, aiohttp.InvalidURL("x"))
        check(UNKNOWN, aiohttp.ClientError("x"))
        request: Any = SimpleNamespace(real_url="http://x")
        for status, expected in ((404, PERMANENT), (503, OVERLOAD), (504, TIMEOUT)):
            check(expected, aiohttp.ClientResponseError(request, (), status=status))
        check(UNKNOWN, aiohttp.ContentTypeError(request, (), status=200))
        check(PERMANENT, aiohttp.TooManyRedirects(request, (), status=302))

    def test_requests(self) -> None:
        requests = client("requests")
        check(TIMEOUT, requests.ConnectTimeout(), requests.ReadTimeout(), requests.Timeout())
        check(TRANSIENT, requests.ConnectionError(), caused(requests.ConnectionError(), RESET))
        check(UNAVAILABLE, caused(requests.ConnectionError(), REFUSED))
        check(TRANSIENT, requests.exceptions.ChunkedEncodingError())
        check(PERMANENT, requests.exceptions.SSLError(), requests.exceptions.MissingSchema())
        check(PERMANENT, requests.TooManyRedirects(), requests.exceptions.InvalidURL())
        check(UNKNOWN, requests.RequestException(), requests.HTTPError())
        check(UNKNOWN, requests.exceptions.JSONDecodeError("x", "", 0))
        response = requests.Response()
        for status, expected in ((404, PERMANENT), (429, OVERLOAD), (502, TRANSIENT)):
            response.status_code = status
            check(expected, requests.HTTPError(response=response))

    def test_urllib3(self) -> None:
        urllib3 = client("urllib3")
        ex = urllib3.exceptions
        pool: Any = None
        unreachable = caused(ex.NewConnectionError(pool, "x"), REFUSED)
        check(UNAVAILABLE, unreachable, ex.MaxRetryError(pool, "/", unreachable))
        check(TIMEOUT, ex.ReadTimeoutError(pool, "/", "x"), ex.ConnectTimeoutError())
        check(TRANSIENT, caused(ex.ProtocolError("x"), RESET))
        check(PERMANENT, ex.SSLError("x"), ex.LocationParseError("x"))
        check(OVERLOAD, ex.EmptyPoolError(pool, "x"))

    @pytest.mark.parametrize("name", ["httpx", "requests", "urllib", "asyncio"])
    def test_a_port_where_nobody_listens(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """No hand-made exceptions: what the client really raises."""
        for variable in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(variable, "*")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # bound, never listening: connecting is refused
            port = taken.getsockname()[1]
            url = f"http://127.0.0.1:{port}/"

            def call() -> object:
                if name == "urllib":
                    return urllib.request.urlopen(url)
                if name == "asyncio":
                    return asyncio.run(asyncio.open_connection("127.0.0.1", port))
                return client(name).get(url)

            with pytest.raises(Exception) as caught:
                call()
        check(UNAVAILABLE, caught.value)


class TestRedis:
    def test_types(self) -> None:
        client("redis")
        import redis.exceptions as ex
        from redis.sentinel import MasterNotFoundError

        check(TRANSIENT, ex.ConnectionError("closed by server"))
        check(TRANSIENT, caused(ex.ConnectionError("x"), RESET))
        check(UNAVAILABLE, caused(ex.ConnectionError("x"), REFUSED), MasterNotFoundError())
        gone = FileNotFoundError(errno.ENOENT, "no such socket")
        check(UNAVAILABLE, caused(ex.ConnectionError("x"), gone))
        check(TIMEOUT, ex.TimeoutError("x"))
        check(OVERLOAD, ex.BusyLoadingError("x"), ex.OutOfMemoryError("x"))
        check(OVERLOAD, ex.MaxConnectionsError("x"), ex.ConnectionError("No connection available."))
        check(OVERLOAD, ex.ConnectionError("max number of clients reached"))
        check(TRANSIENT, ex.ReadOnlyError("x"), ex.TryAgainError("x"), ex.WatchError("x"))
        check(UNAVAILABLE, ex.ClusterDownError("x"), ex.MasterDownError("x"))
        check(PERMANENT, ex.AuthenticationError("x"), ex.NoPermissionError("x"))
        check(PERMANENT, ex.ResponseError("wrong type"), ex.DataError("x"), ex.LockError("x"))
        check(OVERLOAD, ex.ResponseError("BUSY Redis is busy running a script."))
        check(UNAVAILABLE, ex.ResponseError("NOREPLICAS Not enough good replicas to write."))
        check(UNKNOWN, ex.RedisError("x"))

    def test_a_programming_error_that_is_being_handled_is_not_the_cause(self) -> None:
        client("redis")
        import redis.exceptions as ex

        check(TRANSIENT, caused(ex.ConnectionError("closed by server"), KeyError("x")))


POSTGRES = [
    ("08006", TRANSIENT),
    ("08001", UNAVAILABLE),
    ("23505", PERMANENT),
    ("25P04", TIMEOUT),
    ("28P01", PERMANENT),
    ("40001", TRANSIENT),
    ("40P01", TRANSIENT),
    ("42601", PERMANENT),
    ("53300", OVERLOAD),
    ("55P03", TRANSIENT),
    ("57014", TIMEOUT),
    ("57P01", TRANSIENT),
    ("57P03", UNAVAILABLE),
    ("XX000", UNKNOWN),
]


class TestDatabases:
    @pytest.mark.parametrize(("state", "expected"), POSTGRES)
    def test_asyncpg(self, state: str, expected: Category) -> None:
        client("asyncpg")
        from asyncpg.exceptions import PostgresError

        check(expected, PostgresError.new({"C": state, "M": "x"}))

    def test_asyncpg_interface(self) -> None:
        asyncpg = client("asyncpg")
        check(TRANSIENT, asyncpg.InterfaceError("connection is closed"))
        check(PERMANENT, asyncpg.InterfaceError("another operation is in progress"))
        check(UNKNOWN, asyncpg.InternalClientError("x"))

    @pytest.mark.parametrize(("state", "expected"), POSTGRES)
    def test_psycopg(self, state: str, expected: Category) -> None:
        psycopg = client("psycopg")
        try:
            kind = psycopg.errors.lookup(state)
        except KeyError:
            pytest.skip(f"psycopg has no class for {state}")
        check(expected, kind("x"))

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("connection failed: Connection refused", UNAVAILABLE),
            ("connection failed: server closed the connection unexpectedly", TRANSIENT),
            ("failed to resolve host 'x'", UNAVAILABLE),
            ("connection failed: FATAL:  sorry, too many clients already", OVERLOAD),
            ('connection failed: FATAL:  password authentication failed for "x"', PERMANENT),
            ("connection failed: FATAL:  the database system is starting up", UNAVAILABLE),
            ("the connection is lost", TRANSIENT),
        ],
    )
    def test_psycopg_before_the_server_has_spoken(self, text: str, expected: Category) -> None:
        psycopg = client("psycopg")
        check(expected, psycopg.OperationalError(text))

    def test_psycopg_types(self) -> None:
        psycopg = client("psycopg")
        check(TIMEOUT, psycopg.errors.ConnectionTimeout("x"))
        check(PERMANENT, psycopg.ProgrammingError("x"), psycopg.IntegrityError("x"))
        check(UNKNOWN, psycopg.DatabaseError("x"))

    def test_sqlalchemy_asks_the_driver(self) -> None:
        sa = client("sqlalchemy").exc
        locked = sqlite3.OperationalError("database is locked")
        check(TRANSIENT, sa.OperationalError("q", {}, locked))
        check(UNAVAILABLE, sa.OperationalError("q", {}, REFUSED))
        check(PERMANENT, sa.StatementError("x", "q", {}, TypeError("bad parameter")))
        adapted = Exception("adapted")
        adapted.__cause__ = TimeoutError()
        check(TIMEOUT, sa.DBAPIError("q", {}, adapted))

    def test_sqlalchemy_itself(self) -> None:
        sa = client("sqlalchemy").exc
        check(OVERLOAD, sa.TimeoutError("QueuePool limit"))
        check(TRANSIENT, sa.DisconnectionError("x"), sa.OperationalError("q", {}, Exception("x")))
        check(PERMANENT, sa.IntegrityError("q", {}, Exception("x")), sa.NoResultFound("x"))
        check(UNKNOWN, sa.DBAPIError("q", {}, Exception("x")))
        for orig in (Exception("x"), ValueError("x")):
            lost = sa.DBAPIError("q", {}, orig, connection_invalidated=True)
            check(TRANSIENT, lost)

    def test_sqlalchemy_over_a_real_sqlite(self) -> None:
        sa = client("sqlalchemy")
        engine = sa.create_engine("sqlite://")
        with engine.connect() as connection, pytest.raises(sa.exc.OperationalError) as caught:
            connection.execute(sa.text("select * from missing"))
        engine.dispose()
        check(PERMANENT, caught.value)


class TestClouds:
    @pytest.mark.parametrize(
        ("code", "status", "expected"),
        [
            ("ThrottlingException", 400, OVERLOAD),
            ("ProvisionedThroughputExceededException", 400, OVERLOAD),
            ("SlowDown", 503, OVERLOAD),
            ("RequestTimeout", 400, TIMEOUT),
            ("InternalError", 500, TRANSIENT),
            ("NoSuchKey", 404, PERMANENT),
            ("AccessDenied", 403, PERMANENT),
            ("Odd", 200, UNKNOWN),
        ],
    )
    def test_botocore_answers(self, code: str, status: int, expected: Category) -> None:
        ex = client("botocore.exceptions")
        answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
        check(expected, ex.ClientError(answer, "Operation"))

    def test_botocore_connections(self) -> None:
        ex = client("botocore.exceptions")
        url = {"endpoint_url": "http://x"}
        check(UNAVAILABLE, ex.EndpointConnectionError(**url))
        check(TIMEOUT, ex.ReadTimeoutError(**url), ex.ConnectTimeoutError(**url))
        check(TRANSIENT, ex.ConnectionClosedError(**url))
        check(PERMANENT, ex.SSLError(**url, error="x"), ex.NoCredentialsError())
        check(UNKNOWN, ex.ClientError({}, "Operation"))

    @pytest.mark.parametrize(
        ("code", "details", "expected"),
        [
            ("UNAVAILABLE", "failed to connect to all addresses", UNAVAILABLE),
            ("UNAVAILABLE", "Socket closed", TRANSIENT),
            ("DEADLINE_EXCEEDED", "", TIMEOUT),
            ("RESOURCE_EXHAUSTED", "", OVERLOAD),
            ("ABORTED", "", TRANSIENT),
            ("CANCELLED", "", CANCELLED),
            ("NOT_FOUND", "", PERMANENT),
            ("UNAUTHENTICATED", "", PERMANENT),
            ("INTERNAL", "", UNKNOWN),
        ],
    )
    def test_grpc(self, code: str, details: str, expected: Category) -> None:
        grpc = client("grpc")
        from grpc.aio import AioRpcError, Metadata

        exc = AioRpcError(grpc.StatusCode[code], Metadata(), Metadata(), details=details)
        check(expected, exc)
        check(UNKNOWN, grpc.RpcError())

    def test_celery(self) -> None:
        ex = client("celery.exceptions")
        check(TIMEOUT, ex.SoftTimeLimitExceeded(), ex.TimeoutError())
        check(UNAVAILABLE, ex.OperationalError("x"), caused(ex.OperationalError("x"), REFUSED))
        check(CANCELLED, ex.Retry(), ex.Ignore(), ex.Reject())
        check(PERMANENT, ex.NotRegistered("x"), ex.MaxRetriesExceededError())


class _QuotaError(Exception):
    pass


@pytest.fixture
def rule() -> Iterator[Callable[[Any], Any]]:
    """Registers a classifier for the length of one test."""
    added: list[Any] = []

    def add(fn: Any) -> Any:
        added.append(fn)
        return classifier(fn)

    yield add
    for fn in added:
        classifier.forget(fn)
    assert classifier.rules == ()


class TestClassifiers:
    def test_the_newest_answer_counts(self, rule: Callable[[Any], Any]) -> None:
        def first(exc: BaseException) -> Category | None:
            return OVERLOAD if isinstance(exc, _QuotaError) else None

        def second(exc: BaseException) -> Category | None:
            return TIMEOUT if str(exc) == "slow" else None

        assert rule(first) is first
        rule(second)
        check(OVERLOAD, _QuotaError("x"))
        check(TIMEOUT, _QuotaError("slow"))
        check(PERMANENT, ValueError("x"))
        classifier.forget(second)
        check(OVERLOAD, _QuotaError("slow"))
        classifier.forget(second)

    def test_registering_twice_asks_once(self, rule: Callable[[Any], Any]) -> None:
        asked: list[BaseException] = []
        rule(asked.append)
        rule(classifier.rules[0])
        classify(_QuotaError())
        assert len(asked) == 1

    def test_cancellation_is_not_open_to_interpretation(self, rule: Callable[[Any], Any]) -> None:
        rule(lambda exc: TRANSIENT)
        check(CANCELLED, asyncio.CancelledError(), KeyboardInterrupt())

    @pytest.mark.parametrize("rubbish", ["transient", 3, object()])
    def test_rubbish_is_skipped_counted_and_logged_once(
        self, rule: Callable[[Any], Any], rubbish: object, caplog: pytest.LogCaptureFixture
    ) -> None:
        rule(lambda exc: rubbish)
        before = classifier.failures
        with caplog.at_level(logging.WARNING, "holdfast"):
            check(PERMANENT, ValueError("x"), KeyError("x"))
        assert classifier.failures == before + 2
        assert len(caplog.records) == 1

    def test_a_raising_rule_breaks_nothing_and_leaks_nothing(
        self, rule: Callable[[Any], Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        @rule
        def broken(exc: BaseException) -> Category:
            raise RuntimeError("hunter2")

        with caplog.at_level(logging.WARNING, "holdfast"):
            check(PERMANENT, ValueError("x"))
            check(TIMEOUT, TimeoutError())
        assert len(caplog.records) == 1
        assert "broken raised RuntimeError" in caplog.text
        assert "hunter2" not in caplog.text

    def test_only_callables(self) -> None:
        with pytest.raises(errors.ConfigurationError, match="rule must be a callable"):
            classifier("transient")  # type: ignore[arg-type]


class TestMemory:
    def test_classes_are_not_kept_alive(self) -> None:
        def once() -> weakref.ref[type]:
            kind = type("Shortlived", (Exception,), {})
            classify(kind())
            assert kind in _recipes
            return weakref.ref(kind)

        gone = once()
        gc.collect()
        assert gone() is None

    def test_the_table_is_bounded(self) -> None:
        kinds = [type(f"Kind{n}", (ValueError,), {}) for n in range(_RECIPES_AT_MOST + 100)]
        for kind in kinds:
            check(PERMANENT, kind())
        assert len(_recipes) <= _RECIPES_AT_MOST

    def test_threads(self) -> None:
        def work() -> None:
            for n in range(200):
                kind = type(f"Kind{n}", (TimeoutError,), {})
                results.append(classify(kind()))

        results: list[Category] = []
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [TIMEOUT] * 1600


def test_importing_loads_no_client() -> None:
    code = """
import sys
import holdfast.classify
clients = "httpx aiohttp requests urllib3 redis asyncpg psycopg sqlalchemy botocore grpc celery"
print([name for name in clients.split() if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
