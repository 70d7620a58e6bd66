"""Compression: when it is worth it, and that what comes out is bounded and as declared."""

from __future__ import annotations

import os
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.cache import compression
from holdfast.cache.compression import expand, shrink, threshold_of
from holdfast.cache.entry import PLAIN, ZLIB, ZSTD
from holdfast.cache.errors import ForeignBlobError
from holdfast.errors import ConfigurationError

MIB = 1 << 20
zstd: Any = compression._zstd()


@pytest.fixture
def no_zstd(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process without zstd."""
    for name in ("compression", "compression.zstd", "backports", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    compression._zstd.cache_clear()
    yield
    compression._zstd.cache_clear()


def refused(payload: bytes, how: int, raw_size: int, limit: int = MIB) -> str:
    with pytest.raises(ForeignBlobError) as caught:
        expand(payload, how, raw_size, limit)
    return caught.value.reason


class TestShrink:
    def test_only_above_the_threshold(self) -> None:
        assert shrink(b"x" * 1024, 1024) == (b"x" * 1024, PLAIN)
        payload, how = shrink(b"x" * 1025, 1024)
        assert how == ZSTD
        assert len(payload) < 50

    def test_never_without_a_threshold(self) -> None:
        assert shrink(b"x" * MIB, None) == (b"x" * MIB, PLAIN)

    def test_what_hardly_shrinks_is_left_alone(self) -> None:
        raw = os.urandom(20_000)
        assert shrink(raw, 1024) == (raw, PLAIN)

    @pytest.mark.parametrize(("size", "how"), [(90, ZLIB), (91, PLAIN)])
    @pytest.mark.usefixtures("no_zstd")
    def test_a_tenth_is_the_least_to_save(
        self, size: int, how: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(zlib, "compress", lambda raw, level: bytes(size))
        assert shrink(b"x" * 100, 1)[1] == how

    @pytest.mark.usefixtures("no_zstd")
    def test_zlib_where_there_is_no_zstd(self) -> None:
        payload, how = shrink(b"x" * 5000, 1024)
        assert how == ZLIB
        assert zlib.decompress(payload) == b"x" * 5000

    def test_zstd_is_looked_for_once(self) -> None:
        assert compression._zstd() is zstd
        assert zstd.__name__ in ("compression.zstd", "backports.zstd")

    @given(st.binary(max_size=300).map(lambda part: part * 20), st.integers(1, 2000))
    def test_what_was_shrunk_comes_back(self, raw: bytes, threshold: int) -> None:
        payload, how = shrink(raw, threshold)
        assert how == PLAIN or expand(payload, how, len(raw), MIB) == raw
        assert (how == PLAIN) is (payload == raw)


COMPRESS: list[tuple[int, Callable[[bytes], bytes]]] = [
    (ZSTD, zstd.compress),
    (ZLIB, zlib.compress),
]


@pytest.mark.parametrize(("how", "compress"), COMPRESS)
class TestExpand:
    @pytest.mark.parametrize("size", [0, 1, 999, 1000, 1024, 65_536, 65_537, MIB])
    def test_any_size_up_to_the_limit(
        self, how: int, compress: Callable[[bytes], bytes], size: int
    ) -> None:
        raw = os.urandom(16) * (size // 16) + b"x" * (size % 16)
        assert expand(compress(raw), how, size, MIB) == raw

    def test_the_size_must_be_exact(self, how: int, compress: Callable[[bytes], bytes]) -> None:
        payload = compress(b"x" * 1000)
        assert refused(payload, how, 999) == "size"
        assert refused(payload, how, 1001) == "size"
        assert refused(payload, how, 0) == "size"

    def test_the_declared_size_is_limited(
        self, how: int, compress: Callable[[bytes], bytes]
    ) -> None:
        payload = compress(b"x" * 1000)
        assert expand(payload, how, 1000, 1000) == b"x" * 1000
        assert refused(payload, how, 1000, 999) == "size"

    def test_cut_off_extended_and_damaged(
        self, how: int, compress: Callable[[bytes], bytes]
    ) -> None:
        payload = compress(os.urandom(500))
        for end in range(len(payload)):
            assert refused(payload[:end], how, 500) == "size"
        assert refused(payload + b"x", how, 500) == "size"
        assert refused(payload + payload, how, 500) == "size"
        assert refused(b"\x00" + payload, how, 500) == "size"
        assert refused(b"", how, 0) == "size"

    def test_a_bomb_stays_small(self, how: int, compress: Callable[[bytes], bytes]) -> None:
        """64 MiB of zeros that are declared as less, or as what they are."""
        bomb = compress(bytes(64 * MIB))
        assert len(bomb) < 70_000
        for declared in (1000, 100_000):
            assert peak_of(partial(refused, bomb, how, declared)) < MIB
        assert refused(bomb, how, 64 * MIB) == "size"

    def test_garbage(self, how: int, compress: Callable[[bytes], bytes]) -> None:
        for _ in range(50):
            assert refused(os.urandom(60), how, 1000) == "size"


def peak_of(work: Callable[[], object]) -> int:
    """The most bytes that Python held at once during `work`."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class TestZstdBombs:
    def stream(self, window: int, raw: bytes) -> bytes:
        """A frame that does not tell its size, written with a window of 2**`window` bytes."""
        compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: window})
        return bytes(compressor.compress(raw) + compressor.flush())

    def test_one_that_hides_its_size(self) -> None:
        bomb = self.stream(10, bytes(64 * MIB))
        assert peak_of(lambda: refused(bomb, ZSTD, 2000)) < MIB

    def test_a_window_larger_than_the_content_is_not_allocated(self) -> None:
        """The frame is sound, but asks for 128 MiB to be read with."""
        assert expand(self.stream(10, b"x" * 1000), ZSTD, 1000, MIB) == b"x" * 1000
        assert refused(self.stream(27, b"x" * 1000), ZSTD, 1000) == "size"


@pytest.mark.usefixtures("no_zstd")
def test_a_reader_without_zstd_leaves_it_to_others() -> None:
    assert refused(zstd.compress(b"x" * 1000), ZSTD, 1000) == "format"
    assert expand(zlib.compress(b"x" * 1000), ZLIB, 1000, MIB) == b"x" * 1000


class TestThreshold:
    def test_what_an_option_means(self) -> None:
        assert threshold_of(True) == 1024
        assert threshold_of(False) is None
        assert threshold_of(1) == 1
        assert threshold_of(5000) == 5000

    @pytest.mark.parametrize("option", [0, -1, 1.5, "yes", None])
    def test_bad_ones_are_refused(self, option: Any) -> None:
        with pytest.raises(ConfigurationError) as caught:
            threshold_of(option)
        assert str(caught.value) == (
            "compression must be True, False, or a whole number of bytes, at least 1, above which"
            f" to compress, not {option!r}"
        )
