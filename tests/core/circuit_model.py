"""A second circuit, written from the documented behaviour, as slowly and plainly as possible.

It forgets nothing and computes everything anew from full lists: every outcome ever counted, every
stay in a state, every call ever admitted. All numbers are exact fractions. It shares no code with
the machine in `src`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

OVER = "release or time to live over"
LANDING = {"isolated": "half_open", "forced_closed": "closed", "disabled": "closed"}
VERBS = {
    "isolate": "isolated",
    "force closed": "forced_closed",
    "disable": "disabled",
    "observe": "observe",
}


@dataclass
class Stay:
    """One stay in one state, and what happened in it."""

    state: str
    since: Fraction
    ramping: bool = False
    asked: list[Fraction] = field(default_factory=list)
    """The share in force at each admission asked for while ramping."""
    let_in: int = 0
    passed: int = 0


@dataclass(eq=False)
class Call:
    """One admitted call: a normal one, a probe with an end, or one that is not watched."""

    kind: str
    stay: Stay
    until: Fraction | None = None
    over: bool = False


@dataclass
class Mode:
    state: str
    reason: str
    until: Fraction | None


class CircuitModel:
    def __init__(self, options: dict[str, Any], now: Fraction) -> None:
        self.options = options
        self.stays = [Stay("closed", now)]
        self.calls: list[Call] = []
        self.counted: list[tuple[Fraction, bool, bool]] = []  # (when, failed, slow)
        self.begins_at = 0  # the first of `counted` that the window may see
        self.mode: Mode | None = None
        self.streak = 0
        self.last_break = Fraction(0)
        self.retry_at = Fraction(0)
        self.ignored = self.rejected = self.would_reject = self.late = 0
        self.log: list[tuple[Any, ...]] = []

    # -- derived -------------------------------------------------------------------------------

    @property
    def stay(self) -> Stay:
        return self.stays[-1]

    @property
    def visible_state(self) -> str:
        return self.stay.state if self.mode is None else self.mode.state

    def window(self, now: Fraction) -> tuple[int, int, int]:
        """(calls, failures, slow calls) that the window sees now."""
        seen = self.counted[self.begins_at :]
        size = self.options["window_calls"]
        if size is not None:
            seen = seen[-size:]
        else:
            part = Fraction(self.options["window"]) / 10
            seen = [one for one in seen if one[0] // part > now // part - 10]
        return len(seen), sum(one[1] for one in seen), sum(one[2] for one in seen)

    def probes_out(self, now: Fraction) -> list[Call]:
        return [
            call
            for call in self.calls
            if call.stay is self.stay
            and call.until is not None
            and call.until > now
            and not call.over
        ]

    # -- what calls do -------------------------------------------------------------------------

    def notice(self, now: Fraction) -> None:
        """The end of a mode's time to live is noticed when somebody asks."""
        mode = self.mode
        if mode is not None and mode.until is not None and mode.until <= now:
            self.end_mode(now)

    def admit(self, now: Fraction) -> Call | tuple[str, Fraction | None] | None:
        """A call, or the reason and retry-after of a refusal.

        None where the sum of a ramp's shares is so near to a whole number that floating point may
        decide either way: then `follow` tells the model what was decided.
        """
        self.notice(now)
        mode = "" if self.mode is None else self.mode.state
        if mode == "disabled":
            return self.call("unwatched")
        if mode == "forced_closed":
            return self.call("normal")
        if mode == "isolated":
            assert self.mode is not None
            self.rejected += 1
            until = self.mode.until
            return "isolated", None if until is None else until - now
        return self.verdict(self.decide(now))

    def verdict(self, decision: Call | tuple[str, Fraction | None] | None) -> Any:
        if isinstance(decision, tuple):
            if self.mode is not None:
                self.would_reject += 1
                return self.call("unwatched")
            self.rejected += 1
        return decision

    def decide(self, now: Fraction) -> Call | tuple[str, Fraction | None] | None:
        if self.stay.state == "open":
            if now < self.retry_at:
                return "open", self.retry_at - now
            self.move("half_open", "reset timeout over", now)
        if self.stay.state == "half_open":
            if len(self.probes_out(now)) + self.stay.passed < self.options["half_open_max_calls"]:
                return self.call("probe", now + Fraction(self.options["probe_timeout"]))
            return "probing", None
        if self.stay.ramping:
            elapsed, ramp = now - self.stay.since, Fraction(self.options["ramp"])
            if elapsed >= ramp:
                self.stay.ramping = False
            else:
                self.stay.asked.append(Fraction(1, 10) + Fraction(9, 10) * elapsed / ramp)
                due = sum(self.stay.asked) - self.stay.let_in
                if abs(due - 1) < Fraction(1, 10**9):
                    return None
                return self.ramp_decision(due >= 1, now)
        return self.call("normal")

    def follow(self, let_in: bool, now: Fraction) -> Any:
        return self.verdict(self.ramp_decision(let_in, now))

    def ramp_decision(self, let_in: bool, now: Fraction) -> Call | tuple[str, Fraction | None]:
        if let_in:
            self.stay.let_in += 1
            return self.call("normal")
        return "ramping up", self.stay.since + Fraction(self.options["ramp"]) - now

    def call(self, kind: str, until: Fraction | None = None) -> Call:
        call = Call(kind, self.stay, until)
        self.calls.append(call)
        return call

    def settle(
        self,
        call: Call,
        now: Fraction,
        how: str,
        slow: bool,
        retry_after: Fraction | None,
        dice: Fraction,
    ) -> None:
        in_time = call.stay is self.stay and (call.until is None or call.until > now)
        call.over = True
        if call.kind == "unwatched":
            return
        if how == "ignored":
            self.ignored += 1
        elif not in_time:
            self.late += 1
        else:
            failed = how == "failed"
            self.counted.append((now, failed, slow))
            if call.kind == "probe":
                self.judge_probe(failed or slow, now, retry_after, dice)
            elif (failed or slow) and self.stay.state == "closed" and self.too_bad(now):
                if now - self.stay.since > self.last_break:
                    self.streak = 0
                self.open("tripped", now, retry_after, dice)

    def judge_probe(
        self, bad: bool, now: Fraction, retry_after: Fraction | None, dice: Fraction
    ) -> None:
        if bad:
            self.open("probe failed", now, retry_after, dice)
            return
        self.stay.passed += 1
        if self.stay.passed >= self.options["half_open_max_calls"]:
            self.move("closed", "probes passed", now)
            self.stay.ramping = self.options["ramp"] > 0

    def too_bad(self, now: Fraction) -> bool:
        calls, failures, slow = self.window(now)
        option = self.options
        if option["failure_threshold"] is not None and failures >= option["failure_threshold"]:
            return True
        if calls < option["minimum_calls"]:
            return False
        by_rate = option["failure_rate"] is not None and Fraction(failures, calls) >= Fraction(
            str(option["failure_rate"])
        )
        by_slowness = option["slow_call_duration"] is not None and Fraction(
            slow, calls
        ) >= Fraction(str(option["slow_call_rate"]))
        return by_rate or by_slowness

    # -- moving --------------------------------------------------------------------------------

    def open(
        self, trigger: str, now: Fraction, retry_after: Fraction | None, dice: Fraction
    ) -> None:
        option = self.options
        base = Fraction(option["reset_timeout"])
        most = option["max_reset_timeout"]
        longest = 10 * base if most is None else Fraction(most)
        length = min(longest, base * Fraction(option["reset_backoff"]) ** self.streak)
        length += length * Fraction(option["reset_jitter"]) * dice
        if retry_after is not None:
            length = max(length, min(retry_after, Fraction(3600)))
        self.streak += 1
        self.last_break = length
        self.retry_at = now + length
        self.move("open", trigger, now)

    def move(self, state: str, trigger: str, now: Fraction) -> None:
        source = self.stay.state
        self.begin(state, now)
        self.note(source, state, trigger, "auto", now, shadow=self.mode is not None)

    def begin(self, state: str, now: Fraction) -> None:
        self.stays.append(Stay(state, now))
        if state in ("closed", "forced_closed"):
            self.begins_at = len(self.counted)

    def note(
        self, source: str, target: str, trigger: str, kind: str, now: Fraction, shadow: bool = False
    ) -> None:
        retry_at = self.retry_at if target == "open" else None
        self.log.append((source, target, trigger, kind, now, retry_at, shadow))

    # -- the operator --------------------------------------------------------------------------

    def end_mode(self, now: Fraction) -> None:
        mode, self.mode = self.mode, None
        if mode is not None:
            if mode.state in LANDING:
                self.begin(LANDING[mode.state], now)
            self.note(mode.state, self.stay.state, OVER, "manual", now)

    def override(self, verb: str, now: Fraction, reason: str, ttl: Fraction | None) -> None:
        self.notice(now)
        source, target = self.visible_state, VERBS[verb]
        if target != "observe":
            self.begin(target, now)
        elif source in LANDING:
            self.begin(LANDING[source], now)
        self.mode = Mode(target, reason, None if ttl is None else now + ttl)
        self.note(source, target, verb, "manual", now)

    def reset(self, now: Fraction) -> None:
        self.notice(now)
        source = self.visible_state
        self.mode = None
        self.streak = 0
        self.begin("closed", now)
        self.note(source, "closed", "reset", "manual", now)

    def reconfigure(self, options: dict[str, Any]) -> None:
        old, self.options = self.options, options
        if any(old[name] != options[name] for name in ("window", "window_calls")):
            self.begins_at = len(self.counted)
        if self.stay.state == "half_open":
            # Fewer probes asked for than have passed already: one more decides.
            self.stay.passed = min(self.stay.passed, options["half_open_max_calls"] - 1)
