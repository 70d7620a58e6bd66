"""Opens connections: the only place that makes those of redis-py."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from holdfast.cache.redis.commands import Command, Reply
from holdfast.cache.redis.link import Link
from holdfast.cache.redis.target import Address, Target
from holdfast.errors import ConfigurationError


class Dialer:
    """Opens connections to the servers of one `Target`.

    Args:
        target: where they are.
        connect_timeout: seconds for connecting and logging in together.

    Raises:
        ConfigurationError: the options for TLS cannot be used.
    """

    def __init__(self, target: Target, connect_timeout: float) -> None:
        self.target = target
        self.connect_timeout = connect_timeout
        self._tls: Any = None
        try:
            connection: Any = self._make("", 0, {})
            if target.tls is not None:
                # One for all: each would read the files of the authorities again.
                self._tls = connection.ssl_context
                self._tls.get()
        except (RedisError, OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"the options for TLS in the url cannot be used: {error}"
            ) from None

    def name_of(self, address: Address) -> str:
        """A server, for people."""
        host, port = address
        return self.target.path or (f"[{host}]:{port}" if ":" in host else f"{host}:{port}")

    async def open(self, address: Address, *, sentinel: bool = False) -> Link:
        """A connection that is logged in; raises `TierError`."""
        login = dict(self.target.sentinel_login if sentinel else self.target.login)
        options: dict[str, Any] = {"db": 0 if sentinel else self.target.database, **login}
        link = Link(self._make(*address, options), self.name_of(address))
        await link.open(self.connect_timeout)
        return link

    async def ask(
        self, address: Address, commands: Sequence[Command], *, sentinel: bool = False
    ) -> list[Reply]:
        """Replies on a connection of their own, within the time for connecting once more.

        Raises:
            TierError: there was none.
        """
        link = await self.open(address, sentinel=sentinel)
        try:
            return await link.run_within(self.connect_timeout, commands)
        finally:
            link.abort()

    def _make(self, host: str, port: int, options: dict[str, Any]) -> Any:
        options |= {
            # The caller's deadline is the only one for reads, and repeating is the caller's, too.
            "socket_timeout": None,
            "socket_connect_timeout": None,
            "retry": Retry(NoBackoff(), 0),
            "health_check_interval": 0,
            "client_name": self.target.client_name,
            "protocol": 2,
        }
        if self.target.path is not None:
            return UnixDomainSocketConnection(path=self.target.path, **options)
        options |= {"host": host, "port": port}
        if self.target.tls is None:
            return Connection(**options)
        options |= self.target.tls
        connection: Any = SSLConnection(**options)
        if self._tls is not None:
            connection.ssl_context = self._tls
        return connection
