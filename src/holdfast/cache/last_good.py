"""Last good responses, kept in a cache: the port of `holdfast.degradation`, on `ResilientCache`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.cache.answers import Lookup, Status

if TYPE_CHECKING:
    from holdfast.cache.cache import ResilientCache

NAMESPACE: Final = "last-good"


class CacheLastGood:
    """Keeps responses in a namespace of a cache; see `holdfast.degradation.LastGood`.

    What comes back has been encoded and decoded: without a type it is plain data, dicts and lists
    in place of dataclasses and tuples.
    """

    def __init__(self, cache: ResilientCache) -> None:
        self._kept = cache.namespace(NAMESPACE)
        self._blocking = cache.sync.namespace(NAMESPACE)

    async def get(self, key: str, type: Any = None) -> tuple[Any, float] | None:
        """The value kept and its age in seconds, if there is one."""
        return _found(await self._kept.lookup(key, type=type))

    async def put(self, key: str, value: Any, ttl: float) -> None:
        """Keep `value` for `ttl` seconds from now."""
        await self._kept.set(key, value, ttl=ttl)

    def get_now(self, key: str, type: Any = None) -> tuple[Any, float] | None:
        """The sync twin of `get`."""
        return _found(self._blocking.lookup(key, type=type))

    def put_now(self, key: str, value: Any, ttl: float) -> None:
        """The sync twin of `put`."""
        self._blocking.set(key, value, ttl=ttl)


def _found(found: Lookup[Any]) -> tuple[Any, float] | None:
    if found.status not in (Status.HIT, Status.STALE):
        return None
    return found.value, found.age or 0.0
