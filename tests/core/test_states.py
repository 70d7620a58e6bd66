"""The transition tables: a circuit takes every way in them, and the diagram draws every one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holdfast._core.circuit import Circuit, CircuitOptions
from holdfast._core.outcome import Rejection
from holdfast._core.states import AUTOMATIC, MANUAL, RELEASED, State, Trigger, diagram

OPTIONS = CircuitOptions(failure_threshold=1, reset_timeout=10)
NOW = 1000.0
LATER = NOW + 10


def closed() -> Circuit:
    return Circuit("dep", OPTIONS, NOW, lambda: 0.0)


def tripped() -> Circuit:
    circuit = closed()
    circuit.fail(circuit.era, NOW)
    return circuit


def half_open() -> Circuit:
    circuit = tripped()
    circuit.abandon(probe(circuit))
    return circuit


def probe(circuit: Circuit):  # type: ignore[no-untyped-def]
    permit = circuit.admit(LATER)
    assert not isinstance(permit, Rejection)
    return permit


PLACES: dict[State, Callable[[], Circuit]] = {
    State.CLOSED: closed,
    State.OPEN: tripped,
    State.HALF_OPEN: half_open,
}
ACTS: dict[Trigger, Callable[[Circuit], object]] = {
    Trigger.TRIPPED: lambda circuit: circuit.fail(circuit.era, LATER),
    Trigger.RESET_TIMEOUT: probe,
    Trigger.PROBES_PASSED: lambda circuit: circuit.succeed(probe(circuit), LATER),
    Trigger.PROBE_FAILED: lambda circuit: circuit.fail(probe(circuit), LATER),
}
MODES = [trigger for trigger in MANUAL if trigger is not Trigger.RESET]


def everywhere() -> list[Callable[[], Circuit]]:
    """Ways into each of the seven states."""

    def overridden(mode: Trigger) -> Callable[[], Circuit]:
        def make() -> Circuit:
            circuit = closed()
            circuit.override(mode, NOW, "test", None)
            return circuit

        return make

    return [*PLACES.values(), *(overridden(mode) for mode in MODES)]


@pytest.mark.parametrize("way", AUTOMATIC)
def test_every_automatic_way_is_taken(way: tuple[State, Trigger]) -> None:
    source, trigger = way
    circuit = PLACES[source]()
    assert circuit.snapshot(NOW).state is source
    circuit.drain()
    ACTS[trigger](circuit)
    (change,) = circuit.drain()
    assert (change.source, change.trigger, change.target) == (source, trigger, AUTOMATIC[way])
    assert (change.kind, change.shadow, change.at) == ("auto", False, LATER)
    assert circuit.snapshot(LATER).state is AUTOMATIC[way]


@pytest.mark.parametrize("make", everywhere())
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_can_be_set_in_every_state(make: Callable[[], Circuit], mode: Trigger) -> None:
    circuit = make()
    source = circuit.snapshot(NOW).state
    circuit.drain()
    circuit.override(mode, NOW, "test", None)
    (change,) = circuit.drain()
    assert (change.source, change.trigger, change.target) == (source, mode, MANUAL[mode])
    assert (change.kind, change.reason) == ("manual", "test")
    assert circuit.snapshot(NOW).state is MANUAL[mode]


@pytest.mark.parametrize("make", everywhere())
def test_reset_closes_from_every_state(make: Callable[[], Circuit]) -> None:
    circuit = make()
    circuit.reset(NOW, "test")
    shown = circuit.snapshot(NOW)
    assert (shown.state, shown.override, shown.calls) == (MANUAL[Trigger.RESET], None, 0)


@pytest.mark.parametrize("by_hand", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_ends_where_the_table_says(mode: Trigger, by_hand: bool) -> None:
    circuit = tripped()
    underneath = State.OPEN
    circuit.override(mode, NOW, "test", None if by_hand else 5.0)
    circuit.drain()
    if by_hand:
        circuit.release(NOW + 5, "test")
    shown = circuit.snapshot(NOW + 5)
    (change,) = circuit.drain()
    target = RELEASED.get(MANUAL[mode], underneath)
    assert (change.source, change.trigger, change.target) == (MANUAL[mode], Trigger.RELEASE, target)
    assert change.reason == ("test" if by_hand else "time to live over")
    assert shown.state is target
    assert shown.override is None


def test_the_diagram_draws_every_way_and_nothing_else() -> None:
    drawn = diagram().splitlines()
    assert drawn[:2] == ["stateDiagram-v2", "    [*] --> closed"]
    ways = [
        *(f"{source} --> {target}: {trigger}" for (source, trigger), target in AUTOMATIC.items()),
        *(f"any_state --> {target}: {trigger}" for trigger, target in MANUAL.items()),
        *(f"{mode} --> {target}: {Trigger.RELEASE}" for mode, target in RELEASED.items()),
        f"observe --> any_state: {Trigger.RELEASE}",
    ]
    assert sorted(drawn[2:]) == sorted("    " + way for way in ways)
    assert "    half_open --> open: probe failed" in drawn


def test_every_trigger_and_every_state_is_in_a_table() -> None:
    triggers = {trigger for _, trigger in AUTOMATIC} | set(MANUAL) | {Trigger.RELEASE}
    states = {source for source, _ in AUTOMATIC} | set(MANUAL.values())
    assert triggers == set(Trigger)
    assert states == set(State)
