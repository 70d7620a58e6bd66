"""What Redis refuses, from real servers where they can be brought to it, and how it is called."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from contract.tls import make_tls, missing_reason

from cache.redis_places import holds_its_name, needs_server, put_names, saying, trouble, with_tier
from holdfast.cache.entry import COUNTER
from holdfast.cache.port import TierError, Trouble
from holdfast.cache.redis import RedisTier
from holdfast.cache.redis.errors import failed
from holdfast.testing.contracts.tier import make_blob, make_put
from holdfast.testing.resp import ValkeyReplyError
from holdfast.testing.valkey import ValkeyServer

pytestmark = needs_server


@pytest.fixture(scope="module")
def shared() -> Generator[ValkeyServer]:
    with ValkeyServer(config={"busy-reply-threshold": 5}) as server:
        yield server


@pytest.fixture
def server(shared: ValkeyServer) -> ValkeyServer:
    shared.flush()
    return shared


@contextmanager
def configured(server: ValkeyServer, name: str, value: str, back: str) -> Generator[None]:
    server.command("CONFIG", "SET", name, value)
    try:
        yield
    finally:
        server.command("CONFIG", "SET", name, back)


async def reads_go_on_but_no_write(tier: RedisTier, words: str) -> None:
    assert await holds_its_name(tier, "a")
    with trouble(Trouble.WRITES_REFUSED, words):
        await tier.write([make_put("b", 2)])
    with trouble(Trouble.WRITES_REFUSED, words):
        await tier.raise_floor("f", 2)
    with trouble(Trouble.WRITES_REFUSED, words):
        await tier.add("c", 1, make_blob(1, kind=COUNTER), None, 0)
    with trouble(Trouble.WRITES_REFUSED, words):
        await tier.lease("l", "token", 1)
    assert await holds_its_name(tier, "a")
    assert await tier.time() > 0


class TestWrites:
    def test_memory_is_used_up(self, server: ValkeyServer) -> None:
        async def test(tier: RedisTier) -> None:
            await put_names(tier, "a")
            with configured(server, "maxmemory", "1mb", "0"):
                await reads_go_on_but_no_write(tier, "OOM: the server has used up its memory")
            assert await tier.write([make_put("b", 2)]) == [-1]
            assert tier.pool().dropped_total == 0

        with_tier(server.url, test)

    def test_too_few_replicas(self, server: ValkeyServer) -> None:
        async def test(tier: RedisTier) -> None:
            await put_names(tier, "a")
            with configured(server, "min-replicas-to-write", "1", "0"):
                await reads_go_on_but_no_write(tier, "NOREPLICAS")

        with_tier(server.url, test)

    def test_a_replica(self, server: ValkeyServer) -> None:
        """Which may have been the primary a moment ago: its connections are not kept."""

        async def test(tier: RedisTier) -> None:
            await put_names(tier, "a")
            server.command("REPLICAOF", "127.0.0.1", 1)
            try:
                await reads_go_on_but_no_write(tier, "READONLY")
                with trouble(Trouble.WRITES_REFUSED):
                    await tier.write([make_put("b", 2)])
                assert tier.pool().open == 0
            finally:
                server.command("REPLICAOF", "NO", "ONE")

        with_tier(server.url, test)


class TestBusy:
    def test_a_replica_without_its_primary(self, server: ValkeyServer) -> None:
        async def test(tier: RedisTier) -> None:
            await put_names(tier, "a")
            with configured(server, "replica-serve-stale-data", "no", "yes"):
                server.command("REPLICAOF", "127.0.0.1", 1)
                try:
                    with trouble(Trouble.BUSY, "MASTERDOWN"):
                        await tier.read(["a"], [])
                    with trouble(Trouble.BUSY, "MASTERDOWN"):
                        await tier.time()
                    (node,) = await tier.nodes()
                    assert (node.role, node.ok) == ("replica", False)
                    assert "MASTERDOWN" in (node.reason or "")
                finally:
                    server.command("REPLICAOF", "NO", "ONE")

        with_tier(server.url, test)

    def test_a_script_that_does_not_end(self, server: ValkeyServer) -> None:
        def spin() -> None:
            with pytest.raises(ValkeyReplyError):
                server.command("EVAL", "while true do end", 0)

        async def test(tier: RedisTier) -> None:
            await put_names(tier, "a")
            thread = threading.Thread(target=spin)
            thread.start()
            try:
                await asyncio.sleep(0.1)
                for _ in range(2):
                    with trouble(Trouble.BUSY, "BUSY: "):
                        await tier.read(["a"], [])
                with trouble(Trouble.BUSY, "BUSY: "):
                    await tier.time()
            finally:
                server.command("SCRIPT", "KILL")
                thread.join()
            assert await holds_its_name(tier, "a")

        with_tier(server.url, test)

    def test_the_data_set_is_being_read(self, server: ValkeyServer) -> None:
        async def test(tier: RedisTier) -> None:
            await tier.write([make_put(f"k{n}", 1, b"x" * 100) for n in range(300)])
            server.command("CONFIG", "SET", "key-load-delay", 1000)
            server.command("CONFIG", "SET", "loading-process-events-interval-bytes", 1024)
            thread = threading.Thread(target=server.command, args=("DEBUG", "RELOAD"))
            thread.start()
            try:
                await asyncio.sleep(0.05)
                with trouble(Trouble.BUSY, "LOADING: the server is reading its data set"):
                    await tier.read(["k1"], [])
                with trouble(Trouble.BUSY, "LOADING"):
                    await tier.write([make_put("k1", 2)])
                with trouble(Trouble.BUSY, "LOADING"):
                    await tier.time()
            finally:
                server.command("CONFIG", "SET", "key-load-delay", 0)
                thread.join()
            assert (await tier.read(["k1"], [])).blobs[0] is not None

        with_tier(server.url, test)


class TestNoPlace:
    def test_too_many_clients(self, server: ValkeyServer) -> None:
        async def test(tier: RedisTier) -> None:
            await put_names(tier, "a")
            with configured(server, "maxclients", "2", "1000"):
                other = RedisTier.from_url(server.url)
                await other.time()
                third = RedisTier.from_url(server.url)
                with trouble(Trouble.UNREACHABLE):
                    await third.read(["a"], [])
                assert third.pool().open == 0
                assert await holds_its_name(tier, "a")
                await other.aclose()
                await asyncio.sleep(0.02)

        with_tier(server.url, test)

    def test_too_many_clients_in_words(self) -> None:
        async def main() -> None:
            async with saying(b"-ERR max number of clients reached\r\n") as url:
                tier = RedisTier.from_url(url)
                with trouble(Trouble.UNREACHABLE, "ERR: the server has too many clients"):
                    await tier.read(["a"], [])
                await tier.aclose()

        asyncio.run(main())


class TestConfiguration:
    @pytest.mark.parametrize("unix", [False, True])
    def test_passwords(self, unix: bool) -> None:
        with ValkeyServer(unix=unix, password="right", config={"databases": 2}) as server:
            server.command("ACL", "SETUSER", "reader", "on", ">mine", "~*", "+mget", "+client")
            scheme, rest = server.url.split("://:right@")
            wrong = {
                f"{scheme}://{rest}": "NOAUTH: configuration, not an outage",
                f"{scheme}://:wr0ng@{rest}": "WRONGPASS: configuration, not an outage",
                f"{scheme}://who:right@{rest}": "WRONGPASS",
                f"{scheme}://:right@{rest.removesuffix('/0')}?db=7": "no database of this number",
            }

            for url, words in wrong.items():

                async def refused(tier: RedisTier, words: str = words) -> None:
                    for _ in range(2):
                        with trouble(Trouble.CONFIGURATION, words):
                            await tier.read(["a"], [])
                    (node,) = await tier.nodes()
                    assert not node.ok

                tier = with_tier(url, refused, connect_timeout=5.0)
                assert "wr0ng" not in f"{tier!r}{tier.address}"

            async def reads_only(tier: RedisTier) -> None:
                assert list((await tier.read(["a"], [])).blobs) == [None]
                with trouble(Trouble.CONFIGURATION, "NOPERM: configuration, not an outage"):
                    await tier.write([make_put("a", 1)])

            with_tier(f"{scheme}://reader:mine@{rest}", reads_only, connect_timeout=5.0)

    def test_a_password_where_none_is_wanted(self, server: ValkeyServer) -> None:
        async def test(tier: RedisTier) -> None:
            with trouble(Trouble.CONFIGURATION, "does not ask for a password"):
                await tier.read(["a"], [])

        with_tier(f"redis://:secret@127.0.0.1:{server.port}", test, connect_timeout=5.0)

    def test_a_server_that_is_no_cluster(self, server: ValkeyServer) -> None:
        async def test(tier: RedisTier) -> None:
            with trouble(Trouble.CONFIGURATION, "no node of a cluster"):
                await tier.read(["a"], [])
            assert [node.ok for node in await tier.nodes()] == [True]

        url = f"redis+cluster://127.0.0.1:{server.port}"
        with_tier(url, test, connect_timeout=5.0)

    @pytest.mark.skipif(missing_reason() is not None, reason=str(missing_reason()))
    def test_certificates(self, tmp_path: Path) -> None:
        ours, others = tmp_path / "ours", tmp_path / "others"
        ours.mkdir()
        others.mkdir()
        tls, strange = make_tls(ours, "127.0.0.9"), make_tls(others)

        async def not_trusted(tier: RedisTier) -> None:
            with trouble(Trouble.CONFIGURATION, "is not trusted"):
                await tier.read(["a"], [])

        async def not_let_in(tier: RedisTier) -> None:
            # What the server says may get lost, because it closes the connection at once.
            with pytest.raises(TierError, match=r"our certificate|reset|lost"):
                await tier.read(["a"], [])

        async def works(tier: RedisTier) -> None:
            await put_names(tier, "a")
            assert await holds_its_name(tier, "a")

        redis = shutil.which("redis-server")
        with ValkeyServer(redis, tls=tls) as server:
            url = f"rediss://127.0.0.1:{server.port}"
            with_tier(server.url, not_trusted, connect_timeout=5.0)  # another name
            loose = f"{server.url}&ssl_check_hostname=false"
            with_tier(loose, works, connect_timeout=5.0)
            with_tier(f"{url}?ssl_cert_reqs=none", works, connect_timeout=5.0)
            with_tier(url, not_trusted, connect_timeout=5.0)
            foreign = f"{url}?ssl_ca_certs={strange.authority}"
            with_tier(foreign, not_trusted, connect_timeout=5.0)
        with ValkeyServer(redis, tls=strange, config={"tls-auth-clients": "optional"}) as server:
            server.command("CONFIG", "SET", "tls-auth-clients", "yes")
            with_tier(server.url, not_let_in, connect_timeout=5.0)
            mine = f"&ssl_certfile={strange.certificate}&ssl_keyfile={strange.key}"
            with_tier(server.url + mine, works, connect_timeout=5.0)

    @pytest.mark.skipif(missing_reason() is not None, reason=str(missing_reason()))
    def test_tls_with_a_server_that_speaks_none(self, server: ValkeyServer) -> None:
        async def test(tier: RedisTier) -> None:
            with trouble(Trouble.UNREACHABLE):
                await tier.read(["a"], [])

        with_tier(f"rediss://127.0.0.1:{server.port}", test, connect_timeout=0.3)


class TestOtherKinds:
    def test_a_key_that_holds_something_else(self, server: ValkeyServer) -> None:
        """It holds no blob and no floor, so it is replaced; but it is no counter."""

        async def test(tier: RedisTier) -> None:
            for key in ("a", "f", "c"):
                server.command("RPUSH", key, "item")
            found = await tier.read(["a"], ["f"])
            assert (list(found.blobs), list(found.floors)) == ([None], [None])
            with trouble(Trouble.REFUSED, "WRONGTYPE: the key holds something else"):
                await tier.add("c", 1, make_blob(1, kind=COUNTER), None, 0)
            assert await tier.write([make_put("b", 1), make_put("a", 1)]) == [-1, -1]
            assert await tier.raise_floor("f", 3) == 3

        with_tier(server.url, test)

    def test_a_floor_of_another_length_is_none(self, server: ValkeyServer) -> None:
        async def test(tier: RedisTier) -> None:
            server.command("SET", "f", "123456789")
            assert list((await tier.read([], ["f"])).floors) == [None]
            assert await tier.raise_floor("f", 3) == 3

        with_tier(server.url, test)

    def test_a_key_that_is_no_unicode(self, server: ValkeyServer) -> None:
        async def test(tier: RedisTier) -> None:
            with trouble(Trouble.REFUSED, "no valid Unicode"):
                await tier.read(["a\ud800"], [])
            assert tier.pool().opened_total == 0

        with_tier(server.url, test)


SAID = {
    "LOADING Redis is loading the dataset in memory": (Trouble.BUSY, "LOADING: "),
    "BUSY Redis is busy running a script.": (Trouble.BUSY, "BUSY: "),
    "MASTERDOWN Link with MASTER is down": (Trouble.BUSY, "MASTERDOWN: "),
    "CLUSTERDOWN The cluster is down": (Trouble.BUSY, "CLUSTERDOWN: "),
    "CLUSTERDOWN Hash slot not served": (Trouble.BUSY, "CLUSTERDOWN: "),
    "TRYAGAIN Multiple keys request": (Trouble.BUSY, "TRYAGAIN: "),
    "MOVED 866 127.0.0.1:7002": (Trouble.BUSY, "MOVED: "),
    "OOM command not allowed when used memory": (Trouble.WRITES_REFUSED, "OOM: "),
    "READONLY You can't write against a read only replica.": (
        Trouble.WRITES_REFUSED,
        "READONLY: ",
    ),
    "NOREPLICAS Not enough good replicas to write.": (Trouble.WRITES_REFUSED, "NOREPLICAS: "),
    "MISCONF Redis is configured to save": (Trouble.WRITES_REFUSED, "MISCONF: the server cannot"),
    "NOAUTH Authentication required.": (Trouble.CONFIGURATION, "NOAUTH: "),
    "WRONGPASS invalid username-password pair": (Trouble.CONFIGURATION, "WRONGPASS: "),
    "NOPERM User me has no permissions for 'secret'": (Trouble.CONFIGURATION, "NOPERM: "),
    "DENIED Redis is running in protected mode": (Trouble.CONFIGURATION, "DENIED: "),
    "CROSSSLOT Keys in request don't hash": (Trouble.CONFIGURATION, "CROSSSLOT: "),
    "ERR invalid password": (Trouble.CONFIGURATION, "ERR: configuration"),
    "ERR DB index is out of range": (Trouble.CONFIGURATION, "ERR: there is no database"),
    "ERR max number of clients reached": (Trouble.UNREACHABLE, "ERR: the server has too many"),
    "WRONGTYPE Operation against a key": (Trouble.REFUSED, "WRONGTYPE: "),
    "ERR unknown command 'EVALSHA', with args beginning with: 'secret'": (
        Trouble.REFUSED,
        "ERR: the server cannot do this",
    ),
    "WHATEVER 'secret'": (Trouble.REFUSED, "WHATEVER: the server cannot do this"),
    "lower case 'secret'": (Trouble.REFUSED, "ERR: the server cannot do this"),
    # Redis 6, from inside a script.
    "ERR Error running script (call to f_6b1bf4): @user_script:9: @user_script: 9: "
    "-OOM command not allowed when used memory > 'maxmemory'.": (
        Trouble.WRITES_REFUSED,
        "OOM: ",
    ),
}


def _chained(outer: Exception, inner: Exception) -> Exception:
    outer.__context__ = inner
    return outer


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (BrokenPipeError(), Trouble.UNREACHABLE, "connection reset by here"),
        (PermissionError(), Trouble.CONFIGURATION, "not allowed to use the socket at here"),
        (RuntimeError("secret"), Trouble.UNREACHABLE, "lost the connection to here"),
        (redis.ConnectionError("secret"), Trouble.UNREACHABLE, "lost the connection to here"),
        (
            OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 1, 0, 0)"),
            Trouble.UNREACHABLE,
            "connection refused at here",
        ),
        (
            ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] alert (_ssl.c:2580)"),
            Trouble.CONFIGURATION,
            "here does not trust our certificate",
        ),
        (
            ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)"),
            Trouble.UNREACHABLE,
            "no TLS with here: WRONG_VERSION_NUMBER",
        ),
        (ssl.SSLError(1, "whatever"), Trouble.UNREACHABLE, "no TLS with here: no reason given"),
    ],
)
def test_how_failures_are_called(error: Exception, kind: Trouble, words: str) -> None:
    if isinstance(error, ssl.SSLError) and "SSL: " in str(error):
        error.reason = str(error).partition("SSL: ")[2].partition("]")[0]
    for shown in (error, _chained(redis.ConnectionError("secret"), error)):
        found = failed(shown, "here")
        assert (found.trouble, found.reason) == (kind, words)


def test_how_refusals_are_called() -> None:
    async def main() -> None:
        for said, (kind, words) in SAID.items():
            async with saying(b"-%s\r\n" % said.encode()) as url:
                tier = RedisTier.from_url(url)
                with pytest.raises(TierError) as caught:
                    await tier.raise_floor("f", 1)
                assert (caught.value.trouble, said) == (kind, said)
                assert caught.value.reason.startswith(words), said
                assert "secret" not in repr(caught.value)
                # The connection is in step; READONLY is the one that ends it.
                assert tier.pool().open == (not said.startswith("READONLY")), said
                await tier.aclose()

    asyncio.run(main())
