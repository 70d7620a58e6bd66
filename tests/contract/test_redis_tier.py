"""The Redis tier on real servers, in each way to reach them."""

from __future__ import annotations

import shutil
from collections.abc import Generator

import pytest

from contract.tls import make_tls, missing_reason
from holdfast.cache.port import SharedTier
from holdfast.cache.redis import RedisTier
from holdfast.testing.contracts.tier import SharedTierContract
from holdfast.testing.topologies import cluster, sentinels
from holdfast.testing.valkey import ValkeyServer

pytestmark = pytest.mark.skipif(
    ValkeyServer.missing_reason() is not None, reason=str(ValkeyServer.missing_reason())
)


class RedisContract(SharedTierContract):
    """With a fixture `place` that gives a URL."""

    __test__ = False
    url: str

    @pytest.fixture(autouse=True)
    def _place(self, place: str) -> None:
        self.url = place

    def open_tier(self) -> SharedTier:
        return RedisTier.from_url(self.url, connect_timeout=5.0)


class TestOverTcp(RedisContract):
    @pytest.fixture(scope="class")
    @classmethod
    def place(cls) -> Generator[str]:
        with ValkeyServer() as server:
            yield server.url


class TestOverAUnixSocket(RedisContract):
    @pytest.fixture(scope="class")
    @classmethod
    def place(cls) -> Generator[str]:
        with ValkeyServer(unix=True, password="s/e:c@ret", config={"databases": 4}) as server:
            yield f"{server.url}?db=3"


class TestWithAPassword(RedisContract):
    @pytest.fixture(scope="class")
    @classmethod
    def place(cls) -> Generator[str]:
        with ValkeyServer(password="p@ss word%") as server:
            server.command("ACL", "SETUSER", "me", "on", ">mine", "~contract:*", "&*", "+@all")
            yield server.url.replace("redis://:p%40ss%20word%25", "redis://me:mine")


@pytest.mark.skipif(missing_reason() is not None, reason=str(missing_reason()))
class TestOverTls(RedisContract):
    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
        tls = make_tls(tmp_path_factory.mktemp("tls"))
        with ValkeyServer(shutil.which("redis-server"), tls=tls, password="secret") as server:
            yield server.url


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
class TestOnRedis(RedisContract):
    @pytest.fixture(scope="class")
    @classmethod
    def place(cls) -> Generator[str]:
        with ValkeyServer(shutil.which("redis-server")) as server:
            yield server.url


class TestOnACluster(RedisContract):
    @pytest.fixture(scope="class")
    @classmethod
    def place(cls) -> Generator[str]:
        with cluster() as servers:
            yield servers.url


class TestBehindASentinel(RedisContract):
    @pytest.fixture(scope="class")
    @classmethod
    def place(cls) -> Generator[str]:
        with sentinels() as servers:
            yield servers.url
