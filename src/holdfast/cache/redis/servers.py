"""What stands behind the tier: one server, or the primary that Sentinels know.

For a cluster see `holdfast.cache.redis.cluster`; all three look the same to the tier.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from holdfast.cache.port import PoolSnapshot, TierError, Trouble
from holdfast.cache.redis.commands import Command, Reply, command, is_list
from holdfast.cache.redis.dialer import Dialer
from holdfast.cache.redis.errors import Refusal, refused
from holdfast.cache.redis.lane import Lane
from holdfast.cache.redis.link import Link
from holdfast.cache.redis.target import Address

ROLE: Final = command("ROLE")


class Member(NamedTuple):
    """A server and its role: primary, replica or sentinel."""

    address: Address
    role: str


class Servers(Protocol):
    """The servers of a tier. All raise `TierError`."""

    def groups(self, keys: Sequence[str]) -> Sequence[Sequence[int]]:
        """Which of the keys one command may name together, as indexes."""
        ...

    async def run(self, commands: Sequence[Command]) -> list[Reply]:
        """A reply each; error replies as `Refusal`."""
        ...

    async def run_on_each(self, commands: Sequence[Command]) -> list[Reply]:
        """The same commands on each primary; all replies in a row."""
        ...

    async def open(self) -> Link:
        """A connection to any server that hears all that is published."""
        ...

    async def members(self) -> Sequence[Member]:
        """The servers known now; those that cannot be asked about others are among them."""
        ...

    def distrust(self) -> None:
        """What was the primary is none: look again before the next command."""
        ...

    def pool(self) -> PoolSnapshot:
        """The connections to all servers together."""
        ...


class One:
    """A single server."""

    def __init__(self, dialer: Dialer, limit: int) -> None:
        self._dialer = dialer
        self._lane = Lane(self.open, limit)

    def groups(self, keys: Sequence[str]) -> Sequence[Sequence[int]]:
        return (range(len(keys)),)

    async def run(self, commands: Sequence[Command]) -> list[Reply]:
        return await self._lane.run(commands)

    async def run_on_each(self, commands: Sequence[Command]) -> list[Reply]:
        return await self._lane.run(commands)

    async def open(self) -> Link:
        hosts = self._dialer.target.hosts
        return await self._dialer.open(hosts[0] if hosts else ("", 0))

    async def members(self) -> Sequence[Member]:
        hosts = self._dialer.target.hosts
        return [Member(hosts[0] if hosts else ("", 0), "primary")]

    def distrust(self) -> None:
        self._lane.renew()

    def pool(self) -> PoolSnapshot:
        return self._lane.snapshot()


class Watched(One):
    """The primary that the Sentinels name, asked anew for every connection.

    Source: *Guidelines for Redis clients with support for Redis Sentinel*, in the documentation of
    Redis.
    """

    def __init__(self, dialer: Dialer, limit: int) -> None:
        super().__init__(dialer, limit)
        self._sentinels = deque(dialer.target.hosts)
        self._primary: Address | None = None

    async def open(self) -> Link:
        address = await self._find_primary()
        if address != self._primary:
            self._primary = address
            self._lane.renew()
        link = await self._dialer.open(address)
        try:
            (role,) = await link.run_within(self._dialer.connect_timeout, [ROLE])
        except BaseException:
            link.abort()
            raise
        # Who may not ask for the role gets a refusal, and has to trust the Sentinel.
        if is_list(role) and role[:1] != [b"master"]:
            link.abort()
            raise TierError(Trouble.UNREACHABLE, f"{link.where} is no primary (yet)")
        return link

    async def members(self) -> Sequence[Member]:
        found = [Member(address, "sentinel") for address in self._sentinels]
        try:
            primary = await self._find_primary()
        except TierError:
            return found
        return [Member(primary, "primary"), *found]

    async def _find_primary(self) -> Address:
        service = self._dialer.target.service
        question = command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
        troubles: list[TierError] = []
        for _ in range(len(self._sentinels)):
            sentinel = self._sentinels[0]
            # First behind the others, should the caller's time be up while we wait for this one.
            self._sentinels.rotate(-1)
            try:
                (reply,) = await self._dialer.ask(sentinel, [question], sentinel=True)
                if isinstance(reply, Refusal):
                    raise refused(reply)
                match reply:
                    case [bytes(host), bytes(port)] if port.isdigit():
                        self._sentinels.rotate(1)
                        return host.decode(errors="replace"), int(port)
                    case _:
                        name = self._dialer.name_of(sentinel)
                        raise TierError(Trouble.UNREACHABLE, f"unknown to the Sentinel {name}")
            except TierError as error:
                troubles.append(error)
        # All that is wrong may be the configuration, but then with each of them.
        same = {error.trouble for error in troubles}
        trouble = same.pop() if len(same) == 1 else Trouble.UNREACHABLE
        reasons = "; ".join(error.reason for error in troubles)
        raise TierError(trouble, f"no primary of {service!r} known: {reasons}")
