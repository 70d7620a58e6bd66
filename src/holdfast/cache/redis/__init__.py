"""The shared tier on Redis or Valkey: a server, a primary behind Sentinels, or a cluster.

This package needs redis-py and hiredis and is imported when a cache is given a URL, not before.
Inside it, from the wire up: a `Link` is one connection on which commands and replies stay in step;
a `Lane` is the few links to one server; `Servers` is what stands behind the tier; the tier itself
says what the port asks for in commands and scripts.
"""

from __future__ import annotations

from holdfast.errors import ConfigurationError

try:
    from holdfast.cache.redis.tier import RedisTier
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("redis", "hiredis"):
        raise
    raise ConfigurationError(
        "a cache in Redis needs redis-py and hiredis: pip install 'holdfast[redis]'"
    ) from None

__all__ = ["RedisTier"]
