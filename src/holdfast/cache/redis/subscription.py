"""What others publish, heard on a connection of its own.

A dead connection and a channel on which nothing happens look alike. So after some silence the
server is asked to say something, and if that brings nothing either, the connection counts as lost.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Final

from holdfast.cache.port import TierError, Trouble
from holdfast.cache.redis.commands import PING, command
from holdfast.cache.redis.errors import Refusal, refused, senseless, silent
from holdfast.cache.redis.link import Link

QUIET_SECONDS: Final = 2.0
"""Silence after which the server is asked, and after which its silence counts as its end."""


class Subscription:
    """An async context manager that is its own iterator; see `SharedTier.subscription`.

    Waiting for the next note may be cancelled and begun again, and loses none.
    """

    def __init__(self, dial: Callable[[], Awaitable[Link]], channel: str) -> None:
        self._dial = dial
        self._channel = channel
        self._link: Link | None = None
        self._asked = False

    async def __aenter__(self) -> AsyncIterator[bytes]:
        subscribe = command("SUBSCRIBE", self._channel)
        self._link = link = await self._dial()
        try:
            # The reply is from the moment in which the server begins to pass notes on.
            (reply,) = await link.run_within(QUIET_SECONDS, [subscribe])
            if isinstance(reply, Refusal):
                raise refused(reply)
        except BaseException:
            link.abort()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._link is not None:
            self._link.abort()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        link = self._link
        if link is None:
            raise TierError(Trouble.REFUSED, "the subscription was not entered")
        while True:
            reply = await link.receive(QUIET_SECONDS)
            if reply is None:
                if self._asked:
                    link.abort()
                    raise silent(link.where, 2 * QUIET_SECONDS)
                self._asked = True
                await link.send(PING)
                continue
            self._asked = False
            if isinstance(reply, Refusal):
                raise refused(reply)
            match reply:
                case [b"message", _, bytes(note)]:
                    return note
                case [b"pong" | b"subscribe", *_]:
                    continue
                case _:
                    link.abort()
                    raise senseless(link.where)
