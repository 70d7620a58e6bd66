"""The latency sketch against exact quantiles, and against the paper's promises."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast._core.sketch import NEGLIGIBLE, Sketch
from holdfast.errors import ConfigurationError

seconds = st.one_of(
    st.floats(0, 1e9),
    st.floats(1e-6, 10),
    st.sampled_from([0.0, NEGLIGIBLE, 0.001, 1.0, 1.02, 30.0]),
)
samples = st.lists(seconds, max_size=200)
fractions = st.one_of(st.floats(0, 1), st.sampled_from([0.5, 0.9, 0.99, 0.999]))


def sketch_of(values: list[float], error: float = 0.01, max_bins: int = 100_000) -> Sketch:
    sketch = Sketch(error, max_bins)
    for value in values:
        sketch.add(value)
    return sketch


def content(sketch: Sketch) -> dict[str, Any]:
    """All but the sum, whose last digits depend on the order of additions."""
    return {key: part for key, part in sketch.to_dict().items() if key != "sum"}


class TestQuantiles:
    @given(samples.filter(bool), fractions, st.sampled_from([0.001, 0.01, 0.1]))
    @example([1.0], 0.5, 0.01)
    def test_within_the_relative_error(self, values: list[float], q: float, error: float) -> None:
        exact = sorted(values)[int(q * (len(values) - 1))]
        found = sketch_of(values, error).quantile(q)
        assert found is not None
        assert abs(found - exact) <= exact * error * (1 + 1e-9) + NEGLIGIBLE

    @given(samples.filter(bool))
    def test_exact_extremes_count_and_sum(self, values: list[float]) -> None:
        sketch = sketch_of(values)
        assert sketch.count == len(values)
        assert sketch.sum == pytest.approx(math.fsum(values))
        assert (sketch.minimum, sketch.maximum) == (min(values), max(values))
        assert (sketch.quantile(0), sketch.quantile(1)) == (min(values), max(values))

    @given(samples, st.lists(fractions, min_size=2, max_size=2).map(sorted))
    def test_quantiles_rise(self, values: list[float], pair: list[float]) -> None:
        sketch = sketch_of(values)
        low, high = sketch.quantile(pair[0]), sketch.quantile(pair[1])
        assert (low is None and high is None) or (
            low is not None and high is not None and low <= high
        )

    def test_a_latency_like_distribution(self) -> None:
        draw = random.Random(7)
        values = sorted(draw.lognormvariate(-4, 1.5) for _ in range(20_000))
        sketch = sketch_of(values, max_bins=512)
        for q in (0.5, 0.9, 0.99, 0.999):
            assert sketch.quantile(q) == pytest.approx(values[int(q * 19_999)], rel=0.0101)

    def test_empty(self) -> None:
        sketch = Sketch()
        assert (sketch.count, sketch.sum) == (0, 0.0)
        assert (sketch.minimum, sketch.maximum, sketch.quantile(0.5)) == (None, None, None)

    def test_zeros_are_values_too(self) -> None:
        sketch = sketch_of([0.0, 0.0, 0.0, 8.0])
        assert sketch.quantile(0.5) == 0.0
        assert sketch.quantile(1) == 8.0

    @pytest.mark.parametrize("value", [1.7e308, 5e-324])
    def test_the_ends_of_the_float_range(self, value: float) -> None:
        sketch = sketch_of([value, value, value])
        assert sketch.quantile(0.5) == pytest.approx(value)

    def test_a_clock_that_ran_backwards(self) -> None:
        sketch = sketch_of([-1.0, -math.inf, 2.0])
        assert (sketch.minimum, sketch.sum, sketch.count) == (0.0, 2.0, 3)

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_no_duration_at_all(self, value: float) -> None:
        sketch = Sketch()
        with pytest.raises(ConfigurationError, match="seconds must be a finite number"):
            sketch.add(value)
        assert content(sketch) == content(Sketch())

    @pytest.mark.parametrize("q", [-0.1, 1.1, math.nan, True])
    def test_no_fraction(self, q: float) -> None:
        with pytest.raises(ConfigurationError, match="q must be"):
            Sketch().quantile(q)


class TestMerging:
    @given(samples, samples, st.sampled_from([16, 17, 512]))
    def test_equals_the_sketch_of_the_union(
        self, left: list[float], right: list[float], max_bins: int
    ) -> None:
        merged = sketch_of(left, max_bins=max_bins)
        other = sketch_of(right, max_bins=max_bins)
        before = other.to_dict()
        merged.merge(other)
        union = sketch_of(left + right, max_bins=max_bins)
        assert content(merged) == content(union)
        assert merged.sum == pytest.approx(union.sum)
        assert other.to_dict() == before

    @given(samples)
    def test_with_itself_doubles(self, values: list[float]) -> None:
        sketch = sketch_of(values)
        sketch.merge(sketch)
        assert content(sketch) == content(sketch_of(values * 2))

    @pytest.mark.parametrize("other", [Sketch(0.02), Sketch(max_bins=100)])
    def test_of_another_kind_is_refused(self, other: Sketch) -> None:
        with pytest.raises(ConfigurationError, match="same relative_error and max_bins"):
            Sketch().merge(other)

    @given(samples, seconds)
    def test_a_copy_lives_its_own_life(self, values: list[float], more: float) -> None:
        sketch = sketch_of(values, max_bins=16)
        twin = sketch.copy()
        before = sketch.to_dict()
        assert twin.to_dict() == before
        twin.add(more)
        assert sketch.to_dict() == before
        assert content(twin) == content(sketch_of([*values, more], max_bins=16))


class TestMemory:
    @given(st.lists(st.floats(1e-8, 1e8), max_size=300), st.integers(16, 40))
    def test_the_order_does_not_matter_and_the_bound_holds(
        self, values: list[float], max_bins: int
    ) -> None:
        sketch = sketch_of(values, max_bins=max_bins)
        assert len(sketch.to_dict()["bins"]) <= 2 * max_bins
        assert sketch.count == len(values)
        assert content(sketch) == content(sketch_of(sorted(values), max_bins=max_bins))

    def test_what_is_lower_than_the_collapsed_bin_joins_it(self) -> None:
        sketch = sketch_of([1.1**n for n in range(20)], max_bins=16)
        lowest, amount = sketch.to_dict()["bins"][:2]
        sketch.add(1e-6)
        assert sketch.to_dict()["bins"][:2] == [lowest, amount + 1]
        assert amount == 5

    def test_the_slow_end_keeps_its_precision(self) -> None:
        values = [10 ** (n / 100) for n in range(-600, 300)]
        sketch = sketch_of(values, max_bins=128)
        exact = values[int(0.95 * 899)]
        assert sketch.quantile(0.95) == pytest.approx(exact, rel=0.0101)
        low = sketch.quantile(0.1)
        assert low is not None
        assert low > values[90]  # collapsed upwards, as documented


class TestTravel:
    @given(samples, st.sampled_from([16, 512]))
    def test_round_trip_through_json(self, values: list[float], max_bins: int) -> None:
        sketch = sketch_of(values, max_bins=max_bins)
        twin = Sketch.from_dict(json.loads(json.dumps(sketch.to_dict())))
        assert twin.to_dict() == sketch.to_dict()
        sketch.add(1e-7)
        twin.add(1e-7)
        assert twin.to_dict() == sketch.to_dict()

    @pytest.mark.parametrize(
        "change",
        [
            {"format": 2},
            {"relative_error": 0.9},
            {"relative_error": "x"},
            {"max_bins": 1},
            {"zeros": -1},
            {"zeros": True},
            {"bins": [1]},
            {"bins": [1, 0]},
            {"bins": [1, 1.5]},
            {"bins": [2, 1, 1, 1]},
            {"bins": [1, 1, 1, 1]},
            {"bins": [10**6, 1]},
            {"bins": [-(10**6), 1]},
            {"bins": [part for key in range(17) for part in (key, 1)]},
            {"bins": "12"},
            {"bins": None},
            {"bins": [], "zeros": 0},
            {"minimum": None},
            {"minimum": -1.0},
            {"minimum": 5.0},
            {"maximum": math.inf},
            {"sum": math.nan},
            {"sum": -1.0},
        ],
    )
    def test_damaged_data_is_refused(self, change: dict[str, Any]) -> None:
        data = sketch_of([0.0, 1.0, 2.0], max_bins=16).to_dict()
        Sketch.from_dict(data)
        with pytest.raises(ConfigurationError, match="data must be what"):
            Sketch.from_dict({**data, **change})

    @pytest.mark.parametrize("data", [{}, None, [], "x"])
    def test_no_sketch_at_all(self, data: Any) -> None:
        with pytest.raises(ConfigurationError, match="data must be what"):
            Sketch.from_dict(data)


@pytest.mark.parametrize(
    "options",
    [
        {"relative_error": 0},
        {"relative_error": 0.5},
        {"relative_error": math.nan},
        {"max_bins": 15},
        {"max_bins": 10**6},
        {"max_bins": 64.0},
    ],
)
def test_options(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ConfigurationError, match=f"^{name} must be"):
        Sketch(**options)
