"""A client for Valkey and Redis that fits on a page, for tests that must not trust the real one.

It speaks RESP 2, the older of the two protocols, over a connection that serves a single command.
Source: the Redis serialization protocol specification, version 2.
"""

from __future__ import annotations

import socket
from io import BufferedReader
from typing import Any

Word = str | bytes | int | float


class ValkeyReplyError(RuntimeError):
    """An error reply of the server; its text begins with the server's code, such as ``WRONGPASS``.

    What else it says may quote the command.
    """


def ask(connection: socket.socket, *commands: tuple[Word, ...]) -> list[Any]:
    """Send commands in one go; a reply each, errors among them as `ValkeyReplyError` objects.

    Raises:
        OSError: the connection is lost or silent for longer than its timeout.
    """
    connection.sendall(b"".join(_packed(command) for command in commands))
    with connection.makefile("rb") as replies:
        return [_reply(replies) for _ in commands]


def _packed(command: tuple[Word, ...]) -> bytes:
    words = [word if isinstance(word, bytes) else str(word).encode() for word in command]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)


def _reply(replies: BufferedReader) -> Any:
    line = replies.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionResetError("the server closed the connection instead of answering")
    kind, rest = line[:1], line[1:-2]
    match kind:
        case b"+":
            return rest.decode()
        case b"-":
            return ValkeyReplyError(rest.decode(errors="replace"))
        case b":":
            return int(rest)
        case b"$":
            return None if rest == b"-1" else _exactly(replies, int(rest) + 2)[:-2]
        case b"*":
            return None if rest == b"-1" else [_reply(replies) for _ in range(int(rest))]
        case _:
            raise ConnectionResetError("the server answers in another protocol")


def _exactly(replies: BufferedReader, size: int) -> bytes:
    found = replies.read(size)
    if len(found) < size:
        raise ConnectionResetError("the server closed the connection in the middle of its answer")
    return found
