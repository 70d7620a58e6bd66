"""Values there and back, in each format; and what happens to those that cannot make the journey."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import math
import os
import subprocess
import sys
import threading
import uuid
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.cache.codec import Codec
from holdfast.cache.entry import (
    ABSENT,
    COMPRESSION_MASK,
    COUNTER,
    JSON,
    MSGPACK,
    PICKLE,
    PLAIN,
    SIGNED,
    ZSTD,
    Entry,
    tombstone,
)
from holdfast.cache.errors import (
    CacheDecodeError,
    CacheEncodeError,
    CacheError,
    ForeignBlobError,
    PayloadTooLargeError,
)
from holdfast.cache.formats import MOST_TYPES
from holdfast.cache.signing import Signer
from holdfast.errors import ConfigurationError
from holdfast.settings import Secret

signer = Signer({"id": Secret("a secret of many bytes")}, current="id")
CODECS = {
    "msgpack": Codec(),
    "json": Codec(encoding="json"),
    "pickle": Codec(encoding="pickle", signer=signer),
}


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    LARGE = 3


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.0


class User(msgspec.Struct):
    id: int
    tags: set[str] = set()
    seen: datetime.datetime | None = None
    at: Point | None = None


class Pair(NamedTuple):
    left: int
    right: str


class Row(TypedDict):
    id: uuid.UUID


def entry_for(codec: Codec, value: object, compression: bool | int | None = None) -> Entry:
    payload, flags, raw_size = codec.encode(value, "k", compression)
    return Entry(payload, flags, 1, raw_size=raw_size)


def back(codec: Codec, value: object, wanted: Any = None) -> Any:
    return codec.decode(entry_for(codec, value), wanted)


class TestTyped:
    @pytest.mark.parametrize("name", CODECS)
    @pytest.mark.parametrize(
        ("value", "wanted"),
        [
            (None, type(None)),
            (True, bool),
            (7, int),
            (-(2**63), int),
            (2**64 - 1, int),
            (1.5, float),
            ("é😀\x00", str),
            (b"\x00\xff", bytes),
            ([1, 2], list[int]),
            ((1, "a"), tuple[int, str]),
            ({1, 2}, set[int]),
            (frozenset({1}), frozenset[int]),
            ({"a": [1]}, dict[str, list[int]]),
            ({1: "a"}, dict[int, str]),
            (datetime.datetime(2026, 11, 1, 12, 30, 0, 123456), datetime.datetime),
            (datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC), datetime.datetime),
            (datetime.date(2026, 11, 1), datetime.date),
            (datetime.time(12, 30), datetime.time),
            (datetime.timedelta(days=1, microseconds=1), datetime.timedelta),
            (uuid.UUID(int=5), uuid.UUID),
            (decimal.Decimal("1.10"), decimal.Decimal),
            (Colour.RED, Colour),
            (Size.LARGE, Size),
            (Point(1, 2.5), Point),
            (Pair(1, "a"), Pair),
            ({"id": uuid.UUID(int=5)}, Row),
            (User(1, {"a"}, datetime.datetime(2026, 1, 1), Point(1)), User),
            ([User(1), User(2)], list[User]),
            (User(1), User | None),
            (None, User | None),
            ("b", Literal["a", "b"]),
        ],
    )
    def test_comes_back_as_it_was(self, name: str, value: object, wanted: Any) -> None:
        again = back(CODECS[name], value, wanted)
        assert again == value
        assert type(again) is type(value)

    def test_a_type_that_cannot_be_hashed(self) -> None:
        wanted: Any = Annotated[int, msgspec.Meta(ge=1, extra={"a": []}), []]
        with pytest.raises(TypeError):
            hash(wanted)
        assert back(CODECS["msgpack"], 7, wanted) == 7

    def test_decoders_are_kept_and_bounded(self) -> None:
        codec = Codec()
        entry = entry_for(codec, 7)
        kept = codec._formats[MSGPACK]._decoders  # type: ignore[union-attr]
        codec.decode(entry, int)
        first = kept[int]
        codec.decode(entry, int)
        assert kept[int] is first
        for bound in range(MOST_TYPES + 20):
            assert codec.decode(entry, Annotated[int, msgspec.Meta(le=7 + bound)]) == 7
            assert len(kept) <= MOST_TYPES
        assert int not in kept
        assert codec.decode(entry, int) == 7

    @pytest.mark.parametrize("wanted", ["User", 5, lambda: 1, set[list[int]] | dict[str, int]])
    def test_what_is_no_type_is_a_mistake_not_a_miss(self, wanted: Any) -> None:
        codec = CODECS["msgpack"]
        entry = entry_for(codec, 7)
        if wanted == set[list[int]] | dict[str, int]:
            # Understood, but 7 is neither.
            with pytest.raises(CacheDecodeError):
                codec.decode(entry, wanted)
            return
        with pytest.raises(ConfigurationError, match="type must be a type that msgspec can decode"):
            codec.decode(entry, wanted)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner, max_size=4
        )
    ),
    max_leaves=15,
)


class TestUntyped:
    @pytest.mark.parametrize("name", CODECS)
    @given(value=plain)
    def test_plain_data_comes_back_as_it_was(self, name: str, value: object) -> None:
        assert back(CODECS[name], value) == value

    def test_the_rest_comes_back_as_plain_data(self) -> None:
        """The table in the documentation of the formats."""
        seen = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
        value = [(1,), {2}, Point(1), User(1, seen=seen), uuid.UUID(int=5), Colour.RED, Size.LARGE]
        point, user = {"x": 1, "y": 0.0}, {"id": 1, "tags": [], "at": None}
        rest = [str(uuid.UUID(int=5)), "red", 3]
        assert back(CODECS["msgpack"], value) == [[1], [2], point, {**user, "seen": seen}, *rest]
        text = "2026-01-01T00:00:00Z"
        assert back(CODECS["json"], value) == [[1], [2], point, {**user, "seen": text}, *rest]
        assert back(CODECS["msgpack"], {1: b"\xff"}) == {1: b"\xff"}
        assert back(CODECS["json"], {1: b"\xff", "n": math.nan}) == {"1": "/w==", "n": None}
        assert back(CODECS["pickle"], value) == value

    @given(value=plain)
    def test_the_plain_way_is_the_same(self, value: object) -> None:
        for codec in (CODECS["msgpack"], CODECS["json"]):
            payload, _, _ = CODECS["msgpack"].encode(value, "k")
            assert codec.plain(payload) == value

    def test_infinities_survive_in_msgpack(self) -> None:
        assert back(CODECS["msgpack"], [math.inf, -math.inf]) == [math.inf, -math.inf]
        assert math.isnan(back(CODECS["msgpack"], math.nan))

    def test_whole_numbers_of_any_size_in_json_and_pickle(self) -> None:
        for name in ("json", "pickle"):
            assert back(CODECS[name], 10**40) == 10**40

    def test_a_counter_is_a_number(self) -> None:
        entry = Entry(b"-42", COUNTER, 1)
        for codec in CODECS.values():
            assert codec.decode(entry) == -42
            assert codec.decode(entry, int) == -42
            assert isinstance(codec.decode(entry, float), float)
            with pytest.raises(CacheDecodeError):
                codec.decode(entry, str)

    def test_absences_and_tombstones_hold_no_value(self) -> None:
        for entry in (Entry(b"", ABSENT, 1), tombstone(1, 5.0)):
            for codec in CODECS.values():
                with pytest.raises(CacheDecodeError):
                    codec.decode(entry)


class TestFlags:
    def test_what_the_parts_of_an_entry_say(self) -> None:
        assert CODECS["msgpack"].encode([1], "k") == (b"\x91\x01", MSGPACK, 2)
        assert CODECS["json"].encode([1], "k") == (b"[1]", JSON, 3)
        assert CODECS["pickle"].encode([1], "k")[1] == PICKLE | SIGNED
        assert Codec(signer=signer).encode([1], "k") == (b"\x91\x01", MSGPACK | SIGNED, 2)

    def test_each_codec_reads_the_formats_of_others(self) -> None:
        value = {"a": 1}
        assert CODECS["json"].decode(entry_for(CODECS["msgpack"], value)) == value
        assert CODECS["msgpack"].decode(entry_for(CODECS["json"], value)) == value
        assert CODECS["pickle"].decode(entry_for(CODECS["json"], value)) == value


class TestCompression:
    VALUE = {"text": "x" * 2000}

    def test_is_on_above_a_kibibyte_by_default(self) -> None:
        payload, flags, raw_size = Codec().encode(self.VALUE, "k")
        assert flags & COMPRESSION_MASK == ZSTD
        assert len(payload) < 100
        assert raw_size == 2009
        assert back(Codec(), self.VALUE) == self.VALUE
        assert Codec().encode("x" * 1021, "k")[1:] == (PLAIN, 1024)
        assert Codec().encode("x" * 1022, "k")[1:] == (ZSTD, 1025)

    @pytest.mark.parametrize(
        ("of_codec", "of_call", "compressed"),
        [
            (True, None, True),
            (False, None, False),
            (5000, None, False),
            (1000, None, True),
            (False, True, True),
            (False, 100, True),
            (True, False, False),
            (5000, True, True),
            (True, 5000, False),
        ],
    )
    def test_the_call_wins_over_the_codec(
        self, of_codec: bool | int, of_call: bool | int | None, compressed: bool
    ) -> None:
        codec = Codec(compression=of_codec)
        entry = entry_for(codec, self.VALUE, of_call)
        assert bool(entry.flags & COMPRESSION_MASK) is compressed
        assert codec.decode(entry) == self.VALUE

    def test_a_bad_option_of_a_call_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="compression must be True, False, or"):
            Codec().encode(1, "k", compression=0)

    def test_what_does_not_decompress_is_foreign(self) -> None:
        payload, flags, raw_size = Codec().encode(self.VALUE, "k")
        for entry in (
            Entry(payload, flags, 1, raw_size=raw_size + 1),
            Entry(payload[:-1], flags, 1, raw_size=raw_size),
        ):
            with pytest.raises(ForeignBlobError) as caught:
                Codec().decode(entry)
            assert caught.value.reason == "size"

    def test_no_more_than_max_payload_comes_out(self) -> None:
        entry = entry_for(Codec(), self.VALUE)
        assert Codec(max_payload=2009).decode(entry) == self.VALUE
        with pytest.raises(ForeignBlobError):
            Codec(max_payload=2008).decode(entry)


class TestTooLarge:
    def test_the_limit_counts_before_compression(self) -> None:
        codec = Codec(max_payload=2000)
        assert codec.encode("x" * 1997, "k")[2] == 2000
        with pytest.raises(PayloadTooLargeError) as caught:
            codec.encode("x" * 1998, "user:7")
        error = caught.value
        assert (error.key, error.size, error.limit) == ("user:7", 2001, 2000)
        assert str(error) == "the value for key 'user:7' takes 2001 bytes; max_payload is 2000"
        assert isinstance(error, CacheError)
        assert isinstance(error, ValueError)

    def test_a_mebibyte_by_default(self) -> None:
        assert Codec().encode(bytes((1 << 20) - 5), "k")[2] == 1 << 20
        with pytest.raises(PayloadTooLargeError, match="takes 1048577 bytes"):
            Codec().encode(bytes((1 << 20) - 4), "k")


class Odd:
    def __repr__(self) -> str:
        return "hush"


def endless() -> list[Any]:
    inner: list[Any] = []
    inner.append(inner)
    return inner


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


class TestCannotBeEncoded:
    @pytest.mark.parametrize(
        ("name", "value", "offender", "reason"),
        [
            ("msgpack", {"hush": [Odd()]}, "Odd", "cannot be written there in this encoding"),
            ("json", {"hush": [Odd()]}, "Odd", "cannot be written there in this encoding"),
            ("msgpack", 1j, "complex", "cannot be written there in this encoding"),
            ("msgpack", Odd, "type", "cannot be written there in this encoding"),
            ("msgpack", ["hush", 2**64], "int", "has more than 64 bits, which msgpack cannot wri"),
            ("msgpack", -(2**63) - 1, "int", "has more than 64 bits, which msgpack cannot write"),
            ("msgpack", "hush\ud800", "str", "holds a lone surrogate, which UTF-8 cannot write"),
            ("json", "hush\ud800", "str", "holds a lone surrogate, which UTF-8 cannot write"),
            ("json", {("hush",): 1}, "tuple", "cannot be written there in this encoding"),
            ("msgpack", deep(100_000), "list", "is nested too deeply, or contains itself"),
            ("json", deep(100_000), "list", "is nested too deeply, or contains itself"),
            ("pickle", deep(100_000), "list", "is nested too deeply, or contains itself"),
            ("msgpack", endless(), "list", "is nested too deeply, or contains itself"),
            ("pickle", {"hush": threading.Lock()}, "dict", "raises TypeError"),
        ],
    )
    def test_the_error_names_the_type_and_not_the_value(
        self, name: str, value: object, offender: str, reason: str
    ) -> None:
        with pytest.raises(CacheEncodeError) as caught:
            CODECS[name].encode(value, "user:7")
        error = caught.value
        assert (error.key, error.offender) == ("user:7", offender)
        assert error.reason.startswith(reason)
        assert str(error).startswith(
            f"the value for key 'user:7' cannot be encoded: {offender} {reason}"
        )
        assert "hush" not in str(error)
        # Neither would a traceback show it: the original error is left out.
        assert (error.__cause__, error.__suppress_context__) == (None, True)
        assert isinstance(error, TypeError)

    def test_of_a_long_key_the_beginning_is_shown(self) -> None:
        with pytest.raises(CacheEncodeError) as caught:
            CODECS["msgpack"].encode(1j, "x" * 500)
        assert f"key '{'x' * 40}'..." in str(caught.value)


class TestCannotBeDecoded:
    @pytest.mark.parametrize(
        ("value", "wanted", "name", "reason"),
        [
            ({"id": "hush"}, User, "User", "Expected `int`, got `str` - at `$.id`"),
            ({}, User, "User", "Object missing required field `id`"),
            ({"hush": "a"}, dict[str, int], "dict[str, int]", "Expected `int`, got `str` - at `"),
            ("hush", Colour, "Colour", "ValidationError"),
            (7, Odd, "Odd", "ValidationError"),
            ("a", int, "int", "Expected `int`, got `str`"),
        ],
    )
    def test_what_does_not_fit(self, value: object, wanted: Any, name: str, reason: str) -> None:
        codec = CODECS["msgpack"]
        with pytest.raises(CacheDecodeError) as caught:
            back(codec, value, wanted)
        error = caught.value
        assert error.wanted == name
        assert error.reason.startswith(reason)
        assert str(error).startswith(f"the cached payload does not decode to {name}: {reason}")
        assert "hush" not in str(error)
        assert (error.__cause__, error.__suppress_context__) == (None, True)
        assert isinstance(error, ValueError)

    @pytest.mark.parametrize(
        ("flags", "payload", "wanted"),
        [
            (MSGPACK, b"\x91" * 100_000, None),
            (MSGPACK, b"\x81" * 100_000, None),
            (MSGPACK, b"\x81\x01" * 100_000, None),
            (MSGPACK, b"\x82\xa1b" + b"\x91" * 100_000 + b"\x01\xa2id\x01", User),
            (JSON, b"[" * 100_000 + b"]" * 100_000, None),
            (JSON, b'{"b":' + b"[" * 100_000 + b"]" * 100_000 + b',"id":1}', User),
            (MSGPACK, b"\x91" * 100_000, dict[str, Any] | list[Any]),
        ],
    )
    def test_deep_nesting_is_an_error_like_others(
        self, flags: int, payload: bytes, wanted: Any
    ) -> None:
        with pytest.raises(CacheDecodeError, match="nested too deeply"):
            Codec().decode(Entry(payload, flags, 1, raw_size=len(payload)), wanted)

    @given(payload=st.binary(max_size=80), flags=st.sampled_from([MSGPACK, JSON]))
    def test_arbitrary_payloads_raise_nothing_else(self, payload: bytes, flags: int) -> None:
        for wanted in (None, User, dict[str, Any]):
            try:
                Codec().decode(Entry(payload, flags, 1, raw_size=len(payload)), wanted)
            except CacheDecodeError as error:
                assert error.__suppress_context__  # noqa: PT017  it need not be raised

    def test_reading_without_a_type_is_called_plain_data(self) -> None:
        with pytest.raises(CacheDecodeError, match="does not decode to plain data: DecodeError"):
            Codec().decode(Entry(b"\x91", MSGPACK, 1, raw_size=1))


class TestPickle:
    def test_brings_back_whole_objects(self) -> None:
        again = back(CODECS["pickle"], {"p": Point(1), "n": 1j})
        assert again == {"p": Point(1), "n": 1j}

    def test_a_class_is_checked_and_other_types_are_not(self) -> None:
        codec = CODECS["pickle"]
        assert back(codec, Point(1), Point) == Point(1)
        assert back(codec, ["a"], list[int]) == ["a"]
        with pytest.raises(CacheDecodeError, match="does not decode to Point: TypeError"):
            back(codec, "hush", Point)

    def test_needs_a_signer(self) -> None:
        with pytest.raises(ConfigurationError, match=r"encoding='pickle' needs signer=Signer\("):
            Codec(encoding="pickle")

    @pytest.mark.parametrize("codec", [Codec(), Codec(encoding="json"), Codec(signer=signer)])
    def test_is_never_read_unless_it_is_also_written(self, codec: Codec) -> None:
        with pytest.raises(CacheDecodeError, match="it is a pickle, and may not be read here"):
            codec.decode(entry_for(CODECS["pickle"], 1))

    def test_is_never_read_unsigned(self) -> None:
        """Also not if the cache forgot to give the signer to `unpack`."""
        payload, flags, raw_size = CODECS["pickle"].encode(1, "k")
        with pytest.raises(CacheDecodeError, match="it is a pickle, and may not be read here"):
            CODECS["pickle"].decode(Entry(payload, flags & ~SIGNED, 1, raw_size=raw_size))


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"encoding": "yaml"}, "encoding must be 'msgpack', 'json' or 'pickle', not 'yaml'"),
            (
                {"encoding": ["json"]},
                "encoding must be 'msgpack', 'json' or 'pickle', not ['json']",
            ),
            ({"compression": 0}, "compression must be True, False, or a whole number of bytes"),
            ({"max_payload": 0}, "max_payload must be a whole number of at least 1, at most 42949"),
            ({"max_payload": 2**32}, "max_payload must be a whole number of at least 1, at most 4"),
            ({"signer": "hush"}, "signer must be a Signer or None"),
        ],
    )
    def test_bad_ones_are_refused(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            Codec(**options)
        assert str(caught.value).startswith(message)
        assert "hush" not in str(caught.value)

    def test_without_msgspec_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "msgspec", None)
        with pytest.raises(ConfigurationError) as caught:
            Codec()
        assert str(caught.value) == "the cache needs msgspec: pip install 'holdfast[cache]'"


def test_importing_loads_no_third_party() -> None:
    program = (
        "import sys, holdfast.cache.codec, holdfast.cache.envelope\n"
        "print([name for name in ('msgspec', 'backports', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_threads_may_share_one_codec() -> None:
    codec = Codec()
    wrong: list[object] = []

    def work(number: int) -> None:
        for step in range(200):
            user = User(number * 1000 + step, {"x" * 50})
            wanted: Any = Annotated[User, step % 7 + number * 7]
            if back(codec, user, wanted) != user:
                wrong.append(user)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_random_bytes_compress_to_themselves() -> None:
    raw = os.urandom(5000)
    assert back(Codec(), raw) == raw
    assert entry_for(Codec(), raw).flags == MSGPACK
