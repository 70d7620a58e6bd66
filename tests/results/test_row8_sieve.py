"""Published: how often LRU and SIEVE miss. Here without the trace: against SIEVE in plain lists."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest
from sim_sieve import (
    CAPACITIES,
    PUBLISHED,
    Lru,
    NaiveSieve,
    Ours,
    Request,
    figures,
    misses,
    read,
    with_scans,
    zipf,
)


@pytest.mark.parametrize("capacity", [1, 7, 20, 60, 250, 1000, 10_000])
@pytest.mark.parametrize("exponent", [0.6, 1.0, 1.4])
def test_misses_as_often_as_sieve_in_plain_lists_under_zipfs_law(
    capacity: int, exponent: float
) -> None:
    requests = list(zipf(seed=capacity, length=1500, exponent=exponent))
    ours, naive = Ours(capacity), NaiveSieve(capacity)
    assert [ours.hit(request) for request in requests] == [
        naive.hit(request) for request in requests
    ]
    assert list(ours.store) == [key for key, _ in reversed(naive.queue)]


@pytest.mark.parametrize("capacity", [30, 120, 500])
@pytest.mark.parametrize(("every", "length"), [(1, 1), (50, 40), (200, 300)])
def test_misses_as_often_as_sieve_in_plain_lists_between_scans(
    capacity: int, every: int, length: int
) -> None:
    requests = list(with_scans(zipf(seed=5, length=1000), every, length))
    assert misses(Ours(capacity), requests) == misses(NaiveSieve(capacity), requests)


@pytest.mark.parametrize("capacity", [200, 400, 800])
@pytest.mark.parametrize("seed", range(3))
def test_sieve_misses_less_than_lru_when_scans_pass_through(capacity: int, seed: int) -> None:
    """Counting only the requests that could be hits at all."""
    requests = list(with_scans(zipf(seed, length=8000), every=100, length=100))
    scanned = sum(key.startswith("scan") for key, _ in requests)
    sieve = misses(Ours(capacity), requests) - scanned
    lru = misses(Lru(capacity), requests) - scanned
    assert sieve < 0.8 * lru


def test_a_loop_longer_than_the_cache_defeats_sieve_like_lru() -> None:
    """Nothing is asked for again before it is gone, so there is nothing to sift by."""
    loop = [(str(step % 12), 1) for step in range(600)]
    for cache in (Ours, NaiveSieve, Lru):
        assert misses(cache(11), loop) == 600
        assert misses(cache(12), loop) == 12


class TestRules:
    """Those of the published counts."""

    @pytest.mark.parametrize("cache", [Ours, NaiveSieve, Lru])
    def test_larger_than_the_cache_is_a_miss_and_evicts_nothing(
        self, cache: type[Ours | NaiveSieve | Lru]
    ) -> None:
        tried = cache(10)
        requests: list[Request] = [("a", 10), ("b", 11), ("b", 11), ("a", 10)]
        assert [tried.hit(request) for request in requests] == [False, False, False, True]

    @pytest.mark.parametrize("cache", [Ours, NaiveSieve, Lru])
    def test_a_size_counts_when_it_is_stored(self, cache: type[Ours | NaiveSieve | Lru]) -> None:
        tried = cache(10)
        requests: list[Request] = [("a", 4), ("a", 99), ("b", 6), ("a", 1), ("b", 1)]
        assert [tried.hit(request) for request in requests] == [False, True, False, True, True]


def test_the_command_compares_each_count_with_the_published_one(tmp_path: Path) -> None:
    """A trace of three requests has nothing like the published misses, and says so."""
    text = "1,512\n2,4096\n1,512\n"
    plain, packed = tmp_path / "trace.csv", tmp_path / "trace.csv.xz"
    plain.write_text(text, encoding="ascii")
    packed.write_bytes(lzma.compress(text.encode("ascii")))
    assert read(plain) == read(packed) == [("1", 512), ("2", 4096), ("1", 512)]
    shown = figures(packed)
    assert [figure.ours for figure in shown] == [2] * 16
    assert [figure.published for figure in shown] == [*PUBLISHED["LRU"], *PUBLISHED["SIEVE"]]
    assert not any(figure.ok for figure in shown)
    assert shown[8].what == "SIEVE misses, 128 MiB"
    assert len(CAPACITIES) == 8
