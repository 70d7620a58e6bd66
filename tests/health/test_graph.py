"""Dependencies, roll-up and the system's status."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.errors import ConfigurationError
from holdfast.health.graph import Graph
from holdfast.health.judge import Reading
from holdfast.health.statuses import Status

UNKNOWN, HEALTHY, DEGRADED, UNHEALTHY = Status


def graph_of(**roles: dict[str, Any]) -> Graph:
    graph = Graph()
    for name, role in roles.items():
        graph.add(name)
        graph.declare(name, **{"critical": False, "depends_on": (), "uses": (), **role})
    return graph


SHOP: dict[str, dict[str, Any]] = {
    "db": {"critical": True},
    "cache": {},
    "users": {"depends_on": ["db"], "uses": ["cache"]},
    "site": {"critical": True, "depends_on": ["users"]},
}


def rolled(graph: Graph, **own: Status) -> dict[str, Reading]:
    full = {name: Reading(own.get(name, HEALTHY), f"why {name}") for name in graph.roles}
    return graph.roll_up(full)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, {}),
        ({"db": DEGRADED}, {"db": DEGRADED}),
        ({"db": UNHEALTHY}, {"db": UNHEALTHY, "users": DEGRADED, "site": DEGRADED}),
        ({"db": UNKNOWN}, {"db": UNKNOWN}),
        ({"cache": UNHEALTHY}, {"cache": UNHEALTHY}),
        ({"users": UNHEALTHY}, {"users": UNHEALTHY, "site": DEGRADED}),
        (
            {"db": UNHEALTHY, "users": UNHEALTHY},
            {"db": UNHEALTHY, "users": UNHEALTHY, "site": DEGRADED},
        ),
        (
            {"db": UNHEALTHY, "site": UNKNOWN},
            {"db": UNHEALTHY, "users": DEGRADED, "site": DEGRADED},
        ),
    ],
)
def test_what_depends_on_something_unhealthy_is_at_best_degraded(
    own: dict[str, Status], expected: dict[str, Status]
) -> None:
    found = rolled(graph_of(**SHOP), **own)
    assert {n: r.status for n, r in found.items() if r.status is not HEALTHY} == expected


def test_the_reason_names_the_nearest_that_is_unhealthy() -> None:
    found = rolled(graph_of(**SHOP), db=UNHEALTHY)
    assert found["site"].reason == "depends on 'db', which is unhealthy: why db"
    found = rolled(graph_of(**SHOP), db=UNHEALTHY, users=UNHEALTHY)
    assert found["site"].reason == "depends on 'users', which is unhealthy: why users"
    assert found["users"].reason == "why users", "its own is worse"


@pytest.mark.parametrize(
    ("own", "status", "worst", "reason"),
    [
        ({}, HEALTHY, (), "4 of 4 components are healthy"),
        ({"db": UNKNOWN}, HEALTHY, (), "3 of 4 components are healthy, the others are unknown"),
        ({"db": DEGRADED}, DEGRADED, ("db",), "'db' is degraded: why db"),
        ({"db": UNHEALTHY}, UNHEALTHY, ("db",), "'db' is unhealthy: why db"),
        (
            {"cache": UNHEALTHY},
            DEGRADED,
            ("cache",),
            "'cache', which is not critical, is unhealthy: why cache",
        ),
        (
            {"cache": DEGRADED},
            DEGRADED,
            ("cache",),
            "'cache', which is not critical, is degraded: why cache",
        ),
        (
            {"cache": UNHEALTHY, "db": DEGRADED},
            DEGRADED,
            ("db", "cache"),
            "'db' is degraded: why db (and 1 more)",
        ),
        (
            {"users": UNHEALTHY},
            DEGRADED,
            ("site", "users"),
            "'site' is degraded: depends on 'users', which is unhealthy: why users (and 1 more)",
        ),
        (dict.fromkeys(SHOP, UNKNOWN), UNKNOWN, (), "nothing is known of any component"),
    ],
)
def test_the_system_is_its_worst_critical_component(
    own: dict[str, Status], status: Status, worst: tuple[str, ...], reason: str
) -> None:
    graph = graph_of(**SHOP)
    assert graph.system(rolled(graph, **own)) == (status, reason, worst)


def test_an_empty_system_is_unknown() -> None:
    assert Graph().system({}).status is UNKNOWN


def test_a_diamond_is_walked_once() -> None:
    graph = graph_of(
        d={}, b={"depends_on": ["d"]}, c={"depends_on": ["d"]}, a={"depends_on": ["b", "c"]}
    )
    assert list(graph._needs("a")) == ["b", "c", "d"]
    graph.add("e")
    graph.declare("e", critical=False, depends_on=["a"], uses=["d"])
    assert graph._way("e", "nowhere") == ()


def test_unknown_names_are_refused() -> None:
    graph = graph_of(a={})
    with pytest.raises(ConfigurationError) as caught:
        graph.declare("a", critical=False, depends_on=["nowhere"], uses=())
    assert str(caught.value) == (
        "depends_on names 'nowhere', which is not known here: declare it first"
    )
    with pytest.raises(ConfigurationError, match="uses names 'nowhere'"):
        graph.declare("a", critical=False, depends_on=(), uses=["nowhere"])


def test_one_name_instead_of_several_is_refused() -> None:
    graph = graph_of(db={}, a={})
    with pytest.raises(ConfigurationError, match=r"depends_on must be several names.*not 'db'"):
        graph.declare("a", critical=False, depends_on="db", uses=())


@pytest.mark.parametrize("option", ["depends_on", "uses"])
def test_cycles_are_refused_with_the_way_round(option: str) -> None:
    graph = Graph()
    for name in ("a", "b", "c"):
        graph.add(name)
    graph.declare("a", critical=False, depends_on=["b"], uses=())
    graph.declare("b", critical=False, depends_on=(), uses=["c"])
    other = {"depends_on": (), "uses": (), option: ["a"]}
    with pytest.raises(ConfigurationError) as caught:
        graph.declare("c", critical=False, **other)
    assert str(caught.value) == "components must not depend on themselves: c -> a -> b -> c"
    assert graph.roles["c"].depends_on == ()
    with pytest.raises(ConfigurationError, match="themselves: c -> c"):
        graph.declare("c", critical=False, depends_on=["c"], uses=())


def test_declaring_twice_is_fine_if_it_is_the_same() -> None:
    graph = graph_of(**SHOP)
    graph.declare("site", critical=True, depends_on=["users"], uses=())
    with pytest.raises(ConfigurationError, match="component 'site' was declared with"):
        graph.declare("site", critical=False, depends_on=["users"], uses=())
    assert graph.roles["site"].critical
