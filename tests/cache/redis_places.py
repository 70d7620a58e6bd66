"""What the tests of the Redis tier share: blobs, a way to run, and a server that says anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from holdfast.cache.port import TierError, Trouble
from holdfast.cache.redis import RedisTier
from holdfast.testing.contracts.tier import make_blob, make_put
from holdfast.testing.valkey import ValkeyServer

needs_server = pytest.mark.skipif(
    ValkeyServer.missing_reason() is not None, reason=str(ValkeyServer.missing_reason())
)

Test = Callable[[RedisTier], Coroutine[Any, Any, None]]


def with_tier(url: str, test: Test, **options: Any) -> RedisTier:
    """Run a test with a tier, which must have all connections back afterwards."""
    tier = RedisTier.from_url(url, **options)

    async def main() -> None:
        try:
            async with asyncio.timeout(20):
                await test(tier)
            assert tier.pool().in_use == 0
        finally:
            await tier.aclose()

    asyncio.run(main())
    return tier


@contextmanager
def trouble(kind: Trouble, words: str = "") -> Generator[None]:
    """Inside, a `TierError` of this kind has to be raised, whose reason has these words."""
    with pytest.raises(TierError) as caught:
        yield
    reason = caught.value.reason
    assert (caught.value.trouble, str(caught.value)) == (kind, reason), reason
    assert words in reason, reason
    assert "\n" not in reason, reason


async def put_names(tier: RedisTier, *keys: str) -> None:
    """Let each key hold its own name."""
    await tier.write([make_put(key, 1, key.encode()) for key in keys])


async def holds_its_name(tier: RedisTier, key: str) -> bool:
    """Whether the answer for a key is that of the key, and not another one's."""
    return list((await tier.read([key], [])).blobs) == [make_blob(1, key.encode())]


@asynccontextmanager
async def saying(*replies: bytes) -> AsyncGenerator[str]:
    """A server that lets everybody in and then says these things, one for each command."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        left = list(replies)
        try:
            while data := await reader.read(65536):
                for _ in range(data.count(b"SETINFO")):
                    writer.write(b"+OK\r\n")
                if b"SETINFO" not in data and left:
                    writer.write(left.pop(0))
        except ConnectionError:
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await server.wait_closed()
