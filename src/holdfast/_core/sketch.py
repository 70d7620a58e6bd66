"""Percentiles of latencies in a little memory, exact to a given relative error, and mergeable.

Bins grow geometrically: bin i holds the values in (g^(i-1), g^i], with g = (1 + e) / (1 - e). Any
value of a bin is then within the relative error e of the bin's representative 2g^i / (g + 1), so a
quantile is found by counting, and two sketches are merged by adding counts, without any loss: the
merged sketch equals the one that had seen all the values. Source: Masson, Rim, Lee, *DDSketch: a
fast and fully-mergeable quantile sketch with relative-error guarantees*, VLDB 2019.

The number of bins is bounded. When there are too many, the lowest are collapsed into one: the slow
end, which is what one asks a latency sketch about, keeps its precision. The default of 512 bins at
1 % spans a factor of 28,000, for example 1 ms to 28 s.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, exp, inf, log
from typing import Any, cast

from holdfast._core.validate import count, number, refuse
from holdfast.errors import ConfigurationError

NEGLIGIBLE = 1e-9
"""Anything up to a nanosecond counts as zero."""

_NO_FLOOR = -(10**9)  # below the bin of any float
_FORMAT = 1


class Sketch:
    """The distribution of many durations, in seconds.

    Args:
        relative_error: how far a quantile may be from the exact one, relative to it; from 0.0001
            to 0.2. Default 0.01.
        max_bins: the most bins kept, from 16 to 100,000. Default 512. Each costs about 100 bytes,
            and only bins that hold something are kept.

    Raises:
        ConfigurationError: an option is out of its range.

    Not thread safe: whoever owns a sketch guards it with the lock it has anyway.
    """

    __slots__ = (
        "_bins",
        "_floor",
        "_high",
        "_low",
        "_scale",
        "_zeros",
        "max_bins",
        "relative_error",
        "sum",
    )

    def __init__(self, relative_error: float = 0.01, max_bins: int = 512) -> None:
        self.relative_error = number("relative_error", relative_error, at_least=0.0001, at_most=0.2)
        self.max_bins = count("max_bins", max_bins, at_least=16, at_most=100_000)
        self._scale = 1 / log((1 + relative_error) / (1 - relative_error))
        self._bins: dict[int, int] = {}
        self._floor = _NO_FLOOR
        self._zeros = 0
        self.sum = 0.0
        """The exact total in seconds."""
        self._low = inf
        self._high = -inf

    def add(self, seconds: float) -> None:
        """Count one duration; a negative one, which only a broken clock gives, counts as 0.

        Raises:
            ConfigurationError: `seconds` is infinite or not a number.
        """
        if seconds > NEGLIGIBLE:
            try:
                key = ceil(log(seconds) * self._scale)
            except OverflowError:
                raise refuse("seconds", seconds, "a finite number") from None
            try:
                self._bins[key] += 1
            except KeyError:
                self._put(key, 1)
        elif seconds <= NEGLIGIBLE:
            self._zeros += 1
            seconds = max(seconds, 0.0)
        else:
            raise refuse("seconds", seconds, "a finite number")
        self.sum += seconds
        if seconds < self._low:
            self._low = seconds
        if seconds > self._high:
            self._high = seconds

    @property
    def count(self) -> int:
        """How many durations were added; takes a walk over the bins."""
        return self._zeros + sum(self._bins.values())

    @property
    def minimum(self) -> float | None:
        """The exact shortest duration; None while empty."""
        return None if self._low > self._high else self._low

    @property
    def maximum(self) -> float | None:
        """The exact longest duration; None while empty."""
        return None if self._low > self._high else self._high

    def quantile(self, q: float) -> float | None:
        """The duration that the fraction `q` (from 0 to 1) of all durations does not exceed.

        Within `relative_error` of the exact one, unless it lies in the collapsed low end; 0 and 1
        give the exact extremes. None while empty.

        Raises:
            ConfigurationError: `q` is not from 0 to 1.
        """
        number("q", q, at_least=0, at_most=1)
        total = self.count
        if not total:
            return None
        if q in (0, 1):
            return self._high if q else self._low
        rank = int(q * (total - 1))  # counted from 0
        passed = self._zeros
        found = None
        for key in sorted(self._bins):
            if rank < passed:
                break
            passed += self._bins[key]
            found = key
        value = 0.0 if found is None else self._value(found)
        return min(max(value, self._low), self._high)

    def merge(self, other: Sketch) -> None:
        """Take in everything `other` has seen; `other` is left as it is.

        Raises:
            ConfigurationError: the two differ in `relative_error` or `max_bins`.
        """
        if (self.relative_error, self.max_bins) != (other.relative_error, other.max_bins):
            raise ConfigurationError(
                "other must be a sketch with the same relative_error and max_bins:"
                f" {self.relative_error:g} and {self.max_bins},"
                f" not {other.relative_error:g} and {other.max_bins}"
            )
        for key, amount in list(other._bins.items()):  # a copy: `other` may be `self`
            self._put(key, amount)
        self._zeros += other._zeros
        self.sum += other.sum
        self._low = min(self._low, other._low)
        self._high = max(self._high, other._high)

    def copy(self) -> Sketch:
        """An independent sketch with the same content."""
        twin = Sketch(self.relative_error, self.max_bins)
        twin.merge(self)
        return twin

    def to_dict(self) -> dict[str, Any]:
        """The content as plain data that survives JSON, for `from_dict` in another process."""
        return {
            "format": _FORMAT,
            "relative_error": self.relative_error,
            "max_bins": self.max_bins,
            "sum": self.sum,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "zeros": self._zeros,
            "bins": [part for pair in sorted(self._bins.items()) for part in pair],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Sketch:
        """The sketch that `to_dict` described; what came over a network is checked first.

        Raises:
            ConfigurationError: `data` is not a description of a sketch.
        """
        try:
            return cls._read(data)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as exc:
            # The data is not quoted: it may be large, and it is not ours.
            raise ConfigurationError(
                f"data must be what Sketch.to_dict gave ({type(exc).__name__})"
            ) from None

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> Sketch:
        if data["format"] != _FORMAT:
            raise ValueError("unknown format")
        sketch = cls(data["relative_error"], data["max_bins"])
        sketch._zeros = count("zeros", data["zeros"], at_least=0)
        flat = cast("list[int]", data["bins"])
        if not isinstance(flat, list) or len(flat) % 2 or len(flat) > 2 * sketch.max_bins:
            raise ValueError("bins must be pairs, and not too many")
        lowest, highest = sketch._key(NEGLIGIBLE), sketch._key(1.7e308)
        for key, amount in zip(flat[::2], flat[1::2], strict=True):
            count("key", key, at_least=lowest, at_most=highest)
            lowest = key + 1  # ascending, so no bin comes twice
            sketch._bins[key] = count("amount", amount)
        if not sketch.count:
            if data["sum"] or data["minimum"] is not None or data["maximum"] is not None:
                raise ValueError("an empty sketch has no sum and no extremes")
            return sketch
        sketch._low = number("minimum", data["minimum"], at_least=0)
        sketch._high = number("maximum", data["maximum"], at_least=sketch._low)
        sketch.sum = number("sum", data["sum"], at_least=0)
        return sketch

    def _key(self, seconds: float) -> int:
        return ceil(log(seconds) * self._scale)

    def _value(self, key: int) -> float:
        """The representative of a bin; capped where the exponential would overflow."""
        return exp(min(key / self._scale + log(1 - self.relative_error), 709.7))

    def _put(self, key: int, amount: int) -> None:
        bins = self._bins
        if key < self._floor:
            key = self._floor
        bins[key] = bins.get(key, 0) + amount
        if len(bins) > self.max_bins:
            lowest = bins.pop(min(bins))
            # What is lower than this from now on need not look for its bin.
            self._floor = min(bins)
            bins[self._floor] += lowest
