"""How each server behind the tier fares, asked now, on connections of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from holdfast.cache.port import NodeSnapshot, TierError
from holdfast.cache.redis.commands import PING, is_list
from holdfast.cache.redis.dialer import Dialer
from holdfast.cache.redis.errors import Refusal, refused
from holdfast.cache.redis.servers import ROLE, Member

_ROLES = {b"master": "primary", b"slave": "replica", b"sentinel": "sentinel"}


async def look_at(dialer: Dialer, members: Sequence[Member]) -> Sequence[NodeSnapshot]:
    """A snapshot each; a server that does not answer within the time for connecting is not ok."""
    return await asyncio.gather(*(_look(dialer, member) for member in members))


async def _look(dialer: Dialer, member: Member) -> NodeSnapshot:
    clock = asyncio.get_running_loop().time
    role, latency, reason = member.role, None, None
    try:
        link = await dialer.open(member.address, sentinel=member.role == "sentinel")
        try:
            began = clock()
            pong, told = await link.run_within(dialer.connect_timeout, (PING, ROLE))
            latency = clock() - began
        finally:
            link.abort()
        # Who may not ask for the role gets a refusal; then it is what it was thought to be.
        if is_list(told) and told:
            role = _ROLES.get(told[0], role)
        if isinstance(pong, Refusal):
            raise refused(pong)
    except TierError as error:
        reason = error.reason
    return NodeSnapshot(
        address=dialer.name_of(member.address),
        role=role,
        ok=reason is None,
        latency=latency,
        reason=reason,
    )
