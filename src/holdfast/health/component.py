"""One component: its traffic, its policies, its check, and the status they add up to."""

from __future__ import annotations

from math import inf
from threading import RLock

from holdfast._core import fork
from holdfast._core.sketch import Sketch
from holdfast.health.calls import CallOutcome
from holdfast.health.check import Check
from holdfast.health.graph import Role
from holdfast.health.heart import Heart
from holdfast.health.judge import Fact, Reading, judge
from holdfast.health.machine import Change, StatusMachine
from holdfast.health.options import HealthOptions
from holdfast.health.snapshots import ComponentSnapshot, StatusChange, TrafficSnapshot
from holdfast.health.traffic import Counts, Traffic, View
from holdfast.health.watched import Watched
from holdfast.policies.base import Policy


class Component:
    """What the monitor knows of one name. Thread safe; `evaluate` is for one thread at a time."""

    __slots__ = (
        "__weakref__",
        "_due",
        "_facts",
        "_fed",
        "_heart",
        "_lock",
        "_looked_at",
        "_machine",
        "_reason",
        "_totals",
        "_traffic",
        "_watched",
        "check",
        "discounted_total",
        "name",
        "options",
    )

    def __init__(self, name: str, options: HealthOptions, now: float, heart: Heart) -> None:
        self.name = name
        self.options = options
        self.check: Check | None = None
        self.discounted_total = 0
        self._heart = heart
        # Reentrant: at any allocation the collector may finalise a forgotten call, which ends here.
        self._lock = RLock()
        self._traffic = Traffic(options.window)
        self._machine = StatusMachine(options, now)
        self._watched: Watched = Watched()
        self._totals = Counts(0, 0, 0, 0)
        self._looked_at = now
        self._fed = False
        """Whether calls are recorded one by one; then policies are not counted as well."""
        self._facts: tuple[Fact, ...] = ()
        self._reason = "nothing was heard of it yet"
        self._due = -inf
        fork.watch(self)

    def _after_fork(self) -> None:
        self._lock = RLock()

    def record(
        self, now: float, outcome: CallOutcome, seconds: float | None, *, fallback: bool = False
    ) -> None:
        """Count one call that ended now."""
        late = self._heart.is_late(now, seconds or 0.0)
        with self._lock:
            self._traffic.record(now, outcome, seconds, fallback=fallback, late=late)
            self._fed = True
            if late and outcome in ("failure", "rejected"):
                self.discounted_total += 1

    def watch(self, policy: Policy, now: float) -> None:
        """Learn from the snapshots of one more policy, from now on."""
        while True:
            known = self._watched
            fresh = known.adding(policy)
            # Looking happens outside of the lock, so somebody else may be quicker.
            before, after = known.look(), fresh.look()
            with self._lock:
                if self._watched is known:
                    self._absorb(before.totals, now)
                    self._watched, self._totals = fresh, after.totals
                    return

    def reconfigure(self, options: HealthOptions) -> None:
        """Take other thresholds; traffic stays if the window does."""
        with self._lock:
            self.options = self._machine.options = options
            if options.window != self._traffic.window:
                self._traffic = Traffic(options.window)

    def evaluate(self, now: float, interval: float) -> Change | None:
        """Judge the recent past, unless that was done less than `interval` seconds ago."""
        if 0 < self._due - now <= interval:
            return None
        watched = self._watched
        sight = watched.look()
        passed = None if self.check is None else self.check.fact(now)
        with self._lock:
            self._due = now + interval
            if self._watched is watched:
                self._absorb(sight.totals, now)
            self._facts = sight.facts
            facts = self._facts if passed is None else (*self._facts, passed)
            machine = self._machine
            reading = judge(self._traffic, facts, machine.status, self.options, now)
            change = machine.read(reading.status, reading.reason, now)
            if change is not None or reading.status is machine.status:
                # The reason is that of the status, not of a reading that may never be confirmed.
                self._reason = reading.reason
            return change

    def _absorb(self, totals: Counts, now: float) -> None:
        """Count what policies have counted since the last look. The lock is held."""
        before, self._totals = self._totals, totals
        gap, self._looked_at = now - self._looked_at, now
        if totals == before:
            return
        grown = [max(0, new - old) for new, old in zip(totals, before, strict=True)]
        if gap > self.options.window:
            # Nobody looked for long: take it that the calls came evenly, and keep the recent ones.
            grown = [round(number * self.options.window / gap) for number in grown]
        counts = Counts(*grown)
        if self._fed:
            counts = Counts(0, 0, 0, counts.fallbacks)
        late = self._heart.is_late(now, gap)
        self._traffic.absorb(now, counts, late=late)
        if late:
            self.discounted_total += counts.failed + counts.rejected

    # -- looking in ----------------------------------------------------------------------------

    def standing(self) -> Reading:
        """Its own status, and the reason for it."""
        with self._lock:
            return Reading(self._machine.status, self._reason)

    def traffic(self, now: float) -> TrafficSnapshot:
        """The calls in the window."""
        return self._view(now).snapshot()

    def latencies(self, now: float) -> Sketch:
        """The durations in the window, as a sketch that nobody else has."""
        return self._view(now).latencies()

    def _view(self, now: float) -> View:
        with self._lock:
            return self._traffic.view(now)

    def snapshot(self, now: float, wall: float, rolled: Reading, role: Role) -> ComponentSnapshot:
        check, traffic = self.check, self.traffic(now)
        with self._lock:
            return ComponentSnapshot(
                name=self.name,
                status=rolled.status,
                reason=rolled.reason,
                own_status=self._machine.status,
                in_status=now - self._machine.since,
                critical=role.critical,
                depends_on=role.depends_on,
                uses=role.uses,
                traffic=traffic,
                policies=tuple(fact.sentence for fact in self._facts),
                check=None if check is None else check.snapshot(now),
                history=tuple(
                    StatusChange(wall - now + at, source, target, reason)
                    for at, source, target, reason in self._machine.history
                ),
            )
