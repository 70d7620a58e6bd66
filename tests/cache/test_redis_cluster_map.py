"""The map of a cluster, told by a made-up cluster that says whatever the test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from cache.redis_places import trouble
from holdfast.cache.port import Trouble
from holdfast.cache.redis.cluster import Cluster
from holdfast.cache.redis.commands import Command, Reply, command
from holdfast.cache.redis.errors import Refusal
from holdfast.cache.redis.target import Address, Target, parse

A, B, C = ("a", 1), ("b", 2), ("c", 3)


def ranges(*owners: Address) -> list[Any]:
    """What CLUSTER SLOTS says if these have equal shares."""
    share = 16384 // len(owners)
    return [
        [n * share, 16383 if n == len(owners) - 1 else (n + 1) * share - 1, [host.encode(), port]]
        for n, (host, port) in enumerate(owners)
    ]


class MadeUp:
    """A dialer to a cluster in which every command is answered by the name of its node."""

    def __init__(self, told: Reply) -> None:
        self.target: Target = parse("redis+cluster://a:1")
        self.told = told
        self.asked: list[Address] = []
        self.said: dict[Address, list[Reply]] = {}
        self.links: list[MadeUpLink] = []

    def name_of(self, address: Address) -> str:
        return address[0]

    async def ask(self, address: Address, commands: Sequence[Command]) -> list[Reply]:
        await asyncio.sleep(0)
        self.asked.append(address)
        return [self.told]

    async def open(self, address: Address) -> MadeUpLink:
        self.links.append(MadeUpLink(self, address))
        return self.links[-1]

    def cluster(self) -> Cluster:
        return Cluster(cast(Any, self), 2)


class MadeUpLink:
    """A connection to one node."""

    def __init__(self, dialer: MadeUp, address: Address) -> None:
        self.dialer, self.address = dialer, address
        self.where = address[0]
        self.era: object = None
        self.closed = False

    async def run(self, commands: Sequence[Command]) -> list[Reply]:
        said = self.dialer.said.get(self.address, [])
        return [said.pop(0) if said else self.address[0].encode() for _ in commands]

    async def is_clean(self) -> bool:
        return not self.closed

    def abort(self) -> None:
        self.closed = True


GET = command("GET", "123456789", key="123456789")  # slot 12739, in the last quarter


def test_a_node_that_has_left_is_not_kept() -> None:
    async def main() -> None:
        dialer = MadeUp(ranges(A, B))
        cluster = dialer.cluster()
        assert await cluster.run([GET]) == [b"b"]
        dialer.told = ranges(A, C)
        dialer.said[B] = [Refusal("MOVED", "12739 c:3")]
        for _ in range(2):
            assert await cluster.run([GET]) == [b"c"]
        assert [link.closed for link in dialer.links] == [True, False]
        pool = cluster.pool()
        assert (pool.open, pool.opened_total, pool.limit) == (1, 2, 4)
        assert {member.address for member in await cluster.members()} == {A, C}

    asyncio.run(main())


@pytest.mark.parametrize("host", [b"", None])
def test_a_node_without_a_name_is_at_the_host_that_was_asked(host: bytes | None) -> None:
    async def main() -> None:
        dialer = MadeUp([[0, 16383, [host, 9, b"id", []]]])
        cluster = dialer.cluster()
        assert await cluster.run([GET]) == [b"a"]
        assert dialer.links[0].address == ("a", 9)
        dialer.said["a", 9] = [Refusal("MOVED", "12739 :7")]
        assert await cluster.run([GET]) == [b"a"]
        assert dialer.links[1].address == ("a", 7)

    asyncio.run(main())


@pytest.mark.parametrize(
    "told",
    [b"text", 5, None, [b"text"], [[0, 16383]], [[0, 16383, [b"a"]]], [[0, b"x", [b"a", 1]]]],
)
def test_a_map_that_makes_no_sense(told: Reply) -> None:
    async def main() -> None:
        cluster = MadeUp(told).cluster()
        with trouble(Trouble.UNREACHABLE, "what a answers makes no sense"):
            await cluster.run([GET])

    asyncio.run(main())


def test_an_empty_map() -> None:
    async def main() -> None:
        dialer = MadeUp([])
        for use in (dialer.cluster().run([GET]), dialer.cluster().open()):
            with trouble(Trouble.BUSY, "CLUSTERDOWN"):
                await use

    asyncio.run(main())


def test_many_who_need_the_map_ask_for_it_once() -> None:
    async def main() -> None:
        dialer = MadeUp(ranges(A, B, C))
        cluster = dialer.cluster()
        assert await asyncio.gather(*(cluster.run([GET]) for _ in range(9))) == [[b"c"]] * 9
        assert dialer.asked == [A]

    asyncio.run(main())


def test_a_cluster_that_sends_one_around_forever() -> None:
    async def main() -> None:
        dialer = MadeUp(ranges(A, B))
        cluster = dialer.cluster()
        around = Refusal("MOVED", "12739 b:2")
        dialer.said[B] = [around] * 9
        assert await cluster.run([GET]) == [around]
        assert len(dialer.said[B]) == 6

    asyncio.run(main())


def test_a_redirection_that_cannot_be_read_is_an_answer() -> None:
    async def main() -> None:
        dialer = MadeUp(ranges(A, B))
        dialer.said[B] = [Refusal("MOVED", "over there")]
        assert await dialer.cluster().run([GET]) == [Refusal("MOVED", "over there")]

    asyncio.run(main())


def test_only_those_that_were_sent_elsewhere_are_sent_again() -> None:
    async def main() -> None:
        dialer = MadeUp(ranges(A, B))
        dialer.said[B] = [b"first", Refusal("ASK", "12739 c:3"), b"third"]
        dialer.said[C] = [b"OK", b"second"]
        assert await dialer.cluster().run([GET] * 3) == [b"first", b"second", b"third"]

    asyncio.run(main())
