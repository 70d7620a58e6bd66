"""What befalls Redis, and how it is mended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from holdfast.testing import FaultProxy, Latency, Timeout, ValkeyServer

SLOW = 0.3
FROZEN_FOR = 0.5
THAWED_FOR = 1.0

Fault = Callable[[ValkeyServer, FaultProxy], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def frozen(server: ValkeyServer, proxy: FaultProxy) -> AsyncIterator[None]:
    server.freeze()
    try:
        yield
    finally:
        server.thaw()


@asynccontextmanager
async def dead(server: ValkeyServer, proxy: FaultProxy) -> AsyncIterator[None]:
    server.kill()
    try:
        yield
    finally:
        await asyncio.to_thread(server.restart)


@asynccontextmanager
async def black_hole(server: ValkeyServer, proxy: FaultProxy) -> AsyncIterator[None]:
    with proxy.toxic(Timeout(), direction="both"):
        yield


@asynccontextmanager
async def slow(server: ValkeyServer, proxy: FaultProxy) -> AsyncIterator[None]:
    with proxy.toxic(Latency(SLOW)):
        yield


@asynccontextmanager
async def flapping(server: ValkeyServer, proxy: FaultProxy) -> AsyncIterator[None]:
    async def flap() -> None:
        while True:
            server.freeze()
            await asyncio.sleep(FROZEN_FOR)
            server.thaw()
            await asyncio.sleep(THAWED_FOR)

    task = asyncio.create_task(flap())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        server.thaw()


FAULTS: dict[str, tuple[str, Fault]] = {
    "frozen": ("SIGSTOP: the kernel still accepts connections, the server says nothing", frozen),
    "dead": ("kill -9: connections are refused; it comes back empty", dead),
    "black hole": ("every byte is swallowed on the way", black_hole),
    "slow": (f"each reply comes {SLOW * 1000:.0f} ms late", slow),
    "flapping": (f"frozen for {FROZEN_FOR:g} s, thawed for {THAWED_FOR:g} s, and so on", flapping),
}
