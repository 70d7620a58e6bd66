"""Which exception types mean what, by name, so that no client library need be imported.

A type is found by ``module.qualname`` of itself or of the nearest base class that is listed. An
entry is a `Category`, or a look: a function that reads the instance and may pass (None), whereupon
the next base class is asked. The names are those under which the libraries really define their
classes, which is rarely the name one imports (``asyncpg.exceptions._base.PostgresError``).
"""

from __future__ import annotations

from holdfast._classify_codes import (
    CANCELLED,
    OVERLOAD,
    PERMANENT,
    TIMEOUT,
    TRANSIENT,
    UNAVAILABLE,
    UNKNOWN,
)
from holdfast._classify_looks import (
    RULES,
    Look,
    aws,
    driver,
    group,
    grpc_code,
    http_status,
    known,
    message,
    name_resolution,
    os_errno,
    rooted,
    smtp,
    sqlite,
    sqlstate,
    tls,
)
from holdfast.errors import Category

__all__ = ["known"]  # to be taken from here, where the rules are complete

# A connection that fails before the server has spoken has no SQLSTATE, only libpq's words.
_libpq = message(
    {
        "server closed": TRANSIENT,
        "starting up": UNAVAILABLE,
        "shutting down": UNAVAILABLE,
        "too many clients": OVERLOAD,
        "remaining connection slots": OVERLOAD,
        "authentication failed": PERMANENT,
        "no password supplied": PERMANENT,
        "does not exist": PERMANENT,
        "timeout expired": TIMEOUT,
        "connection failed": UNAVAILABLE,
        "connection refused": UNAVAILABLE,
        "failed to resolve host": UNAVAILABLE,
        "could not translate host name": UNAVAILABLE,
    },
    TRANSIENT,
)


def _operational(exc: object) -> Category | None:
    return sqlstate(exc) or _libpq(exc)


def _table(prefix: str, rows: dict[Category | Look, str]) -> dict[str, Category | Look]:
    return {f"{prefix}.{name}": entry for entry, names in rows.items() for name in names.split()}


RULES.update(
    {
        **_table(
            "builtins",
            {
                TRANSIENT: "ConnectionError EOFError",
                TIMEOUT: "TimeoutError",
                UNAVAILABLE: "ConnectionRefusedError",
                PERMANENT: "ArithmeticError AssertionError AttributeError ImportError LookupError"
                " NameError NotImplementedError RecursionError StopAsyncIteration StopIteration"
                " SyntaxError TypeError ValueError PermissionError FileNotFoundError"
                " FileExistsError IsADirectoryError NotADirectoryError",
                os_errno: "OSError",
                group: "ExceptionGroup",
            },
        ),
        "concurrent.futures._base.CancelledError": CANCELLED,
        "asyncio.queues.QueueFull": OVERLOAD,
        "queue.Full": OVERLOAD,
        "multiprocessing.context.TimeoutError": TIMEOUT,
        "subprocess.TimeoutExpired": TIMEOUT,
        "socket.gaierror": name_resolution,
        "socket.herror": message({"[errno 2]": TRANSIENT}, UNAVAILABLE),
        **_table(
            "ssl",
            {
                tls: "SSLError",
                TRANSIENT: "SSLEOFError SSLZeroReturnError SSLSyscallError SSLWantReadError"
                " SSLWantWriteError",
                PERMANENT: "SSLCertVerificationError",
            },
        ),
        "urllib.error.HTTPError": http_status,
        "urllib.error.URLError": rooted(UNKNOWN),
        **_table(
            "http.client",
            {
                TRANSIENT: "BadStatusLine IncompleteRead",
                PERMANENT: "ImproperConnectionState InvalidURL UnknownProtocol",
            },
        ),
        **_table(
            "smtplib",
            {smtp: "SMTPResponseException", TRANSIENT: "SMTPServerDisconnected"},
        ),
        **_table(
            "sqlite3",
            {
                sqlite: "OperationalError",
                PERMANENT: "DataError IntegrityError InterfaceError NotSupportedError"
                " ProgrammingError",
            },
        ),
        **_table(
            "holdfast.errors",
            {
                OVERLOAD: "RejectedError",
                UNAVAILABLE: "CircuitOpenError",
                TIMEOUT: "DeadlineExceededError CallTimeoutError",
                PERMANENT: "ConfigurationError",
            },
        ),
        **_table(
            "holdfast.cache.errors",
            {
                UNAVAILABLE: "CacheUnavailableError",
                PERMANENT: "CacheKeyError CacheEncodeError CacheDecodeError PayloadTooLargeError"
                " CacheCounterError",
            },
        ),
        **_table(
            "httpx",
            {
                http_status: "HTTPStatusError",
                TIMEOUT: "TimeoutException",
                OVERLOAD: "PoolTimeout",
                rooted(UNAVAILABLE): "ConnectError ProxyError",
                TRANSIENT: "NetworkError RemoteProtocolError",
                PERMANENT: "LocalProtocolError UnsupportedProtocol InvalidURL TooManyRedirects"
                " CookieConflict StreamError",
            },
        ),
        **_table(
            "aiohttp.client_exceptions",
            {
                http_status: "ClientResponseError",
                TIMEOUT: "ServerTimeoutError",
                rooted(UNAVAILABLE): "ClientConnectorError",
                rooted(TRANSIENT): "ClientOSError",
                TRANSIENT: "ClientConnectionError ClientPayloadError",
                rooted(PERMANENT): "ClientSSLError",
                PERMANENT: "ClientConnectorCertificateError ServerFingerprintMismatch"
                " TooManyRedirects InvalidURL NonHttpUrlClientError",
            },
        ),
        **_table(
            "requests.exceptions",
            {
                http_status: "HTTPError",
                TIMEOUT: "Timeout ConnectTimeout",
                rooted(TRANSIENT): "ConnectionError",
                rooted(UNAVAILABLE): "ProxyError",
                rooted(PERMANENT): "SSLError",
                TRANSIENT: "ChunkedEncodingError RetryError",
                PERMANENT: "TooManyRedirects URLRequired InvalidJSONError UnrewindableBodyError",
                UNKNOWN: "JSONDecodeError",  # an answer that is not JSON is not the caller's fault
            },
        ),
        **_table(
            "urllib3.exceptions",
            {
                TIMEOUT: "TimeoutError",
                OVERLOAD: "EmptyPoolError FullPoolError",
                rooted(UNAVAILABLE): "NewConnectionError ProxyError",
                rooted(TRANSIENT): "MaxRetryError ProtocolError",
                rooted(PERMANENT): "SSLError",
                TRANSIENT: "IncompleteRead InvalidChunkLength ResponseError",
                PERMANENT: "ClosedPoolError LocationValueError UnrewindableBodyError",
            },
        ),
        **_table(
            "redis.exceptions",
            {
                TIMEOUT: "TimeoutError",
                # A full pool is ours and too many clients the server's: both ask for fewer.
                message(
                    {"max number of clients": OVERLOAD, "no connection available": OVERLOAD},
                    rooted(TRANSIENT),
                ): "ConnectionError",
                OVERLOAD: "BusyLoadingError MaxConnectionsError OutOfMemoryError",
                UNAVAILABLE: "ClusterDownError MasterDownError SlotNotCoveredError",
                # READONLY: we talk to a former primary; a new connection finds the present one.
                TRANSIENT: "ReadOnlyError TryAgainError AskError MovedError WatchError"
                " InvalidResponse",
                PERMANENT: "AuthenticationError AuthorizationError ExternalAuthProviderError"
                " NoPermissionError DataError LockError PubSubError CrossSlotTransactionError"
                " InvalidPipelineStack",
                message(
                    {"busy ": OVERLOAD, "noreplicas ": UNAVAILABLE}, PERMANENT
                ): "ResponseError",
                rooted(UNKNOWN): "RedisClusterException",
            },
        ),
        "redis.sentinel.MasterNotFoundError": UNAVAILABLE,
        "redis.sentinel.SlaveNotFoundError": UNAVAILABLE,
        **_table(
            "asyncpg.exceptions",
            {
                sqlstate: "_base.PostgresError",
                message({"is closed": TRANSIENT}, PERMANENT): "_base.InterfaceError",
                TRANSIENT: "_base.OutdatedSchemaCacheError",
                UNAVAILABLE: "_base.TargetServerAttributeNotMatched",
            },
        ),
        **{
            name: entry
            for driver in ("psycopg", "psycopg2")
            for name, entry in _table(
                driver,
                {
                    sqlstate: "Error",
                    _operational: "OperationalError",
                    TIMEOUT: "errors.ConnectionTimeout",
                    PERMANENT: "DataError IntegrityError InterfaceError NotSupportedError"
                    " ProgrammingError",
                },
            ).items()
        },
        **_table(
            "psycopg_pool",
            {OVERLOAD: "PoolTimeout TooManyRequests", PERMANENT: "PoolClosed"},
        ),
        **_table(
            "sqlalchemy.exc",
            {
                OVERLOAD: "TimeoutError",  # only ever the pool's
                TRANSIENT: "DisconnectionError",
                PERMANENT: "ArgumentError CompileError InvalidRequestError UnboundExecutionError",
                driver(UNKNOWN): "StatementError EmulatedDBAPIException",
                driver(TRANSIENT): "OperationalError",
                driver(PERMANENT): "DataError IntegrityError NotSupportedError ProgrammingError",
            },
        ),
        "sqlalchemy.orm.exc.StaleDataError": TRANSIENT,
        **_table(
            "botocore.exceptions",
            {
                aws: "ClientError",
                TIMEOUT: "ConnectTimeoutError ReadTimeoutError",
                rooted(UNAVAILABLE): "EndpointConnectionError ProxyConnectionError",
                rooted(TRANSIENT): "ConnectionError HTTPClientError",
                rooted(PERMANENT): "SSLError",
                TRANSIENT: "ConnectionClosedError ResponseStreamingError IncompleteReadError"
                " ChecksumMismatch",
                UNKNOWN: "CredentialRetrievalError MetadataRetrievalError WaiterError",
                PERMANENT: "BotoCoreError",
            },
        ),
        "grpc.RpcError": grpc_code,
        "grpc.FutureTimeoutError": TIMEOUT,
        "grpc.FutureCancelledError": CANCELLED,
        **_table(
            "celery.exceptions",
            {
                TIMEOUT: "TimeoutError",
                # Retry, Ignore and Reject are orders to the worker, not failures.
                CANCELLED: "TaskPredicate TaskRevokedError",
                PERMANENT: "ImproperlyConfigured InvalidTaskError MaxRetriesExceededError"
                " NotRegistered QueueNotFound SecurityError",
            },
        ),
        **_table(
            "kombu.exceptions",
            {
                rooted(UNAVAILABLE): "OperationalError",
                OVERLOAD: "LimitExceeded",
                PERMANENT: "SerializationError SerializerNotInstalled NotBoundError",
            },
        ),
        **_table(
            "billiard.exceptions",
            {
                TIMEOUT: "SoftTimeLimitExceeded TimeLimitExceeded",
                TRANSIENT: "WorkerLostError",
                CANCELLED: "Terminated",
            },
        ),
    }
)
