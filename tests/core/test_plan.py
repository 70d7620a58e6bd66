"""A retry's plan: what it asks, in which order, and what it answers."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast._core.backoff import Backoff
from holdfast._core.budget import Budget
from holdfast._core.plan import Plan, RetryOptions, Stop, Wait

STARTED = 100.0
STEADY = Backoff(base=1.0, growth="exponential", jitter="none")


def plan(
    attempts: int = 5,
    *,
    backoff: Backoff = STEADY,
    max_elapsed: float | None = None,
    max_retry_after: float = 30.0,
    budget: Budget | None = None,
    random: Any = lambda: 0.5,
) -> Plan:
    options = RetryOptions(attempts, backoff, max_elapsed, max_retry_after, budget)
    return Plan(options, STARTED, random)


def after(plan: Plan, now: float = STARTED, **answer: Any) -> Wait | Stop:
    return plan.next(now, **{"retryable": True, **answer})


def test_attempts_include_the_first() -> None:
    three = plan(3)
    assert (three.failed, three.delay) == (0, None)
    assert [after(three) for _ in range(3)] == [Wait(1.0), Wait(2.0), Stop("attempts used up")]
    assert (three.failed, three.delay) == (3, 2.0)


def test_one_attempt_is_no_retry() -> None:
    assert after(plan(1)) == Stop("attempts used up")


def test_an_error_that_is_not_retried_stops_at_once() -> None:
    single = plan()
    assert after(single, retryable=False) == Stop("this error is not retried")
    assert single.failed == 1


class TestRetryAfter:
    def test_is_the_least_to_wait(self) -> None:
        asked = plan()
        assert after(asked, retry_after=7.0) == Wait(7.0)
        assert asked.delay == 7.0
        assert after(asked, retry_after=0.5) == Wait(2.0)

    def test_longer_than_allowed_stops_instead_of_coming_back_too_early(self) -> None:
        assert after(plan(max_retry_after=30), retry_after=30.0) == Wait(30.0)
        assert after(plan(max_retry_after=30), retry_after=31.0) == Stop(
            "asked to stay away for 31 s"
        )

    def test_is_what_decorrelated_jitter_goes_on_from(self) -> None:
        wandering = plan(backoff=Backoff(base=1.0, cap=100, jitter="decorrelated"))
        assert after(wandering, retry_after=9.0) == Wait(9.0)
        assert after(wandering) == Wait(1 + 26 / 2)


class TestTime:
    def test_a_wait_that_ends_at_the_deadline_is_too_long(self) -> None:
        stop = Stop("the deadline leaves no time for another attempt")
        assert after(plan(), deadline=STARTED + 1.0) == stop
        assert after(plan(), deadline=STARTED + 1.25) == Wait(1.0)
        assert after(plan(), deadline=STARTED + 5.0, retry_after=5.0) == stop

    def test_max_elapsed_counts_from_the_start_of_the_call(self) -> None:
        stop = Stop("max_elapsed leaves no time for another attempt")
        assert after(plan(max_elapsed=4.0), STARTED + 3.0) == Wait(1.0)
        assert after(plan(max_elapsed=4.0), STARTED + 3.25) == stop


class TestBudget:
    def test_pays_for_each_further_attempt(self) -> None:
        budget = Budget(initial=1, refill=0)
        answers = [after(plan(budget=budget)) for _ in range(2)]
        assert answers == [Wait(1.0), Stop("the retry budget is used up")]
        assert (budget.snapshot().granted, budget.snapshot().refused) == (1, 1)

    def test_a_refused_plan_keeps_its_last_delay(self) -> None:
        broke = plan(budget=Budget(initial=0, refill=0))
        after(broke)
        assert broke.delay is None

    @pytest.mark.parametrize(
        "answer",
        [{"retryable": False}, {"retry_after": 99.0}, {"deadline": STARTED}, {"now": STARTED + 50}],
    )
    def test_pays_nothing_for_an_attempt_that_is_not_made(self, answer: dict[str, Any]) -> None:
        budget = Budget(refill=0)
        assert isinstance(after(plan(budget=budget, max_elapsed=20), **answer), Stop)
        assert budget.tokens == 5.0

    def test_pays_nothing_when_the_attempts_are_used_up(self) -> None:
        budget = Budget(refill=0)
        after(plan(1, budget=budget))
        assert budget.tokens == 5.0

    def test_is_refilled_by_the_clock_of_the_call(self) -> None:
        budget = Budget(initial=0, refill=1)
        assert isinstance(after(plan(budget=budget), STARTED), Stop)
        assert after(plan(budget=budget), STARTED + 1) == Wait(1.0)


def test_randomness_is_drawn_from_what_was_given() -> None:
    full = Backoff(base=1.0, jitter="full")
    assert after(plan(backoff=full, random=lambda: 0.25)) == Wait(0.25)


def test_two_plans_share_nothing_but_their_options() -> None:
    options = RetryOptions(3, STEADY, None, 30.0, None)
    one, other = (Plan(options, STARTED, lambda: 0.5) for _ in range(2))
    after(one)
    assert after(one) == Wait(2.0)
    assert after(other) == Wait(1.0)
