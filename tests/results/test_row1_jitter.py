"""Published: what four ways to wait, and not waiting, cost a hundred contending clients."""

from __future__ import annotations

from random import Random

import pytest
from sim_occ import POLICIES, PUBLISHED, averages, contend


@pytest.fixture(scope="module")
def measured() -> dict[str, tuple[float, float]]:
    return {policy: averages(policy) for policy in PUBLISHED}


@pytest.mark.parametrize("policy", PUBLISHED)
def test_calls_within_three_and_time_within_six_percent(
    policy: str, measured: dict[str, tuple[float, float]]
) -> None:
    calls, time = measured[policy]
    published_calls, published_time = PUBLISHED[policy]

    assert calls == pytest.approx(published_calls, rel=0.03)
    assert time == pytest.approx(published_time, rel=0.06)


@pytest.mark.parametrize("column", [0, 1], ids=["calls", "time"])
def test_the_policies_rank_as_published(
    column: int, measured: dict[str, tuple[float, float]]
) -> None:
    ours = sorted(PUBLISHED, key=lambda policy: measured[policy][column])
    published = sorted(PUBLISHED, key=lambda policy: PUBLISHED[policy][column])

    assert ours == published


def test_full_jitter_more_than_halves_the_calls_of_plain_exponential_backoff(
    measured: dict[str, tuple[float, float]],
) -> None:
    """The article's headline, and why `full` is the default."""
    assert measured["full"][0] < measured["exponential"][0] / 2


@pytest.mark.parametrize("policy", POLICIES)
def test_a_client_alone_writes_once_and_never_waits(policy: str) -> None:
    """A check on the simulation itself: without contention every policy is the same."""
    calls, finished = contend(POLICIES[policy], clients=1, rng=Random(7))

    assert calls == 1
    assert 20 < finished < 60  # four legs of |N(10, 2)| ms


def test_contending_clients_repeat_each_others_work() -> None:
    """Another check on it: one write wins per interval from read to write, the others repeat."""
    calls, _ = contend(None, clients=20, rng=Random(7))

    assert calls > 2 * 20
