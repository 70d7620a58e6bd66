"""Signatures: what is covered, whose keys count, and that none of them is ever shown."""

from __future__ import annotations

import copy
import hmac
import pickle
from typing import Any

import pytest

from holdfast.cache.entry import COUNTER, MSGPACK, SIGNED, Entry, tombstone
from holdfast.cache.envelope import header_of_counter, pack, unpack
from holdfast.cache.errors import ForeignBlobError
from holdfast.cache.signing import Signer, payload_after
from holdfast.errors import ConfigurationError
from holdfast.settings import Secret

OLD = Secret("the-old-key-of-october")
NEW = Secret("the-new-key-of-november")
ENTRY = Entry(b"\x01", MSGPACK | SIGNED, 7, 10.0, 20.0, 0.5, 1)

signer = Signer({"2026-11": NEW, "2026-10": OLD}, current="2026-11")


def refused(blob: bytes, key: str, by: Signer | None) -> str:
    with pytest.raises(ForeignBlobError) as caught:
        unpack(blob, key, by)
    return caught.value.reason


def test_the_layout() -> None:
    """Computed by hand: length and key, then header, then payload."""
    blob = pack(ENTRY, "app:n:k:é", signer)
    header, block, payload = blob[:40], blob[40:80], blob[80:]
    message = b"\x00\x00\x00\x0a" + "app:n:k:é".encode() + header + payload
    mac = hmac.new(NEW.reveal().encode(), message, "sha256").digest()
    assert block == b"\x072026-11" + mac
    assert payload == b"\x01"
    assert header[3] == SIGNED


def test_signed_entries_come_back_as_they_were() -> None:
    assert unpack(pack(ENTRY, "k", signer), "k", signer) == ENTRY


def test_the_flag_is_added_where_it_is_missing() -> None:
    entry = unpack(pack(tombstone(7, 20.0), "k", signer), "k", signer)
    assert entry.flags == tombstone(7, 20.0).flags | SIGNED


class TestRotation:
    def test_the_current_key_signs_and_all_are_accepted(self) -> None:
        before = Signer({"2026-10": OLD}, current="2026-10")
        between = Signer({"2026-11": NEW, "2026-10": OLD}, current="2026-10")
        after = Signer({"2026-11": NEW}, current="2026-11")
        old, new = pack(ENTRY, "k", before), pack(ENTRY, "k", signer)
        assert b"2026-10" in old
        assert b"2026-11" in new
        assert pack(ENTRY, "k", between) == old
        assert pack(ENTRY, "k", after) == new
        for who in (between, signer):
            assert unpack(old, "k", who) == unpack(new, "k", who) == ENTRY
        assert refused(new, "k", before) == "signature"
        assert refused(old, "k", after) == "signature"

    def test_an_id_means_its_own_key(self) -> None:
        swapped = Signer({"2026-11": OLD, "2026-10": NEW}, current="2026-10")
        assert refused(pack(ENTRY, "k", signer), "k", swapped) == "signature"


class TestForgery:
    def test_a_blob_does_not_count_under_another_key(self) -> None:
        assert refused(pack(ENTRY, "a:k:1", signer), "a:k:2", signer) == "signature"

    def test_the_key_cannot_borrow_from_the_header(self) -> None:
        """The length in front: otherwise key + header could be cut elsewhere."""
        blob = pack(ENTRY, "k", signer)
        longer = "k" + blob[:1].decode("latin-1")
        assert refused(blob, longer, signer) == "signature"

    def test_unsigned_blobs_are_refused_with_a_signer(self) -> None:
        plain = Entry(b"\x01", MSGPACK, 7, raw_size=1)
        assert refused(pack(plain, "k"), "k", signer) == "signature"
        assert refused(pack(tombstone(7, 20.0), "k"), "k", signer) == "signature"
        assert refused(header_of_counter(7) + b"5", "k", signer) == "signature"

    def test_signed_blobs_are_refused_without_a_signer(self) -> None:
        assert refused(pack(ENTRY, "k", signer), "k", None) == "signature"

    def test_a_longer_life_is_refused_even_with_a_right_checksum(self) -> None:
        from zlib import crc32

        blob = bytearray(pack(ENTRY, "k", signer))
        blob[20] = 0x00
        blob[25] = 0xFF
        blob[36:40] = crc32(bytes(blob[80:]), crc32(bytes(blob[:36]))).to_bytes(4, "big")
        assert refused(bytes(blob), "k", signer) == "signature"

    def test_a_block_that_ends_too_soon(self) -> None:
        blob = pack(ENTRY, "k", signer)
        for end in range(40, 80):
            assert refused(blob[:end], "k", signer) == "signature"

    @pytest.mark.parametrize("length", [0, 17, 255])
    def test_a_key_id_of_no_possible_length(self, length: int) -> None:
        block = bytes([length]) + b"x" * length + b"m" * 32
        assert payload_after(b"header" + block + b"payload", 6) is None

    def test_where_the_payload_begins(self) -> None:
        assert payload_after(b"header" + b"\x02id" + b"m" * 32 + b"payload", 6) == 41
        assert payload_after(b"header" + b"\x02id" + b"m" * 32, 6) == 41
        assert payload_after(b"header" + b"\x02id" + b"m" * 31, 6) is None
        assert payload_after(b"header", 6) is None


class TestWriting:
    def test_counters_cannot_be_signed(self) -> None:
        with pytest.raises(ConfigurationError, match="counters cannot be signed"):
            pack(Entry(b"5", COUNTER, 7), "k", signer)

    def test_what_was_signed_is_not_written_unsigned(self) -> None:
        with pytest.raises(ConfigurationError, match="needs a signer to be written again"):
            pack(ENTRY, "k")


class TestSecrecy:
    def test_its_repr_shows_ids_only(self) -> None:
        assert repr(signer) == "Signer(ids=['2026-11', '2026-10'], current='2026-11')"

    def test_it_cannot_be_pickled_or_copied(self) -> None:
        for how in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot be pickled"):
                how(signer)

    @pytest.mark.parametrize(
        ("keys", "current", "message"),
        [
            ({}, "a", "keys must be a non-empty mapping from ids to Secrets"),
            ("hush-hush-hush-hush", "a", "keys must be a non-empty mapping from ids to Secrets"),
            ({"a": "hush-hush-hush-hush"}, "a", "the key 'a' must be a Secret"),
            ({"a": Secret("hush-hush-hush-")}, "a", "the key 'a' must have at least 16 bytes, not"),
            ({"": NEW}, "", "an id in keys must be 1 to 16 printable ASCII characters"),
            ({"hush-hush-hush-17": NEW}, "a", "an id in keys must be 1 to 16 printable ASCII"),
            ({"é": NEW}, "é", "an id in keys must be 1 to 16 printable ASCII characters"),
            ({"a\n": NEW}, "a\n", "an id in keys must be 1 to 16 printable ASCII characters"),
            ({7: NEW}, 7, "an id in keys must be 1 to 16 printable ASCII characters"),
            ({"a": NEW, "b": OLD}, "c", "current must be one of the ids 'a', 'b', not 'c'"),
        ],
    )
    def test_bad_options_are_refused(self, keys: Any, current: Any, message: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            Signer(keys, current=current)
        assert str(caught.value).startswith(message)
        assert "hush" not in str(caught.value)

    def test_bounds_are_allowed(self) -> None:
        Signer({"x" * 16: Secret("k" * 16)}, current="x" * 16)
        Signer({"a": Secret("é" * 8)}, current="a")
        Signer({"a": Secret("\udcff" * 8)}, current="a")
