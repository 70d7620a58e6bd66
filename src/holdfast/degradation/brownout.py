"""The brownout: under overload the least important features go first, one tier at a time.

Source of the idea: Klein, Maggio, Årzén, Hernández-Rodriguez, *Brownout: building more robust cloud
applications*, ICSE 2014. There a controller turns a dial; here two thresholds turn tiers off and
on. They lie apart (hysteresis), and the load has to stay beyond one for a while (dwell) before
anything happens, because switching a feature off lowers the load, and a switch that follows at
once would flap.

A signal that falls silent must not leave features off for ever: after `silence` it counts as low.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast._core.validate import number
from holdfast.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class BrownoutOptions:
    """When tiers go and come back.

    Args:
        off_above: load from which on a tier is switched off, above 0 up to 1. Default 0.9.
        on_below: load down from which a tier comes back, at least 0 and below `off_above`. Default
            0.7.
        off_after: seconds that the load must stay high, for each tier; at least 0. Default 5.
        on_after: seconds that it must stay low, for each tier; at least 0. Default 30.
        silence: seconds without a word about the load after which it counts as low, above 0.
            Default 60.

    Raises:
        ConfigurationError: an option is out of its range, or the thresholds are out of order.
    """

    off_above: float = 0.9
    on_below: float = 0.7
    off_after: float = 5.0
    on_after: float = 30.0
    silence: float = 60.0

    def __post_init__(self) -> None:
        number("off_above", self.off_above, above=0, at_most=1)
        number("on_below", self.on_below, at_least=0, at_most=1)
        if self.on_below >= self.off_above:
            raise ConfigurationError(
                f"on_below must be less than off_above, not {self.on_below!r} with off_above="
                f"{self.off_above!r}: between them nothing changes, which keeps features from "
                "flapping"
            )
        number("off_after", self.off_after, at_least=0)
        number("on_after", self.on_after, at_least=0)
        number("silence", self.silence, above=0)


class Brownout:
    """The machine: told the load and the time, it says from which tier on features are off.

    `tiers` are those that may go, in any order; a higher number is less important. Not thread
    safe: whoever owns it has a lock.
    """

    __slots__ = ("_high_since", "_last", "_low_since", "load", "off_from", "options")

    def __init__(self, options: BrownoutOptions) -> None:
        self.options = options
        self.off_from: int | None = None
        """Features of this tier and of less important ones are off; None for none."""
        self.load: float | None = None
        """The last load that was told."""
        self._last = 0.0
        self._high_since: float | None = None
        self._low_since: float | None = None

    def feed(self, load: float, now: float, tiers: frozenset[int]) -> None:
        """The load is so much, from 0 to 1. Switches one tier at most."""
        self.look(now, tiers)
        options, self.load = self.options, load
        # Another thread may have read the clock later and come here first.
        now = self._last = max(now, self._last)
        high, low = load >= options.off_above, load <= options.on_below
        self._high_since = (now if self._high_since is None else self._high_since) if high else None
        self._low_since = (now if self._low_since is None else self._low_since) if low else None
        if self._high_since is not None and now - self._high_since >= options.off_after:
            self._high_since = now
            self._worsen(tiers)
        elif self._low_since is not None and now - self._low_since >= options.on_after:
            self._low_since = now
            self._improve(tiers)

    def look(self, now: float, tiers: frozenset[int]) -> None:
        """Time passed without a word about the load."""
        if self.off_from is None or now - self._last < self.options.silence:
            return
        self._high_since = None
        if self._low_since is None:
            self._low_since = self._last + self.options.silence
        left: int | None = self.off_from
        while left is not None and now - self._low_since >= self.options.on_after:
            self._low_since += self.options.on_after
            left = self._improve(tiers)

    def _worsen(self, tiers: frozenset[int]) -> None:
        self.off_from = max(
            (tier for tier in tiers if self.off_from is None or tier < self.off_from),
            default=self.off_from,
        )

    def _improve(self, tiers: frozenset[int]) -> int | None:
        now_on = self.off_from
        if now_on is not None:
            self.off_from = min((tier for tier in tiers if tier > now_on), default=None)
        return self.off_from
