"""Outcomes: values, errors and refusals as data."""

from __future__ import annotations

import pytest

from holdfast import errors
from holdfast._core.outcome import Failure, Outcome, Rejection, Success, Verdict


def test_a_success_has_a_value() -> None:
    outcome: Outcome[int] = Success(42)
    assert (outcome.ok, outcome.rejected, outcome.error) == (True, False, None)
    assert (outcome.unwrap(), outcome.value_or(0)) == (42, 42)
    assert repr(outcome) == "Success(42)"


@pytest.mark.parametrize("value", [None, 0, False])
def test_a_success_with_a_falsy_value_is_still_one(value: object) -> None:
    assert Success(value).value_or("other") is value


def test_a_failure_has_the_error_that_was_raised() -> None:
    error = KeyError("x")
    outcome = Failure(error)
    assert (outcome.ok, outcome.rejected, outcome.value_or("default")) == (False, False, "default")
    assert outcome.error is error
    assert repr(outcome) == "Failure(KeyError('x'))"
    with pytest.raises(KeyError) as caught:
        outcome.unwrap()
    assert caught.value is error


@pytest.mark.parametrize(
    ("policy", "kind"),
    [
        ("circuit_breaker", errors.CircuitOpenError),
        ("bulkhead", errors.BulkheadFullError),
        ("deadline", errors.DeadlineExceededError),
        ("budget", errors.BudgetExhaustedError),
        ("rate_limit", errors.RateLimitedError),
    ],
)
def test_a_rejection_builds_its_error_on_demand(
    policy: str, kind: type[errors.RejectedError]
) -> None:
    outcome = Rejection(policy, "dep", "full", 1.5)
    assert (outcome.ok, outcome.rejected, outcome.value_or(7)) == (False, True, 7)
    error = outcome.error
    assert type(error) is kind
    assert (error.policy, error.name, error.reason, error.retry_after) == (
        policy,
        "dep",
        "full",
        1.5,
    )
    assert outcome.error is error
    with pytest.raises(kind) as caught:
        outcome.unwrap()
    assert caught.value is error


def test_each_rejection_has_an_error_of_its_own() -> None:
    one, other = (Rejection("bulkhead", "dep", "full") for _ in range(2))
    assert one.error is not other.error
    assert one.retry_after is None
    assert repr(one) == "Rejection('bulkhead', 'dep', 'full', None)"


def test_three_verdicts() -> None:
    assert [verdict.value for verdict in Verdict] == ["success", "failure", "ignored"]
