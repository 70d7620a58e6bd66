"""Several servers that belong together: a cluster, and a primary that a Sentinel watches over."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from holdfast.testing.valkey import ValkeyServer, Value

READY_TIMEOUT = 20.0
SLOTS = 16384
DOWN_AFTER_MS = 300
"""Silence after which a Sentinel, or another node of a cluster, takes a server for dead."""


class Sentinel(ValkeyServer):
    """A Sentinel; options as for any server."""

    _mode = ("--sentinel",)


@dataclass(frozen=True, slots=True)
class SentinelSet:
    """A primary, its replica, and the Sentinels that promote the replica when the primary dies."""

    service: str
    primary: ValkeyServer
    replica: ValkeyServer
    sentinels: tuple[Sentinel, ...]

    @property
    def url(self) -> str:
        """The address as the cache takes it."""
        hosts = ",".join(_place(sentinel) for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{self.service}"

    def primary_port(self) -> int:
        """The port of the primary, in the opinion of the first Sentinel."""
        known = self.sentinels[0].command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
        return int(known[1])


@contextmanager
def sentinels(count: int = 1, *, service: str = "cache") -> Generator[SentinelSet]:
    """A primary, a replica that has caught up, and `count` Sentinels that know both."""
    with ExitStack() as stack:
        primary = stack.enter_context(ValkeyServer())
        port = primary.port
        replica = stack.enter_context(ValkeyServer(config={"replicaof": f"127.0.0.1 {port}"}))
        config: dict[str, Value] = {
            f"sentinel monitor {service}": f"127.0.0.1 {port} {count // 2 + 1}",
            f"sentinel down-after-milliseconds {service}": DOWN_AFTER_MS,
            f"sentinel failover-timeout {service}": 3000,
        }
        watchers = tuple(stack.enter_context(Sentinel(config=config)) for _ in range(count))
        _wait_until(lambda: replica.info("master_link_status") == "up")
        for watcher in watchers:
            _wait_until(partial(_knows_a_replica, watcher, service))
        yield SentinelSet(service, primary, replica, watchers)


@dataclass(frozen=True, slots=True)
class ClusterSet:
    """The nodes of a cluster, each with its share of the slots, in order."""

    nodes: tuple[ValkeyServer, ...]

    @property
    def url(self) -> str:
        """The address as the cache takes it: all nodes."""
        return "redis+cluster://" + ",".join(_place(node) for node in self.nodes)

    def owner(self, slot: int) -> ValkeyServer:
        """The node that was given a slot at the start."""
        return self.nodes[slot * len(self.nodes) // SLOTS]

    def flush(self) -> None:
        """Forget all data."""
        for node in self.nodes:
            node.flush()


@contextmanager
def cluster(count: int = 3) -> Generator[ClusterSet]:
    """A cluster of `count` primaries without replicas, once all of them call it complete."""
    with ExitStack() as stack:
        options: dict[str, Value] = {
            "cluster-node-timeout": 1000,
            "cluster-require-full-coverage": "no",
        }
        nodes = tuple(
            stack.enter_context(ValkeyServer(cluster=True, config=options)) for _ in range(count)
        )
        for number, node in enumerate(nodes):
            first, after = (-(-SLOTS * part // count) for part in (number, number + 1))
            node.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            node.command("CLUSTER", "ADDSLOTSRANGE", first, after - 1)
            for other in nodes[:number]:
                node.command("CLUSTER", "MEET", *other.address)
        for node in nodes:
            _wait_until(partial(_is_complete, node, count))
        yield ClusterSet(nodes)


def _knows_a_replica(sentinel: Sentinel, service: str) -> bool:
    return len(sentinel.command("SENTINEL", "REPLICAS", service)) == 1


def _is_complete(node: ValkeyServer, count: int) -> bool:
    known: list[object] = node.command("CLUSTER", "SLOTS")
    return len(known) == count and b"cluster_state:ok" in node.command("CLUSTER", "INFO")


def _place(server: ValkeyServer) -> str:
    return f"127.0.0.1:{server.port}"


def _wait_until(true: Callable[[], bool]) -> None:
    give_up = time.monotonic() + READY_TIMEOUT
    while not true():
        if time.monotonic() > give_up:
            raise RuntimeError("the servers did not find each other")
        time.sleep(0.02)
