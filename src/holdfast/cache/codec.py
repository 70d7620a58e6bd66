"""From a value to the payload of an entry and back: format, compression, and the errors of both.

A codec writes one format and reads them all, so that a program can change its format while old
entries live on. The exception is pickle, since reading it can run code: a codec reads pickles only
if it also writes them, and only what was signed.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar, overload

from holdfast._core.validate import count, refuse
from holdfast.cache.compression import expand, shrink, threshold_of
from holdfast.cache.entry import (
    COMPRESSION_MASK,
    COUNTER,
    ENCODING_MASK,
    JSON,
    KIND_MASK,
    MSGPACK,
    PICKLE,
    PLAIN,
    SIGNED,
    Entry,
)
from holdfast.cache.errors import CacheDecodeError, CacheEncodeError, PayloadTooLargeError
from holdfast.cache.formats import Format, MsgspecFormat, PickleFormat, Unencodable
from holdfast.cache.signing import Signer
from holdfast.errors import ConfigurationError

T = TypeVar("T")

MAX_PAYLOAD: Final = 1 << 20
_MOST_MAX_PAYLOAD: Final = (1 << 32) - 1
# What `raw_size` can say in a blob.

_ENCODINGS: Final = {"msgpack": MSGPACK, "json": JSON, "pickle": PICKLE}


class Codec:
    """Writes and reads values.

    Args:
        encoding: the format to write: ``"msgpack"`` (the default), ``"json"``, or ``"pickle"``,
            which needs a signer.
        compression: True compresses payloads of more than 1024 bytes that shrink by at least a
            tenth, a number does so above that many bytes, False never. Default True.
        max_payload: the most bytes of an encoded value before compression, from 1 to 2**32 - 1.
            Default 1 MiB. Also the most that decompression gives.
        signer: what signs and checks the blobs. Default none.

    Attributes:
        plain: reads the payload of an entry without any flags, and quicker than `decode`. Raises
            whatever it likes if that is damaged.

    Raises:
        ConfigurationError: an option is out of its range, pickle is to go unsigned, or msgspec is
            not installed.

    Thread safe. See `holdfast.cache.formats` for what comes back of which value.
    """

    __slots__ = ("_flags", "_format", "_formats", "_threshold", "max_payload", "plain", "signer")

    def __init__(
        self,
        *,
        encoding: str = "msgpack",
        compression: bool | int = True,
        max_payload: int = MAX_PAYLOAD,
        signer: Signer | None = None,
    ) -> None:
        if not isinstance(encoding, str) or encoding not in _ENCODINGS:
            raise refuse("encoding", encoding, "'msgpack', 'json' or 'pickle'")
        if signer is not None and not isinstance(signer, Signer):
            # Without the value: it may be a bare secret.
            raise ConfigurationError("signer must be a Signer or None")
        if encoding == "pickle" and signer is None:
            raise ConfigurationError(
                "encoding='pickle' needs signer=Signer(...): reading a forged pickle runs its code"
            )
        self._threshold = threshold_of(compression)
        self.max_payload = count("max_payload", max_payload, at_most=_MOST_MAX_PAYLOAD)
        self.signer = signer
        self._flags = _ENCODINGS[encoding] | (0 if signer is None else SIGNED)
        msgpack = MsgspecFormat("msgpack")
        self.plain: Final = msgpack.decoder(None)
        """Decodes the payload of an entry without flags: plain MessagePack, untyped."""
        self._formats: dict[int, Format] = {
            MSGPACK: msgpack,
            JSON: MsgspecFormat("json"),
        }
        if encoding == "pickle":
            self._formats[PICKLE] = PickleFormat()
        self._format = self._formats[_ENCODINGS[encoding]]

    def encode(
        self, value: object, key: str, compression: bool | int | None = None
    ) -> tuple[bytes, int, int]:
        """`payload`, `flags` and `raw_size` of an `Entry` for `value`.

        `key` is for errors. `compression` is as for the codec; None means what the codec says.

        Raises:
            CacheEncodeError: the format does not know a type in the value, or the value is nested
                too deeply or refers to itself.
            PayloadTooLargeError: it takes more than `max_payload` bytes.
            ConfigurationError: `compression` is out of its range.
        """
        threshold = self._threshold if compression is None else threshold_of(compression)
        try:
            raw = self._format.encode(value)
        except Exception as error:
            # Not chained, here and below: the text of such errors may show what was in the value.
            raise _encode_error(key, value, error) from None
        size = len(raw)
        if size > self.max_payload:
            raise PayloadTooLargeError(key, size, self.max_payload)
        if threshold is None or size <= threshold:
            return _trimmed(raw), self._flags, size
        payload, how = shrink(raw, threshold)
        return _trimmed(payload), self._flags | how, size

    @overload
    def decode(self, entry: Entry, type: type[T]) -> T: ...
    @overload
    def decode(self, entry: Entry, type: object = None) -> Any: ...

    def decode(self, entry: Entry, type: Any = None) -> Any:
        """The value in an entry, as `type` if one is given, else as plain data.

        A type that msgspec knows, or a model of pydantic, or one made of them. The decoders of the
        last 256 types are kept.

        Raises:
            CacheDecodeError: the payload is no such value, or none at all: absences and tombstones
                hold none; or it is a pickle that may not be read.
            ForeignBlobError: it does not decompress to what the entry says.
            ConfigurationError: `type` is nothing that can be decoded.
        """
        flags = entry.flags
        payload = entry.payload
        how = flags & COMPRESSION_MASK
        if how != PLAIN:
            payload = expand(payload, how, entry.raw_size, self.max_payload)
        # A counter's digits are JSON.
        encoding = JSON if flags & KIND_MASK == COUNTER else flags & ENCODING_MASK
        reader = self._formats.get(encoding)
        if reader is None or (encoding == PICKLE and not flags & SIGNED):
            raise CacheDecodeError(_name(type), "it is a pickle, and may not be read here")
        decode = reader.decoder(type)
        try:
            return decode(payload)
        except Exception as error:
            raise CacheDecodeError(_name(type), _decode_reason(error)) from None


def _trimmed(raw: bytes) -> bytes:
    """The same bytes without room behind them: encoders leave up to half as much, and it counts."""
    return bytes(memoryview(raw))


def _encode_error(key: str, value: object, error: Exception) -> CacheEncodeError:
    offender, reason = type(value).__qualname__, f"raises {type(error).__qualname__}"
    if isinstance(error, Unencodable):
        # "There", because JSON for example writes a tuple, but not as the key of a dict.
        offender, reason = error.kind.__qualname__, "cannot be written there in this encoding"
    elif isinstance(error, RecursionError):
        reason = "is nested too deeply, or contains itself"
    elif isinstance(error, OverflowError):
        offender, reason = "int", "has more than 64 bits, which msgpack cannot write"
    elif isinstance(error, UnicodeEncodeError):
        offender, reason = "str", "holds a lone surrogate, which UTF-8 cannot write"
    return CacheEncodeError(key, offender, reason)


def _decode_reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    # What msgspec says of types and fields is helpful. Other texts may show the value.
    text = str(error)
    return text if text.startswith(("Expected `", "Object missing")) else type(error).__qualname__


def _name(wanted: Any) -> str:
    if wanted is None:
        return "plain data"
    return wanted.__qualname__ if isinstance(wanted, type) else repr(wanted)
