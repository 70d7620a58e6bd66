"""The retry budget against exact fractions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast._core.budget import Budget
from holdfast._core.snapshots import BudgetSnapshot
from holdfast.errors import ConfigurationError

HAIR = Fraction(1, 10**9)

decimals = st.integers(0, 10).map(lambda tenths: Fraction(tenths, 10))
moves = st.lists(
    st.one_of(
        st.just(("deposit", None)),
        st.tuples(st.just("deposit"), decimals),
        st.tuples(st.just("charge"), st.sampled_from([Fraction(1), Fraction(1, 2), Fraction(0)])),
        st.tuples(st.just("withdraw"), st.sampled_from([Fraction(1), Fraction(1, 2), Fraction(2)])),
        st.tuples(st.just("pass"), st.sampled_from([Fraction(1, 2), Fraction(7), Fraction(10**5)])),
    ),
    max_size=60,
)


class Purse:
    """The budget as its documentation tells it, in exact numbers."""

    def __init__(self, ratio: Fraction, capacity: Fraction, refill: Fraction, reserve: Fraction):
        self.ratio, self.capacity, self.refill, self.reserve = ratio, capacity, refill, reserve
        self.tokens = capacity / 2
        self.asked_at: Fraction | None = None
        self.answers: list[bool] = []

    def deposit(self, tokens: Fraction | None) -> None:
        self.tokens = min(self.capacity, self.tokens + (self.ratio if tokens is None else tokens))

    def charge(self, cost: Fraction) -> None:
        self.tokens = max(Fraction(0), self.tokens - cost)

    def withdraw(self, now: Fraction, cost: Fraction) -> bool:
        if self.asked_at is not None:
            self.deposit((now - self.asked_at) * self.refill)
        self.asked_at = now
        self.answers.append(self.tokens - cost >= self.reserve)
        if self.answers[-1]:
            self.tokens -= cost
        return self.answers[-1]


@given(
    ratio=decimals,
    capacity=st.sampled_from([Fraction(1), Fraction(5, 2), Fraction(10)]),
    refill=st.sampled_from([Fraction(0), Fraction(1, 10), Fraction(3)]),
    share=st.sampled_from([Fraction(0), Fraction(1, 2), Fraction(1)]),
    moves=moves,
)
def test_agrees_with_exact_fractions(
    ratio: Fraction, capacity: Fraction, refill: Fraction, share: Fraction, moves: list[Any]
) -> None:
    purse = Purse(ratio, capacity, refill, share * capacity)
    budget = Budget(
        ratio=float(ratio),
        capacity=float(capacity),
        refill=float(refill),
        reserve=float(share * capacity),
    )
    now = Fraction(500)
    for move, amount in moves:
        if move == "deposit":
            budget.deposit(None if amount is None else float(amount))
            purse.deposit(amount)
        elif move == "charge":
            budget.charge(float(amount))
            purse.charge(amount)
        elif move == "withdraw":
            assert budget.withdraw(float(now), float(amount)) is purse.withdraw(now, amount)
        else:
            now += amount
        assert 0 <= budget.tokens <= capacity
        assert abs(Fraction(budget.tokens) - purse.tokens) < HAIR
        assert budget.open is (purse.tokens > purse.reserve)
        assert not budget.full or purse.tokens > capacity - HAIR, "full means nothing to gain"
        granted = sum(purse.answers)
        assert budget.snapshot() == BudgetSnapshot(
            budget.tokens, float(capacity), granted, len(purse.answers) - granted
        )


class TestDefaults:
    def test_starts_half_full_and_pays_one_retry_for_ten_successes(self) -> None:
        budget = Budget(refill=0)
        assert (budget.tokens, budget.capacity) == (5.0, 10.0)
        assert [budget.withdraw(0.0) for _ in range(6)] == [True] * 5 + [False]
        for _ in range(10):
            assert not budget.withdraw(0.0)
            budget.deposit()
        assert budget.withdraw(0.0)
        assert not budget.withdraw(0.0)

    def test_trickles_a_token_in_every_ten_seconds(self) -> None:
        budget = Budget(initial=0)
        assert not budget.withdraw(100.0)
        assert not budget.withdraw(109.0)
        assert budget.withdraw(110.0)
        assert not budget.withdraw(110.0)

    def test_nothing_trickles_in_before_the_first_request(self) -> None:
        assert not Budget(initial=0).withdraw(1e9)

    def test_the_reserve_is_never_paid_out(self) -> None:
        budget = Budget(capacity=4, initial=4, reserve=2, refill=0)
        assert [budget.withdraw(0.0) for _ in range(3)] == [True, True, False]
        assert budget.tokens == 2
        assert not budget.open
        budget.charge()
        assert budget.tokens == 1


class TestFull:
    def test_says_when_a_deposit_changes_nothing(self) -> None:
        budget = Budget(capacity=1, initial=1, refill=0)
        assert budget.full
        assert budget.withdraw(0.0, 0.05)
        assert not budget.full
        budget.deposit()
        assert budget.full
        budget.charge()
        assert not budget.full

    def test_a_new_budget_is_not(self) -> None:
        assert not Budget().full


class TestOpen:
    """gRPC allows a retry only while more than the reserve is left."""

    def test_exactly_the_reserve_is_not_enough(self) -> None:
        assert not Budget(capacity=10, initial=5, reserve=5).open
        assert Budget(capacity=10, initial=5.1, reserve=5).open

    def test_an_empty_budget_without_reserve_is_closed(self) -> None:
        assert not Budget(initial=0).open


def test_time_that_goes_back_a_little_takes_nothing_away() -> None:
    """Two threads may read the clock in one order and arrive in the other."""
    budget = Budget(initial=1.5, refill=1)
    assert budget.withdraw(10.0)
    assert not budget.withdraw(9.75)
    assert budget.tokens == 0.5


@pytest.mark.parametrize("seconds", [0.25, 0.5])
def test_time_that_goes_back_is_not_paid_twice(seconds: float) -> None:
    budget = Budget(initial=0, refill=1)
    for _ in range(50):
        budget.withdraw(10.0, 10)
        budget.withdraw(10.0 - seconds, 10)
    assert budget.tokens == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": -0.1}, "ratio must be a finite number of at least 0, at most 1, not -0.1"),
        ({"ratio": 1.5}, "ratio must be a finite number of at least 0, at most 1, not 1.5"),
        ({"capacity": 0}, "capacity must be a finite number greater than 0, not 0"),
        ({"refill": -1}, "refill must be a finite number of at least 0, not -1"),
        ({"reserve": 11}, "reserve must be a finite number of at least 0, at most 10, not 11"),
        ({"reserve": -1}, "reserve must be a finite number of at least 0, at most 10, not -1"),
        ({"initial": 11}, "initial must be a finite number of at least 0, at most 10, not 11"),
        ({"initial": -1}, "initial must be a finite number of at least 0, at most 10, not -1"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Budget(**options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "options", [{"ratio": 0}, {"ratio": 1}, {"refill": 0}, {"reserve": 10}, {"initial": 10}]
)
def test_bounds_are_allowed(options: dict[str, Any]) -> None:
    Budget(**options)
