"""Published: what a token bucket and a breaker save in load, and what they cost in success."""

from __future__ import annotations

from random import Random

import pytest
from sim_retry_guards import (
    LOAD_WITHIN,
    PUBLISHED,
    SUCCESS_WITHIN,
    CallFunded,
    Planned,
    one_client,
    success_and_load,
)


@pytest.mark.parametrize(("guard", "failing"), PUBLISHED)
def test_success_and_load_as_published(guard: str, failing: float) -> None:
    success, load = success_and_load(guard, failing)
    published_success, published_load = PUBLISHED[guard, failing]

    assert success == pytest.approx(published_success, abs=SUCCESS_WITHIN)
    assert load == pytest.approx(published_load, abs=LOAD_WITHIN)


@pytest.mark.parametrize("failing", [0.1, 0.5])
def test_unguarded_retries_agree_with_the_geometric_series(failing: float) -> None:
    """A check on the simulation itself, against what needs no simulation."""
    success, load = success_and_load("3 retries", failing)

    assert success == pytest.approx(1 - failing**4, abs=0.005)
    assert load == pytest.approx(sum(failing**n for n in range(4)), abs=0.015)


def test_a_dead_service_gets_exactly_four_attempts_per_unguarded_call() -> None:
    calls, attempts, successes = one_client(Planned(), 1.0, Random(1))

    assert (attempts, successes) == (4 * calls, 0)


def test_a_bucket_never_pays_out_more_than_was_paid_in() -> None:
    guard = CallFunded()
    calls, attempts, _ = one_client(guard, 1.0, Random(1))

    assert guard.budget is not None
    retries = attempts - calls
    assert retries == guard.budget.snapshot().granted
    assert 5 <= retries <= 5 + 0.1 * calls


@pytest.mark.parametrize("failing", [0.1, 0.5, 1.0])
def test_funding_by_success_adds_no_more_load_than_the_published_funding_by_call(
    failing: float,
) -> None:
    """Holdfast's own way to fill the bucket: a service that answers nothing earns no retries."""
    _, by_success = success_and_load("success-funded", failing)
    _, by_call = success_and_load("bucket", failing)

    assert by_success <= by_call + 0.005
    assert by_success <= 1.105


def test_a_dead_service_sees_only_what_the_bucket_held_at_the_start() -> None:
    """Five tokens a client, about a hundred calls each: 5 % and not one attempt more, ever."""
    _, load = success_and_load("success-funded", 1.0)

    assert load == pytest.approx(1.05, abs=0.005)
