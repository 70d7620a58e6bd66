"""Signatures: whoever can write to Redis but has no key cannot make the cache believe anything.

The signature is an HMAC-SHA256 (RFC 2104) over the full key, its length first, the header and the
payload. So a blob that was copied to another key fails, and so does one with a longer life. In the
blob stands, between header and payload:

    length of the key id (1 byte), key id (1 to 16 bytes of ASCII), signature (32 bytes)

To change keys, first give every process the new one, then make it `current` everywhere, and take
the old one away when nothing signed with it is left. Signatures do not hide what is stored, and do
not keep anybody from putting an older blob of the same key back.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Final, NoReturn

from holdfast._core.validate import refuse
from holdfast.errors import ConfigurationError
from holdfast.settings import Secret

_LEAST_KEY: Final = 16
_LONGEST_ID: Final = 16
_MAC: Final = 32


class Signer:
    """Signs blobs with one key and accepts those signed with any of several.

    Args:
        keys: secrets of at least 16 bytes (32 random ones are better) by their ids, which are 1 to
            16 printable ASCII characters. Ids are no secret: they stand in every blob.
        current: the id of the key to sign with.

    Raises:
        ConfigurationError: no keys, an id or a secret that does not do, or an unknown `current`.

    Immutable, so thread safe. Refuses to be pickled, since it holds secrets.
    """

    __slots__ = ("_current", "_keys", "_sign_with")

    def __init__(self, keys: Mapping[str, Secret], *, current: str) -> None:
        if not isinstance(keys, Mapping) or not keys:
            # Without the value, as everywhere here: it may hold what should have been a Secret.
            raise ConfigurationError("keys must be a non-empty mapping from ids to Secrets")
        self._keys: dict[bytes, bytes] = {}
        for name, secret in keys.items():
            if not _is_id(name):
                raise ConfigurationError("an id in keys must be 1 to 16 printable ASCII characters")
            if not isinstance(secret, Secret):
                raise ConfigurationError(f"the key {name!r} must be a Secret")
            raw = secret.reveal().encode(errors="surrogatepass")
            if len(raw) < _LEAST_KEY:
                raise ConfigurationError(
                    f"the key {name!r} must have at least {_LEAST_KEY} bytes, not {len(raw)}"
                )
            self._keys[name.encode()] = raw
        if current not in keys:
            raise refuse("current", current, f"one of the ids {', '.join(map(repr, keys))}")
        name_bytes = current.encode()
        self._current = bytes([len(name_bytes)]) + name_bytes
        self._sign_with = self._keys[name_bytes]

    def block(self, full_key: str, header: bytes, payload: bytes) -> bytes:
        """What to put between header and payload."""
        return self._current + _mac(self._sign_with, full_key, header, payload)

    def accepts(self, block: bytes, full_key: str, header: bytes, payload: bytes) -> bool:
        """Whether one of the keys signed this. Signatures are compared in constant time."""
        key = self._keys.get(block[1:-_MAC])
        if key is None:
            return False
        return hmac.compare_digest(block[-_MAC:], _mac(key, full_key, header, payload))

    def __repr__(self) -> str:
        names = ", ".join(repr(name.decode()) for name in self._keys)
        return f"Signer(ids=[{names}], current={self._current[1:].decode()!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Signer cannot be pickled")


def payload_after(blob: bytes, start: int) -> int | None:
    """Where the payload begins if a block of a signature begins at `start`; None if none can."""
    length = blob[start] if len(blob) > start else 0
    end = start + 1 + length + _MAC
    return end if 1 <= length <= _LONGEST_ID and end <= len(blob) else None


def _is_id(name: object) -> bool:
    return (
        isinstance(name, str)
        and 0 < len(name) <= _LONGEST_ID
        and name.isascii()
        and name.isprintable()
    )


def _mac(key: bytes, full_key: str, header: bytes, payload: bytes) -> bytes:
    name = full_key.encode()
    return hmac.digest(key, len(name).to_bytes(4, "big") + name + header + payload, "sha256")
