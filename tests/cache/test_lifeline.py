"""The states of the shared tier, and which trouble moves them."""

from __future__ import annotations

import pytest

from holdfast._core.hub import EventHub
from holdfast._core.states import State
from holdfast.cache.lifeline import FAILED, LAST, TABLE, Lifeline, Move, Side, TierState, diagram
from holdfast.cache.port import TierError, Trouble
from holdfast.testing import VirtualClock

COUNTED = (Trouble.UNREACHABLE, Trouble.TIMEOUT, Trouble.BUSY)
UNCOUNTED = (Trouble.REFUSED, Trouble.POOL)


def error(trouble: Trouble) -> TierError:
    return TierError(trouble, f"because {trouble}")


class Rig:
    def __init__(self, *, shared: bool = True) -> None:
        self.clock = VirtualClock()
        self.changes: list[tuple[TierState, TierState, str, float]] = []
        self.lifeline = Lifeline("cache", 1.0, self.clock, EventHub(), self.changed, shared=shared)

    def changed(self, source: TierState, target: TierState, reason: str, seconds: float) -> None:
        self.changes.append((source, target, reason, seconds))


class TestStates:
    @pytest.mark.parametrize("source", TierState)
    @pytest.mark.parametrize("move", Move)
    def test_only_the_moves_of_the_table_move(self, source: TierState, move: Move) -> None:
        rig = Rig()
        rig.lifeline.state = source
        rig.lifeline.move(move, "so")
        wanted = TABLE.get((source, move))
        assert rig.lifeline.state is (source if wanted is None else wanted)
        assert [change[:3] for change in rig.changes] == (
            [] if wanted is None else [(source, wanted, "so")]
        )

    def test_seconds_are_those_spent_up_or_not_up(self) -> None:
        rig = Rig()
        for seconds, move in [
            (5.0, Move.TRIPPED),
            (2.0, Move.PROBE_PASSED),
            (1.0, Move.PROBE_FAILED),
            (1.0, Move.PROBE_PASSED),
            (1.0, Move.REPLAYED),
            (7.0, Move.TRIPPED),
        ]:
            rig.clock.advance(seconds)
            rig.lifeline.move(move, "")
        assert [change[3] for change in rig.changes] == [5.0, 2.0, 3.0, 4.0, 5.0, 7.0]
        assert rig.lifeline.since == rig.clock.now()

    def test_without_redis_nothing_ever_moves(self) -> None:
        lifeline = Rig(shared=False).lifeline
        assert (lifeline.state, lifeline.reading, lifeline.writing) == (
            TierState.NONE,
            False,
            False,
        )

    def test_the_diagram_shows_every_move(self) -> None:
        drawn = diagram()
        assert drawn.startswith("stateDiagram-v2\n    [*] --> up")
        for (source, move), target in TABLE.items():
            assert f"    {source} --> {target}: {move.value}" in drawn

    def test_reading_notices_the_open_breaker(self) -> None:
        rig = Rig()
        reads = rig.lifeline.reads
        assert rig.lifeline.reading
        for _ in range(FAILED):
            reads.failed(reads.permit, error(Trouble.TIMEOUT))
        assert rig.changes == []
        assert not rig.lifeline.reading
        assert not rig.lifeline.writing
        assert [change[:3] for change in rig.changes] == [
            (TierState.UP, TierState.DOWN, "because timeout")
        ]
        assert not rig.lifeline.reading
        assert len(rig.changes) == 1

    def test_an_operator_can_take_redis_out_of_use(self) -> None:
        rig = Rig()
        rig.lifeline.reads.breaker.isolate("maintenance")
        assert not rig.lifeline.reading
        assert rig.changes[0][2] == "the breaker of the reads is open"

    def test_writes_alone_are_held(self) -> None:
        rig = Rig()
        writes = rig.lifeline.writes
        writes.failed(writes.permit, error(Trouble.WRITES_REFUSED))
        assert rig.lifeline.reading
        assert not rig.lifeline.writing
        assert rig.lifeline.reason == "because writes refused"
        assert rig.lifeline.state is TierState.UP


class TestSide:
    def make(self) -> tuple[Side, VirtualClock]:
        clock = VirtualClock()
        return Side("cache.read", 1.0, clock, EventHub()), clock

    @pytest.mark.parametrize("trouble", COUNTED)
    def test_four_of_the_last_five_commands(self, trouble: Trouble) -> None:
        side, _ = self.make()
        for _ in range(FAILED - 1):
            side.failed(side.permit, error(trouble))
        side.succeeded(side.permit)
        assert side.flows
        side.failed(side.permit, error(trouble))
        assert not side.flows
        assert LAST == 5

    def test_five_commands_back_is_forgotten(self) -> None:
        side, _ = self.make()
        for _ in range(10):
            side.failed(side.permit, error(Trouble.TIMEOUT))
            side.succeeded(side.permit)
        assert side.flows

    @pytest.mark.parametrize("trouble", UNCOUNTED)
    def test_what_says_nothing_about_redis_is_not_counted(self, trouble: Trouble) -> None:
        side, _ = self.make()
        for _ in range(50):
            side.failed(side.permit, error(trouble))
        assert side.flows
        assert (side.reason, side.trouble) == (None, None)

    def test_configuration_closes_at_once_and_for_half_a_minute(self) -> None:
        side, clock = self.make()
        side.failed(side.permit, error(Trouble.CONFIGURATION))
        assert not side.flows
        assert side.breaker.state is State.ISOLATED
        assert side.probe() == pytest.approx(30.0)
        clock.advance(29.9)
        assert side.probe() == pytest.approx(0.1)
        clock.advance(0.2)
        permit = side.probe()
        assert not isinstance(permit, float)
        side.succeeded(permit)
        assert side.flows
        assert side.reason is None

    def test_refused_writes_need_no_second_proof(self) -> None:
        side, _ = self.make()
        side.failed(side.permit, error(Trouble.WRITES_REFUSED))
        assert not side.flows

    def test_a_late_outcome_cannot_touch_a_newer_era(self) -> None:
        side, clock = self.make()
        early = side.permit
        for _ in range(FAILED):
            side.failed(early, error(Trouble.TIMEOUT))
        clock.advance(1.2)
        probe = side.probe()
        assert not isinstance(probe, float)
        side.succeeded(early)
        assert not side.flows
        assert side.reason == "because timeout", "a late success proves nothing"
        side.succeeded(probe)
        assert side.flows
        for _ in range(FAILED):
            side.failed(early, error(Trouble.TIMEOUT))
        assert side.flows

    def test_one_probe_at_a_time_and_a_place_that_is_given_back(self) -> None:
        side, clock = self.make()
        for _ in range(FAILED):
            side.failed(side.permit, error(Trouble.TIMEOUT))
        pause = side.probe()
        assert isinstance(pause, float)
        assert 1.0 <= pause <= 1.1
        clock.advance(1.2)
        first = side.probe()
        assert not isinstance(first, float)
        assert side.probe() == 1.0
        side.give_up(first)
        assert not isinstance(side.probe(), float)

    def test_changes_are_told_as_events_of_a_circuit(self) -> None:
        from holdfast.events import CircuitChanged

        clock, hub = VirtualClock(), EventHub()
        told: list[CircuitChanged] = []
        hub.subscribe(told.append, CircuitChanged)
        side = Side("cache.write", 1.0, clock, hub)
        side.failed(side.permit, error(Trouble.WRITES_REFUSED))
        assert [(event.name, event.target) for event in told] == [("cache.write", State.OPEN)]
