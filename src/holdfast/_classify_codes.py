"""What the codes inside errors mean: HTTP status, errno, SQLSTATE, gRPC status, AWS error codes.

An exception's type often says only "it failed"; the number it carries says how. Every table here
goes from such a code to a `Category`; a code that is not listed says nothing. Sources: RFC 9110
section 15 (HTTP), POSIX and `getaddrinfo`, appendix A of the PostgreSQL manual (SQLSTATE), the
gRPC status guide and Google's AIP-194, the retryable codes in botocore's "standard" mode.
"""

from __future__ import annotations

import errno
import socket

from holdfast.errors import Category

TRANSIENT, TIMEOUT, OVERLOAD = Category.TRANSIENT, Category.TIMEOUT, Category.OVERLOAD
UNAVAILABLE, PERMANENT = Category.UNAVAILABLE, Category.PERMANENT
CANCELLED, UNKNOWN = Category.CANCELLED, Category.UNKNOWN

# Codes of the 4xx and 5xx classes that mean something else than 400 and 500 do. 520 and up are not
# registered, but proxies and content networks send them every day.
_HTTP: dict[int, Category] = {
    408: TIMEOUT,
    425: TRANSIENT,
    429: OVERLOAD,
    501: PERMANENT,
    503: OVERLOAD,
    504: TIMEOUT,
    505: PERMANENT,
    506: PERMANENT,
    507: OVERLOAD,
    508: PERMANENT,
    509: OVERLOAD,
    510: PERMANENT,
    511: PERMANENT,
    521: UNAVAILABLE,
    522: TIMEOUT,
    523: UNAVAILABLE,
    524: TIMEOUT,
    525: UNAVAILABLE,
    526: UNAVAILABLE,
    529: OVERLOAD,
    530: UNAVAILABLE,
    598: TIMEOUT,
    599: TIMEOUT,
}


def classify_status(status: int) -> Category:
    """The category of an HTTP status code.

    As RFC 9110 asks of clients, a code that is not known means what the first of its class means:
    4xx is `PERMANENT` like 400, 5xx is `TRANSIENT` like 500 (a server that stumbled over one
    request may well manage the next; the retry budget bounds the case where it cannot). 408, 504
    are `TIMEOUT`; 429, 503, 507 `OVERLOAD`. Anything outside 400 to 599 is no error and gives
    `UNKNOWN`. Never raises.
    """
    category = _HTTP.get(status)
    if category is not None:
        return category
    if 400 <= status <= 499:
        return PERMANENT
    if 500 <= status <= 599:
        return TRANSIENT
    return UNKNOWN


def _all(category: Category, codes: str) -> dict[str, Category]:
    return dict.fromkeys(codes.split(), category)


def _by_number(module: object, names: dict[Category, str]) -> dict[int, Category]:
    """Numbers differ between platforms and some names exist only on some, hence the look-up."""
    return {
        getattr(module, name): category
        for category, listed in names.items()
        for name in listed.split()
        if hasattr(module, name)
    }


# A full disk or a broken one (ENOSPC, EIO) is absent on purpose: retrying does not help, yet it is
# not the caller's fault either, so it stays unknown.
ERRNO = _by_number(
    errno,
    {
        TRANSIENT: "ECONNRESET ECONNABORTED EPIPE ESHUTDOWN ENETRESET ENOTCONN EINTR EBUSY ESTALE"
        " EDEADLK",
        TIMEOUT: "ETIMEDOUT",
        OVERLOAD: "EMFILE ENFILE ENOBUFS ENOMEM EAGAIN EWOULDBLOCK",
        UNAVAILABLE: "ECONNREFUSED EHOSTUNREACH EHOSTDOWN ENETUNREACH ENETDOWN EADDRNOTAVAIL",
        PERMANENT: "EACCES EPERM ENOENT EEXIST ENOTDIR EISDIR ENOTEMPTY EINVAL EBADF EROFS EXDEV"
        " ELOOP ENAMETOOLONG ENOTSOCK EMSGSIZE EAFNOSUPPORT EPROTONOSUPPORT EPROTOTYPE EADDRINUSE"
        " EDESTADDRREQ EISCONN",
    },
)

# Name resolution; whatever is not listed means that the name has no address.
GAI = _by_number(
    socket,
    {
        TRANSIENT: "EAI_AGAIN",
        OVERLOAD: "EAI_MEMORY",
        PERMANENT: "EAI_BADFLAGS EAI_FAMILY EAI_SERVICE EAI_SOCKTYPE",
    },
)

# Primary result codes of SQLite (the low byte of the extended ones).
SQLITE: dict[int, Category] = {
    1: PERMANENT,  # the SQL is wrong, or a table is missing
    5: TRANSIENT,  # BUSY: another connection holds the lock
    6: TRANSIENT,  # LOCKED
    7: OVERLOAD,  # NOMEM
    8: PERMANENT,  # READONLY
    9: CANCELLED,  # INTERRUPT: somebody called interrupt()
    14: UNAVAILABLE,  # CANTOPEN
    15: TRANSIENT,  # PROTOCOL: lost a race for the lock
}

# Five characters name a condition, two a whole class; the longer wins.
SQLSTATE: dict[str, Category] = {
    "08": TRANSIENT,
    "08001": UNAVAILABLE,
    "08004": UNAVAILABLE,
    "08P01": PERMANENT,
    "25P03": TRANSIENT,
    "25P04": TIMEOUT,
    "40": TRANSIENT,
    "40002": PERMANENT,
    "53": OVERLOAD,
    "55": PERMANENT,
    "55006": TRANSIENT,
    "55P03": TRANSIENT,
    "57": TRANSIENT,
    "57014": TIMEOUT,  # cancelled on request; in practice statement_timeout
    "57P03": UNAVAILABLE,
    "57P04": PERMANENT,
    "72": TRANSIENT,
    **_all(PERMANENT, "0A 21 22 23 24 25 26 28 2B 2D 34 3B 3D 3F 42 44 54 P0"),
}


# AIP-194 finds only UNAVAILABLE safe to retry blindly; INTERNAL and DATA_LOSS count against the
# dependency without being retried.
GRPC: dict[str, Category] = {
    "CANCELLED": CANCELLED,
    "DEADLINE_EXCEEDED": TIMEOUT,
    "RESOURCE_EXHAUSTED": OVERLOAD,
    "ABORTED": TRANSIENT,
    "UNAVAILABLE": UNAVAILABLE,
    "UNKNOWN": UNKNOWN,
    "INTERNAL": UNKNOWN,
    "DATA_LOSS": UNKNOWN,
    **_all(
        PERMANENT,
        "INVALID_ARGUMENT NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED FAILED_PRECONDITION"
        " OUT_OF_RANGE UNIMPLEMENTED UNAUTHENTICATED",
    ),
}

# AWS services answer throttling with HTTP 400 as often as with 429, so the code goes first.
AWS: dict[str, Category] = {
    **_all(
        OVERLOAD,
        "Throttling ThrottlingException ThrottledException RequestThrottled"
        " RequestThrottledException TooManyRequestsException RequestLimitExceeded"
        " ProvisionedThroughputExceededException BandwidthLimitExceeded LimitExceededException"
        " SlowDown EC2ThrottledException",
    ),
    "PriorRequestNotComplete": TRANSIENT,
    "TransactionInProgressException": TRANSIENT,
    "RequestTimeout": TIMEOUT,
    "RequestTimeoutException": TIMEOUT,
}
