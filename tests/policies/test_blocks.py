"""Blocks of shared policies that overlap, nest, and are left in odd places."""

from __future__ import annotations

import contextvars

import pytest

from holdfast import Bulkhead, CircuitBreaker, Fallback, UnwantedResultError
from holdfast._core.states import State
from holdfast.testing import VirtualClock


def half_open(clock: VirtualClock) -> CircuitBreaker:
    breaker = CircuitBreaker(reset_timeout=1, half_open_max_calls=2)
    breaker.isolate("to be probed", ttl=1)
    clock.advance(1)
    return breaker


def test_blocks_of_one_breaker_nest(virtual_clock: VirtualClock) -> None:
    breaker = half_open(virtual_clock)
    with breaker, breaker:
        assert breaker.snapshot().probes == 2
    assert breaker.state is State.CLOSED


def test_blocks_of_two_breakers_may_be_left_in_any_order(virtual_clock: VirtualClock) -> None:
    one, other = half_open(virtual_clock), half_open(virtual_clock)
    one.__enter__()
    other.__enter__()
    one.__enter__()
    for breaker in (one, one, other):
        breaker.__exit__(None, None, None)
    assert one.state is State.CLOSED
    assert (other.snapshot().probes, other.snapshot().late_total) == (0, 0)
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    other.__exit__(None, None, None)
    assert other.state is State.CLOSED


def test_a_block_left_in_another_context_counts_for_the_present_era(
    virtual_clock: VirtualClock,
) -> None:
    """As a thread pool may do; a lease taken there ends by expiring."""
    breaker = CircuitBreaker(failure_threshold=1)
    contextvars.copy_context().run(breaker.__enter__)
    breaker.__exit__(ConnectionResetError, ConnectionResetError(), None)
    assert breaker.state is State.OPEN


def test_a_bulkhead_does_not_mind_where_a_block_is_left() -> None:
    bulkhead = Bulkhead(max_concurrent=1)
    contextvars.copy_context().run(bulkhead.__enter__)
    assert bulkhead.snapshot().active == 1
    bulkhead.__exit__(None, None, None)
    assert bulkhead.snapshot().active == 0


def test_a_handler_that_fails_for_a_result_has_it_as_context() -> None:
    def handler(error: Exception) -> None:
        raise LookupError("no substitute")

    fallback = Fallback(handler, on_result=lambda result: True)
    with pytest.raises(LookupError) as caught:
        fallback(lambda: "private")()
    assert isinstance(caught.value.__context__, UnwantedResultError)
    assert caught.value.__context__.result == "private"
    assert "private" not in str(caught.value.__context__)
