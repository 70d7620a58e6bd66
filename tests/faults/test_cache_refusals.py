"""The cache while Redis answers, but not what was asked for."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import threading

import pytest

from holdfast.cache import (
    CacheUnavailableError,
    ResilientCache,
    Tier,
    TierState,
    WriteStatus,
)
from holdfast.testing import ValkeyServer

from .places import caching, needs_server, reaches, run, running, server, until

__all__ = ["running", "server"]
pytestmark = needs_server

SECRET = "sesame-open-4711"


async def _told(cache: ResilientCache) -> bool:
    return not cache.snapshot().journal.intents


class TestWritesAreRefused:
    """Reads go on, writes wait in the journal, and come to Redis without any help."""

    @pytest.mark.parametrize(
        ("before", "after", "code"),
        [
            ((("CONFIG", "SET", "maxmemory", "1"),), (("CONFIG", "SET", "maxmemory", "0"),), "OOM"),
            (
                (("CONFIG", "SET", "min-replicas-to-write", "1"),),
                (("CONFIG", "SET", "min-replicas-to-write", "0"),),
                "NOREPLICAS",
            ),
            (
                (
                    ("CONFIG", "SET", "replica-serve-stale-data", "yes"),
                    ("REPLICAOF", "127.0.0.1", "1"),
                ),
                (("REPLICAOF", "NO", "ONE"),),
                "READONLY",
            ),
        ],
        ids=["oom", "noreplicas", "readonly"],
    )
    def test(
        self,
        server: ValkeyServer,
        before: tuple[tuple[str, ...], ...],
        after: tuple[tuple[str, ...], ...],
        code: str,
    ) -> None:
        async def test() -> None:
            async with caching(server.url) as cache:
                await cache.set_many({"a": 1, "b": 1})
                for words in before:
                    server.command(*words)
                assert await cache.set("a", 2) is WriteStatus.QUEUED
                assert await cache.delete("b") is WriteStatus.QUEUED
                with pytest.raises(CacheUnavailableError):
                    await cache.set("c", 3, require_redis=True)
                assert cache.state is TierState.UP
                assert code in str(cache.snapshot().redis)
                assert await cache.get("a") == 2
                assert await cache.get("b") is None
                for words in after:
                    server.command(*words)
                await until(lambda: _told(cache))
                found = await cache.lookup("a")
                assert (found.value, found.tier) == (2, Tier.REDIS)
                assert await cache.set("b", 4) is WriteStatus.APPLIED

        run(test())


class TestItCannotAnswerNow:
    def test_a_script_that_does_not_end(self, server: ValkeyServer) -> None:
        async def test() -> None:
            async with caching(server.url) as cache:
                await cache.set("a", 1)
                server.command("CONFIG", "SET", "busy-reply-threshold", 1)
                script = threading.Thread(target=_loop_for_ever, args=(server,))
                script.start()
                try:
                    await reaches(cache, TierState.DOWN)
                    assert await cache.get("a") == 1
                    assert await cache.set("a", 2) is WriteStatus.QUEUED
                finally:
                    await asyncio.to_thread(_end_script, server)
                    script.join()
                await reaches(cache, TierState.UP)
                assert (await cache.lookup("a")).value == 2

        run(test())

    def test_a_data_set_that_is_still_being_read(self) -> None:
        async def test(server: ValkeyServer) -> None:
            async with caching(server.url) as cache:
                await cache.set("a", 1)
                server.command("DEBUG", "POPULATE", 3000)
                # Each key takes half a millisecond to load.
                server.command("CONFIG", "SET", "key-load-delay", 500)
                server.command("CONFIG", "SET", "loading-process-events-interval-bytes", 1024)
                loading = threading.Thread(target=_reload, args=(server,))
                loading.start()
                try:
                    await reaches(cache, TierState.DOWN)
                    assert await cache.get("a") == 1
                finally:
                    await asyncio.to_thread(loading.join)
                await reaches(cache, TierState.UP)
                assert (await cache.lookup("a")).value == 1

        with ValkeyServer() as server:
            run(test(server))

    def test_too_many_clients(self, server: ValkeyServer) -> None:
        async def test() -> None:
            limit = len(server.command("CLIENT", "LIST").splitlines()) + 4
            server.command("CONFIG", "SET", "maxclients", limit)
            crowd: list[socket.socket] = []
            try:
                async with caching(server.url) as cache:
                    crowd += [socket.create_connection(("127.0.0.1", server.port)) for _ in "12345"]
                    await asyncio.sleep(0.05)
                    await reaches(cache, TierState.DOWN)
                    assert await cache.set("a", 1) is WriteStatus.QUEUED
                    assert await cache.get("a") == 1
                    for one in crowd:
                        one.close()
                    await reaches(cache, TierState.UP)
                    assert (await cache.lookup("a")).tier is Tier.REDIS
            finally:
                for one in crowd:
                    one.close()
                await asyncio.sleep(0.05)
                server.command("CONFIG", "SET", "maxclients", 10000)

        run(test())


class TestWeAreNotLetIn:
    @pytest.mark.parametrize(("given", "code"), [("", "NOAUTH"), (":wrong@", "WRONGPASS")])
    def test_is_an_alarm_and_is_not_tried_again_and_again(
        self, given: str, code: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def test(server: ValkeyServer) -> None:
            url = f"redis://{given}127.0.0.1:{server.port}"
            async with caching(url) as cache:
                assert await cache.set("a", 1) is WriteStatus.QUEUED
                await reaches(cache, TierState.DOWN)
                assert await cache.get("a") == 1
                shown = cache.snapshot().redis
                assert shown is not None
                assert f"{code}: configuration, not an outage" in (shown.reason or "")
                before = _refused(server)
                await asyncio.sleep(0.5)
                assert _refused(server) == before
                errors = [one for one in caplog.records if one.levelno == logging.ERROR]
                assert len(errors) == 1
                assert SECRET not in caplog.text
                assert SECRET not in str(cache.snapshot())

        with ValkeyServer(password=SECRET) as server:
            run(test(server))

    def test_a_password_that_was_changed_meanwhile(self) -> None:
        async def test(server: ValkeyServer) -> None:
            async with caching(server.url) as cache:
                await cache.set("a", 1)
                server.command("CONFIG", "SET", "requirepass", "another")
                # Not by command: the server knows its own old password only.
                _kill_clients(server, "another")
                await reaches(cache, TierState.DOWN)
                assert await cache.get("a") == 1
                assert "WRONGPASS" in str(cache.snapshot().redis)

        with ValkeyServer(password=SECRET) as server:
            run(test(server))


class TestOurOwnConnectionsAreBusy:
    def test_is_not_charged_to_redis(self, server: ValkeyServer) -> None:
        """One connection for reads, held up for less than a command may take, and many who ask."""

        async def test() -> None:
            async with caching(server.url, max_connections=3, command_timeout=0.5) as cache:
                await cache.set("a", 1)
                server.freeze()
                first = asyncio.ensure_future(cache.lookup("a"))
                await asyncio.sleep(0.05)
                waiting = [asyncio.ensure_future(cache.lookup("a")) for _ in range(500)]
                await asyncio.sleep(0.05)
                pool = cache.snapshot().redis.pool  # type: ignore[union-attr]
                assert pool is not None
                assert pool.in_use <= 3
                server.thaw()
                found = await asyncio.gather(first, *waiting)
                assert {one.tier for one in found} == {Tier.REDIS}
                assert cache.state is TierState.UP

        run(test())


def _loop_for_ever(server: ValkeyServer) -> None:
    try:
        server.command("EVAL", "while true do end", 0)
    except Exception:
        pass  # it was ended, as it should be


def _end_script(server: ValkeyServer) -> None:
    for _ in range(100):
        try:
            server.command("SCRIPT", "KILL")
        except Exception as error:
            if "NOTBUSY" in str(error):
                return


def _reload(server: ValkeyServer) -> None:
    try:
        server.command("DEBUG", "RELOAD")
    except OSError:
        pass  # it takes longer than we wait for an answer


def _refused(server: ValkeyServer) -> int:
    stats = server.command("INFO", "errorstats").decode()
    return sum(int(count) for count in re.findall(r"errorstat_\w+:count=(\d+)", stats))


def _kill_clients(server: ValkeyServer, password: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(f"AUTH {password}\r\nCLIENT KILL TYPE normal SKIPME yes\r\n".encode())
        connection.settimeout(5)
        while b":" not in connection.recv(1024):
            pass
