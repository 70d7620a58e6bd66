"""The exceptions of the cache. None shows a value or a payload, and of a key only its beginning."""

from __future__ import annotations

from typing import Final

from holdfast.errors import ResilienceError

__all__ = [
    "CacheCounterError",
    "CacheDecodeError",
    "CacheEncodeError",
    "CacheError",
    "CacheKeyError",
    "CacheUnavailableError",
    "ForeignBlobError",
    "PayloadTooLargeError",
]

_SHOWN: Final = 40


def shown(key: str) -> str:
    """As much of a key as an error shows: up to 40 characters of it, quoted."""
    return repr(key) if len(key) <= _SHOWN else f"{key[:_SHOWN]!r}..."


class CacheError(ResilienceError):
    """Base of what the cache raises."""

    def __repr__(self) -> str:
        # The arguments hold the whole key.
        return f"{self.__class__.__qualname__}({str(self)!r})"


class CacheKeyError(CacheError, ValueError):
    """A key cannot be used; the message says why and what is allowed.

    Not a `KeyError`: a key that is merely missing is no error.
    """


class CacheCounterError(CacheError, ValueError):
    """A key cannot be added to: it holds something else, or the sum is beyond ±2**53.

    Attributes:
        key: the key.
        reason: which of the two.
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(key, reason)
        self.key = key
        self.reason = reason

    def __str__(self) -> str:
        return f"key {shown(self.key)} cannot be added to: {self.reason}"


class CacheEncodeError(CacheError, TypeError):
    """A value cannot be written.

    Attributes:
        key: the key it was meant for.
        offender: the type that stands in the way, perhaps of a part deep inside the value.
        reason: what is wrong with it.
    """

    def __init__(self, key: str, offender: str, reason: str) -> None:
        super().__init__(key, offender, reason)
        self.key = key
        self.offender = offender
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"the value for key {shown(self.key)} cannot be encoded: {self.offender} {self.reason}"
        )


class CacheDecodeError(CacheError, ValueError):
    """What was read does not fit the type that was asked for. The cache counts it as a miss.

    Attributes:
        wanted: the type asked for.
        reason: what does not fit.
    """

    def __init__(self, wanted: str, reason: str) -> None:
        super().__init__(wanted, reason)
        self.wanted = wanted
        self.reason = reason

    def __str__(self) -> str:
        return f"the cached payload does not decode to {self.wanted}: {self.reason}"


class PayloadTooLargeError(CacheError, ValueError):
    """An encoded value has more bytes than the cache takes.

    Attributes:
        key: the key it was meant for.
        size: bytes, before compression.
        limit: the most bytes allowed.
    """

    def __init__(self, key: str, size: int, limit: int) -> None:
        super().__init__(key, size, limit)
        self.key = key
        self.size = size
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"the value for key {shown(self.key)} takes {self.size} bytes;"
            f" max_payload is {self.limit}"
        )


class ForeignBlobError(CacheError):
    """What was found under a key is nothing that can be trusted. The cache counts it as a miss.

    Attributes:
        reason: ``"foreign"``, no blob of this format at all; ``"format"``, one that this process
            cannot read but a newer or better equipped one can, so it must be left alone;
            ``"checksum"``, damaged; ``"signature"``, missing, unexpected or wrong; ``"size"``, its
            content is not as large as it declares.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the cached blob was not accepted: {self.reason}"


class CacheUnavailableError(CacheError):
    """An operation that has no stand-in was asked for while Redis is down.

    Attributes:
        operation: what was asked for, for example ``"incr"``.
        reason: why Redis cannot do it, in one line.
    """

    def __init__(self, operation: str, reason: str) -> None:
        super().__init__(operation, reason)
        self.operation = operation
        self.reason = reason

    def __str__(self) -> str:
        return f"cache: {self.operation} needs Redis, which is down: {self.reason}"
