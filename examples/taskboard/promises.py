"""What the portal promises: which of its features survive which outage, and how well.

A feature has hard dependencies: it is down if and only if one of them is. Its *rungs* say how well
it is served otherwise: by the first rung all of whose dependencies are up. The two are written down
apart, so that a test can hold one against the other, and the portal against both.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

DOWN = "down"


@dataclass(frozen=True)
class Promise:
    """What holds for one feature: how to ask for it, what it cannot do without, and its rungs."""

    feature: str
    method: str
    path: str
    hard: frozenset[str]
    rungs: tuple[tuple[str, frozenset[str]], ...]

    def survives(self, outage: AbstractSet[str]) -> bool:
        """Whether it is served at all while these dependencies are down: the oracle."""
        return not self.hard & outage

    def level(self, outage: AbstractSet[str]) -> str:
        """At which level it is served while these dependencies are down."""
        return next((level for level, needs in self.rungs if not needs & outage), DOWN)

    def unaffected(self, outage: AbstractSet[str]) -> bool:
        """Whether nobody should notice the outage here."""
        return self.level(outage) == self.rungs[0][0]


def _promise(feature: str, request: str, *, hard: str = "", **rungs: str) -> Promise:
    method, path = request.split()
    return Promise(
        feature,
        method,
        path,
        frozenset(hard.split()),
        tuple((level, frozenset(needs.split())) for level, needs in rungs.items()),
    )


PROMISES = (
    _promise("profile", "GET /users/7", full="database", cached="cache", static=""),
    # Never "Unknown User" for somebody who was seen: memory stands in for a cache that is down.
    _promise("person", "GET /people/7", full="users", cached=""),
    _promise("avatar", "GET /users/7/avatar", full="avatars", static=""),
    _promise(
        "tasks",
        "GET /users/7/tasks",
        hard="database",
        full="database avatars recommendations cache",
        partial="database",
    ),
    _promise("search", "GET /search?words=Ada", hard="database", full="database"),
    _promise("sign-in", "POST /sessions/7", hard="users cache", full="users cache"),
    _promise("admin", "GET /admin", hard="database", full="database"),
    _promise("status", "GET /status", full=""),
)
"""For a portal that has been asked for everything once, within the last half minute."""
