"""The cache's exceptions: what they say, and that they survive the way between processes."""

from __future__ import annotations

import pickle

import pytest

from holdfast.cache import errors
from holdfast.cache.errors import (
    CacheCounterError,
    CacheDecodeError,
    CacheEncodeError,
    CacheError,
    CacheKeyError,
    CacheUnavailableError,
    ForeignBlobError,
    PayloadTooLargeError,
)

LONG = "x" * 500
SHOWN = f"'{'x' * 40}'..."


@pytest.mark.parametrize(
    ("error", "also", "text"),
    [
        (CacheKeyError("a key must be a str"), ValueError, "a key must be a str"),
        (CacheCounterError("n", "no"), ValueError, "key 'n' cannot be added to: no"),
        (CacheCounterError(LONG, "no"), ValueError, f"key {SHOWN} cannot be added to: no"),
        (
            CacheEncodeError(LONG, "Odd", "is odd"),
            TypeError,
            f"the value for key {SHOWN} cannot be encoded: Odd is odd",
        ),
        (
            CacheDecodeError("User", "too old"),
            ValueError,
            "the cached payload does not decode to User: too old",
        ),
        (
            PayloadTooLargeError(LONG, 11, 10),
            ValueError,
            f"the value for key {SHOWN} takes 11 bytes; max_payload is 10",
        ),
        (ForeignBlobError("size"), CacheError, "the cached blob was not accepted: size"),
        (
            CacheUnavailableError("incr", "connection refused"),
            CacheError,
            "cache: incr needs Redis, which is down: connection refused",
        ),
    ],
)
def test_what_an_error_says(error: CacheError, also: type, text: str) -> None:
    assert str(error) == text
    assert isinstance(error, CacheError)
    assert isinstance(error, also)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == text
    assert vars(again) == vars(error)


def test_all_of_them_are_public_and_cache_errors() -> None:
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), CacheError)
