"""Compression of payloads: zstd where there is one, else zlib; and a bound on what comes out.

zstd is in the standard library from Python 3.14 on and comes as `backports.zstd` before. Small
payloads are left alone, and so are those that hardly shrink: it must be worth the work.

A few hundred bytes can become gigabytes. So nothing is decompressed that declares a size over the
limit, at most one byte more than declared is ever produced, and the window of a zstd frame, which
its decompressor has to allocate, may be no larger than the content.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any, Final

from holdfast._core.validate import refuse
from holdfast.cache.entry import PLAIN, ZLIB, ZSTD
from holdfast.cache.errors import ForeignBlobError

THRESHOLD: Final = 1024
"""Payloads of at most so many bytes are not compressed, unless said otherwise."""

_SAVING: Final = 0.9
"""A compressed payload must be at most this share of the original."""
_ZLIB_LEVEL: Final = 1
"""The quickest: zlib is slow enough."""


def threshold_of(compression: bool | int) -> int | None:
    """From how many bytes on an option means to compress; None for never.

    Raises:
        ConfigurationError: the option is neither a bool nor a whole number of at least 1.
    """
    if compression is True:
        return THRESHOLD
    if compression is False:
        return None
    if not isinstance(compression, int) or compression < 1:
        wanted = "True, False, or a whole number of bytes, at least 1, above which to compress"
        raise refuse("compression", compression, wanted)
    return compression


def shrink(raw: bytes, threshold: int | None) -> tuple[bytes, int]:
    """`raw` compressed, and with what (`ZSTD`, `ZLIB`), if that is worth it; else as it is."""
    if threshold is None or len(raw) <= threshold:
        return raw, PLAIN
    zstd = _zstd()
    if zstd is not None:
        payload, how = zstd.compress(raw), ZSTD
    else:
        import zlib

        payload, how = zlib.compress(raw, _ZLIB_LEVEL), ZLIB
    return (payload, how) if len(payload) <= len(raw) * _SAVING else (raw, PLAIN)


def expand(payload: bytes, how: int, raw_size: int, limit: int) -> bytes:
    """What was compressed with `how`, if it has `raw_size` bytes, which are at most `limit`.

    Never holds more than `raw_size` + 1 bytes of output.

    Raises:
        ForeignBlobError: ``"size"`` if it has more or fewer bytes or is damaged, ``"format"`` if
            this process has no zstd.
    """
    if raw_size > limit:
        raise ForeignBlobError("size")
    raw = _from_zstd(payload, raw_size) if how == ZSTD else _from_zlib(payload, raw_size)
    if raw is None or len(raw) != raw_size:
        raise ForeignBlobError("size")
    return raw


def _from_zstd(payload: bytes, raw_size: int) -> bytes | None:
    zstd = _zstd()
    if zstd is None:
        raise ForeignBlobError("format")
    window = {zstd.DecompressionParameter.window_log_max: max(raw_size.bit_length(), 10)}
    decompressor = zstd.ZstdDecompressor(options=window)
    try:
        raw: bytes = decompressor.decompress(payload, max_length=raw_size + 1)
    except zstd.ZstdError:
        return None
    return raw if decompressor.eof and not decompressor.unused_data else None


def _from_zlib(payload: bytes, raw_size: int) -> bytes | None:
    import zlib

    decompressor = zlib.decompressobj()
    try:
        raw = decompressor.decompress(payload, raw_size + 1)
    except zlib.error:
        return None
    return raw if decompressor.eof and not decompressor.unused_data else None


@cache
def _zstd() -> Any:
    """The module for zstd, or None. Looked for once."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return import_module(name)
        except ImportError:
            pass
    return None
