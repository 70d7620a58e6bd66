"""The last good response: where it is kept.

What keeps it is a port of two methods, so that a shared cache fits; in memory is the default. Ages
are measured where the response is kept, because only there it is known when it was written.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import RLock
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

from holdfast._core import fork
from holdfast._core.clock import AMBIENT, Clock
from holdfast._core.validate import count, number
from holdfast.errors import ConfigurationError

LONGEST_KEY: Final = 500

READ_LIMIT: Final = 1.0
"""Seconds for reading one: an answer in an emergency must not be another wait."""


class LastGood(Protocol):
    """Keeps responses. Both methods may raise and may be cancelled."""

    async def get(self, key: str, type: Any) -> tuple[Any, float] | None:
        """The value kept and its age in seconds; None if there is none, or its time is over.

        What keeps it encoded decodes it as `type`, or as plain data if that is None.
        """
        ...

    async def put(self, key: str, value: Any, ttl: float) -> None:
        """Keep `value` for `ttl` seconds from now."""
        ...


@runtime_checkable
class BlockingLastGood(Protocol):
    """What a `LastGood` has in addition for sync code; both methods block, and may raise."""

    def get_now(self, key: str, type: Any) -> tuple[Any, float] | None:
        """As `LastGood.get`."""
        ...

    def put_now(self, key: str, value: Any, ttl: float) -> None:
        """As `LastGood.put`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheFallback:
    """Answer with the last good response when the primary fails.

    Args:
        key: of what was asked for, such as ``"user:7"``, 1 to 500 characters; responses of
            differently named services never meet.
        ttl: seconds that a response may be used, above 0. Default 300.
        type: as what a response is decoded where it is kept encoded, as in a cache. Default: what
            the primary is annotated to return; without that, plain data.

    Raises:
        ConfigurationError: an option is out of its range.
    """

    key: str
    ttl: float = 300.0
    type: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.key, str) or not 1 <= len(self.key) <= LONGEST_KEY:
            # Not shown: keys are often made of what a user sent.
            raise ConfigurationError(f"key must be a string of 1 to {LONGEST_KEY} characters")
        number("ttl", self.ttl, above=0)


class _Kept(NamedTuple):
    value: Any
    since: float
    until: float


class MemoryLastGood:
    """Responses kept in this process, the objects themselves: do not change what was served.

    Args:
        max_entries: at this number the one unused for longest goes; at least 1. Default 1,000.
        clock: for tests.

    Thread safe.
    """

    def __init__(self, *, max_entries: int = 1_000, clock: Clock | None = None) -> None:
        self._max_entries = count("max_entries", max_entries)
        self._clock = AMBIENT if clock is None else clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = RLock()  # reentrant: forgetting a value may run its finaliser
        fork.watch(self)

    def __len__(self) -> int:
        return len(self._kept)

    def get_now(self, key: str, type: Any = None) -> tuple[Any, float] | None:
        """As `get`: there is nothing to wait for."""
        now = self._clock.now()
        with self._lock:
            kept = self._kept.get(key)
            if kept is None:
                return None
            if now >= kept.until:
                del self._kept[key]
                return None
            self._kept.move_to_end(key)
        return kept.value, now - kept.since

    def put_now(self, key: str, value: Any, ttl: float) -> None:
        """As `put`: there is nothing to wait for."""
        now = self._clock.now()
        with self._lock:
            self._kept[key] = _Kept(value, now, now + ttl)
            self._kept.move_to_end(key)
            if len(self._kept) > self._max_entries:
                self._kept.popitem(last=False)

    async def get(self, key: str, type: Any = None) -> tuple[Any, float] | None:
        """The value kept and its age in seconds, if there is one."""
        return self.get_now(key)

    async def put(self, key: str, value: Any, ttl: float) -> None:
        """Keep `value` for `ttl` seconds from now."""
        self.put_now(key, value, ttl)

    def _after_fork(self) -> None:
        self._lock = RLock()
