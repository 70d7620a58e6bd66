"""All components of a monitor, what was declared of them, and how they are judged together."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock, RLock
from typing import Final

from holdfast._core import fork
from holdfast._core.clock import Clock
from holdfast._core.hub import EventHub
from holdfast._core.validate import text
from holdfast.errors import ConfigurationError
from holdfast.health.check import Check
from holdfast.health.component import Component
from holdfast.health.graph import Graph, Verdict
from holdfast.health.heart import Heart
from holdfast.health.judge import Reading
from holdfast.health.options import HealthOptions
from holdfast.health.snapshots import HealthSnapshot, SystemSnapshot
from holdfast.health.statuses import Status

MOST_COMPONENTS: Final = 1_000
"""Names that a monitor takes; calls of further ones are counted together, as unlisted."""

MOST_CHECKS: Final = 100
"""Active checks of a monitor."""


class Board:
    """The components by name. Thread safe; a component may be looked up without the lock."""

    __slots__ = (
        "__weakref__",
        "_clock",
        "_events",
        "_graph",
        "_heart",
        "_interval",
        "_judging",
        "_lock",
        "_options",
        "_system",
        "_system_since",
        "_unlisted",
        "components",
    )

    def __init__(
        self, options: HealthOptions, interval: float, heart: Heart, clock: Clock, events: EventHub
    ) -> None:
        self.components: dict[str, Component] = {}
        self._options = options
        self._interval = interval
        self._heart = heart
        self._clock = clock
        self._events = events
        self._graph = Graph()
        self._unlisted = 0
        self._system = Status.UNKNOWN
        self._system_since = clock.now()
        self._after_fork()
        fork.watch(self)

    def _after_fork(self) -> None:
        # Reentrant: a generator that the collector finalises may record a call in its `finally`.
        self._lock = RLock()
        self._judging = Lock()

    # -- names ---------------------------------------------------------------------------------

    def add(self, name: str, option: str = "service") -> Component | None:
        """The component of this name, made if it is new; None if it is one too many.

        `option` is what the caller calls the name, for errors.
        """
        text(option, name)
        with self._lock:
            component = self.components.get(name)
            if component is None and len(self.components) < MOST_COMPONENTS:
                component = Component(name, self._options, self._clock.now(), self._heart)
                self._graph.add(name)
                self.components[name] = component
            return component

    def known(self, name: str, option: str = "service") -> Component:
        """As `add`, but one too many is refused."""
        component = self.add(name, option)
        if component is None:
            raise ConfigurationError(
                f"component {name!r} is one too many: there are {MOST_COMPONENTS} already. Name"
                " services, such as 'user-db', not single calls or users"
            )
        return component

    def count_unlisted(self) -> None:
        """A call belonged to a component that is one too many."""
        with self._lock:
            self._unlisted += 1

    def declare(
        self, name: str, *, critical: bool, depends_on: Iterable[str], uses: Iterable[str]
    ) -> None:
        """See `Graph.declare`."""
        with self._lock:
            self._graph.declare(name, critical=critical, depends_on=depends_on, uses=uses)

    def add_check(self, check: Check) -> None:
        """Give a component its check; it may have one only."""
        component = self.known(check.name, "name")
        with self._lock:
            if component.check is not None:
                raise ConfigurationError(f"component {check.name!r} has a check already")
            if len(self.checks()) >= MOST_CHECKS:
                raise ConfigurationError(
                    f"the check of {check.name!r} is one too many: there are {MOST_CHECKS} already"
                )
            component.check = check

    def checks(self) -> list[Check]:
        """Every check there is."""
        components = list(self.components.values())
        return [component.check for component in components if component.check is not None]

    # -- judging -------------------------------------------------------------------------------

    def judge(self, now: float) -> None:
        """Judge whoever is due and tell what has changed; for one thread at a time."""
        # Whoever comes meanwhile, also a listener of ours, does without a newer judgement.
        if not self._judging.acquire(False):
            return
        try:
            for component in list(self.components.values()):
                change = component.evaluate(now, self._interval)
                if change is not None:
                    self._tell(component.name, change.source, change.target, change.reason)
            _, verdict = self._stand()
            if verdict.status is not self._system:
                with self._lock:
                    before, self._system = self._system, verdict.status
                    self._system_since = now
                self._tell("system", before, verdict.status, verdict.reason, system=True)
        finally:
            self._judging.release()

    def _stand(self) -> tuple[dict[str, Reading], Verdict]:
        """Where every component stands, dependencies included, and the system."""
        with self._lock:
            own = {name: component.standing() for name, component in self.components.items()}
            rolled = self._graph.roll_up(own)
            return rolled, self._graph.system(rolled)

    def _tell(
        self, name: str, source: Status, target: Status, reason: str, *, system: bool = False
    ) -> None:
        if self._events.active:
            from holdfast.health.events import HealthChanged

            self._events.emit(
                HealthChanged(
                    name=name,
                    at=self._clock.wall(),
                    source=source,
                    target=target,
                    reason=reason,
                    system=system,
                )
            )

    def snapshot(self) -> HealthSnapshot:
        """Everything at this moment, judged before where that is due."""
        now, wall = self._clock.now(), self._clock.wall()
        self.judge(now)
        with self._lock:
            rolled, verdict = self._stand()
            components = list(self.components.values())
            since, unlisted = self._system_since, self._unlisted
            roles = dict(self._graph.roles)
        return HealthSnapshot(
            at=wall,
            system=SystemSnapshot(verdict.status, verdict.reason, verdict.worst, now - since),
            components=tuple(
                component.snapshot(now, wall, rolled[component.name], roles[component.name])
                for component in components
            ),
            local=self._heart.snapshot(now, sum(each.discounted_total for each in components)),
            unlisted_total=unlisted,
        )
