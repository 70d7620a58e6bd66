"""One connection to one server, on which commands and replies never get out of step.

redis-py opens the connection (TLS, password, database), hiredis reads the replies. What happens to
a connection afterwards is decided here and is simple: whoever is interrupted while replies are
still to come, for whatever reason, has to `abort` it. It is then gone at once, with what was not
sent yet; no late reply can be taken for the answer to another command.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from holdfast.cache.redis.commands import Command, Reply
from holdfast.cache.redis.errors import failed, refusal_in, silent


class Link:
    """One connection. Not thread safe; one task uses it at a time.

    Args:
        connection: of redis-py, not yet opened.
        where: host and port or path, for people.
    """

    __slots__ = ("_connection", "_transport", "era", "where")

    def __init__(self, connection: Any, where: str) -> None:
        self._connection = connection
        self._transport: Any = None
        self.where = where
        self.era: object = None
        """Of the lane that owns it; see there."""

    async def open(self, seconds: float) -> None:
        """Connect and log in, which together may take `seconds`; raises `TierError`."""
        try:
            async with asyncio.timeout(seconds):
                await self._connection.connect()
            # Kept, because redis-py lets go of it without closing it for good.
            self._transport = self._connection._writer.transport
        except TimeoutError:
            self.abort()
            raise silent(self.where, seconds) from None
        except Exception as error:
            self.abort()
            raise failed(error, self.where) from None
        except BaseException:
            self.abort()
            raise

    async def run(self, commands: Sequence[Command]) -> list[Reply]:
        """Send commands in one go and read a reply to each; error replies come as `Refusal`.

        Raises:
            TierError: the connection is lost. Abort it, as after a cancellation.
        """
        packed = b"".join([command.packed for command in commands])
        try:
            await self._connection.send_packed_command(packed, check_health=False)
            return [await self._read() for _ in commands]
        except Exception as error:
            raise failed(error, self.where) from None

    async def run_within(self, seconds: float, commands: Sequence[Command]) -> list[Reply]:
        """As `run`, with a limit of its own."""
        try:
            async with asyncio.timeout(seconds):
                return await self.run(commands)
        except TimeoutError:
            raise silent(self.where, seconds) from None

    async def send(self, command: Command) -> None:
        """Send a command, whose reply `receive` gives; raises `TierError`."""
        try:
            await self._connection.send_packed_command(command.packed, check_health=False)
        except Exception as error:
            raise failed(error, self.where) from None

    async def receive(self, seconds: float) -> Reply:
        """What the server says next; None if it says nothing for so long.

        May be cancelled and called again: what was received so far is kept.
        """
        try:
            return await self._read(seconds)
        except Exception as error:
            raise failed(error, self.where) from None

    async def is_clean(self) -> bool:
        """Whether it is still open, with nothing received that nobody asked for."""
        try:
            return not await self._connection.can_read()
        except Exception:
            return False

    def abort(self) -> None:
        """Close it at once, without waiting and without sending what is left."""
        # Not public in redis-py, whose own way to close sends what is left first; a server that
        # is frozen would never take it.
        connection = self._connection
        if self._transport is not None:
            self._transport.abort()
        elif connection._writer is not None:
            connection._writer.transport.abort()
        connection._close()

    async def _read(self, seconds: float | None = None) -> Reply:
        try:
            return await self._connection.read_response(
                disable_decoding=True, timeout=seconds, disconnect_on_error=False
            )
        except Exception as error:
            refusal = refusal_in(error)
            if refusal is None:
                raise
            return refusal
