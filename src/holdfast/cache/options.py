"""What can be said per namespace and per call: how long things live and how they are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from math import inf
from typing import Any, Final

from holdfast._core.validate import number, refuse
from holdfast.cache.compression import threshold_of


class Default(Enum):
    """Says that an option was not given, where None means something."""

    DEFAULT = "default"

    def __repr__(self) -> str:
        return "DEFAULT"


DEFAULT: Final = Default.DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOptions:
    """The defaults of a namespace. Durations are in seconds.

    Args:
        ttl: how long a value is a hit, above 0; None for ever. Default 300.
        stale_ttl: how long it is kept after that, to be served when nothing better can be had, at
            least 0. Default 0.
        absent_ttl: how long "there is no such thing" is remembered when a loader gives None, at
            least 0; 0 remembers nothing. Default 10.
        soft_timeout: how long a loader may take before a stale value is served in its place, above
            0; None for as long as it takes. Default None.
        hard_timeout: how long a loader may take at all, above 0; None for no limit. Default 30.
        early: how eagerly values are loaded anew before their end, at least 0; 0 is never. 1, the
            default, is the optimum of the source. See `holdfast.cache.loading`.
        fallback_to_memory: whether memory may stand in for Redis. Default True.
        compression: True, False, or the bytes above which to compress; None, the default, leaves
            it to the cache.

    Raises:
        ConfigurationError: an option is out of its range.
    """

    ttl: float | None = 300.0
    stale_ttl: float = 0.0
    absent_ttl: float = 10.0
    soft_timeout: float | None = None
    hard_timeout: float | None = 30.0
    early: float = 1.0
    fallback_to_memory: bool = True
    compression: bool | int | None = None

    def __post_init__(self) -> None:
        for name in ("ttl", "soft_timeout", "hard_timeout"):
            value = getattr(self, name)
            if value is not None:
                number(name, value, above=0)
        for name in ("stale_ttl", "absent_ttl", "early"):
            number(name, getattr(self, name), at_least=0)
        if not isinstance(self.fallback_to_memory, bool):
            raise refuse("fallback_to_memory", self.fallback_to_memory, "True or False")
        if self.compression is not None:
            threshold_of(self.compression)

    def changed(self, changes: Mapping[str, Any]) -> CacheOptions:
        """These options with some of them changed.

        Raises:
            ConfigurationError: an option is out of its range.
            TypeError: there is no such option.
        """
        return replace(self, **changes) if changes else self

    def ends(
        self, now: float, ttl: float | Default | None, stale_ttl: float | Default
    ) -> tuple[float, float]:
        """When a value that is written now is no longer fresh, and when it is gone.

        Raises:
            ConfigurationError: `ttl` or `stale_ttl` is out of its range.
        """
        if ttl is DEFAULT:
            ttl = self.ttl
        elif ttl is not None:
            number("ttl", ttl, above=0)
        if stale_ttl is DEFAULT:
            stale_ttl = self.stale_ttl
        else:
            number("stale_ttl", stale_ttl, at_least=0)
        if ttl is None:
            return inf, inf
        return now + ttl, now + ttl + stale_ttl


def given(**options: Any) -> dict[str, Any]:
    """Those of the options that were given."""
    return {name: value for name, value in options.items() if value is not DEFAULT}
