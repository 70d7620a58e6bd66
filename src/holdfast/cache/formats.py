"""How values become bytes: MessagePack and JSON by msgspec, and pickle for those who ask for it.

MessagePack and JSON know data, not objects. A value that is read without saying its type comes back
as plain data: tuples and sets as lists, dataclasses and structs as dicts, and UUIDs, decimals,
dates and enums as the text or number they were written as. JSON also makes text of bytes (base64),
of all datetimes and of the keys of dicts, and null of what is no finite number. Reading with the
type gives back what was written.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, Final

from holdfast._core.validate import refuse
from holdfast.cache import models
from holdfast.errors import ConfigurationError

MOST_TYPES: Final = 256
"""Decoders kept per format. At the bound the oldest goes; it is made anew when needed."""


class Unencodable(Exception):
    """A part of a value has a type that the format does not know."""

    def __init__(self, kind: type) -> None:
        super().__init__(kind)
        self.kind = kind


class MsgspecFormat:
    """MessagePack or JSON.

    Attributes:
        encode: gives the bytes for a value. Raises `Unencodable`, or whatever it likes.

    Raises:
        ConfigurationError: msgspec is not installed.

    Thread safe.
    """

    __slots__ = ("_decoders", "_plain", "_protocol", "encode")

    def __init__(self, name: str) -> None:
        try:
            import msgspec
        except ImportError:
            raise ConfigurationError(
                "the cache needs msgspec: pip install 'holdfast[cache]'"
            ) from None
        self._protocol: Any = msgspec.json if name == "json" else msgspec.msgpack
        self.encode: Callable[[object], bytes] = self._protocol.Encoder(enc_hook=_as_data).encode
        self._plain: Callable[[bytes], Any] = self._protocol.Decoder().decode
        self._decoders: dict[Any, Callable[[bytes], Any]] = {}

    def decoder(self, wanted: Any) -> Callable[[bytes], Any]:
        """A function that reads the bytes back: as plain data for None, else as that type.

        The function raises whatever it likes.

        Raises:
            ConfigurationError: `wanted` is no type that msgspec can decode.
        """
        if wanted is None:
            return self._plain
        try:
            known = self._decoders.get(wanted)
        except TypeError:  # not hashable, so it cannot be kept
            return self._make(wanted)
        if known is None:
            while len(self._decoders) >= MOST_TYPES:
                self._decoders.pop(next(iter(self._decoders)), None)
            known = self._decoders[wanted] = self._make(wanted)
        return known

    def _make(self, wanted: Any) -> Callable[[bytes], Any]:
        try:
            decode: Callable[[bytes], Any] = self._protocol.Decoder(
                wanted, dec_hook=_as_type
            ).decode
        except Exception as error:
            raise refuse("type", wanted, "a type that msgspec can decode") from error
        return decode


class PickleFormat:
    """Anything that can be pickled, as the very type it is. Whoever forges a pickle runs code.

    A `wanted` that is a class is checked; other types, such as ``list[int]``, are not.
    """

    __slots__ = ()

    def encode(self, value: object) -> bytes:
        """The bytes for `value`. Raises whatever it likes."""
        return pickle.dumps(value, protocol=5)

    def decoder(self, wanted: Any) -> Callable[[bytes], Any]:
        """A function that reads the bytes back, which raises whatever it likes."""

        def decode(raw: bytes) -> Any:
            value = pickle.loads(raw)  # noqa: S301  the codec sees to it that it was signed
            if not _is_instance(value, wanted):
                raise TypeError
            return value

        return decode


def _is_instance(value: object, wanted: Any) -> bool:
    """False only if `wanted` is a class that says so."""
    try:
        return not isinstance(wanted, type) or isinstance(value, wanted)
    except TypeError:  # a TypedDict or a protocol
        return True


Format = MsgspecFormat | PickleFormat


def _as_data(value: object) -> Any:
    """For what msgspec does not know when writing."""
    if models.is_model(type(value)):
        return models.dump(value)
    raise Unencodable(type(value))


def _as_type(wanted: Any, data: object) -> Any:
    """For what msgspec does not know when reading."""
    if models.is_model(wanted):
        return models.load(wanted, data)
    # A value of this type could not have been written.
    raise TypeError
