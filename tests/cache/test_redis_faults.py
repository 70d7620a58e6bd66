"""The Redis tier while its server dies, freezes, or the network cuts in."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from cache.redis_places import (
    holds_its_name,
    needs_server,
    put_names,
    saying,
    trouble,
    with_tier,
)
from holdfast.cache.port import TierError, Trouble
from holdfast.cache.redis import RedisTier, subscription
from holdfast.testing import DataLimit, FaultProxy, Latency, Reset, Slicer, Timeout, black_hole
from holdfast.testing.contracts.tier import heard, make_blob, make_put
from holdfast.testing.valkey import ValkeyServer

pytestmark = needs_server


@pytest.fixture(scope="module")
def shared() -> Generator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def server(shared: ValkeyServer) -> Generator[ValkeyServer]:
    """A server that runs and is empty, whatever the last test did to it."""
    yield shared
    try:
        shared.thaw()
        shared.flush()
    except (OSError, RuntimeError):
        shared.restart()


class TestTheServerDies:
    def test_it_is_noticed_within_milliseconds_and_forgotten_when_it_is_back(
        self, server: ValkeyServer
    ) -> None:
        async def test(tier: RedisTier) -> None:
            await put_names(tier, "a")
            server.kill()
            began = time.monotonic()
            for _ in range(3):
                with trouble(Trouble.UNREACHABLE, f"127.0.0.1:{server.port}"):
                    await tier.read(["a"], [])
            with trouble(Trouble.UNREACHABLE, "connection refused"):
                await tier.write([make_put("a", 2)])
            assert time.monotonic() - began < 1
            server.restart()
            assert (await tier.read(["a"], [])).blobs[0] is None

        assert with_tier(server.url, test).pool().dropped_total >= 1

    def test_in_the_middle_of_a_command(self, server: ValkeyServer) -> None:
        async def test(tier: RedisTier) -> None:
            await put_names(tier, "a")
            server.freeze()
            reading = asyncio.ensure_future(tier.read(["a"], []))
            await asyncio.sleep(0.02)
            server.kill()
            with trouble(Trouble.UNREACHABLE):
                await reading

        with_tier(server.url, test)

    def test_a_restart_between_two_commands_costs_none(self, server: ValkeyServer) -> None:
        async def test(tier: RedisTier) -> None:
            await asyncio.gather(*(tier.read([f"{n}"], []) for n in range(4)))
            server.restart()
            await asyncio.sleep(0.02)
            assert await tier.write([make_put("a", 1)]) == [-1]
            assert tier.pool().open == 1

        with_tier(server.url, test)

    def test_connections_killed_by_the_operator_cost_no_command(self, server: ValkeyServer) -> None:
        async def test(tier: RedisTier) -> None:
            await asyncio.gather(*(put_names(tier, f"k{n}") for n in range(4)))
            assert tier.pool().open > 1
            server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await asyncio.sleep(0.02)
            assert await holds_its_name(tier, "k3")
            assert tier.pool().open == 1

        with_tier(server.url, test)

    def test_scripts_are_sent_again_when_they_are_forgotten(self, server: ValkeyServer) -> None:
        async def test(tier: RedisTier) -> None:
            assert await tier.write([make_put("a", 1)]) == [-1]
            server.command("SCRIPT", "FLUSH")
            assert await tier.write([make_put("a", 2), make_put("a", 1)]) == [-1, 2]
            assert await tier.write([make_put("a", 3)]) == [-1]

        with_tier(server.url, test)


class TestBatches:
    def test_one_call_of_the_script_does_not_hold_the_server_up(self, server: ValkeyServer) -> None:
        async def test(tier: RedisTier) -> None:
            def calls() -> int:
                told: bytes = server.command("INFO", "commandstats")
                (line,) = (line for line in told.splitlines() if b"cmdstat_evalsha:" in line)
                return int(line.partition(b"calls=")[2].partition(b",")[0])

            await tier.write([make_put("a", 1)])
            before = calls()
            await tier.write([make_put(f"k{n}", 1) for n in range(512)])
            assert calls() - before == 2
            await tier.write([make_put(f"l{n}", 1) for n in range(513)])
            assert calls() - before == 5
            large = [make_put(f"m{n}", 1, b"x" * 2**20) for n in range(5)]
            await tier.write([*large, make_put("huge", 1, b"x" * 5 * 2**20), make_put("n", 1)])
            assert calls() - before == 9

        with_tier(server.url, test)


class TestTheServerIsSilent:
    def test_a_late_reply_is_nobodys_answer(self, server: ValkeyServer) -> None:
        async def test(tier: RedisTier) -> None:
            await put_names(tier, "old", "new")
            for _ in range(20):
                server.freeze()
                tasks = [asyncio.ensure_future(tier.read(["old"], [])) for _ in range(4)]
                await asyncio.sleep(0.002)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                assert tier.pool().open == 0
                server.thaw()
                assert await holds_its_name(tier, "new")

        with_tier(server.url, test, connect_timeout=5.0)

    def test_logging_in_counts_as_connecting(self, server: ValkeyServer) -> None:
        async def test(tier: RedisTier) -> None:
            server.freeze()
            began = time.monotonic()
            with trouble(Trouble.UNREACHABLE, f"127.0.0.1:{server.port} within 0.1 s"):
                await tier.time()
            assert 0.1 <= time.monotonic() - began < 1
            server.thaw()
            assert await tier.time() > 0

        with_tier(server.url, test, connect_timeout=0.1)

    def test_connecting_is_bounded(self) -> None:
        async def test(tier: RedisTier) -> None:
            began = time.monotonic()
            with trouble(Trouble.UNREACHABLE, "no answer from"):
                await tier.read(["a"], [])
            assert time.monotonic() - began < 1
            (node,) = await tier.nodes()
            assert not node.ok
            assert "within 0.1 s" in (node.reason or "")

        with black_hole() as (host, port):
            with_tier(f"redis://{host}:{port}", test, connect_timeout=0.1)

    def test_a_cancelled_large_write_leaves_no_connection(self, server: ValkeyServer) -> None:
        """The kernel takes a part of it and no more while the server is frozen."""

        async def test(tier: RedisTier) -> None:
            await put_names(tier, "a")
            files = len(os.listdir("/proc/self/fd"))
            server.freeze()
            writing = asyncio.ensure_future(tier.write([make_put("b", 1, b"x" * 2**25)]))
            await asyncio.sleep(0.05)
            writing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await writing
            await asyncio.sleep(0)
            assert len(os.listdir("/proc/self/fd")) == files - 1
            server.thaw()
            assert await holds_its_name(tier, "a")
            assert (await tier.read(["b"], [])).blobs[0] is None

        with_tier(server.url, test, connect_timeout=5.0)


class TestTheNetwork:
    @pytest.mark.parametrize("toxic", [Reset(after_bytes=200), DataLimit(after_bytes=200)])
    def test_a_connection_that_ends_in_the_middle_of_a_reply(
        self, server: ValkeyServer, toxic: Reset | DataLimit
    ) -> None:
        async def test(tier: RedisTier) -> None:
            await put_names(tier, "a")
            await tier.write([make_put("long", 1, b"x" * 1000)])
            with proxy.toxic(toxic), trouble(Trouble.UNREACHABLE):
                await tier.read(["long"], [])
            assert await holds_its_name(tier, "a")
            assert tier.pool().dropped_total == 1

        with FaultProxy(server.address) as proxy:
            with_tier(f"redis://127.0.0.1:{proxy.port}", test)

    def test_replies_in_slices(self, server: ValkeyServer) -> None:
        async def test(tier: RedisTier) -> None:
            await tier.write([make_put("long", 2**64 - 1, bytes(range(256)) * 3)])
            with proxy.toxic(Slicer(1)):
                found = await tier.read(["no", "long"], ["f"])
            assert list(found.blobs) == [None, make_blob(2**64 - 1, bytes(range(256)) * 3)]

        with FaultProxy(server.address) as proxy:
            with_tier(f"redis://127.0.0.1:{proxy.port}", test)

    def test_a_reply_that_arrives_after_its_deadline(self, server: ValkeyServer) -> None:
        async def test(tier: RedisTier) -> None:
            await put_names(tier, "old", "new")
            with proxy.toxic(Latency(0.03)):
                for _ in range(3):
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.01):
                            await tier.read(["old"], [])
            await asyncio.sleep(0.05)
            assert await holds_its_name(tier, "new")

        with FaultProxy(server.address) as proxy:
            with_tier(f"redis://127.0.0.1:{proxy.port}", test, max_connections=1)

    def test_no_such_name(self) -> None:
        async def test(tier: RedisTier) -> None:
            with trouble(Trouble.UNREACHABLE, "the name of nowhere.invalid:6379 is not known"):
                await tier.read(["a"], [])

        with_tier("redis://nowhere.invalid", test, connect_timeout=5.0)

    def test_no_such_socket(self, tmp_path: Path) -> None:
        async def test(tier: RedisTier) -> None:
            with trouble(Trouble.UNREACHABLE, "there is no socket at"):
                await tier.read(["a"], [])

        with_tier(f"unix://{tmp_path}/none.sock", test)


class TestNonsense:
    """A server, or somebody else, that does not speak as Redis does."""

    @pytest.mark.parametrize(
        "reply",
        [
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"$4\r\nOKAY\r\n",
            b":1\r\n",
            b"*2\r\n$1\r\na\r\n$1\r\nb\r\n",
            b"*1\r\n:5\r\n",
            b"*-1\r\n",
            b"*1\r\n$5\r\nab",
        ],
    )
    def test_what_cannot_be_the_reply_to_a_read(self, reply: bytes) -> None:
        async def main() -> None:
            async with saying(reply) as url:
                tier = RedisTier.from_url(url)
                with pytest.raises((TierError, TimeoutError)) as caught:
                    async with asyncio.timeout(0.2):
                        await tier.read(["a"], [])
                if isinstance(caught.value, TierError):
                    assert caught.value.trouble is Trouble.UNREACHABLE
                else:
                    assert reply.endswith(b"ab"), "only an unfinished reply is waited for"
                pool = tier.pool()
                assert (pool.open, pool.in_use, pool.dropped_total) == (0, 0, 1)

        asyncio.run(main())

    def test_a_reply_that_nobody_asked_for_is_not_kept_for_the_next(self) -> None:
        async def main() -> None:
            twice = b"*1\r\n$1\r\na\r\n" + b"*1\r\n$5\r\nwrong\r\n"
            async with saying(twice) as url:
                tier = RedisTier.from_url(url, max_connections=1)
                for number in range(3):
                    assert list((await tier.read(["k"], [])).blobs) == [b"a"]
                    await asyncio.sleep(0.01)
                    assert tier.pool().opened_total == number + 1
                await tier.aclose()

        asyncio.run(main())

    @pytest.mark.parametrize("reply", [b"$2\r\nxy\r\n", b"$-1\r\n", b":5\r\n"])
    def test_scripts(self, reply: bytes) -> None:
        async def main() -> None:
            async with saying(reply) as url:
                tier = RedisTier.from_url(url)
                with trouble(Trouble.UNREACHABLE, "makes no sense"):
                    await tier.raise_floor("f", 5)
                await tier.aclose()
                if reply != b":5\r\n":
                    with trouble(Trouble.UNREACHABLE, "makes no sense"):
                        await tier.add("f", 5, make_blob(1), None, 0)
                await tier.aclose()

        asyncio.run(main())


class TestConnections:
    def test_more_commands_than_connections_wait_in_turn(self, server: ValkeyServer) -> None:
        async def test(tier: RedisTier) -> None:
            await put_names(tier, *(f"k{n}" for n in range(200)))
            order: list[int] = []

            async def one(n: int) -> None:
                assert await holds_its_name(tier, f"k{n}")
                order.append(n)

            await asyncio.gather(*(one(n) for n in range(200)))
            if tier.max_connections == 1:
                assert order == list(range(200))
            assert tier.pool().opened_total == tier.max_connections

        with_tier(server.url, test, max_connections=1)
        with_tier(server.url, test, max_connections=3)

    def test_who_gives_up_waiting_takes_no_connection_along(self, server: ValkeyServer) -> None:
        async def test(tier: RedisTier) -> None:
            await put_names(tier, "a")
            server.freeze()
            tasks = [asyncio.ensure_future(tier.read(["a"], [])) for _ in range(9)]
            await asyncio.sleep(0.01)
            for task in (tasks[5], tasks[0], tasks[1], tasks[8]):
                task.cancel()
            await asyncio.sleep(0)
            server.thaw()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert sum(isinstance(found, asyncio.CancelledError) for found in done) == 4
            assert await holds_its_name(tier, "a")

        with_tier(server.url, test, max_connections=2, connect_timeout=5.0)

    def test_ten_thousand_cancellations(self, server: ValkeyServer) -> None:
        """At random awaits: while queueing, connecting, sending, reading. key == reply, always."""

        async def test(tier: RedisTier) -> None:
            chance = random.Random(5)
            keys = [f"k{n}" for n in range(50)]
            await put_names(tier, *keys)
            cancelled = wrong = 0

            async def one(key: str) -> None:
                nonlocal wrong
                wrong += not await holds_its_name(tier, key)

            while cancelled < 10_000:
                tasks = [asyncio.ensure_future(one(chance.choice(keys))) for _ in range(40)]
                for _ in range(chance.randrange(12)):
                    await asyncio.sleep(0)
                for task in chance.sample(tasks, 34):
                    task.cancel()
                    if chance.random() < 0.1:
                        await asyncio.sleep(0)
                done = await asyncio.gather(*tasks, return_exceptions=True)
                for outcome in done:
                    assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome
                cancelled += sum(outcome is not None for outcome in done)
                assert tier.pool().in_use == 0
                assert tier.pool().open <= 4
            assert wrong == 0
            assert await holds_its_name(tier, "k1")
            pool = tier.pool()
            assert pool.opened_total == pool.dropped_total + pool.open
            assert pool.dropped_total > 500, "otherwise it was no storm"
            await asyncio.sleep(0.05)
            assert int(server.info("connected_clients")) == pool.open + 1

        with_tier(server.url, test, connect_timeout=5.0)


class TestSubscriptions:
    def test_a_lost_connection_is_told(self, server: ValkeyServer) -> None:
        async def test(tier: RedisTier) -> None:
            async with tier.subscription("c") as notes:
                await tier.write([make_put("a", 1, note=b"1")], "c")
                assert await heard(notes, 1) == [b"1"]
                server.command("CLIENT", "KILL", "TYPE", "pubsub")
                for _ in range(2):
                    with trouble(Trouble.UNREACHABLE, "lost the connection"):
                        await anext(notes)
            async with tier.subscription("c") as notes:
                await tier.write([make_put("a", 2, note=b"2")], "c")
                assert await heard(notes, 1) == [b"2"]

        with_tier(server.url, test)

    def test_silence_is_told_from_quiet(
        self, server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(subscription, "QUIET_SECONDS", 0.05)

        async def test(tier: RedisTier) -> None:
            async with tier.subscription("c") as notes:
                next_one = asyncio.ensure_future(anext(notes))
                await asyncio.sleep(0.3)
                assert not next_one.done(), "a quiet channel is not a dead one"
                await tier.write([make_put("a", 1, note=b"1")], "c")
                assert await next_one == b"1"
                server.freeze()
                began = time.monotonic()
                with trouble(Trouble.UNREACHABLE, "within 0.1 s"):
                    await anext(notes)
                assert time.monotonic() - began < 1

        with_tier(server.url, test)

    def test_waiting_may_be_cancelled_and_begun_again(self, server: ValkeyServer) -> None:
        async def test(tier: RedisTier) -> None:
            note = b"n" * 300
            async with tier.subscription("c") as notes:
                with proxy.toxic(Slicer(20, 0.001)):
                    await tier.write([make_put("a", 1, note=note)], "c")
                    got: list[bytes] = []
                    for _ in range(500):
                        try:
                            async with asyncio.timeout(0.002):
                                got.append(await anext(notes))
                                break
                        except TimeoutError:
                            pass
                assert got == [note]

        with FaultProxy(server.address) as proxy:
            with_tier(f"redis://127.0.0.1:{proxy.port}", test)

    def test_nobody_there(self, server: ValkeyServer) -> None:
        async def test(tier: RedisTier) -> None:
            server.kill()
            with trouble(Trouble.UNREACHABLE, "connection refused"):
                async with tier.subscription("c"):
                    raise AssertionError

        with_tier(server.url, test)

    def test_a_server_that_takes_no_subscription(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(subscription, "QUIET_SECONDS", 0.05)

        async def main() -> None:
            async with saying(b"-NOPERM no channel 'c'\r\n") as url:
                tier = RedisTier.from_url(url)
                with trouble(Trouble.CONFIGURATION, "NOPERM"):
                    async with tier.subscription("c"):
                        raise AssertionError
            async with saying() as url:
                tier = RedisTier.from_url(url)
                with trouble(Trouble.UNREACHABLE, "within 0.05 s"):
                    async with tier.subscription("c"):
                        raise AssertionError
            async with saying(b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n+what?\r\n") as url:
                tier = RedisTier.from_url(url)
                async with tier.subscription("c") as notes:
                    with trouble(Trouble.UNREACHABLE, "makes no sense"):
                        await anext(notes)

        asyncio.run(main())


def test_swallowed_replies_are_the_callers_deadline(server: ValkeyServer) -> None:
    async def test(tier: RedisTier) -> None:
        await put_names(tier, "a")
        with proxy.toxic(Timeout()):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await tier.read(["a"], [])
        assert await holds_its_name(tier, "a")

    with FaultProxy(server.address) as proxy:
        with_tier(f"redis://127.0.0.1:{proxy.port}", test)
