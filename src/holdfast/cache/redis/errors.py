"""What went wrong with Redis, put into the few kinds of trouble that somebody acts on.

There are two sources. An error *reply* begins with a code in capitals, and the code decides; the
rest of it may quote keys and values, so people get our words instead. Everything else is a failure
of the connection, and the operating system's own error, somewhere in the chain of causes, says
which.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Iterator
from typing import NamedTuple

from redis.exceptions import RedisError, ResponseError

from holdfast.cache.port import TierError, Trouble

_CODES = {
    "LOADING": (Trouble.BUSY, "the server is reading its data set"),
    "BUSY": (Trouble.BUSY, "the server runs a script that does not end"),
    "MASTERDOWN": (Trouble.BUSY, "a replica that has lost its primary"),
    "CLUSTERDOWN": (Trouble.BUSY, "the cluster is not complete"),
    "TRYAGAIN": (Trouble.BUSY, "the keys are moving between nodes"),
    "MOVED": (Trouble.BUSY, "the cluster does not agree who has the keys"),
    "ASK": (Trouble.BUSY, "the cluster does not agree who has the keys"),
    "OOM": (Trouble.WRITES_REFUSED, "the server has used up its memory"),
    "READONLY": (Trouble.WRITES_REFUSED, "the server is a replica"),
    "NOREPLICAS": (Trouble.WRITES_REFUSED, "the primary has too few replicas"),
    "MISCONF": (Trouble.WRITES_REFUSED, "the server cannot save to its disk"),
    "NOAUTH": (Trouble.CONFIGURATION, "configuration, not an outage"),
    "WRONGPASS": (Trouble.CONFIGURATION, "configuration, not an outage"),
    "NOPERM": (Trouble.CONFIGURATION, "configuration, not an outage"),
    "DENIED": (Trouble.CONFIGURATION, "the server is in protected mode"),
    "CROSSSLOT": (Trouble.CONFIGURATION, "a node of a cluster, but the URL does not say so"),
    "WRONGTYPE": (Trouble.REFUSED, "the key holds something else"),
}
_SENTENCES = {
    "max number of clients": (Trouble.UNREACHABLE, "the server has too many clients"),
    "DB index": (Trouble.CONFIGURATION, "there is no database of this number"),
    "cluster support disabled": (Trouble.CONFIGURATION, "the server is no node of a cluster"),
    "invalid password": (Trouble.CONFIGURATION, "configuration, not an outage"),
    "AUTH": (Trouble.CONFIGURATION, "the server does not ask for a password; the URL has one"),
}
"""Beginnings, more or less, of what follows the code ERR."""

# Redis 6 wraps the error that ended a script: "ERR Error running script ...: -OOM command not ...".
_IN_SCRIPT = re.compile(r"Error running script .*?-([A-Z]{3,}) ")
_CODE = re.compile(r"[A-Z][A-Z0-9]+")


class Refusal(NamedTuple):
    """An error reply: its code, and the rest, which may quote the command."""

    code: str
    text: str


def refusal_in(error: BaseException) -> Refusal | None:
    """The error reply that redis-py made an exception of; None if it is no reply at all."""
    if not isinstance(error, RedisError):
        return None
    text = str(error)
    code = getattr(error, "status_code", None)
    if code is None:
        if not isinstance(error, ResponseError):
            return None
        word, _, rest = text.partition(" ")
        code, text = (word, rest) if _CODE.fullmatch(word) else ("ERR", text)
    wrapped = _IN_SCRIPT.search(text)
    return Refusal(wrapped[1] if wrapped else code, text)


def refused(refusal: Refusal) -> TierError:
    """The error for a reply that is one."""
    code, text = refusal
    known = _CODES.get(code)
    if known is None and code == "ERR":
        known = next((found for part, found in _SENTENCES.items() if part in text), None)
    trouble, words = known or (Trouble.REFUSED, "the server cannot do this")
    return TierError(trouble, f"{code}: {words}")


def failed(error: BaseException, where: str) -> TierError:
    """The error for a connection to `where` that could not be opened, or was lost."""
    for cause in _causes(error):
        refusal = refusal_in(cause)
        if refusal is not None:
            return refused(refusal)
        known = _of_system(cause, where)
        if known is not None:
            return known
    return TierError(Trouble.UNREACHABLE, f"lost the connection to {where}")


def senseless(where: str) -> TierError:
    """The error for a server whose replies cannot be understood."""
    return TierError(Trouble.UNREACHABLE, f"what {where} answers makes no sense")


def silent(where: str, seconds: float) -> TierError:
    """The error for a server that did not answer while a connection was being opened."""
    return TierError(Trouble.UNREACHABLE, f"no answer from {where} within {seconds:g} s")


def _of_system(error: BaseException, where: str) -> TierError | None:
    match error:
        case ssl.SSLCertVerificationError():
            reason = error.verify_message
            words = f"the certificate of {where} is not trusted: {reason}"
            return TierError(Trouble.CONFIGURATION, words)
        case ssl.SSLError():
            reason = getattr(error, "reason", None) or "no reason given"
            if "CERTIFICATE" in reason:
                return TierError(Trouble.CONFIGURATION, f"{where} does not trust our certificate")
            return TierError(Trouble.UNREACHABLE, f"no TLS with {where}: {reason}")
        case socket.gaierror():
            return TierError(Trouble.UNREACHABLE, f"the name of {where} is not known")
        case ConnectionRefusedError():
            return TierError(Trouble.UNREACHABLE, f"connection refused at {where}")
        case ConnectionResetError() | BrokenPipeError():
            return TierError(Trouble.UNREACHABLE, f"connection reset by {where}")
        case FileNotFoundError():
            return TierError(Trouble.UNREACHABLE, f"there is no socket at {where}")
        case PermissionError():
            return TierError(Trouble.CONFIGURATION, f"not allowed to use the socket at {where}")
        case OSError() if f"[Errno {errno.ECONNREFUSED}]" in str(error):
            # asyncio joins the errors of a name's several addresses into one text.
            return TierError(Trouble.UNREACHABLE, f"connection refused at {where}")
        case _:
            return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
