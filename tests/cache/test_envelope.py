"""The wire format against one written by hand, and against everything that is not it."""

from __future__ import annotations

import struct
from math import inf
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.cache.entry import (
    ABSENT,
    COUNTER,
    JSON,
    PICKLE,
    SIGNED,
    TOMBSTONE,
    VALUE,
    ZLIB,
    ZSTD,
    Entry,
    tombstone,
)
from holdfast.cache.envelope import LARGEST_COUNT, header_of_counter, pack, unpack
from holdfast.cache.errors import CacheError, ForeignBlobError
from holdfast.cache.port import VERSION_AT, version_of
from holdfast.cache.signing import Signer
from holdfast.settings import Secret

REASONS = {"foreign", "format", "checksum", "signature", "size"}
signer = Signer({"id": Secret("a secret of many bytes")}, current="id")

moments = st.integers(0, 2**50 - 1).map(lambda milliseconds: milliseconds / 1000) | st.just(inf)
costs = st.integers(0, 2**32 - 1).map(lambda milliseconds: milliseconds / 1000)
versions = st.integers(0, 2**64 - 1)


@st.composite
def entries(draw: st.DrawFn, *, signed: bool = False) -> Entry:
    fresh, expires = sorted((draw(moments), draw(moments)))
    kind = draw(st.sampled_from([VALUE, VALUE, VALUE, ABSENT, TOMBSTONE, COUNTER]))
    if signed and kind == COUNTER:
        kind = VALUE
    flags, payload, raw_size = kind, b"", 0
    if kind == VALUE:
        flags |= draw(st.sampled_from([0, JSON, PICKLE])) | draw(st.sampled_from([0, ZSTD, ZLIB]))
        payload = draw(st.binary(max_size=60))
        packed = flags & (ZSTD | ZLIB)
        raw_size = draw(st.integers(0, 2**32 - 1)) if packed else len(payload)
    elif kind == COUNTER:
        payload = b"%d" % draw(st.integers(-LARGEST_COUNT, LARGEST_COUNT))
    flags |= SIGNED if signed else 0
    return Entry(payload, flags, draw(versions), fresh, expires, draw(costs), raw_size)


def by_hand(entry: Entry) -> bytes:
    """What the module's docstring says, in other words."""

    def end(moment: float) -> int:
        return 2**64 - 1 if moment == inf else round(moment * 1000)

    header = b"\xf5\x48\x01" + bytes([entry.flags]) + entry.version.to_bytes(8, "big")
    header += end(entry.fresh_until).to_bytes(8, "big") + end(entry.expires).to_bytes(8, "big")
    header += round(entry.cost * 1000).to_bytes(4, "big") + entry.raw_size.to_bytes(4, "big")
    covered = header if entry.kind == COUNTER else header + entry.payload
    return header + crc32(covered).to_bytes(4, "big") + entry.payload


def mended(blob: bytes) -> bytes:
    """The blob with the checksum that it ought to have: damage that no checksum finds."""
    covered = blob[:36] if blob[3] == COUNTER else blob[:36] + blob[40:]
    return blob[:36] + crc32(covered).to_bytes(4, "big") + blob[40:]


def refused(blob: bytes, by: Signer | None = None) -> str:
    with pytest.raises(ForeignBlobError) as caught:
        unpack(blob, "k", by)
    assert caught.value.reason in REASONS
    return caught.value.reason


class TestGoodBlobs:
    @given(entries())
    def test_are_written_as_documented_and_come_back(self, entry: Entry) -> None:
        blob = pack(entry, "k")
        assert blob == by_hand(entry)
        assert unpack(blob, "k") == entry

    @given(entries(signed=True))
    def test_signed_ones_come_back_too(self, entry: Entry) -> None:
        blob = pack(entry, "k", signer)
        assert unpack(blob, "k", signer) == entry
        assert version_of(blob) == entry.version

    def test_the_version_stands_where_the_port_says(self) -> None:
        blob = pack(Entry(b"\x01", 0, 0x0102030405060708, raw_size=1), "k")
        assert blob[VERSION_AT] == bytes(range(1, 9))
        assert version_of(blob) == 0x0102030405060708

    def test_times_come_back_to_the_millisecond(self) -> None:
        entry = Entry(b"", ABSENT, 1, 1_764_000_000.123456, 1_764_000_001.9996, 0.0126)
        back = unpack(pack(entry, "k"), "k")
        assert (back.fresh_until, back.expires, back.cost) == (1764000000.123, 1764000002.0, 0.013)

    @pytest.mark.parametrize(
        ("moment", "read"),
        [
            (-1.0, 0.0),
            (-inf, 0.0),
            (0.0, 0.0),
            (2**50 / 1000, inf),
            ((2**50 - 0.25) / 1000, inf),
            (1e300, inf),
            (inf, inf),
            ((2**50 - 1) / 1000, (2**50 - 1) / 1000),
        ],
    )
    def test_times_beyond_all_reason(self, moment: float, read: float) -> None:
        back = unpack(pack(Entry(b"", TOMBSTONE, 1, moment, moment), "k"), "k")
        assert back.fresh_until == back.expires == read

    def test_a_cost_of_months_is_cut(self) -> None:
        assert unpack(pack(Entry(b"", ABSENT, 1, cost=1e9), "k"), "k").cost == (2**32 - 1) / 1000


class TestCounters:
    def test_the_header_is_what_stands_before_the_digits(self) -> None:
        header = header_of_counter(7, 10.5, 20.5)
        assert unpack(header + b"-42", "k") == Entry(b"-42", COUNTER, 7, 10.5, 20.5)
        assert pack(Entry(b"-42", COUNTER, 7, 10.5, 20.5), "k") == header + b"-42"
        assert header_of_counter(7) == header_of_counter(7, inf, inf)

    def test_the_size_of_the_digits_is_not_written(self) -> None:
        blob = pack(Entry(b"42", COUNTER, 7, raw_size=2), "k")
        assert blob == header_of_counter(7) + b"42"
        assert unpack(blob, "k").raw_size == 0

    @pytest.mark.parametrize("digits", [b"0", b"-1", b"10", b"%d" % 2**53, b"%d" % -(2**53)])
    def test_plain_decimal_numbers(self, digits: bytes) -> None:
        assert unpack(header_of_counter(7) + digits, "k").payload == digits

    @pytest.mark.parametrize(
        "digits",
        [
            *(b"", b"-", b"-0", b"00", b"+1", b" 1", b"1 ", b"1_0", b"1.0", b"1e3", b"x", b"1\x00"),
            *(b"%d" % (2**53 + 1), b"%d" % -(2**53 + 1), b"9" * 5000, b"\xff", "٣".encode()),
            *(b"0" * 19 + b"1", b"0" * 20 + b"1"),
        ],
    )
    def test_anything_else_is_refused(self, digits: bytes) -> None:
        assert refused(header_of_counter(7) + digits) == "size"


class TestBadBlobs:
    @given(st.binary(max_size=120))
    def test_arbitrary_bytes(self, blob: bytes) -> None:
        assert refused(blob) in {"foreign", "format", "checksum"}

    @given(st.binary(max_size=120))
    def test_arbitrary_bytes_behind_a_good_beginning(self, rest: bytes) -> None:
        for by in (None, signer):
            assert refused(b"\xf5\x48\x01" + rest, by) in REASONS

    @settings(max_examples=40)
    @given(entries(), st.binary(min_size=1, max_size=5))
    def test_a_flipped_bit_a_missing_end_or_more_bytes(self, entry: Entry, more: bytes) -> None:
        blob = pack(entry, "k")
        # The server rewrites a counter's digits, so nobody can tell.
        safe = blob[:40] if entry.kind == COUNTER else blob
        for bit in range(len(safe) * 8):
            flipped = bytearray(blob)
            flipped[bit // 8] ^= 1 << bit % 8
            refused(bytes(flipped))
        for end in range(len(safe)):
            refused(blob[:end])
        if entry.kind != COUNTER:
            refused(blob + more)

    @settings(max_examples=15)
    @given(entries(signed=True), st.binary(min_size=1, max_size=5))
    def test_the_same_when_signed(self, entry: Entry, more: bytes) -> None:
        blob = pack(entry, "k", signer)
        for bit in range(len(blob) * 8):
            flipped = bytearray(blob)
            flipped[bit // 8] ^= 1 << bit % 8
            refused(bytes(flipped), signer)
        for end in range(len(blob)):
            refused(blob[:end], signer)
        refused(blob + more, signer)

    @given(
        flags=st.integers(0, 255),
        ends=st.tuples(*[st.sampled_from([0, 1, 2**50 - 1, 2**50, 2**53, 2**64 - 1])] * 2),
        sizes=st.tuples(st.integers(0, 3), st.integers(0, 3)),
        payload=st.binary(max_size=3) | st.just(b"7"),
    )
    def test_with_a_right_checksum_it_is_what_pack_writes_or_refused(
        self,
        flags: int,
        ends: tuple[int, int],
        sizes: tuple[int, int],
        payload: bytes,
    ) -> None:
        header = struct.pack(">3sBQQQIII", b"\xf5\x48\x01", flags, 9, *ends, *sizes, 0)
        blob = mended(header + payload)
        try:
            entry = unpack(blob, "k")
        except ForeignBlobError:
            return
        assert pack(entry, "k") == blob

    def test_another_magic_or_nothing(self) -> None:
        good = pack(Entry(b"\x01", 0, 7, raw_size=1), "k")
        assert refused(b"") == "foreign"
        assert refused(b"\x00" + good[1:]) == "foreign"
        assert refused(b"hello, this is what another program left behind") == "foreign"
        assert refused(good[:39]) == "foreign"
        assert refused(b"\xf5\x48") == "foreign"

    def test_a_format_of_the_past_that_never_was(self) -> None:
        assert refused(b"\xf5\x48\x00" + bytes(40)) == "foreign"

    @pytest.mark.parametrize("rest", [b"", b"\x00", bytes(40), b"\xff" * 100])
    def test_a_newer_format_whatever_follows(self, rest: bytes) -> None:
        """A newer process wrote it: we must know not to delete it."""
        assert refused(b"\xf5\x48\x02" + rest) == "format"
        assert refused(b"\xf5\x48\xff" + rest, signer) == "format"

    @pytest.mark.parametrize("flags", [0x80, 0x0C, 0x30, 0x80 | COUNTER, ABSENT | JSON, 0x83])
    def test_flags_without_a_meaning_yet(self, flags: int) -> None:
        good = pack(Entry(b"", ABSENT, 7), "k")
        assert refused(mended(good[:3] + bytes([flags]) + good[4:])) == "format"
        assert refused(good[:3] + bytes([flags]) + good[4:]) == "checksum"

    @pytest.mark.parametrize(
        ("flags", "payload", "raw_size"),
        [
            (VALUE, b"\x01", 2),
            (VALUE, b"\x01", 0),
            (JSON, b"1", 2),
            (ABSENT, b"x", 0),
            (ABSENT, b"", 1),
            (TOMBSTONE, b"x", 1),
            (COUNTER, b"7", 1),
        ],
    )
    def test_sizes_that_do_not_fit(self, flags: int, payload: bytes, raw_size: int) -> None:
        assert refused(by_hand(Entry(payload, flags, 7, raw_size=raw_size))) == "size"

    @pytest.mark.parametrize(
        ("fresh", "expires"), [(2, 1), (2**64 - 1, 5), (5, 2**50), (2**50, 2**64 - 1)]
    )
    def test_ends_that_cannot_be(self, fresh: int, expires: int) -> None:
        header = struct.pack(">3sBQQQIII", b"\xf5\x48\x01", ABSENT, 9, fresh, expires, 0, 0, 0)
        assert refused(mended(header)) == "foreign"

    def test_the_error_says_so_and_shows_nothing(self) -> None:
        with pytest.raises(ForeignBlobError) as caught:
            unpack(b"hush", "hush")
        assert str(caught.value) == "the cached blob was not accepted: foreign"
        assert isinstance(caught.value, CacheError)


def test_a_tombstone_is_always_both_fresh_and_expired() -> None:
    assert unpack(pack(tombstone(7, 20.5), "k"), "k") == tombstone(7, 20.5)
