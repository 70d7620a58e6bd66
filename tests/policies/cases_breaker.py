"""What `CircuitBreaker` does: every option, and every verb of the operator."""

from __future__ import annotations

from typing import Any

from holdfast import Category, CircuitBreaker, CircuitOpenError, RateLimitedError
from holdfast._core.states import State
from policies.behaviour import Call, Case, Do, Takes
from policies.cases_retry import Busy, broken, lost

OPEN = CircuitOpenError
LOST = lost()


def fails(at: float, error: Exception = LOST) -> Call:
    return Call(at, [error], error)


def refused(at: float) -> Call:
    return Call(at, [], OPEN)


def breaker(**options: Any):
    return lambda: [CircuitBreaker(**{"failure_threshold": 2, **options})]


BREAKER = (
    Case(
        "breaker opens at its threshold, with the real error, and probes later",
        breaker(),
        [Call(0), fails(1), fails(2), refused(3), refused(31.9), Call(32), Call(33)],
        snapshot={
            "state": State.CLOSED,
            "era": 4,
            "successes_total": 3,
            "failures_total": 2,
            "rejected_total": 2,
            "transitions_total": 3,
        },
        events=[
            "closed -> open for 30: 2 failures in the window",
            "rejected by circuit_breaker: open, 29",
            "rejected by circuit_breaker: open, 0.1",
            "open -> half_open: asking again",
            "half_open -> closed: 1 probes passed",
        ],
    ),
    Case(
        "the default is five failures in ten seconds",
        lambda: [CircuitBreaker()],
        [*(fails(at) for at in (0, 1, 2, 3)), fails(11), fails(11.1), fails(11.2), refused(11.3)],
    ),
    Case(
        "failures leave the window",
        breaker(window=4),
        [fails(0.5), fails(4.6), Call(4.7), fails(4.8), refused(4.9)],
    ),
    Case(
        "a success does not undo failures in the window",
        breaker(),
        [fails(0), Call(1), fails(2), refused(3)],
    ),
    Case(
        "a window of calls",
        breaker(window_calls=3),
        [fails(0), Call(1), Call(2), fails(500), fails(501), refused(502)],
    ),
    Case(
        "the threshold fits a small window by default",
        lambda: [CircuitBreaker(window_calls=2)],
        [fails(0), fails(1), refused(2)],
    ),
    Case(
        "permanent errors and refusals teach nothing",
        breaker(),
        [
            fails(0),
            fails(1, ValueError("bad input")),
            fails(2, RateLimitedError("rate_limit", "x", "full")),
            Call(3),
            fails(4),
            refused(5),
        ],
        snapshot={"ignored_total": 2, "failures_total": 2},
    ),
    Case(
        "failure rate with a minimum of calls",
        lambda: [CircuitBreaker(failure_rate=0.5, minimum_calls=4)],
        [fails(0), fails(0.1), Call(0.2), Call(0.3), fails(0.4), refused(0.5)],
        snapshot={"failure_ratio": 0.6, "calls": 5},
        events=[
            "closed -> open for 30: 3 of 5 calls failed",
            "rejected by circuit_breaker: open, 29.9",
        ],
    ),
    Case(
        "minimum_calls fits a small window by default",
        lambda: [CircuitBreaker(failure_rate=1.0, window_calls=2)],
        [fails(0), fails(1), refused(2)],
    ),
    Case(
        "slow calls open it, whether they fail or not",
        lambda: [CircuitBreaker(slow_call_duration=1.0, minimum_calls=2)],
        [
            Call(0, [Takes(0.9)], ends=0.9),
            Call(2, [Takes(1.0)], ends=3),
            refused(4),
        ],
        snapshot={"slow": 1},
        events=[
            "closed -> open for 30: 1 of 2 calls were slow",
            "rejected by circuit_breaker: open, 29",
        ],
    ),
    Case(
        "slow failures are slow",
        lambda: [CircuitBreaker(slow_call_duration=1.0, slow_call_rate=1.0, minimum_calls=2)],
        [Call(0, [Takes(1, LOST)], LOST, ends=1), Call(2, [Takes(1)], ends=3), refused(4)],
    ),
    Case(
        "a slow probe fails",
        breaker(slow_call_duration=1.0),
        [fails(0), fails(1), Call(31, [Takes(2)], ends=33), refused(34)],
    ),
    Case(
        "only what is named is a failure",
        breaker(on=KeyError),
        [fails(0), fails(1), fails(2, KeyError()), fails(3, KeyError()), refused(4)],
    ),
    Case(
        "what is named shows that the dependency is well",
        breaker(success_on=LookupError),
        [fails(0), fails(1), fails(32, KeyError()), Call(33)],
        snapshot={"state": State.CLOSED, "successes_total": 2},
    ),
    Case(
        "a broken predicate of a breaker leaves the defaults in force",
        breaker(on=broken),
        [fails(0), fails(1), refused(2)],
    ),
    Case(
        "a category is a failure",
        breaker(on=Category.PERMANENT),
        [fails(0, KeyError()), fails(1, KeyError()), refused(2)],
    ),
    Case(
        "results are judged",
        breaker(on_result=lambda result: result == "bad"),
        [Call(0, ["bad"], "bad"), Call(1), Call(2, ["bad"], "bad"), refused(3)],
        judges_results=True,
    ),
    Case(
        "a broken judge of results loses none and counts a success",
        breaker(on_result=broken),
        [Call(0), Call(1)],
        snapshot={"successes_total": 2},
        judges_results=True,
    ),
    Case(
        "reset_timeout is kept, also below a second",
        breaker(reset_timeout=0.5),
        [fails(0), fails(0.75), refused(1.0), refused(1.24), Call(1.26)],
    ),
    Case(
        "reset_timeout may be 0",
        breaker(reset_timeout=0),
        [fails(0), fails(1), fails(1.1), Call(1.2), Call(1.3)],
        snapshot={"state": State.CLOSED, "rejected_total": 0},
    ),
    Case(
        "breaks grow while the dependency keeps failing, up to a limit",
        breaker(reset_timeout=1, reset_backoff=3, max_reset_timeout=5),
        [fails(0), fails(0.1), fails(1.2), refused(4.1), fails(4.3), refused(9.2), Call(9.4)],
        events=[
            "closed -> open for 1: 2 failures in the window",
            "open -> half_open: asking again",
            "half_open -> open for 3: a probe failed",
            "rejected by circuit_breaker: open, 0.1",
            "open -> half_open: asking again",
            "half_open -> open for 5: a probe failed",
            "rejected by circuit_breaker: open, 0.1",
            "open -> half_open: asking again",
            "half_open -> closed: 1 probes passed",
        ],
    ),
    Case(
        "breaks are jittered",
        breaker(reset_timeout=10, reset_jitter=0.2),
        [fails(0), fails(1), refused(11.9), Call(12.1)],
    ),
    Case(
        "Retry-After prolongs a break",
        breaker(reset_timeout=10),
        [fails(0), fails(1, Busy(20)), refused(20.9), Call(21.1)],
    ),
    Case(
        "several probes must all pass",
        breaker(half_open_max_calls=2),
        [
            fails(0),
            fails(1),
            Call(31, [Takes(2)], ends=33),
            Call(31.5, [Takes(2)], ends=33.5),
            refused(32),
            refused(33.2),
            Call(34),
        ],
        snapshot={"state": State.CLOSED},
    ),
    Case(
        "a probe that hangs loses its place, and its late outcome changes nothing",
        breaker(probe_timeout=5),
        [
            fails(0),
            fails(1),
            Call(31, [Takes(20, LOST)], LOST, ends=51),
            refused(35.9),
            Call(36.1),
            Call(52),
        ],
        snapshot={"state": State.CLOSED, "late_total": 1},
    ),
    Case(
        "a success that began before the trip does not close the circuit",
        breaker(),
        [Call(0, [Takes(5)], ends=5), fails(1), fails(2), refused(6)],
        snapshot={"state": State.OPEN, "late_total": 1},
    ),
    Case(
        "a ramp lets traffic back bit by bit",
        breaker(ramp=10, reset_timeout=1),
        [
            fails(0),
            fails(0.1),
            Call(1.2),
            refused(1.3),
            refused(2.2),
            *(refused(at) if at in (3.2, 5.2) else Call(at) for at in (3.2, 5.1, 5.2, 7.2)),
            Call(11.3),
            Call(11.4),
        ],
        snapshot={"state": State.CLOSED},
    ),
    Case(
        "isolated until released, then probed",
        breaker(),
        [
            Do(0, lambda breaker: breaker.isolate("maintenance")),
            refused(1),
            Do(2, lambda breaker: breaker.release()),
            Call(3),
            Call(4),
        ],
        snapshot={"state": State.CLOSED, "override": None},
        events=[
            "closed -> isolated: maintenance",
            "rejected by circuit_breaker: isolated",
            "isolated -> half_open: released by hand",
            "half_open -> closed: 1 probes passed",
        ],
    ),
    Case(
        "isolated for a time",
        breaker(),
        [Do(0, lambda breaker: breaker.isolate("drill", ttl=5)), refused(1), Call(6)],
        snapshot={"state": State.CLOSED},
    ),
    Case(
        "forced closed",
        breaker(),
        [
            Do(0, lambda breaker: breaker.force_closed("must go on")),
            fails(1),
            fails(2),
            fails(3),
            Do(4, lambda breaker: breaker.release()),
            fails(5),
            fails(6),
            refused(7),
        ],
        snapshot={"failures_total": 5},
    ),
    Case(
        "disabled",
        breaker(),
        [
            Do(0, lambda breaker: breaker.disable("noise")),
            fails(1),
            fails(2),
            fails(3, ValueError("ignored anyway")),
            Call(4),
        ],
        snapshot={"state": State.DISABLED, "failures_total": 0, "ignored_total": 0},
    ),
    Case(
        "observe records what would have been refused",
        breaker(),
        [
            Do(0, lambda breaker: breaker.observe("trial")),
            fails(1),
            fails(2),
            Call(3),
            fails(4),
        ],
        snapshot={"state": State.OBSERVE, "would_reject_total": 2, "rejected_total": 0},
        events=[
            "closed -> observe: trial",
            "closed -> open for 30: 2 failures in the window (shadow)",
        ],
    ),
    Case(
        "reset closes it and forgets",
        breaker(),
        [fails(0), fails(1), Do(2, lambda breaker: breaker.reset()), Call(3), fails(4), Call(5)],
        snapshot={"state": State.CLOSED},
    ),
    Case(
        "options can be changed while it runs",
        breaker(),
        [
            fails(0),
            Do(1, lambda breaker: breaker.reconfigure(failure_threshold=3)),
            fails(2),
            fails(3),
            refused(4),
        ],
    ),
    Case(
        "results are judged by changed options too",
        breaker(on_result=lambda result: result == "bad"),
        [
            Do(0, lambda breaker: breaker.reconfigure(failure_threshold=1)),
            Call(1, ["bad"], "bad"),
            refused(2),
        ],
        judges_results=True,
    ),
    Case(
        "slow calls can be watched from now on",
        breaker(),
        [
            Call(0, [Takes(9)], ends=9),
            Do(
                10,
                lambda breaker: breaker.reconfigure(
                    slow_call_duration=1.0, minimum_calls=1, window=20.0
                ),
            ),
            Call(11, [Takes(2)], ends=13),
            refused(14),
        ],
    ),
)
