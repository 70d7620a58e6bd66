"""The table of statuses: every way in it is taken, and the diagram draws each."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from holdfast.health.machine import StatusMachine
from holdfast.health.options import HealthOptions
from holdfast.health.statuses import SEVERITY, WAYS, Rule, Status, diagram

OPTIONS = HealthOptions(worsen_after=2, improve_after=4, quiet_after=3)
NEEDED = {Rule.FIRST: 1, Rule.WORSE: 2, Rule.BETTER: 4, Rule.QUIET: 3}


def machine_in(status: Status) -> StatusMachine:
    """A machine that has come to `status` by readings."""
    machine = StatusMachine(OPTIONS, 0.0)
    for _ in range(2):
        machine.read(status, "so it begins", 0.0)
    assert machine.status is status
    return machine


def test_there_is_a_way_from_every_status_to_every_other() -> None:
    assert set(WAYS) == set(permutations(Status, 2))


@pytest.mark.parametrize("way", WAYS)
def test_every_way_is_taken_at_the_last_of_its_readings(way: tuple[Status, Status]) -> None:
    source, target = way
    machine = machine_in(source)
    for _ in range(NEEDED[WAYS[way]] - 1):
        assert machine.read(target, "why", 5.0) is None
        assert machine.status is source
    change = machine.read(target, "why", 7.0)
    assert change == (7.0, source, target, "why")
    assert (machine.status, machine.since) == (target, 7.0)
    assert machine.history[-1] == change


@pytest.mark.parametrize("way", WAYS)
def test_rules_follow_from_severity(way: tuple[Status, Status]) -> None:
    source, target = way
    worse = SEVERITY[target] - SEVERITY[source]
    if target is Status.UNKNOWN:
        assert WAYS[way] is Rule.QUIET
    elif worse:
        assert WAYS[way] is (Rule.WORSE if worse > 0 else Rule.BETTER)
    else:
        assert WAYS[way] is Rule.FIRST


def test_the_diagram_draws_every_way() -> None:
    lines = diagram().splitlines()
    assert lines[:2] == ["stateDiagram-v2", "    [*] --> unknown"]
    assert len(lines) == 2 + len(WAYS)
    assert "    degraded --> unhealthy: worse, several times in a row" in lines


def test_the_docs_show_this_diagram() -> None:
    page = Path(__file__).parents[2] / "docs" / "health.md"
    wanted = f"```mermaid\n{diagram()}\n```\n"
    assert wanted in page.read_text("utf-8"), f"put this into {page.name}:\n\n{wanted}"
