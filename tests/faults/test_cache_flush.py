"""Row 12 of the published results: leases against thundering herds, with a real server."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.testing import ValkeyServer

from . import flush
from .places import needs_server

pytestmark = needs_server


@pytest.mark.parametrize("memory", [True, False], ids=["memory stands in", "leases alone"])
def test_the_origin_sees_a_small_part_of_the_herd(memory: bool) -> None:
    async def test(server: ValkeyServer) -> None:
        for attempt in (1, 2, 3):
            server.flush()
            naive = await flush.unprotected(server, 0.4)
            server.flush()
            ours = await flush.protected(server, 0.4, memory=memory)
            if naive.peak > 0.8 * flush.RATE * flush.SLOT or attempt == 3:
                break  # else this machine was too busy for so much load
        assert ours.peak / naive.peak <= flush.LIMIT
        assert ours.loads <= 2 * flush.KEYS

    with ValkeyServer() as server:
        asyncio.run(test(server))
