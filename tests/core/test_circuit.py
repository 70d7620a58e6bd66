"""Single scenes of the circuit: what each is called, said and bounded by."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast._core import circuit as circuits
from holdfast._core.circuit import (
    LONGEST_RETRY_AFTER,
    UNWATCHED,
    Circuit,
    CircuitOptions,
    Era,
    Lease,
    Permit,
)
from holdfast._core.outcome import Rejection
from holdfast._core.states import State, Trigger
from holdfast.errors import CircuitOpenError, ConfigurationError

NOW = 1000.0


def circuit(dice: float = 0.0, **options: Any) -> Circuit:
    options.setdefault("failure_threshold", 1)
    options.setdefault("reset_timeout", 10.0)
    return Circuit("dep", CircuitOptions(**options), NOW, lambda: dice)


def admitted(machine: Circuit, now: float) -> Permit:
    permit = machine.admit(now)
    assert not isinstance(permit, Rejection), permit
    return permit


def refused(machine: Circuit, now: float) -> Rejection:
    rejection = machine.admit(now)
    assert isinstance(rejection, Rejection)
    return rejection


def fail(machine: Circuit, now: float = NOW, **how: Any) -> None:
    machine.fail(admitted(machine, now), now, **how)


def broken(now: float = NOW, **options: Any) -> Circuit:
    machine = circuit(**options)
    fail(machine, now)
    return machine


class TestOpening:
    def test_the_refusal_says_how_long(self) -> None:
        rejection = refused(broken(), NOW + 4)
        assert isinstance(rejection.error, CircuitOpenError)
        assert (rejection.name, rejection.reason, rejection.retry_after) == ("dep", "open", 6.0)

    def test_a_reset_timeout_of_zero_is_one(self) -> None:
        machine = broken(reset_timeout=0)
        assert isinstance(machine.admit(NOW), Lease)

    def test_a_short_break_lasts_its_full_time(self) -> None:
        """Clocks of whole seconds would end a break of one second after a fraction of it."""
        machine = broken(now=NOW + 0.875, reset_timeout=1.0)
        assert refused(machine, NOW + 1.75).retry_after == 0.125
        assert isinstance(machine.admit(NOW + 1.875), Lease)

    @pytest.mark.parametrize(("failed", "opens"), [(10, False), (11, True)])
    def test_a_rate_is_reached_exactly(self, failed: int, opens: bool) -> None:
        """In floats, 0.55 * 20 is more than 11."""
        machine = circuit(failure_threshold=None, failure_rate=0.55, minimum_calls=20)
        era = machine.era
        for _ in range(20 - failed):
            machine.succeed(era, NOW)
        for _ in range(failed):
            machine.fail(era, NOW)
        assert (machine.era.state is State.OPEN) is opens

    def test_a_slow_rate_is_reached_exactly(self) -> None:
        machine = circuit(
            failure_threshold=None, slow_call_duration=1, slow_call_rate=0.55, minimum_calls=20
        )
        era = machine.era
        for index in range(20):
            assert machine.era is era
            machine.succeed(era, NOW, slow=index >= 9)
        assert machine.era.state is State.OPEN

    def test_a_slow_rate_below_the_limit_opens_nothing(self) -> None:
        machine = circuit(failure_threshold=None, slow_call_duration=1, minimum_calls=3)
        for slow in (False, False, True):
            machine.succeed(machine.era, NOW, slow=slow)
        assert machine.era.state is State.CLOSED

    @pytest.mark.parametrize(
        ("options", "slow", "reason"),
        [
            ({"failure_threshold": 2}, False, "2 failures in the window"),
            (
                {"failure_threshold": None, "failure_rate": 0.5, "minimum_calls": 2},
                False,
                "2 of 2 calls failed",
            ),
            (
                {"failure_threshold": None, "slow_call_duration": 1, "minimum_calls": 2},
                True,
                "2 of 2 calls were slow",
            ),
        ],
    )
    def test_the_transition_says_why(
        self, options: dict[str, Any], slow: bool, reason: str
    ) -> None:
        machine = circuit(**options)
        for _ in range(2):
            fail(machine, slow=slow)
        (change,) = machine.drain()
        assert (change.reason, change.trigger, change.kind) == (reason, Trigger.TRIPPED, "auto")
        assert (change.at, change.retry_at, change.shadow) == (NOW, NOW + 10, False)
        assert machine.drain() == ()

    def test_nothing_is_slow_unless_it_is_said(self) -> None:
        machine = circuit(failure_threshold=9)
        fail(machine)
        machine.succeed(machine.era, NOW)
        assert machine.snapshot(NOW).slow == 0

    def test_a_success_resets_nothing(self) -> None:
        machine = circuit(failure_threshold=2)
        fail(machine)
        machine.succeed(machine.era, NOW)
        machine.ignore(machine.era)
        fail(machine)
        assert machine.era.state is State.OPEN


class TestBreaks:
    def breaks(self, machine: Circuit, times: int, **how: Any) -> list[float]:
        """The lengths of breaks in a row, each ended by a probe that fails."""
        now, lengths = NOW, []
        for _ in range(times):
            fail(machine, now, **how)
            length = refused(machine, now).retry_after
            assert length is not None
            lengths.append(length)
            now += length
        return lengths

    def test_grow_up_to_ten_times_the_first(self) -> None:
        assert self.breaks(circuit(reset_backoff=3), 5) == [10, 30, 90, 100, 100]

    def test_grow_up_to_the_given_maximum(self) -> None:
        assert self.breaks(circuit(reset_backoff=2, max_reset_timeout=25), 4) == [10, 20, 25, 25]

    def test_jitter_is_added_to_all_of_them(self) -> None:
        machine = circuit(0.5, reset_backoff=2, max_reset_timeout=20, reset_jitter=0.5)
        assert self.breaks(machine, 3) == [12.5, 25, 25]

    @pytest.mark.parametrize(("asked", "length"), [(4.0, 10.0), (99.0, 99.0), (1e9, 3600.0)])
    def test_a_retry_after_prolongs_them(self, asked: float, length: float) -> None:
        assert LONGEST_RETRY_AFTER == 3600
        assert self.breaks(circuit(max_reset_timeout=20), 2, retry_after=asked) == [length] * 2

    def test_never_overflow(self) -> None:
        machine = circuit(reset_timeout=1, reset_backoff=1e200)
        assert self.breaks(machine, 4) == [1, 10, 10, 10]

    def test_of_no_length_stay_so(self) -> None:
        machine = circuit(reset_timeout=0, reset_backoff=1e200, max_reset_timeout=60)
        for _ in range(4):
            fail(machine)
        assert isinstance(machine.admit(NOW), Lease)

    def test_begin_anew_after_a_time_of_health_longer_than_the_last(self) -> None:
        for health, length in ((20.0, 40.0), (20.125, 10.0)):
            machine = circuit(reset_backoff=2)
            self.breaks(machine, 2)
            machine.succeed(admitted(machine, NOW + 30), NOW + 30)
            assert machine.era.state is State.CLOSED
            fail(machine, NOW + 30 + health)
            assert refused(machine, NOW + 30 + health).retry_after == length


class TestHalfOpen:
    def test_admits_exactly_so_many(self) -> None:
        machine = broken(half_open_max_calls=3)
        answers = [machine.admit(NOW + 10) for _ in range(100)]
        assert [type(answer) for answer in answers] == [Lease] * 3 + [Rejection] * 97
        rejection = answers[-1]
        assert isinstance(rejection, Rejection)
        assert (rejection.reason, rejection.retry_after) == ("probing", None)

    def test_closes_when_all_have_passed(self) -> None:
        machine = broken(half_open_max_calls=2)
        machine.drain()
        first, second = (admitted(machine, NOW + 10) for _ in range(2))
        machine.succeed(first, NOW + 11)
        assert machine.era.state is State.HALF_OPEN
        assert isinstance(machine.admit(NOW + 11), Rejection)
        machine.succeed(second, NOW + 12)
        reasons = [change.reason for change in machine.drain()]
        assert reasons == ["asking again", "2 probes passed"]
        assert machine.era.free

    @pytest.mark.parametrize(
        ("how", "reason"), [("failed", "a probe failed"), ("slow", "a probe was too slow")]
    )
    def test_one_bad_probe_opens_again(self, how: str, reason: str) -> None:
        machine = broken(half_open_max_calls=2)
        first, second = (admitted(machine, NOW + 10) for _ in range(2))
        if how == "failed":
            machine.fail(first, NOW + 11)
        else:
            machine.succeed(first, NOW + 11, slow=True)
        assert machine.drain()[-1].reason == reason
        assert machine.era.state is State.OPEN
        machine.succeed(second, NOW + 11)
        assert machine.snapshot(NOW + 11).late_total == 1
        assert machine.era.state is State.OPEN

    def test_probes_are_in_the_window_as_what_they_were(self) -> None:
        machine = broken(half_open_max_calls=3)
        for slow in (False, False, True):
            machine.succeed(admitted(machine, NOW + 10), NOW + 10, slow=slow)
            shown = machine.snapshot(NOW + 10)
            assert (shown.slow, shown.successes_total > 0) == (int(slow), True)
        machine.fail(admitted(machine, NOW + 20), NOW + 20, slow=True)
        assert machine.snapshot(NOW + 20).slow == 1

    def test_a_hung_probe_loses_its_place_in_the_end(self) -> None:
        machine = broken(probe_timeout=5)
        hung = admitted(machine, NOW + 10)
        for moment in (10.0, 12.0, 14.875):
            # Being refused must not prolong the lease.
            assert refused(machine, NOW + moment).reason == "probing"
        assert machine.snapshot(NOW + 14.875).probes == 1
        assert machine.snapshot(NOW + 15).probes == 0
        assert isinstance(machine.admit(NOW + 15), Lease)
        machine.fail(hung, NOW + 16)
        assert machine.era.state is State.HALF_OPEN

    @pytest.mark.parametrize("outcome", ["succeed", "fail"])
    def test_what_a_probe_says_after_its_time_is_not_counted(self, outcome: str) -> None:
        machine = broken(probe_timeout=5)
        late = admitted(machine, NOW + 10)
        getattr(machine, outcome)(late, NOW + 15)
        shown = machine.snapshot(NOW + 15)
        assert (shown.state, shown.late_total) == (State.HALF_OPEN, 1)

    @pytest.mark.parametrize("way", ["ignore", "abandon"])
    def test_an_ignored_probe_makes_room_at_once(self, way: str) -> None:
        machine = broken()
        getattr(machine, way)(admitted(machine, NOW + 10))
        assert isinstance(machine.admit(NOW + 10), Lease)
        assert machine.snapshot(NOW + 10).ignored_total == 1

    def test_a_probe_finalised_during_a_decision_makes_room(self) -> None:
        machine = broken()
        lost = admitted(machine, NOW + 10)
        bystander = broken()
        other = admitted(bystander, NOW + 10)
        assert not machine.deciding
        with machine._lock, bystander._lock:
            assert machine.deciding
            machine.abandon(lost)
            bystander.abandon(other)
        assert isinstance(machine.admit(NOW + 10), Lease)
        assert machine.snapshot(NOW + 10).ignored_total == 1
        assert bystander.snapshot(NOW + 10).ignored_total == 1
        assert isinstance(bystander.admit(NOW + 10), Lease)

    def test_fewer_probes_asked_for_than_have_passed_do_not_wedge_it(self) -> None:
        machine = broken(half_open_max_calls=3)
        for _ in range(2):
            machine.succeed(admitted(machine, NOW + 10), NOW + 10)
        machine.reconfigure(CircuitOptions(failure_threshold=1, half_open_max_calls=1))
        machine.succeed(admitted(machine, NOW + 10), NOW + 10)
        assert machine.era.state is State.CLOSED


class TestRamp:
    def ramping(self, ramp: float = 10.0) -> Circuit:
        machine = broken(ramp=ramp)
        machine.succeed(admitted(machine, NOW + 10), NOW + 10)
        assert not machine.era.free
        return machine

    @pytest.mark.parametrize(("elapsed", "share"), [(0.0, 0.1), (5.0, 0.55), (9.0, 0.91)])
    def test_lets_a_growing_share_through(self, elapsed: float, share: float) -> None:
        machine = self.ramping()
        answers = [machine.admit(NOW + 10 + elapsed) for _ in range(1000)]
        let_in = sum(isinstance(answer, Era) for answer in answers)
        assert abs(let_in - 1000 * share) <= 1
        rejection = next(answer for answer in answers if isinstance(answer, Rejection))
        assert (rejection.reason, rejection.retry_after) == ("ramping up", 10 - elapsed)

    def test_counts_shares_up_to_whole_calls(self) -> None:
        machine = self.ramping()
        answers = [machine.admit(NOW + 15) is machine.era for _ in range(11)]
        assert answers == [False, True] * 5 + [True], "0.55 each time, and a call at every whole"

    def test_ends_when_its_time_is_over(self) -> None:
        machine = self.ramping()
        assert machine.admit(NOW + 20) is machine.era
        assert machine.era.free

    def test_however_short_is_one(self) -> None:
        assert isinstance(self.ramping(0.5).admit(NOW + 10), Rejection)

    def test_that_is_taken_away_is_over(self) -> None:
        machine = self.ramping()
        machine.reconfigure(CircuitOptions(failure_threshold=1, ramp=0))
        assert machine.admit(NOW + 10) is machine.era

    def test_begins_with_each_recovery_anew(self) -> None:
        machine = self.ramping()
        for _ in range(9):
            refused(machine, NOW + 10)
        machine.fail(machine.era, NOW + 10)
        machine.succeed(admitted(machine, NOW + 50), NOW + 50)
        assert [type(machine.admit(NOW + 50)) for _ in range(9)] == [Rejection] * 9

    def test_a_reset_by_hand_does_not_ramp(self) -> None:
        machine = broken(ramp=10)
        machine.reset(NOW, "test")
        assert machine.era.free


class TestModes:
    def test_isolated_says_until_when(self) -> None:
        machine = circuit()
        machine.override(Trigger.ISOLATE, NOW, "maintenance", 60.0)
        assert refused(machine, NOW + 20).retry_after == 40
        machine.override(Trigger.ISOLATE, NOW + 20, "maintenance", None)
        rejection = refused(machine, NOW + 20)
        assert (rejection.name, rejection.reason, rejection.retry_after) == (
            "dep",
            "isolated",
            None,
        )

    def test_disabled_learns_nothing(self) -> None:
        machine = circuit()
        machine.override(Trigger.DISABLE, NOW, "test", None)
        permit = admitted(machine, NOW)
        assert permit is UNWATCHED
        before = machine.snapshot(NOW)
        machine.fail(permit, NOW)
        machine.succeed(permit, NOW)
        machine.ignore(permit)
        machine.abandon(permit)
        assert machine.snapshot(NOW) == before

    def test_forced_closed_counts_but_stays(self) -> None:
        machine = circuit()
        machine.override(Trigger.FORCE_CLOSED, NOW, "test", None)
        for _ in range(5):
            fail(machine)
        shown = machine.snapshot(NOW)
        assert (shown.state, shown.failures) == (State.FORCED_CLOSED, 5)
        machine.release(NOW, "done")
        assert machine.snapshot(NOW).failures == 0

    def test_observe_records_what_it_would_have_done(self) -> None:
        machine = circuit()
        machine.override(Trigger.OBSERVE, NOW, "trial", None)
        machine.drain()
        fail(machine)
        assert admitted(machine, NOW) is UNWATCHED
        (change,) = machine.drain()
        assert (change.target, change.shadow) == (State.OPEN, True)
        shown = machine.snapshot(NOW)
        assert (shown.state, shown.would_reject_total, shown.rejected_total) == ("observe", 1, 0)
        assert shown.transitions_total == 1, "shadows are told, but they did not happen"


class TestLateOutcomes:
    """What began in an older era changes nothing."""

    @pytest.mark.parametrize("outcome", ["succeed", "fail"])
    def test_of_an_older_era(self, outcome: str) -> None:
        machine = circuit()
        old = machine.era
        fail(machine)
        getattr(machine, outcome)(old, NOW + 1)
        getattr(machine, outcome)(old, NOW + 10)
        shown = machine.snapshot(NOW + 1)
        assert (shown.state, shown.late_total, shown.failures, shown.successes_total) == (
            State.OPEN,
            2,
            1,
            0,
        )


class TestPlainSuccesses:
    """They wait on the era's list until somebody looks at the window."""

    def test_take_bounded_memory(self) -> None:
        machine = circuit()
        machine.succeed(machine.era, NOW)
        for number in range(3 * circuits.MOST_WINS):
            assert len(machine.era.wins) == number % (circuits.MOST_WINS + 1)
            machine.succeed(machine.era, NOW)
        assert machine.snapshot(NOW).calls == 3 * circuits.MOST_WINS + 1

    @pytest.mark.parametrize("next_one", ["succeed", "fail"])
    def test_belong_to_the_slice_in_which_they_happened(self, next_one: str) -> None:
        machine = circuit(failure_threshold=9)
        machine.succeed(machine.era, NOW)  # the first one moves the edge
        machine.succeed(machine.era, NOW)
        getattr(machine, next_one)(machine.era, NOW + 1)
        assert machine.snapshot(NOW + 10).calls == 1

    def test_count_for_the_rate_of_the_failure_after_them(self) -> None:
        machine = circuit(failure_threshold=None, failure_rate=0.5, minimum_calls=3)
        for _ in range(3):
            machine.succeed(machine.era, NOW)
        machine.fail(machine.era, NOW)
        assert machine.era.state is State.CLOSED

    def test_are_forgotten_with_a_window_of_another_shape(self) -> None:
        machine = circuit()
        for _ in range(3):
            machine.succeed(machine.era, NOW)
        machine.reconfigure(CircuitOptions(failure_threshold=1, window_calls=5))
        shown = machine.snapshot(NOW)
        assert (shown.calls, shown.successes_total) == (0, 3)

    def test_put_down_just_when_the_era_ended_are_late(self) -> None:
        machine = circuit()
        old = machine.era
        machine.succeed(old, NOW)
        machine.fail(old, NOW)
        old.wins.append(None)  # a thread that had looked at the era before it ended
        assert machine.snapshot(NOW).late_total == 1
        assert machine.snapshot(NOW).late_total == 1
        machine.reset(NOW, "test")
        assert machine.snapshot(NOW).late_total == 1
        machine.override(Trigger.DISABLE, NOW, "test", None)
        shown = machine.snapshot(NOW)
        assert (shown.late_total, shown.successes_total) == (1, 1)


class TestReconfigure:
    def test_keeps_the_window_if_its_shape_stays(self) -> None:
        machine = circuit(failure_threshold=3)
        fail(machine)
        machine.reconfigure(CircuitOptions(failure_threshold=2))
        assert machine.snapshot(NOW).failures == 1
        fail(machine)
        assert machine.era.state is State.OPEN

    @pytest.mark.parametrize("shape", [{"window": 20.0}, {"window_calls": 5}])
    def test_begins_a_new_window_if_it_changes(self, shape: dict[str, Any]) -> None:
        machine = circuit(failure_threshold=3)
        fail(machine)
        machine.reconfigure(CircuitOptions(failure_threshold=3, **shape))
        shown = machine.snapshot(NOW)
        assert (shown.failures, shown.failures_total) == (0, 1)


def test_a_success_at_the_edge_of_a_slice_belongs_to_the_new_one() -> None:
    machine = circuit()
    machine.succeed(machine.era, NOW)
    machine.succeed(machine.era, NOW + 1)
    assert machine.snapshot(NOW + 10).calls == 1
    assert machine.snapshot(NOW + 11).calls == 0


def test_a_fork_frees_the_probes_and_the_lock() -> None:
    machine = broken()
    admitted(machine, NOW + 10)
    machine._lock.acquire()
    machine._after_fork()
    assert isinstance(machine.admit(NOW + 10), Lease)


def test_equal_options_are_kept_once_and_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuits, "_known", {})
    one, other = (circuit(reset_timeout=77.0) for _ in range(2))
    assert one.options is other.options
    machines = [circuit(reset_timeout=100.0 + number) for number in range(circuits.MOST_KNOWN + 50)]
    assert [machine.options.reset_timeout for machine in machines[-3:]] == [
        100.0 + circuits.MOST_KNOWN + number for number in (47, 48, 49)
    ]
    assert len(circuits._known) == circuits.MOST_KNOWN


def test_a_failure_ratio_is_shown_from_the_minimum_of_calls_on() -> None:
    machine = circuit(failure_threshold=9, minimum_calls=2)
    fail(machine)
    assert machine.snapshot(NOW).failure_ratio is None
    machine.succeed(machine.era, NOW)
    assert machine.snapshot(NOW).failure_ratio == 0.5


def test_defaults() -> None:
    assert CircuitOptions() == CircuitOptions(
        failure_threshold=None,
        failure_rate=None,
        slow_call_duration=None,
        slow_call_rate=0.5,
        minimum_calls=10,
        window=10.0,
        window_calls=None,
        reset_timeout=30.0,
        reset_backoff=1.0,
        max_reset_timeout=None,
        reset_jitter=0.0,
        half_open_max_calls=1,
        probe_timeout=30.0,
        ramp=0.0,
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"failure_threshold": 0}, "failure_threshold must be a whole number of at least 1, not 0"),
        ({"failure_rate": 0}, "failure_rate must be a finite number greater than 0, at most 1"),
        ({"failure_rate": 1.5}, "failure_rate must be a finite number greater than 0, at most 1"),
        ({"slow_call_duration": 0}, "slow_call_duration must be a finite number greater than 0"),
        ({"slow_call_rate": 0}, "slow_call_rate must be a finite number greater than 0, at most 1"),
        ({"slow_call_rate": 2}, "slow_call_rate must be a finite number greater than 0, at most 1"),
        ({"minimum_calls": 0}, "minimum_calls must be a whole number of at least 1, not 0"),
        ({"window": 0}, "window must be a finite number greater than 0"),
        ({"window_calls": 0}, "window_calls must be a whole number of at least 1, at most 1000000"),
        ({"window_calls": 1_000_001}, "window_calls must be a whole number of at least 1, at most"),
        (
            {"window_calls": 4, "failure_threshold": 5},
            "failure_threshold must be a whole number of at least 1, at most 4, not 5",
        ),
        (
            {"window_calls": 4, "failure_rate": 0.5},
            "minimum_calls must be a whole number of at least 1, at most 4, not 10",
        ),
        (
            {"window_calls": 4, "slow_call_duration": 1},
            "minimum_calls must be a whole number of at least 1, at most 4, not 10",
        ),
        ({"reset_timeout": -1}, "reset_timeout must be a finite number of at least 0, not -1"),
        ({"reset_backoff": 0.5}, "reset_backoff must be a finite number of at least 1, not 0.5"),
        ({"max_reset_timeout": 29}, "max_reset_timeout must be a finite number of at least 30"),
        ({"reset_jitter": -0.1}, "reset_jitter must be a finite number of at least 0, at most 1"),
        ({"reset_jitter": 1.1}, "reset_jitter must be a finite number of at least 0, at most 1"),
        ({"half_open_max_calls": 0}, "half_open_max_calls must be a whole number of at least 1"),
        ({"probe_timeout": 0}, "probe_timeout must be a finite number greater than 0"),
        ({"ramp": -1}, "ramp must be a finite number of at least 0, not -1"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        CircuitOptions(**options)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "options",
    [
        {"failure_rate": 1},
        {"slow_call_rate": 1},
        {"window_calls": 1_000_000},
        {"window_calls": 4, "failure_threshold": 4},
        {"window_calls": 4},
        {"reset_timeout": 0, "max_reset_timeout": 0},
        {"reset_jitter": 1},
        {"failure_threshold": 1, "minimum_calls": 1, "window_calls": 1, "half_open_max_calls": 1},
    ],
)
def test_bounds_are_allowed(options: dict[str, Any]) -> None:
    CircuitOptions(**options)


def test_a_success_that_comes_as_its_era_ends_is_late_and_counted_once() -> None:
    """The everyday success takes no lock, so the era may end between its look and its entry."""
    machine = circuit()
    old = machine.era
    machine.fail(admitted(machine, NOW), NOW)
    assert machine.era is not old
    old.wins.append(None)
    assert (machine.snapshot(NOW).late_total, machine.snapshot(NOW).successes_total) == (1, 0)
    machine.reset(NOW, "again")
    machine.reset(NOW, "and again")
    assert (machine.snapshot(NOW).late_total, machine.snapshot(NOW).successes_total) == (1, 0)


def test_plain_successes_do_not_pile_up() -> None:
    machine = circuit(failure_threshold=None, failure_rate=0.5, minimum_calls=10)
    machine.succeed(machine.era, NOW)  # the first of a slice tells the window where it ends
    for _ in range(2 * circuits.MOST_WINS):
        machine.succeed(machine.era, NOW)
        assert len(machine.era.wins) <= circuits.MOST_WINS
    assert machine.snapshot(NOW).calls == 2 * circuits.MOST_WINS + 1
    assert machine.era.wins == []


def test_successes_on_the_list_weigh_against_failures() -> None:
    """They are folded in before anything is judged."""
    machine = circuit(failure_threshold=None, failure_rate=0.5, minimum_calls=2)
    for _ in range(3):
        machine.succeed(machine.era, NOW)
    for _ in range(2):
        machine.fail(machine.era, NOW)
        assert machine.era.state is State.CLOSED
    machine.fail(machine.era, NOW)
    assert machine.era.state is State.OPEN


@pytest.mark.parametrize("end", ["reset", "isolate"])
def test_successes_on_the_list_count_before_an_operator_ends_their_era(end: str) -> None:
    machine = circuit()
    for _ in range(3):
        machine.succeed(machine.era, NOW)
    if end == "reset":
        machine.reset(NOW, "again")
    else:
        machine.override(Trigger.ISOLATE, NOW, "away", None)
    shown = machine.snapshot(NOW)
    assert (shown.successes_total, shown.late_total) == (3, 0)
