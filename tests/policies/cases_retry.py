"""What `Retry` does: every option, and what comes out at the end."""

from __future__ import annotations

from typing import Any

from holdfast import (
    Backoff,
    Category,
    DeadlineExceededError,
    RateLimitedError,
    Retry,
    RetryBudget,
)
from policies.behaviour import Call, Case, Takes

STEADY = Backoff(base=1.0, growth="constant", jitter="none")
LOST = ConnectionResetError("lost")


class Strange(Exception):
    """Of no category."""


class Busy(ConnectionError):
    def __init__(self, seconds: float) -> None:
        super().__init__("busy")
        self.retry_after = seconds


def lost() -> ConnectionResetError:
    return ConnectionResetError("lost")


def broken(value: Any) -> bool:
    raise RuntimeError("the predicate is broken")


def retry(**options: Any):
    return lambda: [Retry(**{"backoff": STEADY, **options})]


def after(name: str, backoff: Backoff, *waits: float) -> Case:
    """Fails until the attempts are used up, with these waits between them."""
    script = [lost() for _ in waits]
    return Case(
        f"retry waits: {name}",
        retry(backoff=backoff, attempts=len(waits) + 1, budget=None),
        [Call(0, [*script, LOST], LOST, ends=sum(waits))],
        events=[
            *(
                f"retry {number} in {wait:.4g} after ConnectionResetError"
                for number, wait in enumerate(waits, 1)
            ),
            f"gave up after {len(waits) + 1}: attempts used up",
        ],
    )


RETRY = (
    Case(
        "retry leaves a success alone",
        retry(),
        [Call(0), Call(1)],
        snapshot={"calls_total": 2, "attempts_total": 2, "success_without_retry": 2},
        events=[],
    ),
    Case(
        "retry repeats a transient error",
        retry(),
        [Call(0, [lost(), TimeoutError(), "ok"], ends=2)],
        snapshot={
            "calls_total": 1,
            "attempts_total": 3,
            "success_without_retry": 0,
            "success_with_retry": 1,
        },
        events=["retry 1 in 1 after ConnectionResetError", "retry 2 in 1 after TimeoutError"],
    ),
    Case(
        "retry re-raises the last exception itself",
        retry(attempts=3),
        [Call(0, [lost(), lost(), LOST], LOST, ends=2)],
        snapshot={"attempts_total": 3, "failed_with_retry": 1, "failed_without_retry": 0},
    ),
    Case(
        "three attempts are three calls",
        retry(attempts=3, budget=None),
        [Call(0, [LOST, LOST, LOST], LOST, ends=2)],
    ),
    Case(
        "one attempt is no retry",
        retry(attempts=1),
        [Call(0, [LOST], LOST)],
        snapshot={"failed_without_retry": 1, "attempts_total": 1},
        events=["gave up after 1: attempts used up"],
    ),
    Case(
        "retry does not repeat a permanent error",
        retry(),
        [Call(0, [ValueError("no")], ValueError)],
        events=["gave up after 1: this error is not retried"],
    ),
    Case("retry does not repeat an unknown error", retry(), [Call(0, [Strange()], Strange)]),
    Case("retry by type", retry(on=Strange), [Call(0, [Strange(), "ok"], ends=1)]),
    Case("retry by type leaves others alone", retry(on=Strange), [Call(0, [LOST], LOST)]),
    Case(
        "retry by category",
        retry(on=Category.UNKNOWN),
        [Call(0, [Strange(), "ok"], ends=1), Call(5, [LOST], LOST)],
    ),
    Case(
        "retry by a mixture",
        retry(on=(KeyError, Category.TRANSIENT)),
        [
            Call(0, [KeyError(), "ok"], ends=1),
            Call(5, [lost(), "ok"], ends=6),
            Call(9, [Strange()], Strange),
        ],
    ),
    Case(
        "retry by categories only",
        retry(on=[Category.PERMANENT]),
        [Call(0, [KeyError(), "ok"], ends=1)],
    ),
    Case(
        "retry by predicate",
        retry(on=lambda error: "again" in str(error)),
        [Call(0, [ValueError("again"), "ok"], ends=1), Call(5, [LOST], LOST)],
    ),
    Case(
        "a broken predicate of a retry leaves the defaults in force",
        retry(on=broken, budget=None),
        [Call(0, [lost(), "ok"], ends=1), Call(5, [Strange()], Strange)],
    ),
    Case(
        "retry does not repeat a refusal from further in",
        retry(),
        [Call(0, [RateLimitedError("rate_limit", "x", "full")], RateLimitedError)],
    ),
    Case(
        "nor if a predicate would have it",
        retry(on=lambda error: True),
        [Call(0, [RateLimitedError("rate_limit", "x", "full")], RateLimitedError)],
    ),
    Case(
        "retry repeats a refusal that is named, after the time that it names",
        retry(on=(RateLimitedError,)),
        [Call(0, [RateLimitedError("rate_limit", "x", "full", 4.0), "ok"], ends=4)],
    ),
    Case(
        "retry judges results",
        retry(on_result=lambda result: result == "bad"),
        [Call(0, ["bad", lost(), "ok"], ends=2)],
        snapshot={"success_with_retry": 1, "attempts_total": 3},
        events=["retry 1 in 1 after result", "retry 2 in 1 after ConnectionResetError"],
        judges_results=True,
    ),
    Case(
        "a good result at once is a plain success",
        retry(on_result=lambda result: result == "bad"),
        [Call(0)],
        snapshot={"success_without_retry": 1, "attempts_total": 1},
        judges_results=True,
    ),
    Case(
        "the last bad result is given",
        retry(on_result=lambda result: result == "bad", attempts=2),
        [Call(0, ["bad", "bad"], "bad", ends=1)],
        snapshot={"failed_with_retry": 1},
        judges_results=True,
    ),
    Case(
        "a broken judge of results loses none",
        retry(on_result=broken),
        [Call(0), Call(1)],
        judges_results=True,
    ),
    after("constant", Backoff(base=2, growth="constant", jitter="none"), 2, 2, 2),
    after("linear", Backoff(base=2, cap=5, growth="linear", jitter="none"), 2, 4, 5, 5),
    after("exponential", Backoff(base=1, cap=5, jitter="none"), 1, 2, 4, 5, 5),
    after("factor", Backoff(base=1, cap=50, factor=3, jitter="none"), 1, 3, 9),
    after("full jitter by default", Backoff(base=2), 1, 2, 4, 5, 5),
    after("equal jitter", Backoff(base=2, jitter="equal"), 1.5, 3, 6, 7.5),
    after("decorrelated jitter", Backoff(base=1, jitter="decorrelated"), 2, 3.5, 5.75, 9.125),
    Case(
        "the default backoff is jittered below 0.1, 0.2 … s",
        lambda: [Retry()],
        [Call(0, [lost(), lost(), "ok"], ends=0.15)],
    ),
    Case(
        "max_elapsed starts no attempt after it",
        retry(attempts=9, max_elapsed=2.5, budget=None),
        [Call(0, [lost(), lost(), LOST], LOST, ends=2)],
        events=[
            "retry 1 in 1 after ConnectionResetError",
            "retry 2 in 1 after ConnectionResetError",
            "gave up after 3: max_elapsed leaves no time for another attempt",
        ],
    ),
    Case(
        "max_elapsed counts what the attempts take",
        retry(attempts=9, max_elapsed=2.5),
        [Call(1, [Takes(2, LOST)], LOST, ends=3)],
    ),
    Case(
        "Retry-After is honoured",
        retry(),
        [Call(0, [Busy(7), "ok"], ends=7)],
        events=["retry 1 in 7 after Busy"],
    ),
    Case("Retry-After never shortens a wait", retry(), [Call(0, [Busy(0.2), "ok"], ends=1)]),
    Case(
        "Retry-After up to max_retry_after",
        retry(max_retry_after=10),
        [Call(0, [Busy(10), "ok"], ends=10)],
    ),
    Case(
        "a longer Retry-After is given up on, not shortened",
        retry(max_retry_after=10),
        [Call(0, [Busy(11)], Busy)],
        events=["gave up after 1: asked to stay away for 11 s"],
    ),
    Case(
        "nobody sleeps past the deadline",
        retry(),
        [Call(0, [lost(), LOST], LOST, ends=1, within=1.9)],
        events=[
            "retry 1 in 1 after ConnectionResetError",
            "gave up after 2: the deadline leaves no time for another attempt",
        ],
    ),
    Case(
        "nothing is started after the deadline",
        retry(),
        [Call(0, [], DeadlineExceededError, within=0)],
        events=["rejected by deadline: the deadline has passed, 0"],
    ),
    Case(
        "retry pays from its budget",
        lambda: [Retry(backoff=STEADY, budget=RetryBudget(initial=1, refill=0))],
        [Call(0, [lost(), LOST], LOST, ends=1), Call(5, [LOST], LOST)],
        events=[
            "retry 1 in 1 after ConnectionResetError",
            "gave up after 2: the retry budget is used up",
            "gave up after 1: the retry budget is used up",
        ],
    ),
    Case(
        "success fills the budget",
        lambda: [Retry(backoff=STEADY, budget=RetryBudget(initial=0, refill=0, ratio=0.5))],
        [Call(0, [LOST], LOST), Call(1), Call(2), Call(3, [lost(), "ok"], ends=4)],
    ),
    Case(
        "the own budget lasts for five retries",
        retry(attempts=9),
        [Call(0, [lost(), lost(), lost(), lost(), lost(), LOST], LOST, ends=5)],
    ),
)
