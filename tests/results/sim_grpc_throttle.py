"""Row 7: gRPC's retry throttling, told in terms of a `RetryBudget`.

gRPC proposal A6: one token count per server name, full at the start; each failed attempt takes one
token, each success gives `tokenRatio` back, and nothing is retried while the count is at half or
below. The proposal's own example has 10 tokens and a ratio of 0.1.
"""

from __future__ import annotations

from collections.abc import Sequence

from published_figure import Figure

from holdfast import RetryBudget

MAX_TOKENS = 10
TOKEN_RATIO = 0.1


class Throttle:
    """What one gRPC client keeps for one server."""

    def __init__(self) -> None:
        self.budget = RetryBudget(
            ratio=TOKEN_RATIO,
            capacity=MAX_TOKENS,
            initial=MAX_TOKENS,
            refill=0,
            reserve=MAX_TOKENS / 2,
        )

    def failed(self) -> None:
        self.budget.charge()

    def succeeded(self) -> None:
        self.budget.deposit()

    @property
    def may_retry(self) -> bool:
        return self.budget.open


def failures_until_stop(throttle: Throttle) -> int:
    """The number of the failure in a row that is no longer followed by a retry."""
    for failure in range(1, 100):
        throttle.failed()
        if not throttle.may_retry:
            return failure
    raise AssertionError("a hundred failures in a row and still retrying")


def successes_until_resume(throttle: Throttle) -> int:
    """How many successes in a row it takes until a failure could be retried again."""
    for success in range(1, 1000):
        throttle.succeeded()
        if throttle.may_retry:
            return success
    raise AssertionError("a thousand successes in a row and still not retrying")


def figures() -> Sequence[Figure]:
    throttle = Throttle()
    stop = failures_until_stop(throttle)
    resume = successes_until_resume(throttle)
    drained = Throttle()
    for _ in range(2 * MAX_TOKENS):
        drained.failed()
    return [
        Figure(7, "failures until retries stop", stop, 5),
        Figure(7, "successes until they resume", resume, 1),
        Figure(7, "successes to resume from empty", successes_until_resume(drained), 51),
    ]
