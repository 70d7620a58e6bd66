"""ResilientCache: Redis first, memory behind it, nothing lost in between."""

from holdfast.cache.answers import Lookup, Status, Tier, WriteStatus
from holdfast.cache.cache import ResilientCache
from holdfast.cache.errors import (
    CacheCounterError,
    CacheDecodeError,
    CacheEncodeError,
    CacheError,
    CacheKeyError,
    CacheUnavailableError,
    PayloadTooLargeError,
)
from holdfast.cache.events import (
    CacheDataLost,
    CacheForeignFound,
    CacheJournalOverflowed,
    CacheReplayed,
    CacheTierChanged,
)
from holdfast.cache.lifeline import TierState
from holdfast.cache.namespace import Namespace
from holdfast.cache.options import CacheOptions
from holdfast.cache.signing import Signer

__all__ = [
    "CacheCounterError",
    "CacheDataLost",
    "CacheDecodeError",
    "CacheEncodeError",
    "CacheError",
    "CacheForeignFound",
    "CacheJournalOverflowed",
    "CacheKeyError",
    "CacheOptions",
    "CacheReplayed",
    "CacheTierChanged",
    "CacheUnavailableError",
    "Lookup",
    "Namespace",
    "PayloadTooLargeError",
    "ResilientCache",
    "Signer",
    "Status",
    "Tier",
    "TierState",
    "WriteStatus",
]
