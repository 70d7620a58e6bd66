"""Published: what retries under retries multiply to, and what a 10 % budget bounds them to."""

from __future__ import annotations

import asyncio

import pytest
from sim_nested import (
    FAILING,
    REQUESTS,
    SETUPS,
    TEN_PERCENT,
    Dependency,
    attempts_of_one_request,
    by_hand,
    by_holdfast,
    by_pipeline,
    in_own_process,
    load,
    simulated_clock,
    ten_percent,
    unlimited,
)

from holdfast import Retry, RetryBudget

PRODUCTS = [(4, 3, 64), (3, 5, 243)]


@pytest.mark.parametrize(("attempts", "layers", "product"), PRODUCTS)
def test_loops_written_by_hand_multiply_as_published(
    attempts: int, layers: int, product: int
) -> None:
    assert attempts_of_one_request(layers, by_hand(attempts)) == product


@pytest.mark.parametrize(("attempts", "layers"), SETUPS)
def test_nested_retries_make_the_attempts_of_one(attempts: int, layers: int) -> None:
    """The outermost retries; everything under it makes one attempt, budget or not."""
    assert attempts_of_one_request(layers, by_holdfast(attempts, unlimited)) == attempts


@pytest.mark.parametrize(("attempts", "layers"), SETUPS)
def test_nested_pipelines_make_the_attempts_of_one(attempts: int, layers: int) -> None:
    assert attempts_of_one_request(layers, by_pipeline(attempts)) == attempts


@pytest.mark.parametrize(("attempts", "layers"), SETUPS)
def test_nested_async_retries_make_the_attempts_of_one(attempts: int, layers: int) -> None:
    dead = Dependency(failing=1.0)
    clock = simulated_clock()

    async def ask() -> None:
        dead()

    for _ in range(layers):
        ask = Retry(attempts=attempts, budget=None, clock=clock)(ask)
    with pytest.raises(ConnectionResetError):
        asyncio.run(ask())

    assert dead.calls == attempts


@pytest.mark.parametrize(("attempts", "layers", "product"), PRODUCTS)
def test_whoever_asks_for_the_product_gets_it(attempts: int, layers: int, product: int) -> None:
    stubborn = by_holdfast(attempts, unlimited, retry_when_nested=True)

    assert attempts_of_one_request(layers, stubborn) == product


@pytest.mark.parametrize(("attempts", "layers", "product"), PRODUCTS)
def test_in_separate_processes_only_the_budget_stops_the_product(
    attempts: int, layers: int, product: int
) -> None:
    """What a context variable cannot do, and the reason why budgets are on by default."""
    free = in_own_process(by_holdfast(attempts, unlimited))
    budgeted = in_own_process(by_holdfast(attempts, ten_percent))

    assert attempts_of_one_request(layers, free) == product
    assert attempts_of_one_request(layers, budgeted) == 1


@pytest.mark.parametrize(("attempts", "layers"), [(3, 1), *SETUPS])
@pytest.mark.parametrize("failing", FAILING)
def test_a_ten_percent_budget_bounds_the_load_at_one_point_one(
    failing: float, attempts: int, layers: int
) -> None:
    assert load(failing, attempts, layers, ten_percent) <= TEN_PERCENT


@pytest.mark.parametrize("failing", FAILING)
def test_the_bound_comes_from_the_budget(failing: float) -> None:
    """The same without one is the plain geometric series: up to 3 × at p = 1."""
    series = 1 + failing + failing**2

    assert load(failing, 3, 1, unlimited) == pytest.approx(series, rel=0.05)


@pytest.mark.parametrize("failing", FAILING)
def test_the_default_budget_adds_its_start_and_its_trickle_and_no_more(failing: float) -> None:
    """Half of ten tokens to begin with, 0.1 a second; hardly any time passes in this run."""
    assert load(failing, 3, 1, RetryBudget) <= TEN_PERCENT + 10 / REQUESTS


@pytest.mark.parametrize(("attempts", "layers"), SETUPS)
@pytest.mark.parametrize("failing", FAILING)
def test_budgets_in_separate_processes_compound_to_their_power_at_most(
    failing: float, attempts: int, layers: int
) -> None:
    """Ten percent per process: 1.1³ = 1.33 and 1.1⁵ = 1.61, instead of 64 and 243."""
    assert load(failing, attempts, layers, ten_percent, apart=True) <= TEN_PERCENT**layers
