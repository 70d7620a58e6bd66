"""The circuit against `CircuitModel`, through any history that Hypothesis can think of.

Times, durations and dice are multiples of an eighth, so that floats are exact and the machine and
the model, which counts in fractions, must agree to the last bit.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from core.circuit_model import VERBS, Call, CircuitModel
from holdfast._core.circuit import Circuit, CircuitOptions, Lease, Permit
from holdfast._core.outcome import Rejection
from holdfast._core.states import Trigger

START = Fraction(1000)

eighths = st.integers(0, 8 * 12).map(lambda n: Fraction(n, 8))
steps = st.one_of(st.just(Fraction(0)), st.just(Fraction(1, 8)), eighths, st.just(Fraction(5000)))
rates = st.sampled_from([0.07, 0.25, 0.5, 0.55, 1.0])
lengths = st.sampled_from([0.125, 1.0, 2.0, 5.0])


@st.composite
def option_sets(draw: st.DrawFn) -> dict[str, Any]:
    size = draw(st.none() | st.integers(1, 8))
    most = 6 if size is None else size
    reset = draw(st.sampled_from([0.0, 0.5, 2.0, 4.0]))
    return {
        "failure_threshold": draw(st.none() | st.integers(1, min(most, 4))),
        "failure_rate": draw(st.none() | rates),
        "slow_call_duration": draw(st.none() | st.just(1.0)),
        "slow_call_rate": draw(rates),
        "minimum_calls": draw(st.integers(1, most)),
        "window": draw(st.sampled_from([1.25, 10.0, 20.0])),
        "window_calls": size,
        "reset_timeout": reset,
        "reset_backoff": draw(st.sampled_from([1.0, 1.5, 2.0])),
        "max_reset_timeout": draw(st.none() | st.sampled_from([reset, reset + 3.0])),
        "reset_jitter": draw(st.sampled_from([0.0, 0.5, 1.0])),
        "half_open_max_calls": draw(st.integers(1, 4)),
        "probe_timeout": draw(lengths),
        "ramp": draw(st.just(0.0) | lengths),
    }


class CircuitMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.dice = Fraction(0)
        self.out: list[tuple[Permit, Call]] = []
        self.told = 0
        self.shrunk = False
        """Whether places may have been taken from under probes that were out."""

    @initialize(options=option_sets())
    def build(self, options: dict[str, Any]) -> None:
        self.model = CircuitModel(options, self.now)
        self.circuit = Circuit(
            "dep", CircuitOptions(**options), float(self.now), lambda: float(self.dice)
        )

    @rule(step=steps)
    def time_passes(self, step: Fraction) -> None:
        self.now += step

    @rule(times=st.integers(1, 6), fast=st.booleans())
    def ask(self, times: int, fast: bool) -> None:
        for _ in range(times):
            self.ask_once(fast)

    def ask_once(self, fast: bool) -> None:
        circuit, model = self.circuit, self.model
        if fast and circuit.era.free:
            # What drivers do: no question is asked, so the model is not told of one either.
            assert model.stay.state == "closed"
            assert not model.stay.ramping
            self.out.append((circuit.era, model.call("normal")))
            return
        expected = model.admit(self.now)
        got = circuit.admit(float(self.now))
        if expected is None:
            expected = model.follow(got is circuit.era, self.now)
        if isinstance(got, Rejection):
            assert isinstance(expected, tuple), expected
            reason, after = expected
            assert (got.policy, got.name, got.reason) == ("circuit_breaker", "dep", reason)
            if reason == "ramping up":
                assert got.retry_after is not None
                assert after is not None
                assert abs(got.retry_after - after) < 1e-9
            else:
                assert got.retry_after == after
            return
        assert isinstance(expected, Call), (got, expected)
        assert type(got).__name__ == {"normal": "Era", "probe": "Lease"}.get(
            expected.kind, "Unwatched"
        )
        if isinstance(got, Lease):
            assert got.expires == expected.until
        self.out.append((got, expected))

    @precondition(lambda self: self.out)
    @rule(
        which=st.integers(0, 50),
        how=st.sampled_from(["ok", "ok", "failed", "failed", "failed", "ignored"]),
        slow=st.booleans(),
        retry_after=st.none() | st.sampled_from([Fraction(1), Fraction(30), Fraction(9999)]),
        dice=st.sampled_from([Fraction(0), Fraction(1, 4), Fraction(3, 4)]),
        way=st.sampled_from(["ignore", "abandon", "abandon while locked"]),
    )
    def settle(
        self,
        which: int,
        how: str,
        slow: bool,
        retry_after: Fraction | None,
        dice: Fraction,
        way: str,
    ) -> None:
        """Outcomes come in any order, also from eras that ended long ago."""
        self.settle_one(which, how, slow, retry_after, dice, way)

    def settle_one(
        self,
        which: int,
        how: str,
        slow: bool,
        retry_after: Fraction | None,
        dice: Fraction,
        way: str,
    ) -> None:
        permit, call = self.out.pop(which % len(self.out))
        slow = slow and self.model.options["slow_call_duration"] is not None
        retry_after = retry_after if how == "failed" else None
        self.dice = dice
        circuit, now = self.circuit, float(self.now)
        if how == "ok":
            circuit.succeed(permit, now, slow)
        elif how == "failed":
            after = None if retry_after is None else float(retry_after)
            circuit.fail(permit, now, slow, after)
        elif way == "ignore":
            circuit.ignore(permit)
        elif way == "abandon":
            circuit.abandon(permit)
        else:
            with circuit._lock:
                circuit.abandon(permit)
        self.model.settle(call, self.now, how, slow, retry_after, dice)

    @precondition(lambda self: self.out)
    @rule(how=st.sampled_from(["ok", "failed"]))
    def settle_all(self, how: str) -> None:
        """The dependency answers everybody at once."""
        while self.out:
            self.settle_one(0, how, False, None, Fraction(0), "ignore")

    @rule(asks=st.integers(0, 12), step=eighths)
    def an_outage_passes(self, asks: int, step: Fraction) -> None:
        """Failures until it opens, time, good probes, and the first calls of the ramp."""
        for how, wait in (("failed", Fraction(0)), ("ok", Fraction(60))):
            self.now += wait
            for _ in range(6):
                self.ask_once(fast=True)
                if self.out:
                    self.settle_one(len(self.out) - 1, how, False, None, Fraction(0), "ignore")
        self.now += step
        for _ in range(asks):
            self.ask_once(fast=False)

    @precondition(lambda self: self.out)
    @rule(which=st.integers(0, 50))
    def lose(self, which: int) -> None:
        """A permit nobody will ever hear of again."""
        self.out.pop(which % len(self.out))

    @rule(
        verb=st.sampled_from(sorted(VERBS)),
        ttl=st.none() | st.sampled_from([Fraction(1), Fraction(10)]),
    )
    def override(self, verb: str, ttl: Fraction | None) -> None:
        seconds = None if ttl is None else float(ttl)
        self.circuit.override(Trigger(verb), float(self.now), "because", seconds)
        self.model.override(verb, self.now, "because", ttl)

    @rule()
    def release(self) -> None:
        self.circuit.release(float(self.now), "by hand")
        self.model.end_mode(self.now)

    @rule()
    def reset(self) -> None:
        self.circuit.reset(float(self.now), "by hand")
        self.model.reset(self.now)

    @rule(options=option_sets(), keep_window=st.booleans())
    def reconfigure(self, options: dict[str, Any], keep_window: bool) -> None:
        if keep_window:
            options = {
                **options,
                "window": self.model.options["window"],
                "window_calls": self.model.options["window_calls"],
            }
            size = options["window_calls"]
            assume(size is None or options["minimum_calls"] <= size)
            assume(size is None or (options["failure_threshold"] or 1) <= size)
        self.shrunk = self.model.stay.state == "half_open" or self.shrunk
        self.circuit.reconfigure(CircuitOptions(**options))
        self.model.reconfigure(options)

    # -- what always holds ---------------------------------------------------------------------

    @invariant()
    def the_snapshot_agrees(self) -> None:
        model = self.model
        shown = self.circuit.snapshot(float(self.now))
        model.notice(self.now)
        calls, failures, slow = model.window(self.now)
        enough = calls >= model.options["minimum_calls"]
        failed = sum(one[1] for one in model.counted)
        assert (shown.state, shown.in_state) == (model.visible_state, self.now - model.stay.since)
        assert (shown.calls, shown.failures, shown.slow) == (calls, failures, slow)
        assert shown.failure_ratio == (failures / calls if enough else None)
        if model.stay.state == "open":
            assert shown.retry_in == max(0, model.retry_at - self.now)
        else:
            assert shown.retry_in is None
        assert shown.era == len(model.stays)
        assert shown.probes == len(model.probes_out(self.now))
        assert shown.consecutive_opens == model.streak
        assert shown.failures_total == failed
        assert shown.successes_total == len(model.counted) - failed
        assert shown.ignored_total == model.ignored
        assert shown.late_total == model.late
        assert shown.rejected_total == model.rejected
        assert shown.would_reject_total == model.would_reject
        assert shown.transitions_total == sum(not entry[-1] for entry in model.log)
        mode = shown.override
        assert (None if mode is None else (mode.state, mode.reason, mode.until)) == (
            None if model.mode is None else (model.mode.state, "because", model.mode.until)
        )

        # Every watched call is counted once, in one of four ways.
        assert sum(call.over and call.kind != "unwatched" for call in model.calls) == (
            shown.successes_total + shown.failures_total + shown.ignored_total + shown.late_total
        )
        if not self.shrunk:
            assert shown.probes <= model.options["half_open_max_calls"]
        self.the_same_transitions_are_told()

    def the_same_transitions_are_told(self) -> None:
        told = [
            (
                change.source,
                change.target,
                change.trigger,
                change.kind,
                change.at,
                change.retry_at,
                change.shadow,
            )
            for change in self.circuit.drain()
        ]
        assert told == self.model.log[self.told :]
        self.told += len(told)

    def teardown(self) -> None:
        """Nothing wedges: with time, a healthy dependency and no override, calls go through."""
        circuit, options = self.circuit, self.circuit.options
        now = float(self.now) + 1e5
        circuit.release(now, "by hand")
        for _ in range(options.half_open_max_calls + 1):
            permit = circuit.admit(now)
            assert not isinstance(permit, Rejection) or permit.reason == "ramping up"
            if not isinstance(permit, Rejection):
                circuit.succeed(permit, now)
        now += options.ramp
        assert circuit.admit(now) is circuit.era
        assert circuit.era.free
        assert circuit.snapshot(now).state == "closed"


TestCircuitMachine = CircuitMachine.TestCase
