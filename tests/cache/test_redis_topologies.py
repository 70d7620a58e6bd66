"""The Redis tier behind Sentinels and on a cluster, while these change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator

import pytest

from cache.redis_places import holds_its_name, needs_server, put_names, trouble, with_tier
from holdfast.cache.port import TierError, Trouble
from holdfast.cache.redis import RedisTier
from holdfast.cache.redis.cluster import slot_of
from holdfast.testing import black_hole
from holdfast.testing.contracts.tier import heard, make_put
from holdfast.testing.topologies import ClusterSet, SentinelSet, cluster, sentinels

pytestmark = needs_server


@pytest.fixture
def watched() -> Generator[SentinelSet]:
    with sentinels() as servers:
        yield servers


@pytest.fixture(scope="module")
def nodes() -> Generator[ClusterSet]:
    with cluster() as servers:
        yield servers


@pytest.fixture
def clustered(nodes: ClusterSet) -> ClusterSet:
    nodes.flush()
    return nodes


async def until_it_works(tier: RedisTier, key: str, version: int) -> list[TierError]:
    """Write again and again as a cache would; the troubles on the way."""
    troubles: list[TierError] = []
    give_up = time.monotonic() + 15
    while time.monotonic() < give_up:
        try:
            async with asyncio.timeout(0.5):
                await tier.write([make_put(key, version)])
            return troubles
        except TierError as error:
            troubles.append(error)
        except TimeoutError:
            pass
        await asyncio.sleep(0.02)
    raise AssertionError(troubles[-3:])


async def in_spite_of_short_patience(tier: RedisTier) -> None:
    """Who gives up on a silent server is not led to it again."""
    for _ in range(3):
        try:
            async with asyncio.timeout(0.2):
                await tier.time()
        except TimeoutError:
            continue
        return
    raise AssertionError("the same silent server was always asked first")


class TestSentinel:
    def test_a_failover(self, watched: SentinelSet) -> None:
        async def test(tier: RedisTier) -> None:
            await put_names(tier, "a", "b")
            watched.primary.command("WAIT", 1, 1000)
            async with tier.subscription("c") as notes:
                watched.primary.kill()
                with trouble(Trouble.UNREACHABLE):
                    await anext(notes)
            troubles = await until_it_works(tier, "new", 1)
            assert troubles
            assert {error.trouble for error in troubles} <= {
                Trouble.UNREACHABLE,
                Trouble.WRITES_REFUSED,
            }
            assert watched.primary_port() == watched.replica.port
            assert await holds_its_name(tier, "a")
            async with tier.subscription("c") as notes:
                await tier.write([make_put("b", 2, note=b"note")], "c")
                assert await heard(notes, 1) == [b"note"]
            found = {node.role: (node.address, node.ok) for node in await tier.nodes()}
            assert found == {
                "primary": (f"127.0.0.1:{watched.replica.port}", True),
                "sentinel": (f"127.0.0.1:{watched.sentinels[0].port}", True),
            }

        with_tier(watched.url, test)

    def test_a_demoted_primary_is_left(self, watched: SentinelSet) -> None:
        """It goes on answering, but refuses writes."""

        async def test(tier: RedisTier) -> None:
            await put_names(tier, "a")
            await asyncio.gather(*(tier.read(["a"], []) for _ in range(2)))
            assert tier.pool().open == 2
            watched.primary.command("WAIT", 1, 1000)
            watched.sentinels[0].command("SENTINEL", "FAILOVER", watched.service)
            for _ in range(500):
                if watched.primary_port() == watched.replica.port:
                    break
                await asyncio.sleep(0.02)
            # Who connects now learns of it, and then nobody goes on talking to the old one.
            await asyncio.gather(*(tier.read(["a"], []) for _ in range(3)))
            assert tier.pool().open == 1
            await tier.write([make_put("b", 1)])
            assert watched.replica.command("EXISTS", "b") == 1
            # The Sentinel would do so a little later.
            watched.primary.command("REPLICAOF", "127.0.0.1", watched.replica.port)
            assert len(await until_it_works(tier, "c", 1)) <= 1
            assert watched.replica.command("EXISTS", "c") == 1

        with_tier(watched.url, test)

    def test_sentinels_that_are_dead_silent_or_know_nothing(self, watched: SentinelSet) -> None:
        (good,) = watched.sentinels
        at = f"127.0.0.1:{good.port}"

        async def works(tier: RedisTier) -> None:
            await put_names(tier, "a")
            assert await holds_its_name(tier, "a")

        async def prefers_who_answered(tier: RedisTier) -> None:
            await works(tier)
            await tier.aclose()
            async with asyncio.timeout(0.25):
                await works(tier)

        async def unknown(tier: RedisTier) -> None:
            with trouble(Trouble.UNREACHABLE, "no primary of 'other' known: unknown to"):
                await tier.time()
            assert [node.role for node in await tier.nodes()] == ["sentinel"]

        async def nobody(tier: RedisTier) -> None:
            with trouble(Trouble.UNREACHABLE, "connection refused at 127.0.0.1:1"):
                await tier.time()
            assert [node.ok for node in await tier.nodes()] == [False]

        async def locked(tier: RedisTier) -> None:
            with trouble(Trouble.CONFIGURATION, "NOAUTH"):
                await tier.time()

        with_tier(f"redis+sentinel://127.0.0.1:1,{at}/cache", works)
        with black_hole() as (host, port):
            url = f"redis+sentinel://{host}:{port},{at}/cache"
            with_tier(url, prefers_who_answered, connect_timeout=0.3)
            with_tier(url, in_spite_of_short_patience, connect_timeout=0.4)
        with_tier(f"redis+sentinel://{at}/other", unknown)
        with_tier("redis+sentinel://127.0.0.1:1/cache", nobody)
        good.command("ACL", "SETUSER", "default", ">guard")
        with_tier(f"redis+sentinel://{at}/cache", locked)
        with_tier(f"redis+sentinel://{at}/cache?sentinel_password=guard", works)

    def test_an_address_that_is_no_primary_is_not_used(self, watched: SentinelSet) -> None:
        async def test(tier: RedisTier) -> None:
            watched.primary.command("REPLICAOF", "127.0.0.1", watched.replica.port)
            with trouble(Trouble.UNREACHABLE, "is no primary (yet)"):
                await tier.time()
            assert tier.pool().open == 0

        with_tier(watched.url, test)


class TestCluster:
    def test_slots(self) -> None:
        assert slot_of("123456789") == 0x31C3
        assert slot_of("{user1000}.following") == slot_of("{user1000}.followers")
        assert slot_of("foo{}{bar}") != slot_of("bar")
        assert slot_of("foo{{bar}}zap") == slot_of("{bar")
        assert slot_of("foo{bar}{zap}") == slot_of("bar")
        assert slot_of("foo{bar") == slot_of("foo{bar")
        assert slot_of("foo{bar") != slot_of("bar")

    def test_slots_are_those_of_the_server(self, clustered: ClusterSet) -> None:
        for key in ("", "a", "{a}b", "a{}", "{}{b}", "ключ", "a{ключ}b", "}{x}", "{", "x" * 999):
            assert clustered.nodes[0].command("CLUSTER", "KEYSLOT", key) == slot_of(key)

    def test_each_node_gets_its_share(self, clustered: ClusterSet) -> None:
        async def test(tier: RedisTier) -> None:
            keys = [f"k{n}" for n in range(60)]
            await put_names(tier, *keys)
            for key in keys:
                assert clustered.owner(slot_of(key)).command("EXISTS", key) == 1
            assert tier.pool().open == 3
            found = await tier.nodes()
            assert sorted(node.address for node in found) == sorted(
                f"127.0.0.1:{node.port}" for node in clustered.nodes
            )

        with_tier(clustered.url, test)

    def test_one_node_is_enough_to_begin(self, clustered: ClusterSet) -> None:
        async def test(tier: RedisTier) -> None:
            await put_names(tier, "a", "b", "c")
            assert await holds_its_name(tier, "b")

        last = clustered.nodes[-1].port
        with_tier(f"redis+cluster://127.0.0.1:1,127.0.0.1:{last}", test)
        with black_hole() as (host, port):
            url = f"redis+cluster://{host}:{port},127.0.0.1:{last}"
            with_tier(url, in_spite_of_short_patience, connect_timeout=0.4)

    def test_a_slot_that_has_moved(self, clustered: ClusterSet) -> None:
        async def test(tier: RedisTier) -> None:
            slot = slot_of("a")
            await put_names(tier, "a", "b")
            old = clustered.owner(slot)
            new = next(node for node in clustered.nodes if node is not old)
            old.command("DEL", "a")
            await _move(clustered, slot, new.command("CLUSTER", "MYID"))
            try:
                await put_names(tier, "a", "b")
                assert new.command("EXISTS", "a") == 1
                told = old.command("INFO", "errorstats")
                assert b"MOVED" in told
                for _ in range(3):
                    assert await holds_its_name(tier, "a")
                assert old.command("INFO", "errorstats") == told, "it is not asked again"
                new.command("DEL", "a")
            finally:
                await _move(clustered, slot, old.command("CLUSTER", "MYID"))

        with_tier(clustered.url, test)

    def test_a_slot_that_is_moving(self, clustered: ClusterSet) -> None:
        async def test(tier: RedisTier) -> None:
            slot = slot_of("a")
            old = clustered.owner(slot)
            new = next(node for node in clustered.nodes if node is not old)
            await put_names(tier, "{a}stays")
            new.command("CLUSTER", "SETSLOT", slot, "IMPORTING", old.command("CLUSTER", "MYID"))
            old.command("CLUSTER", "SETSLOT", slot, "MIGRATING", new.command("CLUSTER", "MYID"))
            try:
                await put_names(tier, "a")
                assert new.command("CLUSTER", "COUNTKEYSINSLOT", slot) == 1
                assert await holds_its_name(tier, "a")
                assert await holds_its_name(tier, "{a}stays")
                with trouble(Trouble.BUSY, "TRYAGAIN"):
                    await tier.read(["a", "{a}stays"], [])
            finally:
                for node in (new, old):
                    node.command("CLUSTER", "SETSLOT", slot, "STABLE")

        with_tier(clustered.url, test)

    def test_a_slot_that_nobody_has(self, clustered: ClusterSet) -> None:
        async def test(tier: RedisTier) -> None:
            slot = slot_of("a")
            await put_names(tier, "a", "b")
            owner = clustered.owner(slot)
            for node in clustered.nodes:
                node.command("CLUSTER", "DELSLOTS", slot)
            try:
                for _ in range(2):
                    with trouble(Trouble.BUSY, "CLUSTERDOWN: the cluster is not complete"):
                        await tier.read(["a"], [])
                assert await holds_its_name(tier, "b")
            finally:
                owner.command("CLUSTER", "ADDSLOTS", slot)

            troubles = await until_it_works(tier, "a", 2)
            assert {error.trouble for error in troubles} <= {Trouble.BUSY}

        with_tier(clustered.url, test)

    def test_a_late_reply_is_nobodys_answer(self, clustered: ClusterSet) -> None:
        async def test(tier: RedisTier) -> None:
            keys = [f"k{n}" for n in range(30)]
            await put_names(tier, *keys)
            frozen = clustered.owner(slot_of("k0"))
            for _ in range(5):
                frozen.freeze()
                tasks = [asyncio.ensure_future(tier.read(keys, [])) for _ in range(4)]
                await asyncio.sleep(0.005)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                assert tier.pool().in_use == 0
                frozen.thaw()
                for key in keys:
                    assert await holds_its_name(tier, key)

        with_tier(clustered.url, test, connect_timeout=5.0)

    def test_a_dead_node_takes_only_its_keys_along(self, clustered: ClusterSet) -> None:
        victim = clustered.nodes[2]

        async def test(tier: RedisTier) -> None:
            keys = [f"k{n}" for n in range(30)]
            await put_names(tier, *keys)
            lost = [key for key in keys if clustered.owner(slot_of(key)) is victim]
            left = [key for key in keys if key not in lost]
            victim.kill()
            with trouble(Trouble.UNREACHABLE, str(victim.port)):
                await tier.read(keys, [])
            for key in left:
                assert await holds_its_name(tier, key)
            with trouble(Trouble.UNREACHABLE):
                await tier.read([lost[0]], [])
            with trouble(Trouble.UNREACHABLE):
                await tier.time()
            assert [node.ok for node in await tier.nodes()].count(False) == 1
            # Somebody else takes over a slot of the dead one.
            with trouble(Trouble.UNREACHABLE):
                await tier.read([lost[1]], [])
            heir = clustered.nodes[0].command("CLUSTER", "MYID")
            for node in clustered.nodes[:2]:
                node.command("CLUSTER", "SETSLOT", slot_of(lost[1]), "NODE", heir)
            assert list((await tier.read([lost[1]], [])).blobs) == [None]
            async with tier.subscription("c") as notes:
                await tier.write([make_put(left[0], 2, note=b"note")], "c")
                assert await heard(notes, 1) == [b"note"]
            victim.restart()
            await until_it_works(tier, lost[0], 3)

        with_tier(clustered.url, test)

    def test_no_node_at_all(self) -> None:
        async def test(tier: RedisTier) -> None:
            with trouble(Trouble.UNREACHABLE, "connection refused at 127.0.0.1:1"):
                await tier.read(["a"], [])
            with trouble(Trouble.UNREACHABLE):
                async with tier.subscription("c"):
                    raise AssertionError
            assert [node.ok for node in await tier.nodes()] == [False]
            assert tier.pool().open == 0

        with_tier("redis+cluster://127.0.0.1:1", test)


async def _move(nodes: ClusterSet, slot: int, new: bytes) -> None:
    for node in nodes.nodes:
        node.command("CLUSTER", "SETSLOT", slot, "NODE", new)
