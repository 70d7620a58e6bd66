"""The wire format: an entry as the bytes that stand in Redis.

    bytes   what
    0-1     magic, F5 48
    2       version of the format, 1
    3       flags, see `holdfast.cache.entry`
    4-11    version of the entry (`VERSION_AT`: scripts on the server read it)
    12-19   fresh_until, in milliseconds of Unix time; all ones for never
    20-27   expires, likewise
    28-31   cost, in milliseconds
    32-35   raw_size
    36-39   checksum: CRC-32 of bytes 0 to 35 and the payload
    40-     the signature's block if the flag SIGNED is set (see `holdfast.cache.signing`)
    then    the payload

All numbers are unsigned and big endian. Of a counter the server rewrites the payload, so its
checksum covers the header alone, and the payload itself must be a plain decimal number.

A blob is either exactly what `pack` writes, or it is refused: nothing in it is believed before the
checksum and the signature fit, and nothing is guessed. A format from the future, and flags that
have no meaning yet, are refused as "format": a newer process wrote them and can read them.
"""

from __future__ import annotations

import struct
from math import inf
from typing import Final
from zlib import crc32

from holdfast.cache.entry import (
    ABSENT,
    COMPRESSION_MASK,
    COUNTER,
    JSON,
    KIND_MASK,
    MSGPACK,
    PICKLE,
    PLAIN,
    SIGNED,
    TOMBSTONE,
    VALUE,
    ZLIB,
    ZSTD,
    Entry,
)
from holdfast.cache.errors import ForeignBlobError
from holdfast.cache.signing import Signer, payload_after
from holdfast.errors import ConfigurationError

LARGEST_COUNT: Final = 2**53
"""Counters go this far up and down: scripts on the server calculate in doubles."""

_MAGIC: Final = 0xF548
_FORMAT: Final = 1
_LEAD: Final = (_MAGIC << 8 | _FORMAT) << 8
"""The first four bytes, but for the flags."""

# The checksum is packed behind the part that it covers.
_COVERED: Final = struct.Struct(">IQQQII")
_HEADER: Final = struct.Struct(">IQQQIII")
_CHECKSUM: Final = struct.Struct(">I")
_CHECKSUM_AT: Final = _COVERED.size
_PAYLOAD_AT: Final = _HEADER.size

_NEVER: Final = 2**64 - 1
_LATEST: Final = 2**50
"""From this moment on it is never: 35 000 years hence, floats begin to lose milliseconds."""
_MOST_32: Final = 2**32 - 1

_KNOWN: Final = frozenset(
    {ABSENT, TOMBSTONE, COUNTER, ABSENT | SIGNED, TOMBSTONE | SIGNED}
    | {
        VALUE | encoding | compression | signed
        for encoding in (MSGPACK, JSON, PICKLE)
        for compression in (PLAIN, ZSTD, ZLIB)
        for signed in (0, SIGNED)
    }
)


def pack(entry: Entry, full_key: str, signer: Signer | None = None) -> bytes:
    """The blob for `entry` under `full_key`.

    Times are rounded to milliseconds, and so is `cost`, which ends at 49 days. With a signer the
    blob gets the flag SIGNED, whether the entry has it or not. A counter's `raw_size` is left out.

    Raises:
        ConfigurationError: a counter is to be signed, which the server could not rewrite; or an
            entry has the flag SIGNED and there is no signer.
    """
    flags, payload, raw_size = entry.flags, entry.payload, entry.raw_size
    if flags & KIND_MASK == COUNTER:
        # It says nothing: the server may write more digits, or fewer.
        raw_size = 0
    if signer is not None:
        if flags & KIND_MASK == COUNTER:
            raise ConfigurationError("counters cannot be signed: use a cache without a signer")
        flags |= SIGNED
    elif flags & SIGNED:
        raise ConfigurationError("an entry that was signed needs a signer to be written again")
    covered = _COVERED.pack(
        _LEAD | flags,
        entry.version,
        _milliseconds(entry.fresh_until),
        _milliseconds(entry.expires),
        min(round(entry.cost * 1000), _MOST_32),
        raw_size,
    )
    checksum = crc32(covered)
    if flags != COUNTER:
        checksum = crc32(payload, checksum)
    header = covered + _CHECKSUM.pack(checksum)
    if signer is None:
        return header + payload
    return header + signer.block(full_key, header, payload) + payload


def header_of_counter(version: int, fresh_until: float = inf, expires: float = inf) -> bytes:
    """A counter's blob up to where its digits begin; for `SharedTier.add`."""
    return pack(Entry(b"", COUNTER, version, fresh_until, expires), "")


def unpack(blob: bytes, full_key: str, signer: Signer | None = None) -> Entry:
    """The entry in a blob that was found under `full_key`.

    Its flags tell what was read, SIGNED included. The payload is still encoded and compressed.

    Raises:
        ForeignBlobError: the blob is not exactly what `pack` writes, or is signed and there is no
            signer, or the other way round. Nothing else is raised, whatever the bytes.
    """
    try:
        first, version, fresh, expires, cost, raw_size, checksum = _HEADER.unpack_from(blob)
    except struct.error:
        raise _no_blob(blob) from None
    covered = crc32(blob[:_CHECKSUM_AT])
    if first == _LEAD and signer is None:
        # Nearly all there is: a plain MessagePack value, which has no flags.
        flags = 0
        payload = blob[_PAYLOAD_AT:]
        if crc32(payload, covered) != checksum:
            raise ForeignBlobError("checksum")
        if len(payload) != raw_size:
            raise ForeignBlobError("size")
    else:
        flags = first - _LEAD
        if not 0 <= flags <= 0xFF:
            raise _no_blob(blob)
        payload = _payload(blob, full_key, signer, flags, raw_size, checksum, covered)
    if fresh > expires:
        raise ForeignBlobError("foreign")
    return Entry(
        payload,
        flags,
        version,
        fresh / 1000 if fresh < _LATEST else _never(fresh),
        expires / 1000 if expires < _LATEST else _never(expires),
        cost / 1000,
        raw_size,
    )


def _payload(
    blob: bytes,
    full_key: str,
    signer: Signer | None,
    flags: int,
    raw_size: int,
    checksum: int,
    covered: int,
) -> bytes:
    """The payload of a blob that is no plain value, once everything about it has been checked."""
    start: int | None = _PAYLOAD_AT
    if flags & SIGNED:
        start = payload_after(blob, _PAYLOAD_AT)
        if start is None:
            raise ForeignBlobError("signature")
    payload = blob[start:]
    if flags != COUNTER:
        covered = crc32(payload, covered)
    if covered != checksum:
        raise ForeignBlobError("checksum")
    if flags not in _KNOWN:
        raise ForeignBlobError("format")
    if bool(flags & SIGNED) != (signer is not None):
        raise ForeignBlobError("signature")
    if signer is not None and not signer.accepts(
        blob[_PAYLOAD_AT:start], full_key, blob[:_PAYLOAD_AT], payload
    ):
        raise ForeignBlobError("signature")
    kind = flags & KIND_MASK
    if kind == COUNTER:
        if raw_size or not _is_count(payload):
            raise ForeignBlobError("size")
    elif kind != VALUE:
        if raw_size or payload:
            raise ForeignBlobError("size")
    elif not flags & COMPRESSION_MASK and len(payload) != raw_size:
        raise ForeignBlobError("size")
    return payload


def _no_blob(blob: bytes) -> ForeignBlobError:
    """The error for bytes that do not begin as a blob does, or end too soon."""
    newer = blob[:2] == _MAGIC.to_bytes(2, "big") and len(blob) > 2 and blob[2] > _FORMAT
    return ForeignBlobError("format" if newer else "foreign")


def _is_count(digits: bytes) -> bool:
    """Whether this is a whole number within bounds, as a script writes it and in no other way."""
    try:
        # No more than can be right: to read a number of many digits takes long.
        number = int(digits[:20])
    except ValueError:
        return False
    return abs(number) <= LARGEST_COUNT and digits == b"%d" % number


def _milliseconds(seconds: float) -> int:
    milliseconds = round(min(max(seconds, 0.0) * 1000, _LATEST))
    return milliseconds if milliseconds < _LATEST else _NEVER


def _never(milliseconds: int) -> float:
    if milliseconds != _NEVER:
        raise ForeignBlobError("foreign")
    return inf
