"""The servers of a cluster: a lane to each, and a map that says who has which key.

A cluster cuts the keys into 16384 *slots*; one command may only name keys of one slot. So a batch
becomes a command per slot, and the commands for one node travel together. A node that does not
have a slot (any more) says so: MOVED for good, ASK for this one time while the slot is on its way.
Source: the *Redis cluster specification*.

The map is asked for again whenever it has proved wrong or a node cannot be reached.
"""

from __future__ import annotations

import asyncio
import re
from binascii import crc_hqx
from collections.abc import Sequence
from typing import Final

from holdfast.cache.port import PoolSnapshot, TierError
from holdfast.cache.redis.commands import Command, Reply, command
from holdfast.cache.redis.dialer import Dialer
from holdfast.cache.redis.errors import Refusal, refused, senseless
from holdfast.cache.redis.lane import Lane
from holdfast.cache.redis.link import Link
from holdfast.cache.redis.servers import Member
from holdfast.cache.redis.target import Address

SLOTS: Final = 16384
MOST_REDIRECTIONS: Final = 2
"""One for a stale map, another for a slot that is just moving."""

_REDIRECTION: Final = re.compile(r"([0-9]+) (.*):([0-9]+)")
_MAP: Final = command("CLUSTER", "SLOTS")
_ASKING: Final = command("ASKING")


def slot_of(key: str) -> int:
    """The slot of a key: of what stands between its first braces, if anything does."""
    _, opening, rest = key.partition("{")
    tag, closing, _ = rest.partition("}")
    # The checksum of the specification, CRC16/XMODEM, is the one that BinHex used.
    hashed = tag if opening and closing and tag else key
    return crc_hqx(hashed.encode(errors="surrogatepass"), 0) % SLOTS


class Cluster:
    """All primaries of a cluster, up to `limit` connections to each."""

    def __init__(self, dialer: Dialer, limit: int) -> None:
        self._dialer = dialer
        self._limit = limit
        self._lanes: dict[Address, Lane] = {}
        self._replicas: list[Address] = []
        self._owners: list[Address | None] = [None] * SLOTS
        self._stale = True
        self._looking = asyncio.Lock()
        self._suspect: Address | None = None
        """Asked for the map, and did not answer before somebody lost patience."""
        self._gone = [0, 0]
        """Connections opened to and dropped from nodes that have left."""

    def groups(self, keys: Sequence[str]) -> Sequence[Sequence[int]]:
        found: dict[int, list[int]] = {}
        for index, key in enumerate(keys):
            found.setdefault(slot_of(key), []).append(index)
        return list(found.values())

    async def run(self, commands: Sequence[Command]) -> list[Reply]:
        await self._look()
        replies: list[Reply] = [None] * len(commands)
        places = {index: self._owner_of(command) for index, command in enumerate(commands)}
        asking = False
        for _ in range(MOST_REDIRECTIONS + 1):
            await self._send(commands, places, replies, asking=asking)
            places, asking = self._redirections(places, replies)
            if not places:
                break
        return replies

    async def run_on_each(self, commands: Sequence[Command]) -> list[Reply]:
        await self._look()
        parts = await self._together([(address, commands) for address in self._lanes])
        return [reply for part in parts for reply in part]

    async def open(self) -> Link:
        await self._look()
        troubles: list[TierError] = []
        for address in list(self._lanes):
            try:
                return await self._dialer.open(address)
            except TierError as error:
                troubles.append(error)
        self._stale = True
        raise troubles[-1]

    async def members(self) -> Sequence[Member]:
        try:
            await self._look(always=True)
        except TierError:
            return [Member(address, "primary") for address in self._dialer.target.hosts]
        primaries = [Member(address, "primary") for address in self._lanes]
        return primaries + [Member(address, "replica") for address in self._replicas]

    def distrust(self) -> None:
        self._stale = True
        for lane in self._lanes.values():
            lane.renew()

    def pool(self) -> PoolSnapshot:
        parts = [lane.snapshot() for lane in self._lanes.values()]
        return PoolSnapshot(
            open=sum(part.open for part in parts),
            in_use=sum(part.in_use for part in parts),
            limit=self._limit * max(1, len(parts)),
            opened_total=sum(part.opened_total for part in parts) + self._gone[0],
            dropped_total=sum(part.dropped_total for part in parts) + self._gone[1],
        )

    # -- sending -----------------------------------------------------------------------------------

    def _owner_of(self, command: Command) -> Address:
        owner = self._owners[slot_of(command.key)]
        if owner is None:
            self._stale = True
            raise refused(Refusal("CLUSTERDOWN", ""))
        return owner

    async def _send(
        self,
        commands: Sequence[Command],
        places: dict[int, Address],
        replies: list[Reply],
        *,
        asking: bool,
    ) -> None:
        """Send the commands in `places`, all nodes at once, and put down the replies."""
        shares: dict[Address, list[int]] = {}
        for index, address in places.items():
            shares.setdefault(address, []).append(index)
        step = 2 if asking else 1
        work: list[tuple[Address, Sequence[Command]]] = []
        for address, indexes in shares.items():
            batch = [commands[index] for index in indexes]
            if asking:
                batch = [part for one in batch for part in (_ASKING, one)]
            work.append((address, batch))
        for indexes, answers in zip(shares.values(), await self._together(work), strict=True):
            for index, answer in zip(indexes, answers[step - 1 :: step], strict=True):
                replies[index] = answer

    async def _together(
        self, work: Sequence[tuple[Address, Sequence[Command]]]
    ) -> list[list[Reply]]:
        """Run commands on several nodes; raises the first error, but lets the others finish."""
        if len(work) == 1:
            return [await self._run_at(*work[0])]
        # Not a task group: it would cancel the healthy nodes' commands and lose their connections.
        parts = await asyncio.gather(
            *(self._run_at(*part) for part in work), return_exceptions=True
        )
        for part in parts:
            if isinstance(part, BaseException):
                raise part
        return [part for part in parts if not isinstance(part, BaseException)]

    async def _run_at(self, address: Address, commands: Sequence[Command]) -> list[Reply]:
        try:
            return await self._lane_to(address).run(commands)
        except TierError:
            self._stale = True
            raise

    def _redirections(
        self, places: dict[int, Address], replies: list[Reply]
    ) -> tuple[dict[int, Address], bool]:
        """Which commands have to go elsewhere, and whether some have to ask to be let in."""
        found: dict[int, Address] = {}
        asking = False
        for index, asked in places.items():
            reply = replies[index]
            if not isinstance(reply, Refusal):
                continue
            if reply.code == "CLUSTERDOWN":
                self._stale = True
            elif reply.code in ("MOVED", "ASK"):
                parts = _REDIRECTION.match(reply.text)
                if parts is None:
                    continue
                # Without a host it is the one that was asked, at another port.
                found[index] = (parts[2] or asked[0], int(parts[3]))
                # To ask is harmless for commands that were moved for good.
                asking = asking or reply.code == "ASK"
                self._stale = self._stale or reply.code == "MOVED"
        return found, asking

    # -- the map -----------------------------------------------------------------------------------

    def _lane_to(self, address: Address) -> Lane:
        lane = self._lanes.get(address)
        if lane is None:
            lane = Lane(lambda: self._dialer.open(address), self._limit)
            self._lanes[address] = lane
        return lane

    async def _look(self, *, always: bool = False) -> None:
        """See to it that the map is one that nobody has complained about."""
        if not self._stale and not always:
            return
        async with self._looking:
            if self._stale or always:
                answer = await self._ask_around()
                try:
                    self._take_over(*answer)
                except (AttributeError, IndexError, TypeError, ValueError):
                    where = self._dialer.name_of(answer[0])
                    raise senseless(where) from None

    async def _ask_around(self) -> tuple[Address, list[Reply]]:
        troubles: list[TierError] = []
        known = dict.fromkeys((*self._lanes, *self._dialer.target.hosts))
        for address in sorted(known, key=lambda address: address == self._suspect):
            self._suspect = address
            try:
                (reply,) = await self._dialer.ask(address, [_MAP])
                if isinstance(reply, Refusal):
                    raise refused(reply)
            except TierError as error:
                troubles.append(error)
            else:
                self._suspect = None
                return address, reply
        raise troubles[-1]

    def _take_over(self, asked: Address, ranges: list[Reply]) -> None:
        owners: list[Address | None] = [None] * SLOTS
        replicas: dict[Address, None] = {}
        for first, last, *nodes in ranges:
            addresses = [((host or b"").decode() or asked[0], port) for host, port, *_ in nodes]
            owners[first : last + 1] = [addresses[0]] * (last + 1 - first)
            replicas |= dict.fromkeys(addresses[1:])
        wanted = {owner for owner in owners if owner is not None}
        if not wanted:
            raise refused(Refusal("CLUSTERDOWN", ""))
        self._owners = owners
        self._replicas = list(replicas)
        for address in [known for known in self._lanes if known not in wanted]:
            lane = self._lanes.pop(address)
            lane.renew()
            past = lane.snapshot()
            self._gone[0] += past.opened_total
            self._gone[1] += past.dropped_total
        for address in sorted(wanted):
            self._lane_to(address)
        self._stale = False
