"""What `Bulkhead`, `Timeout` and `Fallback` do, and several policies together."""

from __future__ import annotations

from typing import Any

from holdfast import (
    Bulkhead,
    BulkheadFullError,
    CallTimeoutError,
    CircuitBreaker,
    CircuitOpenError,
    DeadlineExceededError,
    Fallback,
    RateLimitedError,
    Retry,
    Timeout,
    UnwantedResultError,
)
from policies.behaviour import ARGUMENT, Call, Case, Do, Takes
from policies.cases_retry import STEADY, broken, lost

FULL = BulkheadFullError
LOST = lost()
OWN_TIMEOUT = TimeoutError("the callee's own")


def bulkhead(**options: Any):
    return lambda: [Bulkhead(**{"max_concurrent": 1, **options})]


def busy(at: float, seconds: float, ends: float | None = None) -> Call:
    return Call(at, [Takes(seconds)], ends=at + seconds if ends is None else ends)


BULKHEAD = (
    Case(
        "a full bulkhead refuses at once",
        bulkhead(max_concurrent=2),
        [busy(0, 5), busy(1, 5), Call(2, [], FULL), Call(5.5)],
        snapshot={"active": 0, "limit": 2, "rejected_total": 1, "waited_total": 0},
        events=["rejected by bulkhead: full"],
    ),
    Case(
        "ten places by default",
        lambda: [Bulkhead()],
        [*(busy(at / 10, 5) for at in range(10)), Call(2, [], FULL)],
    ),
    Case(
        "the place comes back however the call ends",
        bulkhead(),
        [Call(0, [LOST], LOST), Call(1, [ValueError()], ValueError), Call(2)],
        snapshot={"active": 0},
    ),
    Case(
        "the queue is first come first served",
        bulkhead(max_queue=3),
        [busy(0, 5), busy(1, 5, 10), busy(2, 5, 15), busy(3, 5, 20)],
        snapshot={"active": 0, "waited_total": 3, "longest_queue": 3, "rejected_total": 0},
        events=[],
    ),
    Case(
        "a full queue refuses",
        bulkhead(max_queue=1),
        [busy(0, 5), busy(1, 1, 6), Call(2, [], FULL)],
        snapshot={"rejected_total": 1},
    ),
    Case(
        "nobody waits longer than max_wait",
        bulkhead(max_queue=2, max_wait=2),
        [busy(0, 5), Call(1, [], FULL, ends=3), busy(4, 1, 6)],
        snapshot={"active": 0, "queued": 0, "rejected_total": 1},
        events=["rejected by bulkhead: waited too long"],
    ),
    Case(
        "max_wait may be 0",
        bulkhead(max_queue=2, max_wait=0),
        [busy(0, 5), Call(1, [], FULL), Call(6)],
    ),
    Case(
        "nobody waits past the deadline",
        bulkhead(max_queue=2),
        [busy(0, 5), Call(1, [], DeadlineExceededError, ends=2.5, within=1.5), Call(6)],
        snapshot={"active": 0, "queued": 0},
    ),
    Case(
        "the nearer of max_wait and deadline counts",
        bulkhead(max_queue=2, max_wait=1),
        [busy(0, 5), Call(1, [], FULL, ends=2, within=2), Call(6)],
    ),
    Case(
        "nobody joins a queue after the deadline",
        bulkhead(max_queue=2),
        [busy(0, 5), Call(1, [], DeadlineExceededError, within=0)],
        snapshot={"waited_total": 0},
    ),
    Case(
        "a bulkhead can grow, which lets waiters in",
        bulkhead(max_queue=3),
        [
            busy(0, 5),
            busy(1, 5, 8),
            busy(2, 5, 8),
            Do(3, lambda bulkhead: bulkhead.resize(max_concurrent=3)),
        ],
        snapshot={"limit": 3, "active": 0},
    ),
    Case(
        "a bulkhead can shrink, which leaves running calls alone",
        bulkhead(max_concurrent=2, max_queue=3),
        [
            busy(0, 5),
            busy(1, 5),
            Do(2, lambda bulkhead: bulkhead.resize(max_concurrent=1, max_queue=1)),
            busy(3, 5, 11),
            Call(4, [], FULL),
        ],
        snapshot={"limit": 1, "max_queue": 1, "active": 0},
    ),
)


def limit(seconds: float = 2.0, **options: Any):
    return lambda: [Timeout(seconds, **options)]


TIMEOUT = (
    Case(
        "timeout leaves a quick call alone",
        limit(),
        [Call(0), Call(1, [Takes(1.9)], ends=2.9), Call(4, [Takes(1, LOST)], LOST, ends=5)],
        snapshot={"seconds": 2.0, "timed_out_total": 0, "abandoned": 0},
        events=[],
    ),
    Case(
        "timeout cuts off what waits",
        limit(),
        [Call(0, [Takes(2.1)], CallTimeoutError, ends=2)],
        snapshot={"timed_out_total": 1},
        events=["timed out after 2"],
        only="async",
    ),
    Case(
        "timeout cannot cut off sync code, whose late result still counts",
        limit(),
        [Call(0, [Takes(9)], ends=9)],
        snapshot={"timed_out_total": 0},
        events=[],
        only="sync",
    ),
    Case(
        "the callee's own TimeoutError is not ours",
        limit(),
        [Call(0, [OWN_TIMEOUT], OWN_TIMEOUT), Call(1, [Takes(1, OWN_TIMEOUT)], OWN_TIMEOUT, 2)],
        snapshot={"timed_out_total": 0},
    ),
    Case(
        "a nearer deadline shortens the limit",
        limit(),
        [Call(0, [Takes(9)], CallTimeoutError, ends=0.5, within=0.5)],
        events=["timed out after 0.5"],
        only="async",
    ),
    Case(
        "a later deadline does not lengthen it",
        limit(),
        [Call(0, [Takes(9)], CallTimeoutError, ends=2, within=5)],
        only="async",
    ),
    Case(
        "timeout starts nothing after the deadline",
        limit(),
        [Call(0, [], DeadlineExceededError, within=0)],
        snapshot={"timed_out_total": 0},
    ),
)


def answer(handler: Any = None, **options: Any):
    return lambda: [Fallback(handler, **options)]


def _explain(error: Exception, *arguments: Any) -> str:
    assert arguments[-1] == ARGUMENT
    return f"instead of {type(error).__name__}"


def _name_result(error: Exception, *arguments: Any) -> str:
    assert isinstance(error, UnwantedResultError)
    return f"instead of {error.result}"


def _fail(error: Exception, *arguments: Any) -> str:
    raise LookupError("no substitute either")


FALLBACK = (
    Case(
        "fallback leaves a success alone",
        answer(value="spare"),
        [Call(0)],
        snapshot={"used_total": 0, "failed_total": 0},
        events=[],
    ),
    Case(
        "fallback answers with a value",
        answer(value="spare"),
        [Call(0, [LOST], "spare"), Call(1, [Exception()], "spare")],
        snapshot={"used_total": 2},
        events=["fallback for ConnectionResetError", "fallback for Exception"],
    ),
    Case("None is a value", answer(value=None), [Call(0, [LOST], None)]),
    Case(
        "a handler gets the error and the arguments",
        answer(_explain),
        [Call(0, [LOST], "instead of ConnectionResetError")],
    ),
    Case(
        "fallback leaves permanent errors alone",
        answer(value="spare"),
        [Call(0, [KeyError()], KeyError)],
        snapshot={"used_total": 0},
    ),
    Case(
        "fallback answers what is named",
        answer(value="spare", on=KeyError),
        [Call(0, [KeyError()], "spare"), Call(1, [LOST], LOST)],
    ),
    Case(
        "a broken predicate of a fallback leaves the defaults in force",
        answer(value="spare", on=broken),
        [Call(0, [LOST], "spare"), Call(1, [KeyError()], KeyError)],
    ),
    Case(
        "fallback replaces unwanted results",
        answer(_name_result, on_result=lambda result: result == "bad"),
        [Call(0), Call(1, ["bad"], "instead of bad")],
        snapshot={"used_total": 1},
        events=["fallback for UnwantedResultError"],
    ),
    Case(
        "a broken judge of a fallback loses no result",
        answer(value="spare", on_result=broken),
        [Call(0), Call(1)],
    ),
    Case(
        "a handler that fails too is heard",
        answer(_fail),
        [Call(0, [LOST], LookupError)],
        snapshot={"used_total": 0, "failed_total": 1},
        events=[],
    ),
)

COMPOSED = (
    Case(
        "an open circuit ends the retries with the real error",
        lambda: [Retry(attempts=9, backoff=STEADY), CircuitBreaker(failure_threshold=2)],
        [Call(0, [lost(), LOST], LOST, ends=2), Call(3, [], CircuitOpenError)],
        snapshot={"attempts_total": 4, "failed_with_retry": 1, "failed_without_retry": 1},
    ),
    Case(
        "a full bulkhead teaches the breaker nothing",
        lambda: [CircuitBreaker(failure_threshold=1), Bulkhead(max_concurrent=1)],
        [busy(0, 5), Call(1, [], FULL), Call(2, [], FULL), Call(6)],
        snapshot={"failures_total": 0, "ignored_total": 2, "successes_total": 2},
    ),
    Case(
        "an open circuit takes no place",
        lambda: [Bulkhead(max_concurrent=1), CircuitBreaker(failure_threshold=1)],
        [Call(0, [LOST], LOST), Call(1, [], CircuitOpenError), Call(2, [], CircuitOpenError)],
        snapshot={"active": 0, "rejected_total": 0},
    ),
    Case(
        "a queue in front of a breaker moves on",
        lambda: [Bulkhead(max_concurrent=1, max_queue=2), CircuitBreaker()],
        [busy(0, 2), busy(0.5, 2, 4), Call(1, [Takes(1, LOST)], LOST, ends=5)],
        snapshot={"active": 0, "waited_total": 2},
    ),
    Case(
        "a queue behind a breaker moves on",
        lambda: [CircuitBreaker(), Bulkhead(max_concurrent=1, max_queue=2)],
        [busy(0, 2), busy(0.5, 2, 4), Call(1, [Takes(1, LOST)], LOST, ends=5)],
        snapshot={"successes_total": 2, "failures_total": 1},
    ),
    Case(
        "one gate and a timeout",
        lambda: [CircuitBreaker(failure_threshold=1), Timeout(2)],
        [Call(0), Call(1, [], DeadlineExceededError, within=0), Call(2, [Takes(1)], ends=3)],
        snapshot={"successes_total": 2, "ignored_total": 1},
    ),
    Case(
        "two gates and a timeout",
        lambda: [Bulkhead(max_concurrent=1), CircuitBreaker(failure_threshold=1), Timeout(2)],
        [Call(0), Call(1, [], DeadlineExceededError, within=0), Call(2, [Takes(1)], ends=3)],
        snapshot={"active": 0, "rejected_total": 0},
    ),
    Case(
        "each attempt gets its own time",
        lambda: [Retry(attempts=3, backoff=STEADY), Timeout(2)],
        [Call(0, [Takes(9), Takes(9), Takes(1)], ends=7)],
        only="async",
    ),
    Case(
        "a time-out is a failure to the breaker",
        lambda: [CircuitBreaker(failure_threshold=2), Timeout(2)],
        [
            Call(0, [Takes(9)], CallTimeoutError, ends=2),
            Call(3, [Takes(9)], CallTimeoutError, ends=5),
            Call(6, [], CircuitOpenError),
        ],
        only="async",
    ),
    Case(
        "a total timeout is the deadline of the retry",
        lambda: [Timeout(2.5), Retry(attempts=9, backoff=STEADY), Timeout(1.2)],
        [Call(0, [lost(), lost(), LOST], LOST, ends=2)],
    ),
    Case(
        "a fallback in front answers refusals too",
        lambda: [Fallback(value="spare"), CircuitBreaker(failure_threshold=1)],
        [Call(0, [LOST], "spare"), Call(1, [], "spare")],
        snapshot={"used_total": 2},
    ),
    Case(
        "but not those it is not to answer",
        lambda: [Fallback(value="spare", on=ConnectionError), CircuitBreaker(failure_threshold=1)],
        [Call(0, [LOST], "spare"), Call(1, [], CircuitOpenError)],
    ),
    Case(
        "a named refusal is waited out",
        lambda: [
            Retry(attempts=3, backoff=STEADY, on=(BulkheadFullError,)),
            Bulkhead(max_concurrent=1),
        ],
        [busy(0, 1.5), Call(0.5, ends=1.5), busy(3, 9), Call(4, [], FULL, ends=6)],
        snapshot={"success_with_retry": 1, "failed_with_retry": 1},
    ),
    Case(
        "the everyday stack",
        lambda: [
            Fallback(value="spare", on=RateLimitedError),
            Retry(attempts=2, backoff=STEADY),
            CircuitBreaker(failure_threshold=3),
            Bulkhead(max_concurrent=2, max_queue=1),
            Timeout(2),
        ],
        [
            Call(0),
            Call(1, [lost(), "ok"], ends=2),
            busy(3, 1.5),
            busy(3.1, 1.5),
            busy(3.2, 1.5, 6.0),
            Call(3.3, [], FULL),
            Call(7, [lost(), LOST], LOST, ends=8),
            Call(9, [], CircuitOpenError),
        ],
    ),
)
