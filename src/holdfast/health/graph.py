"""Which component depends on which, and what that makes of their statuses.

A component that depends on something unhealthy, directly or through others, is at best degraded:
its own traffic may still look well, out of a cache or because nobody has asked yet. What it merely
`uses` it can do without.

The system is as its worst critical component is. The others can make it degraded at most. There are
no weights and no averages: the answer names who is to blame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from holdfast._core.validate import refuse
from holdfast.errors import ConfigurationError
from holdfast.health.judge import Reading
from holdfast.health.statuses import SEVERITY, Status


class Role(NamedTuple):
    """What was declared of a component."""

    critical: bool = False
    depends_on: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()


class Verdict(NamedTuple):
    """The system's status, why, and because of whom."""

    status: Status
    reason: str
    worst: tuple[str, ...]


class Graph:
    """The declared components. Not thread safe: whoever owns it holds its lock."""

    __slots__ = ("_declared", "roles")

    def __init__(self) -> None:
        self.roles: dict[str, Role] = {}
        self._declared: set[str] = set()

    def add(self, name: str) -> None:
        """A component that nobody declared yet: not critical, and depends on nothing."""
        self.roles.setdefault(name, Role())

    def declare(
        self, name: str, *, critical: bool, depends_on: Iterable[str], uses: Iterable[str]
    ) -> None:
        """Say what a component is, once; the same again is fine.

        Raises:
            ConfigurationError: it was declared differently, depends on a name that is not known, or
                on itself by whatever way.
        """
        depends_on = self._names("depends_on", depends_on)
        role = Role(critical, depends_on, self._names("uses", uses))
        if name in self._declared and self.roles[name] != role:
            raise ConfigurationError(
                f"component {name!r} was declared with {self.roles[name]!r} and now with {role!r}:"
                " declare it once"
            )
        for other in (*role.depends_on, *role.uses):
            way = self._way(other, name)
            if way:
                raise ConfigurationError(
                    "components must not depend on themselves: " + " -> ".join([name, *way])
                )
        self.roles[name] = role
        self._declared.add(name)

    def _names(self, option: str, names: Iterable[str]) -> tuple[str, ...]:
        if isinstance(names, str):
            raise refuse(option, names, "several names, for example a list of one")
        names = tuple(dict.fromkeys(names))
        for name in names:
            if name not in self.roles:
                raise ConfigurationError(
                    f"{option} names {name!r}, which is not known here: declare it first"
                )
        return names

    def _way(self, start: str, target: str) -> tuple[str, ...]:
        """The way from `start` to `target`; empty if there is none."""
        ways: list[tuple[str, ...]] = [(start,)]
        seen = {start}
        while ways:
            way = ways.pop()
            if way[-1] == target:
                return way
            role = self.roles[way[-1]]
            for other in (*role.depends_on, *role.uses):
                if other not in seen:
                    seen.add(other)
                    ways.append((*way, other))
        return ()

    def _needs(self, name: str) -> Iterator[str]:
        """What a component depends on, directly or through others; the nearest first."""
        needs = dict.fromkeys(self.roles[name].depends_on)
        queue = list(needs)
        for other in queue:
            yield other
            fresh = [far for far in self.roles[other].depends_on if far not in needs]
            needs.update(dict.fromkeys(fresh))
            queue += fresh

    def roll_up(self, own: Mapping[str, Reading]) -> dict[str, Reading]:
        """Each component's status once its dependencies are taken into account."""
        rolled: dict[str, Reading] = {}
        for name, reading in own.items():
            rolled[name] = reading
            if SEVERITY[reading.status] >= SEVERITY[Status.DEGRADED]:
                continue
            for other in self._needs(name):
                if own[other].status is Status.UNHEALTHY:
                    reason = f"depends on {other!r}, which is unhealthy: {own[other].reason}"
                    rolled[name] = Reading(Status.DEGRADED, reason)
                    break
        return rolled

    def system(self, rolled: Mapping[str, Reading]) -> Verdict:
        """The status of the whole, from what `roll_up` gave."""
        known = {
            name: reading
            for name, reading in rolled.items()
            if reading.status is not Status.UNKNOWN
        }
        if not known:
            return Verdict(Status.UNKNOWN, "nothing is known of any component", ())
        weights = {name: self._weight(name, reading.status) for name, reading in known.items()}
        status = max(weights.values(), key=SEVERITY.__getitem__)
        if status is Status.HEALTHY:
            rest = ", the others are unknown" if len(known) < len(rolled) else ""
            reason = f"{len(known)} of {len(rolled)} components are healthy{rest}"
            return Verdict(status, reason, ())
        worst = [name for name in known if weights[name] is status]
        worst.sort(key=lambda name: not self.roles[name].critical)
        first = worst[0]
        more = f" (and {len(worst) - 1} more)" if len(worst) > 1 else ""
        weak = "" if self.roles[first].critical else ", which is not critical,"
        reading = known[first]
        return Verdict(
            status, f"{first!r}{weak} is {reading.status}: {reading.reason}{more}", tuple(worst)
        )

    def _weight(self, name: str, status: Status) -> Status:
        """What the status of a component counts for the system."""
        if status is Status.UNHEALTHY and not self.roles[name].critical:
            return Status.DEGRADED
        return status
