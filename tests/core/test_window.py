"""Both windows against plain lists of everything that was ever recorded."""

from __future__ import annotations

import sys
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast._core.window import FAILED, OK, SLOW, CountWindow, TimeWindow, Window

kinds = st.sampled_from([OK, FAILED, SLOW, FAILED | SLOW])
# Quarters of a second and slices of half a second: floats are exact, edges are hit often.
steps = st.one_of(
    st.integers(0, 8).map(lambda quarters: Fraction(quarters, 4)),
    st.sampled_from([Fraction(5), Fraction(19, 4), Fraction(21, 4), Fraction(10**6)]),
)
every_kind = [OK, FAILED, SLOW, FAILED | SLOW]
# Mostly records, so that a window fills up before it is cleared.
acts = st.sampled_from(every_kind * 4 + ["look", "look", "clear", "take over"])
moves = st.lists(st.tuples(steps, acts), min_size=10, max_size=60)


def seen(window: Window) -> tuple[int, int, int]:
    return window.calls, window.failures, window.slow_calls


def counted(records: list[Any]) -> tuple[int, int, int]:
    """What a window holding these kinds must show."""
    return (
        len(records),
        sum(bool(kind & FAILED) for kind in records),
        sum(bool(kind & SLOW) for kind in records),
    )


def totals(window: Window) -> tuple[int, int, int]:
    return window.ok, window.failed, window.slow


class TestTimeWindow:
    @given(moves, st.sampled_from([Fraction(0), Fraction(3, 4), Fraction(10**7)]), st.booleans())
    @example([(Fraction(0), OK), (Fraction(5), "look")], Fraction(0), True)
    def test_agrees_with_a_list(self, moves: list[Any], start: Fraction, quickly: bool) -> None:
        window, now = TimeWindow(5.0), start
        everything: list[tuple[Fraction, int]] = []
        inside: list[tuple[Fraction, int]] = []
        for step, move in moves:
            now += step
            if move == "look":
                window.advance(float(now))
            elif move == "clear":
                window.clear()
                inside = []
            elif move == "take over":
                fresh = TimeWindow(5.0)
                fresh.take_over(window)
                window, inside = fresh, []
            else:
                if quickly and move == OK and now < window.edge:
                    window.ok += 1  # what the circuit does between two edges
                else:
                    window.record(move, float(now))
                everything.append((now, move))
                inside.append((now, move))
            window.advance(float(now))
            slices = [(kind, now // Fraction(1, 2) - at // Fraction(1, 2)) for at, kind in inside]
            assert seen(window) == counted([kind for kind, age in slices if age < 10])
            calls, failed, slow = counted([kind for _, kind in everything])
            assert totals(window) == (calls - failed, failed, slow)

    @given(
        st.lists(st.tuples(st.floats(0, 3), kinds), max_size=60),
        st.floats(0.1, 100),
        st.integers(1, 20),
        st.floats(0, 1e7),
    )
    def test_an_outcome_leaves_in_the_last_slice_of_its_time(
        self, records: list[tuple[float, int]], span: float, buckets: int, start: float
    ) -> None:
        window, now, everything = TimeWindow(span, buckets), start, []
        for step, kind in records:
            now += step
            window.record(kind, now)
            everything.append((now, kind))
            hair = 1e-6 * span + 1e-9
            ages = [(now - at, kind) for at, kind in everything]
            least = counted([kind for age, kind in ages if age < span * (1 - 1 / buckets) - hair])
            most = counted([kind for age, kind in ages if age < span + hair])
            for low, shown, high in zip(least, seen(window), most, strict=True):
                assert low <= shown <= high

    @pytest.mark.parametrize(
        ("recorded", "stays_until", "gone_at"),
        [(0.0, 9.75, 10.0), (0.75, 9.75, 10.0), (1.0, 10.75, 11.0)],
    )
    def test_leaves_at_the_edge_of_a_slice(
        self, recorded: float, stays_until: float, gone_at: float
    ) -> None:
        window = TimeWindow(10.0)
        window.record(FAILED, recorded)
        window.advance(stays_until)
        assert seen(window) == (1, 1, 0)
        window.advance(gone_at)
        assert seen(window) == (0, 0, 0)

    def test_is_empty_at_once_when_cleared(self) -> None:
        window = TimeWindow(10.0)
        for kind in every_kind:
            window.record(kind, 3.0)
        window.clear()
        assert seen(window) == (0, 0, 0)
        assert totals(window) == (2, 2, 2)

    def test_what_comes_a_little_late_counts_in_the_present_slice(self) -> None:
        """Two threads may read the clock in one order and arrive in the other."""
        window = TimeWindow(10.0)
        window.record(FAILED, 5.25)
        window.record(FAILED, 4.75)
        window.advance(4.5)
        assert seen(window) == (2, 2, 0)
        window.advance(14.75)
        assert seen(window) == (2, 2, 0)
        window.advance(15.0)
        assert seen(window) == (0, 0, 0)

    def test_begins_anew_when_another_clock_is_put_under_it(self) -> None:
        window = TimeWindow(10.0)
        window.record(FAILED, 5000.0)
        window.record(FAILED, 10.0)
        assert seen(window) == (1, 1, 0)
        assert window.edge == 11.0
        window.advance(19.5)
        assert seen(window) == (1, 1, 0)
        window.advance(20.0)
        assert seen(window) == (0, 0, 0)
        assert totals(window) == (0, 2, 0)

    @pytest.mark.parametrize(("back_to", "shown"), [(5.5, 2), (4.5, 1)])
    def test_turns_back_only_by_more_than_its_span(self, back_to: float, shown: int) -> None:
        window = TimeWindow(10.0)
        window.record(FAILED, 15.5)
        window.record(FAILED, back_to)
        assert seen(window) == (shown, shown, 0)

    def test_has_an_edge_from_its_first_moment_on(self) -> None:
        window = TimeWindow(10.0)
        window.record(OK, 0.5)
        assert window.edge == 1.0

    def test_the_edge_is_where_the_next_slice_begins(self) -> None:
        window = TimeWindow(10.0)
        assert window.edge == float("-inf")
        window.record(OK, 3.5)
        assert window.edge == 4.0
        window.advance(7.0)
        assert window.edge == 8.0

    def test_takes_no_more_memory_however_much_it_sees(self) -> None:
        window = TimeWindow(10.0)
        before = footprint(window)
        for index in range(100_000):
            window.record(index & 3, index / 64)
        assert footprint(window) <= before + 10 * sys.getsizeof((0, 0, 0)) + 40 * sys.getsizeof(1)


class TestCountWindow:
    @given(st.integers(1, 8), st.lists(acts, min_size=10, max_size=60))
    @example(3, [*every_kind, *every_kind, "clear", *every_kind, *reversed(every_kind)])
    def test_agrees_with_a_list(self, size: int, moves: list[Any]) -> None:
        window = CountWindow(size)
        everything: list[int] = []
        inside: list[int] = []
        for at, move in enumerate(moves):
            if move == "clear":
                window.clear()
                inside = []
            elif move == "take over":
                fresh = CountWindow(size)
                fresh.take_over(window)
                window, inside = fresh, []
            elif move != "look":
                window.record(move, at * 1000.0)
                everything.append(move)
                inside.append(move)
            window.advance(at * 1000.0)
            assert seen(window) == counted(inside[-size:])
            calls, failed, slow = counted(everything)
            assert totals(window) == (calls - failed, failed, slow)

    def test_never_offers_the_short_cut(self) -> None:
        window = CountWindow(3)
        window.record(OK, 1.0)
        assert window.edge == float("-inf")

    def test_takes_no_more_memory_however_much_it_sees(self) -> None:
        window = CountWindow(50)
        for _ in range(50):
            window.record(FAILED, 0.0)
        before = footprint(window)
        for index in range(100_000):
            window.record(index & 3, 0.0)
        assert footprint(window) <= before + 8 * sys.getsizeof(1)
        assert window.calls == 50


@given(st.booleans(), st.lists(kinds, max_size=20))
def test_the_other_kind_can_be_taken_over(timed: bool, records: list[int]) -> None:
    old, new = (TimeWindow(5.0), CountWindow(3)) if timed else (CountWindow(3), TimeWindow(5.0))
    for kind in records:
        old.record(kind, 100.0)
    new.take_over(old)
    new.advance(100.0)
    assert seen(new) == (0, 0, 0)
    assert totals(new) == totals(old)
    new.record(FAILED, 100.0)
    assert seen(new) == (1, 1, 0)


def footprint(window: Window) -> int:
    """Bytes of the window and of everything it refers to."""
    parts: list[Any] = [window]
    size = 0
    while parts:
        part = parts.pop()
        size += sys.getsizeof(part)
        if isinstance(part, (list, tuple)):
            parts += part
        for kind in type(part).__mro__:
            parts += [getattr(part, name) for name in getattr(kind, "__slots__", ())]
    return size
