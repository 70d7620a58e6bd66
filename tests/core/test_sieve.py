"""The store by hand: SIEVE's moves, the two ends, the broom's bound, and what it really weighs."""

from __future__ import annotations

import gc
import random
import tracemalloc
import weakref
from math import inf
from typing import Any

import pytest

from holdfast._core.sieve import LOOKS, OVERHEAD, Sieve
from holdfast.errors import ConfigurationError


def small(entries: int, **options: Any) -> Sieve[str]:
    """Room for so many entries of size 1."""
    return Sieve(entries, overhead=0, **options)


def fill(sieve: Sieve[str], keys: str, hard_end: float = inf) -> None:
    for key in keys:
        assert sieve.put(key, key.upper(), 1, hard_end, hard_end, 0.0)


def kept(sieve: Sieve[str]) -> str:
    """The keys, oldest first."""
    return "".join(sieve)


class TestSieve:
    def test_the_example_of_the_paper(self) -> None:
        """Figure 1 of the paper: A, B and G were asked for; H, A, D, I, B, J follow."""
        sieve = small(7)
        fill(sieve, "ABCDEFG")
        for key in "ABG":
            sieve.get(key, 0.0)
        fill(sieve, "H")
        assert kept(sieve) == "ABDEFGH", "C was the oldest that nobody had asked for"
        assert sieve.get("A", 0.0) == "A"
        assert sieve.get("D", 0.0) == "D"
        fill(sieve, "I")
        assert kept(sieve) == "ABDFGHI", "the hand went on from C, past D, to E"
        assert sieve.get("B", 0.0) == "B"
        fill(sieve, "J")
        assert kept(sieve) == "ABDGHIJ"

    def test_without_hits_it_is_a_queue(self) -> None:
        sieve = small(3)
        fill(sieve, "abcde")
        assert kept(sieve) == "cde"
        assert sieve.evictions_total == 2

    def test_a_hit_gives_one_more_round_and_not_two(self) -> None:
        sieve = small(2)
        fill(sieve, "ab")
        sieve.get("a", 0.0)
        sieve.get("a", 0.0)
        fill(sieve, "c")
        assert kept(sieve) == "ac"
        fill(sieve, "d")
        assert kept(sieve) == "cd"

    def test_all_asked_for_means_the_oldest_goes(self) -> None:
        sieve = small(3)
        fill(sieve, "abc")
        for key in "abc":
            sieve.get(key, 0.0)
        fill(sieve, "d")
        assert kept(sieve) == "bcd"

    def test_a_scan_does_not_flush_what_is_in_use(self) -> None:
        sieve = small(10)
        fill(sieve, "abcde")
        for number in range(1000):
            for key in "abcde":
                assert sieve.get(key, 0.0) is not None
            sieve.put(f"once-{number}", "", 1, inf, inf, 0.0)
        assert kept(sieve)[:5] == "abcde"

    def test_peeking_leaves_no_trace(self) -> None:
        sieve = small(2)
        fill(sieve, "ab")
        assert sieve.peek("a", 0.0) == "A"
        assert sieve.peek("x", 0.0) is None
        fill(sieve, "c")
        assert kept(sieve) == "bc"

    def test_as_many_small_ones_go_as_a_large_one_needs(self) -> None:
        sieve = small(5)
        fill(sieve, "abcde")
        assert sieve.put("f", "F", 3, inf, inf, 0.0)
        assert kept(sieve) == "def"
        assert sieve.bytes == 5

    def test_the_number_of_entries_can_be_bounded_too(self) -> None:
        sieve = small(100, max_entries=2)
        fill(sieve, "abc")
        assert kept(sieve) == "bc"
        fill(sieve, "b")
        assert kept(sieve) == "bc"
        assert sieve.evictions_total == 1


class TestReplacing:
    def test_keeps_the_place_and_counts_as_asked_for(self) -> None:
        sieve = small(3)
        fill(sieve, "abc")
        assert sieve.put("a", "new", 1, inf, inf, 0.0)
        assert kept(sieve) == "abc"
        fill(sieve, "d")
        assert kept(sieve) == "acd"
        assert sieve.get("a", 0.0) == "new"

    def test_the_new_size_counts(self) -> None:
        sieve = small(10)
        fill(sieve, "ab")
        sieve.put("a", "", 4, inf, inf, 0.0)
        assert sieve.bytes == 5
        sieve.put("a", "", 2, inf, inf, 0.0)
        assert sieve.bytes == 3

    def test_growing_pushes_out_others_and_never_itself(self) -> None:
        sieve = small(4)
        fill(sieve, "abcd")
        for key in "bcd":
            sieve.get(key, 0.0)
        assert sieve.put("a", "A2", 4, inf, inf, 0.0)
        assert kept(sieve) == "a"
        assert (sieve.peek("a", 0.0), sieve.bytes, sieve.evictions_total) == ("A2", 4, 3)

    @pytest.mark.parametrize(("size", "hard_end"), [(11, inf), (1, 5.0), (1, 4.0)])
    def test_what_cannot_be_kept_still_ends_what_it_replaces(
        self, size: int, hard_end: float
    ) -> None:
        """Larger than the store, or gone at 5 already."""
        sieve = small(10)
        fill(sieve, "ab")
        assert not sieve.put("a", "new", size, hard_end, hard_end, 5.0)
        assert not sieve.put("x", "new", size, hard_end, hard_end, 5.0)
        assert kept(sieve) == "b"
        assert (sieve.bytes, sieve.evictions_total, sieve.expirations_total) == (1, 0, 0)

    def test_the_largest_that_fits(self) -> None:
        sieve: Sieve[str] = Sieve(10, overhead=3)
        assert not sieve.put("a", "", 8, inf, inf, 0.0)
        assert sieve.put("a", "", 7, inf, inf, 0.0)
        assert sieve.bytes == 10

    def test_the_overhead_is_added_to_each_entry(self) -> None:
        sieve: Sieve[str] = Sieve(10_000)
        sieve.put("a", "", 5, inf, inf, 0.0)
        sieve.put("b", "", 0, inf, inf, 0.0)
        assert sieve.bytes == 5 + 2 * OVERHEAD


class TestEnds:
    def test_stale_is_given_and_gone_is_not(self) -> None:
        sieve = small(5)
        sieve.put("a", "A", 1, 10.0, 20.0, 0.0)
        assert sieve.get("a", 19.9) == sieve.peek("a", 19.9) == "A"
        assert sieve.peek("a", 20.0) is None
        assert len(sieve) == 1, "peeking takes nothing out"
        assert sieve.get("a", 20.0) is None
        assert (len(sieve), sieve.bytes, sieve.expirations_total) == (0, 0, 1)

    def test_the_sweep_takes_out_what_is_gone_and_enters_what_is_stale(self) -> None:
        sieve = small(5)
        sieve.put("gone", "", 1, 5.0, 10.0, 0.0)
        sieve.put("stale", "", 1, 10.0, 20.0, 0.0)
        sieve.put("fresh", "", 1, 10.1, 20.0, 0.0)
        assert sieve.stale_bytes == 0
        assert sieve.sweep(10.0, 100) == 1
        assert list(sieve) == ["stale", "fresh"]
        snapshot = sieve.snapshot()
        assert (snapshot.stale_entries, snapshot.stale_bytes) == (1, 1)
        assert (snapshot.expirations_total, snapshot.evictions_total) == (1, 0)

    def test_beyond_the_budget_the_stalest_goes_whichever_was_found_first(self) -> None:
        sieve = small(10, max_stale_bytes=2)
        for key, soft_end in [("a", 3.0), ("b", 1.0), ("c", 4.0), ("d", 2.0)]:
            sieve.put(key, key, 1, soft_end, inf, 0.0)
        assert sieve.sweep(9.0, 2) == 0
        assert sieve.sweep(9.0, 1) == 1
        assert kept(sieve) == "acd"
        assert sieve.sweep(9.0, 1) == 1
        assert kept(sieve) == "ac"
        assert (sieve.stale_bytes, sieve.evictions_total) == (2, 2)

    def test_one_beyond_the_whole_budget_goes_alone(self) -> None:
        sieve = small(10, max_stale_bytes=3)
        sieve.put("a", "", 3, 1.0, inf, 0.0)
        sieve.put("b", "", 4, 2.0, inf, 0.0)
        assert sieve.sweep(9.0, 9) == 1
        assert kept(sieve) == "a"

    def test_no_budget_keeps_no_stale_entry_that_is_found(self) -> None:
        sieve = small(10, max_stale_bytes=0)
        fill(sieve, "ab", hard_end=10.0)
        sieve.put("a", "", 1, 5.0, 10.0, 0.0)
        assert sieve.get("a", 6.0) == ""
        assert sieve.sweep(6.0, 9) == 1
        assert kept(sieve) == "b"

    def test_a_new_value_leaves_the_stale_account(self) -> None:
        sieve = small(10)
        sieve.put("a", "old", 2, 1.0, 100.0, 0.0)
        sieve.sweep(2.0, 1)
        assert sieve.stale_bytes == 2
        sieve.put("a", "new", 3, 9.0, 100.0, 2.0)
        assert (sieve.stale_bytes, sieve.bytes) == (0, 3)
        sieve.sweep(9.0, 1)
        assert sieve.stale_bytes == 3
        assert sieve.pop("a") == "new"
        assert (sieve.stale_bytes, sieve.bytes, sieve.snapshot().stale_entries) == (0, 0, 0)

    def test_clearing_keeps_the_totals_and_the_dictionary(self) -> None:
        sieve = small(3)
        nodes = sieve.nodes
        fill(sieve, "abcd", hard_end=10.0)
        sieve.put("e", "", 1, 1.0, 10.0, 0.0)
        sieve.sweep(2.0, 9)
        sieve.clear()
        snapshot = sieve.snapshot()
        assert sieve.nodes is nodes
        assert (snapshot.entries, snapshot.bytes, snapshot.stale_bytes) == (0, 0, 0)
        assert snapshot.stale_entries == 0
        assert snapshot.evictions_total == 2
        fill(sieve, "xyz!")
        assert kept(sieve) == "yz!"


class TestBroom:
    @pytest.mark.parametrize("limit", [1, 3, 7, 50, 1000])
    def test_a_call_finds_no_more_than_its_limit(self, limit: int) -> None:
        sieve: Sieve[str] = Sieve(10**6)
        for number in range(100):
            sieve.put(str(number), "", 1, 1.0, 5.0, 0.0)
        assert sieve.sweep(5.0, limit) == min(limit, 100)
        assert len(sieve) == max(0, 100 - limit)

    @pytest.mark.parametrize("arrivals", [0, 5, 25])
    def test_finds_everything_within_two_laps_however_many_arrive(self, arrivals: int) -> None:
        """Faster than the broom is, too: 25 arrive while it looks at 10."""
        limit = 10
        sieve: Sieve[int] = Sieve(10**9, max_entries=1200)
        draw = random.Random(4)
        serial = 0
        for start in range(40):
            for _ in range(10 if start else 600):
                serial += 1
                sieve.put(f"old-{serial}", serial, 1, inf, draw.choice([1.0, inf]), 0.0)
            sieve.sweep(0.0, draw.randrange(limit))
        due = [key for key in sieve if sieve.nodes[key].hard_end == 1.0]
        assert len(due) > 300
        for _ in range(2 * 1200 // limit):
            sieve.sweep(1.0, limit)
            for _ in range(arrivals):
                serial += 1
                sieve.put(f"new-{serial}", serial, 1, inf, inf, 1.0)
        assert [key for key in due if key in sieve.nodes] == []

    def test_is_not_outrun_by_entries_that_come_and_go_before_it(self) -> None:
        """There always are ten new ones ahead; yet it comes back for the old ones."""
        sieve: Sieve[str] = Sieve(10**6, overhead=0)
        for number in range(100):
            sieve.put(f"old-{number}", "", 1, 1.0, 1.0, 0.0)
        come = go = 0
        for round_ in range(1 + 2 * 120 // 10):
            # Ten more come, before the broom has passed the ten that are there.
            while come < 10 * (round_ + 2):
                sieve.put(f"new-{come}", "", 1, inf, inf, 0.0)
                come += 1
            if round_ == 0:
                sieve.sweep(0.0, 100)
                continue
            sieve.sweep(1.0, 10)
            while go < 10 * round_:
                sieve.pop(f"new-{go}")
                go += 1
        assert sieve.expirations_total == 100

    @pytest.mark.parametrize("way", ["pop", "expire"])
    def test_goes_on_behind_an_entry_that_left_in_front_of_it(self, way: str) -> None:
        sieve = small(9)
        fill(sieve, "abcd", hard_end=5.0)
        sieve.sweep(0.0, 1)
        if way == "pop":
            sieve.pop("b")
        else:
            assert sieve.get("b", 5.0) is None
        assert sieve.sweep(5.0, 1) == 1
        assert kept(sieve) == "ad"

    def test_two_calls_are_enough_if_each_is_a_lap(self) -> None:
        sieve = small(100)
        fill(sieve, "abcdef")
        sieve.sweep(0.0, 4)
        fill(sieve, "ghijk")
        sieve.put("l", "", 1, 1.0, 1.0, 0.0)
        assert sieve.sweep(1.0, 100) + sieve.sweep(1.0, 100) == 1

    def test_an_empty_store_is_swept_in_no_time(self) -> None:
        sieve = small(3)
        assert sieve.sweep(0.0, 10**9) == 0
        fill(sieve, "a", hard_end=1.0)
        assert sieve.sweep(1.0, 10**9) == 1
        assert sieve.sweep(1.0, 10**9) == 0

    def test_what_is_gone_makes_room_before_what_lives(self) -> None:
        sieve = small(10)
        fill(sieve, "abc")
        fill(sieve, "defg", hard_end=5.0)
        fill(sieve, "hij")
        sieve.put("k", "", 1, inf, inf, 5.0)
        assert kept(sieve) == "abchijk"
        assert (sieve.evictions_total, sieve.expirations_total) == (0, 4)

    def test_a_write_that_fits_looks_at_nothing(self) -> None:
        sieve = small(5, max_entries=5)
        fill(sieve, "abcd", hard_end=5.0)
        sieve.put("e", "", 1, inf, inf, 5.0)
        assert kept(sieve) == "abcde"
        sieve.put("f", "", 1, inf, inf, 5.0)
        assert kept(sieve) == "ef"

    def test_a_write_pays_for_a_few_looks_only(self) -> None:
        sieve: Sieve[str] = Sieve(100, overhead=0)
        for number in range(100):
            sieve.put(str(number), "", 1, 5.0, 5.0, 0.0)
        sieve.put("new", "", 1, inf, inf, 5.0)
        assert sieve.expirations_total == LOOKS

    def test_the_hand_takes_what_is_gone_though_it_was_asked_for(self) -> None:
        sieve = small(20)
        fill(sieve, "0123456789")
        fill(sieve, "a", hard_end=5.0)
        fill(sieve, "bcdefghij")
        for key in "0123456789abcdefghij":
            sieve.get(key, 0.0)
        sieve.put("new", "", 1, inf, inf, 5.0)
        assert "a" not in sieve.nodes
        assert (sieve.evictions_total, sieve.expirations_total) == (0, 1)

    def test_a_store_under_pressure_is_clean_without_sweeps(self) -> None:
        sieve = small(800)
        for number in range(800):
            hard_end = 5.0 if number % 2 else inf
            sieve.put(str(number), "", 1, inf, hard_end, 0.0)
            sieve.get(str(number), 0.0)
        for number in range(800 // LOOKS + 300):
            sieve.put(f"new-{number}", "", 1, inf, inf, 5.0)
        assert sieve.expirations_total == 400
        assert sieve.evictions_total <= 1


class TestMemory:
    # 11,250 entries are the worst case: the index has just moved to a larger table.
    @pytest.mark.parametrize("stale", [False, True], ids=["fresh", "stale"])
    @pytest.mark.parametrize(
        ("payloads", "entries", "writes"),
        [
            ([0], 5_625, 12_000),
            ([10], 11_250, 24_000),
            ([10], 9_000, 20_000),
            ([2_000], 1_400, 3_000),
            ([1_000_000], 40, 90),
            ([5, 300, 60_000], 500, 1_500),
        ],
        ids=["empty", "tiny", "few-tiny", "small", "large", "mixed"],
    )
    def test_real_memory_stays_within_a_tenth_of_the_budget_in_a_write_flood(
        self, payloads: list[int], entries: int, writes: int, stale: bool
    ) -> None:
        mean = sum(payloads) // len(payloads)
        max_bytes = entries * (OVERHEAD + 16 + mean)
        draw = random.Random(7)
        now = 1000.0
        gc.collect()
        tracemalloc.start()
        try:
            sieve: Sieve[bytes] = Sieve(max_bytes)
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            for number in range(writes):
                now += 0.001
                size = draw.choice(payloads)
                soft_end, hard_end = now + (1e-5 if stale else 1e6), now + 1e7
                sieve.put(f"{number:016d}", bytes(size), 16 + size, soft_end, hard_end, now)
                if stale:
                    sieve.sweep(now + 1, 3)
            after, peak = (traced - before for traced in tracemalloc.get_traced_memory())
        finally:
            tracemalloc.stop()
        assert sieve.evictions_total > writes / 3, "a flood, or nothing is proved"
        assert 0.9 * max_bytes < sieve.bytes <= max_bytes
        assert after <= max_bytes
        # The value being written exists beside the full store for a moment.
        assert peak - max(payloads) <= 1.1 * max_bytes
        if stale:
            assert sieve.stale_bytes > 0.7 * sieve.bytes

    def test_the_overhead_is_no_more_than_what_it_stands_for(self) -> None:
        """Not so high either that a tenth of the budget would never be used."""
        gc.collect()
        tracemalloc.start()
        try:
            sieve: Sieve[bytes] = Sieve(10**9)
            for number in range(11_250):
                soft_end = 1.0 + number / 1e5
                sieve.put(f"{number:016d}", bytes(number % 7), 16, soft_end, soft_end + 9, 0.0)
            sieve.sweep(5.0, 20_000)
            weight, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert 0.85 * sieve.bytes <= weight <= sieve.bytes

    def test_rewrites_leave_nothing_behind(self) -> None:
        sieve: Sieve[bytes] = Sieve(10**6)
        gc.collect()
        tracemalloc.start()
        try:
            for number in range(20_000):
                now = float(number)
                sieve.put(f"key-{number % 50}", b"", 6, now, now + 1000, now)
                sieve.sweep(now, 10)
                if number == 1_000:
                    before, _ = tracemalloc.get_traced_memory()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert after - before < 1000

    @pytest.mark.parametrize("way", ["pop", "evict", "expire", "sweep", "clear", "replace"])
    def test_what_leaves_is_freed_at_once_without_the_collector(self, way: str) -> None:
        class Value:
            pass

        sieve: Sieve[Value] = Sieve(2, overhead=0)
        value = Value()
        watch = weakref.ref(value)
        gc.collect()
        gc.disable()
        try:
            sieve.put("a", Value(), 1, inf, inf, 0.0)
            sieve.put("b", value, 1, 1.0, 2.0, 0.0)
            del value
            sieve.sweep(1.0, 9)
            assert watch() is not None
            if way == "pop":
                sieve.pop("b")
            elif way == "evict":
                sieve.put("c", Value(), 2, inf, inf, 1.0)
            elif way == "expire":
                sieve.get("b", 2.0)
            elif way == "sweep":
                sieve.sweep(2.0, 9)
            elif way == "clear":
                sieve.clear()
            else:
                sieve.put("b", Value(), 1, inf, inf, 1.0)
            assert watch() is None
        finally:
            gc.enable()

    def test_whoever_still_holds_a_node_does_not_hold_its_neighbours(self) -> None:
        sieve = small(10)
        fill(sieve, "abc")
        held = sieve.nodes["b"]
        sieve.pop("b")
        assert held.newer is held.older is sieve._root


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_bytes": 0}, "max_bytes must be a whole number of at least 1, not 0"),
        ({"max_entries": 0}, "max_entries must be a whole number of at least 1, not 0"),
        ({"max_stale_bytes": -1}, "max_stale_bytes must be a whole number of at least 0, not -1"),
        ({"overhead": -1}, "overhead must be a whole number of at least 0, not -1"),
        ({"max_bytes": True}, "max_bytes must be a whole number of at least 1, not True"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Sieve(**{"max_bytes": 10, **options})
    assert str(caught.value) == message


def test_bounds_are_allowed() -> None:
    sieve: Sieve[str] = Sieve(1, max_entries=1, max_stale_bytes=0, overhead=0)
    assert sieve.put("a", "", 1, inf, inf, 0.0)
    assert sieve.snapshot().max_entries == 1
