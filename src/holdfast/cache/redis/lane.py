"""The connections to one server: few, lent for a command each, waited for in turn.

A connection comes back only from a command that got its whole reply. From any other, be it an error
or a cancellation, it is dropped. One that waits idle may have been closed by the server meanwhile;
that is looked at before it is lent again, so a server that was restarted costs nobody a command.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from holdfast.cache.port import PoolSnapshot
from holdfast.cache.redis.commands import Command, Reply
from holdfast.cache.redis.errors import senseless
from holdfast.cache.redis.link import Link


class Lane:
    """Up to `limit` connections, made by `dial` when needed. Belongs to one event loop."""

    def __init__(self, dial: Callable[[], Awaitable[Link]], limit: int) -> None:
        self._dial = dial
        self._limit = limit
        self._seats = asyncio.Semaphore(limit)
        self._free: list[Link] = []
        self._era = object()
        self._open = 0
        self._opened = 0
        self._dropped = 0

    async def run(self, commands: Sequence[Command]) -> list[Reply]:
        """Send the commands in one go; a reply each, error replies as `Refusal`.

        Raises:
            TierError: no connection, or it was lost, or what came back makes no sense.
        """
        async with self._seats:
            link = await self._take()
            try:
                replies = await link.run(commands)
                for command, reply in zip(commands, replies, strict=True):
                    if not command.fits(reply):
                        raise senseless(link.where)
            except BaseException:
                self._drop(link)
                raise
            if link.era is self._era:
                self._free.append(link)
            else:
                self._close(link)
            return replies

    def renew(self) -> None:
        """Let no connection of now serve another command; those in use end with theirs."""
        self._era = object()
        while self._free:
            self._close(self._free.pop())

    def snapshot(self) -> PoolSnapshot:
        """The connections at this moment."""
        return PoolSnapshot(
            open=self._open,
            in_use=self._open - len(self._free),
            limit=self._limit,
            opened_total=self._opened,
            dropped_total=self._dropped,
        )

    async def _take(self) -> Link:
        while self._free:
            link = self._free.pop()
            if await link.is_clean():
                return link
            self._drop(link)
        link = await self._dial()
        link.era = self._era
        self._open += 1
        self._opened += 1
        return link

    def _drop(self, link: Link) -> None:
        self._dropped += 1
        self._close(link)

    def _close(self, link: Link) -> None:
        self._open -= 1
        link.abort()
