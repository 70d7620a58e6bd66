"""How a retry counts the ends of its calls."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holdfast._core.budget import Budget
from holdfast._core.snapshots import BudgetSnapshot, RetrySnapshot
from holdfast._core.tally import MOST_WINS, RetryTally


def test_nothing_has_happened_yet() -> None:
    assert RetryTally(None).snapshot("dep") == RetrySnapshot("dep", 0, 0, 0, 0, 0, 0, None)


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (lambda tally: tally.first_try(), (1, 1, 1, 0, 0, 0)),
        (lambda tally: tally.over(3, ok=True), (1, 3, 0, 1, 0, 0)),
        (lambda tally: tally.over(1, ok=False), (1, 1, 0, 0, 1, 0)),
        (lambda tally: tally.over(2, ok=False), (1, 2, 0, 0, 0, 1)),
    ],
)
def test_each_end_is_counted_once(
    act: Callable[[RetryTally], object], expected: tuple[int, ...]
) -> None:
    tally = RetryTally(None)
    act(tally)
    assert tally.snapshot("dep") == RetrySnapshot("dep", *expected, None)
    act(tally)
    doubled = tuple(2 * part for part in expected)
    assert tally.snapshot("dep") == RetrySnapshot("dep", *doubled, None)


def test_every_success_pays_into_the_budget_and_no_failure_does() -> None:
    budget = Budget(initial=0, ratio=0.5, refill=0)
    tally = RetryTally(budget)
    tally.over(2, ok=False)
    tally.over(1, ok=False)
    assert budget.tokens == 0
    tally.first_try()
    assert budget.tokens == 0.5
    tally.over(2, ok=True)
    assert budget.tokens == 1
    assert tally.snapshot("dep").budget == BudgetSnapshot(1.0, 10.0, 0, 0)


def test_a_full_budget_is_left_alone() -> None:
    budget = Budget(capacity=1, initial=1)
    RetryTally(budget).first_try()
    assert budget.tokens == 1


def test_plain_successes_are_folded_and_take_bounded_memory() -> None:
    tally = RetryTally(None)
    for _ in range(5 * MOST_WINS + 7):
        tally.first_try()
        assert len(tally.wins) <= MOST_WINS
    assert tally.snapshot("dep").success_without_retry == 5 * MOST_WINS + 7
    assert tally.wins == []
