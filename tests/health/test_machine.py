"""The status machine against a model that keeps every reading, and the bound on flapping."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from holdfast.health.machine import MOST_CHANGES, StatusMachine
from holdfast.health.options import HealthOptions
from holdfast.health.statuses import Status

statuses = st.sampled_from(list(Status))
needs = st.integers(1, 4)
BADNESS = {"healthy": 0, "degraded": 1, "unhealthy": 2}


def kind(status: str, reading: str) -> str:
    """What a reading says to a status, in words of its own rather than the table's."""
    if reading == status:
        return "the same"
    if reading == "unknown":
        return "quiet"
    if status == "unknown":
        return "worse" if BADNESS[reading] else "first"
    return "worse" if BADNESS[reading] > BADNESS[status] else "better"


class Model:
    """Keeps all readings since the last change and looks at the end of the list."""

    def __init__(self, worse: int, better: int, quiet: int) -> None:
        self.needed = {"worse": worse, "better": better, "quiet": quiet, "first": 1}
        self.status = "unknown"
        self.since = 0
        self.readings: list[str] = []
        self.changes: list[tuple[int, str, str]] = []
        self.total = 0

    def read(self, reading: str, now: int) -> None:
        self.total += 1
        self.readings.append(reading)
        said = kind(self.status, reading)
        run: list[str] = []
        for earlier in reversed(self.readings):
            if kind(self.status, earlier) != said:
                break
            run.append(earlier)
        if said == "the same" or len(run) < self.needed[said]:
            return
        if said == "worse":
            target = min(run, key=lambda one: BADNESS[one])
        elif said == "better":
            target = max(run, key=lambda one: BADNESS[one])
        else:
            target = reading
        self.changes.append((now, self.status, target))
        self.status, self.since, self.readings = target, now, []


class StatusHistory(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0

    @initialize(worse=needs, better=needs, quiet=needs)
    def build(self, worse: int, better: int, quiet: int) -> None:
        options = HealthOptions(worsen_after=worse, improve_after=better, quiet_after=quiet)
        self.machine = StatusMachine(options, 0.0)
        self.model = Model(worse, better, quiet)

    @rule(reading=statuses, times=st.integers(1, 5), step=st.integers(0, 9))
    def read(self, reading: Status, times: int, step: int) -> None:
        for _ in range(times):
            self.now += step
            before = len(self.model.changes)
            self.model.read(reading.value, self.now)
            change = self.machine.read(reading, f"reading at {self.now}", float(self.now))
            told = None if change is None else (change.at, change.source, change.target)
            assert told == (self.model.changes[-1] if len(self.model.changes) > before else None)

    @invariant()
    def agrees(self) -> None:
        machine, model = self.machine, self.model
        assert (machine.status, machine.since) == (model.status, model.since)
        kept = [(at, source, target) for at, source, target, _ in machine.history]
        assert kept == model.changes[-MOST_CHANGES:]


TestStatusHistory = StatusHistory.TestCase


@given(readings=st.lists(statuses, max_size=80), worse=needs, better=needs, quiet=needs)
def test_no_readings_make_it_flap_faster_than_its_rules(
    readings: list[Status], worse: int, better: int, quiet: int
) -> None:
    """Before each change lie as many readings, since the one before, as its rule asks for."""
    options = HealthOptions(worsen_after=worse, improve_after=better, quiet_after=quiet)
    machine = StatusMachine(options, 0.0)
    last = 0
    for number, reading in enumerate(readings, 1):
        change = machine.read(reading, "why", float(number))
        if change is not None:
            said = kind(change.source, change.target)
            assert number - last >= {"worse": worse, "better": better, "quiet": quiet}.get(said, 1)
            last = number


@given(st.lists(st.sampled_from([Status.HEALTHY, Status.DEGRADED]), max_size=60))
def test_there_and_back_takes_both_rules(readings: list[Status]) -> None:
    machine = StatusMachine(HealthOptions(worsen_after=2, improve_after=3), 0.0)
    machine.read(Status.HEALTHY, "", 0.0)
    changes = [machine.read(reading, "", 0.0) for reading in readings]
    assert sum(change is not None for change in changes) <= 2 * (len(readings) // 5) + 1


def test_what_only_some_readings_say_is_not_confirmed() -> None:
    machine = StatusMachine(HealthOptions(worsen_after=2, improve_after=2), 0.0)
    machine.read(Status.UNHEALTHY, "", 1.0)
    machine.read(Status.DEGRADED, "", 2.0)
    assert machine.status is Status.DEGRADED
    for _ in range(2):
        machine.read(Status.UNHEALTHY, "", 3.0)
    machine.read(Status.HEALTHY, "", 4.0)
    machine.read(Status.DEGRADED, "", 5.0)
    assert machine.status is Status.DEGRADED


def test_the_history_is_bounded_and_keeps_the_latest() -> None:
    machine = StatusMachine(HealthOptions(worsen_after=1, improve_after=1), 0.0)
    for at in range(3 * MOST_CHANGES):
        machine.read((Status.DEGRADED, Status.HEALTHY)[at % 2], "", float(at))
    assert len(machine.history) == MOST_CHANGES
    assert machine.history[-1].at == 3 * MOST_CHANGES - 1
