"""Features by importance, and the switch for those that the service can do without.

A feature has a tier: 1 is what the service is for, 2, 3, … are less and less important. Under
overload, or by hand, the lowest tiers (those with the highest numbers) are switched off first.
Tier 1 is only ever switched off by hand.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from threading import RLock
from typing import Final, Literal, NamedTuple

from holdfast._core import fork
from holdfast._core.clock import AMBIENT, Clock
from holdfast._core.hub import EVENTS, EventHub
from holdfast._core.validate import count, number, text
from holdfast._registry import Registry
from holdfast.degradation.brownout import Brownout, BrownoutOptions

_log = logging.getLogger("holdfast")

MOST_FEATURES: Final = 1_000


@dataclass(frozen=True, slots=True)
class FeatureSnapshot:
    """A feature, its tier, and whether it is on."""

    name: str
    tier: int
    enabled: bool


@dataclass(frozen=True, slots=True)
class ManualBrownout:
    """A brownout by hand: from which tier on, why, and for how many seconds more, if limited."""

    tier: int
    reason: str
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class FeaturesSnapshot:
    """The features at one moment.

    `off_from` is the tier from which on they are off, whoever did it, None for none; `load` what
    was told last, None if nothing was; `changes_total` how often `off_from` changed.
    """

    off_from: int | None
    load: float | None
    manual: ManualBrownout | None
    changes_total: int
    features: tuple[FeatureSnapshot, ...]


class Feature:
    """Something that the service can do, or leave out.

    Attributes:
        name: as declared.
        tier: 1 is most important.
    """

    __slots__ = ("_features", "name", "tier")

    def __init__(self, features: Features, name: str, tier: int) -> None:
        self._features = features
        self.name: Final = name
        self.tier: Final = tier

    @property
    def enabled(self) -> bool:
        """Whether it is on now. Cheap enough to ask on each request."""
        return self._features._allows(self.tier)

    def __repr__(self) -> str:
        return f"<Feature {self.name!r}, tier {self.tier}>"


class _Manual(NamedTuple):
    tier: int
    reason: str
    until: float | None


class _Change(NamedTuple):
    before: int | None
    after: int | None
    kind: Literal["auto", "manual"]
    reason: str


class Features:
    """The features that were declared, and which of them are on. Thread safe.

    Args:
        options: thresholds and times of the automatic brownout; default `BrownoutOptions()`.
        clock, events: for tests and containers.
    """

    def __init__(
        self,
        options: BrownoutOptions | None = None,
        *,
        clock: Clock | None = None,
        events: EventHub | None = None,
    ) -> None:
        self._clock = AMBIENT if clock is None else clock
        self._events = EVENTS if events is None else events
        self._features: Registry[Feature] = Registry("feature", MOST_FEATURES)
        self._tiers: frozenset[int] = frozenset()
        self._brownout = Brownout(BrownoutOptions() if options is None else options)
        self._manual: _Manual | None = None
        self._off_from: int | None = None
        self._changes = 0
        self._lock = RLock()
        fork.watch(self)

    def declare(self, name: str, *, tier: int) -> Feature:
        """Make a feature known; the same again is fine.

        Raises:
            ConfigurationError: `tier` is no whole number of at least 1, or the name is no printable
                text, was declared with another tier, or is one too many.
        """
        count("tier", tier)
        feature = self._features.get(name, tier, lambda: Feature(self, name, tier))
        with self._lock:
            if tier > 1:
                self._tiers |= {tier}
        return feature

    def feature(self, name: str) -> Feature:
        """The feature of this name.

        Raises:
            ConfigurationError: it was not declared.
        """
        return self._features.find(name)

    def feed(self, load: float) -> None:
        """Tell how loaded the service is, from 0 to 1: about once a second, by whatever measures.

        Raises:
            ConfigurationError: `load` is out of its range.
        """
        number("load", load, at_least=0, at_most=1)
        now = self._clock.now()
        with self._lock:
            self._brownout.feed(load, now, self._tiers)
            change = self._settle(now, "auto", f"the load is {load:.3g}")
        self._tell(change)

    def brown_out(self, tier: int, reason: str, *, ttl: float | None = None) -> None:
        """Switch off this tier and all less important ones, for `ttl` seconds or until `release`.

        Raises:
            ConfigurationError: an argument is out of its range.
        """
        now = self._clock.now()
        until = None if ttl is None else now + number("ttl", ttl, above=0)
        with self._lock:
            self._manual = _Manual(count("tier", tier), text("reason", reason), until)
            change = self._settle(now, "manual", reason)
        self._tell(change)

    def release(self, reason: str = "released by hand") -> None:
        """End what `brown_out` began; what the load switched off stays off."""
        text("reason", reason)
        now = self._clock.now()
        with self._lock:
            self._manual = None
            change = self._settle(now, "manual", reason)
        self._tell(change)

    def snapshot(self) -> FeaturesSnapshot:
        """The features at this moment."""
        now = self._look()
        with self._lock:
            off_from, manual = self._off_from, self._manual
            load, changes = self._brownout.load, self._changes
        return FeaturesSnapshot(
            off_from=off_from,
            load=load,
            manual=manual
            and ManualBrownout(
                manual.tier,
                manual.reason,
                None if manual.until is None else max(0.0, manual.until - now),
            ),
            changes_total=changes,
            features=tuple(
                FeatureSnapshot(each.name, each.tier, off_from is None or each.tier < off_from)
                for each in self._features.all()
            ),
        )

    def _allows(self, tier: int) -> bool:
        if not self._is_on(tier):
            self._look()
        return self._is_on(tier)

    def _is_on(self, tier: int) -> bool:
        off_from = self._off_from
        return off_from is None or tier < off_from

    def _look(self) -> float:
        """Let the time that passed have its effect: a brownout by hand ends, a signal is silent."""
        now = self._clock.now()
        with self._lock:
            self._brownout.look(now, self._tiers)
            change = self._settle(now, "auto", "nothing was heard of the load")
        self._tell(change)
        return now

    def _settle(self, now: float, kind: Literal["auto", "manual"], reason: str) -> _Change | None:
        """What is off now, and the change that this is, if it is one; the lock is held."""
        manual = self._manual
        if manual is not None and manual.until is not None and now >= manual.until:
            manual = self._manual = None
            kind, reason = "manual", "its time is over"
        ends = [self._brownout.off_from, None if manual is None else manual.tier]
        before = self._off_from
        self._off_from = min((tier for tier in ends if tier is not None), default=None)
        if self._off_from == before:
            return None
        self._changes += 1
        return _Change(before, self._off_from, kind, reason)

    def _tell(self, change: _Change | None) -> None:
        """The lock is not held."""
        if change is None:
            return
        if change.after is None:
            _log.info("all features are on: %s", change.reason)
        else:
            _log.warning("features of tier %d and up are off: %s", change.after, change.reason)
        if self._events.active:
            from holdfast.degradation.events import BrownoutChanged

            self._events.emit(
                BrownoutChanged(
                    name="features",
                    at=self._clock.wall(),
                    before=change.before,
                    after=change.after,
                    kind=change.kind,
                    reason=change.reason,
                )
            )

    def _after_fork(self) -> None:
        self._lock = RLock()
