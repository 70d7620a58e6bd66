"""Published: when gRPC's retry throttling stops retries, and when it lets them go on."""

from __future__ import annotations

from random import Random

import pytest
from sim_grpc_throttle import MAX_TOKENS, Throttle, failures_until_stop, successes_until_resume


def test_retries_go_on_through_four_failures_and_stop_at_the_fifth() -> None:
    throttle = Throttle()
    retried = []
    for _ in range(8):
        throttle.failed()
        retried.append(throttle.may_retry)

    assert retried == [True] * 4 + [False] * 4


def test_one_success_after_the_fifth_failure_resumes_them() -> None:
    throttle = Throttle()
    assert failures_until_stop(throttle) == 5

    assert successes_until_resume(throttle) == 1


@pytest.mark.parametrize(("failures", "successes"), [(5, 1), (6, 11), (7, 21), (10, 51), (50, 51)])
def test_every_further_failure_costs_ten_successes_down_to_an_empty_count(
    failures: int, successes: int
) -> None:
    throttle = Throttle()
    for _ in range(failures):
        throttle.failed()

    assert successes_until_resume(throttle) == successes


def test_successes_never_fill_it_above_its_maximum() -> None:
    throttle = Throttle()
    for _ in range(1000):
        throttle.succeeded()

    assert throttle.budget.tokens == MAX_TOKENS
    assert failures_until_stop(throttle) == 5


@pytest.mark.parametrize(("successes_between", "goes_on"), [(10, True), (9, False)])
def test_retries_last_while_successes_outweigh_failures_ten_to_one(
    successes_between: int, goes_on: bool
) -> None:
    throttle = Throttle()
    retried = []
    for _ in range(1000):
        throttle.failed()
        retried.append(throttle.may_retry)
        for _ in range(successes_between):
            throttle.succeeded()

    assert all(retried) is goes_on


@pytest.mark.parametrize("seed", range(40))
def test_agrees_with_whole_thousandths_of_a_token_through_any_history(seed: int) -> None:
    """gRPC's implementations count in thousandths; sums of 0.1 in floats must not differ."""
    draw = Random(seed).random
    throttle = Throttle()
    thousandths = 10_000
    for _ in range(400):
        if draw() < 0.09:
            throttle.failed()
            thousandths = max(0, thousandths - 1000)
        else:
            throttle.succeeded()
            thousandths = min(10_000, thousandths + 100)
        assert throttle.may_retry is (thousandths > 5_000)
