"""Blobs that earlier versions wrote: today's code reads all of them, and writes the same bytes.

`golden/v1` holds what format 1 looked like when it was new. These files are never written again: a
format that differs gets a number and a directory of its own, and must still read this one. What a
compressor or pickle writes may change with its version, so of those only the reading is tested.
"""

from __future__ import annotations

import json
from math import inf
from pathlib import Path
from typing import Any

import pytest

from holdfast.cache.codec import Codec
from holdfast.cache.entry import COUNTER, ENCODING_MASK, JSON, KIND_MASK, PICKLE, VALUE, Entry
from holdfast.cache.envelope import header_of_counter, pack, unpack
from holdfast.cache.errors import CacheDecodeError
from holdfast.cache.signing import Signer
from holdfast.settings import Secret

HERE = Path(__file__).parent / "golden" / "v1"
INDEX: dict[str, Any] = json.loads((HERE / "index.json").read_text("utf-8"))
BLOBS: list[dict[str, Any]] = INDEX["blobs"]

every = pytest.mark.parametrize("told", BLOBS, ids=[told["file"] for told in BLOBS])


def signer_of(told: dict[str, Any]) -> Signer | None:
    if told["signed_with"] is None:
        return None
    keys = {name: Secret(text) for name, text in INDEX["signing_keys"].items()}
    return Signer(keys, current=told["signed_with"])


def codec_of(told: dict[str, Any]) -> Codec:
    encoding = {JSON: "json", PICKLE: "pickle"}.get(told["flags"] & ENCODING_MASK, "msgpack")
    return Codec(encoding=encoding, compression=False, signer=signer_of(told))


def never(moment: float | None) -> float:
    return inf if moment is None else moment


@every
def test_is_read_as_it_was_written(told: dict[str, Any]) -> None:
    blob = (HERE / told["file"]).read_bytes()
    entry = unpack(blob, told["key"], signer_of(told))
    for name in ("flags", "version", "cost", "raw_size"):
        assert getattr(entry, name) == told[name], name
    assert entry.fresh_until == never(told["fresh_until"])
    assert entry.expires == never(told["expires"])
    if entry.kind in (VALUE, COUNTER):
        assert codec_of(told).decode(entry) == told["value"]
    else:
        assert told["value"] is None
        with pytest.raises(CacheDecodeError):
            codec_of(told).decode(entry)


@every
def test_is_written_as_it_was(told: dict[str, Any]) -> None:
    blob = (HERE / told["file"]).read_bytes()
    signer = signer_of(told)
    if not told["same_bytes"]:
        assert pack(unpack(blob, told["key"], signer), told["key"], signer) == blob
        return
    ends = never(told["fresh_until"]), never(told["expires"])
    payload, flags, raw_size = b"", told["flags"], 0
    if told["flags"] & KIND_MASK == VALUE:
        payload, flags, raw_size = codec_of(told).encode(told["value"], "k")
    elif told["flags"] & KIND_MASK == COUNTER:
        payload = str(told["value"]).encode()
        assert blob == header_of_counter(told["version"], *ends) + payload
    entry = Entry(payload, flags, told["version"], *ends, told["cost"], raw_size)
    assert pack(entry, told["key"], signer) == blob


def test_no_file_is_forgotten() -> None:
    assert sorted(told["file"] for told in BLOBS) == sorted(
        path.name for path in HERE.glob("*.bin")
    )
    assert len(BLOBS) == 14
