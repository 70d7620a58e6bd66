"""The names under which things stand in Redis, made so that no two can collide.

    {prefix}:{namespace}:k:{key}      an entry
    {prefix}:{namespace}:h:{sha256}   an entry whose key is longer than 256 bytes
    {prefix}:{namespace}:l:{...}      the lease of an entry, named like it: l:k:... or l:h:...
    {prefix}:{namespace}:floor        the namespace's floor

In prefix and namespace every colon is escaped, so the first two colons of a full key end them,
whatever they contain; what follows says which of the four it is. Everything but printable ASCII is
escaped too, the same on every version of Python, so that people can type these names.

A key is taken as it is: two keys are the same only if all their characters are.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final
from urllib.parse import quote

from holdfast._core.validate import count, refuse
from holdfast.cache.errors import CacheKeyError, shown

PLAIN_BYTES: Final = 256
"""Longer keys (in UTF-8) are replaced by their hash."""

_LONGEST_NAME: Final = 200
_AS_THEY_ARE: Final = " !\"#$&'()*+,/;<=>?@[\\]^`{|}"
# With letters, digits and "_.-~", which `quote` never touches: printable ASCII without % and colon.


def _escaped(option: str, name: str, at_least: int) -> str:
    """`name` as it may stand between two colons."""
    wanted = f"a str of {at_least} to {_LONGEST_NAME} characters without lone surrogates"
    if not isinstance(name, str) or not at_least <= len(name) <= _LONGEST_NAME:
        raise refuse(option, name, wanted)
    try:
        return quote(name, safe=_AS_THEY_ARE)
    except UnicodeEncodeError:
        raise refuse(option, name, wanted) from None


class KeySpace:
    """The full keys of one namespace.

    Args:
        prefix: what all keys of an application begin with, 1 to 200 characters.
        namespace: 0 to 200 characters; empty for the namespace without a name.
        max_key_length: the most characters of a key, at least 1. Default 1024.

    Attributes:
        head: what stands in front of every short key. For a key that is ASCII and has 1 to 256
            characters (and not more than `max_key_length`), ``head + key`` is the full key, and
            quicker than `full`.
        floor: the key of the namespace's floor.

    Raises:
        ConfigurationError: an option is out of its range.

    Immutable, so thread safe.
    """

    __slots__ = ("_short", "_start", "floor", "head", "max_key_length", "namespace", "prefix")

    def __init__(self, prefix: str, namespace: str, *, max_key_length: int = 1024) -> None:
        self._start = f"{_escaped('prefix', prefix, 1)}:{_escaped('namespace', namespace, 0)}:"
        self.prefix = prefix
        self.namespace = namespace
        self.max_key_length = count("max_key_length", max_key_length)
        self._short = min(PLAIN_BYTES, max_key_length)
        self.head = f"{self._start}k:"
        self.floor = f"{self._start}floor"

    def full(self, key: str) -> str:
        """The full key for `key`.

        Raises:
            CacheKeyError: `key` is no str, empty, longer than `max_key_length` characters, or holds
                a lone surrogate, which has no place in UTF-8.
        """
        if isinstance(key, str) and 0 < len(key) <= self._short and key.isascii():
            return self.head + key
        return self._uncommon(key)

    def lease(self, full_key: str) -> str:
        """The key of the lease for an entry of this namespace."""
        start = len(self._start)
        return f"{full_key[:start]}l:{full_key[start:]}"

    def _uncommon(self, key: object) -> str:
        if not isinstance(key, str):
            raise CacheKeyError(_advice(key))
        if not key:
            raise CacheKeyError("a key must have at least 1 character")
        if len(key) > self.max_key_length:
            raise CacheKeyError(
                f"a key has at most {self.max_key_length} characters, not {len(key)}: {shown(key)}"
            )
        try:
            raw = key.encode()
        except UnicodeEncodeError:
            raise CacheKeyError(f"a key must not hold lone surrogates: {shown(key)}") from None
        if len(raw) <= PLAIN_BYTES:
            return self.head + key
        return f"{self._start}h:{sha256(raw).hexdigest()}"


def _advice(key: object) -> str:
    """What to say of a key that is no str, and what to write instead."""
    if isinstance(key, (bytes, bytearray)):
        instead = "key.decode(), or key.hex() if it is no text"
    elif key is None:
        instead = "a str; None usually means that an id is missing"
    else:
        instead = "str(key)"
    return f"a key must be a str, not {type(key).__qualname__}: write {instead}"
