"""Events are told when they happen, and cost nothing where nobody listens."""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast import Bulkhead, CircuitBreaker, Fallback, Pipeline, Retry, Timeout
from holdfast._core.events import CallRejected, CircuitChanged, Event, EventHub
from holdfast._core.states import State
from holdfast.testing import VirtualClock


class NobodyListens(EventHub):
    def emit(self, event: Event) -> None:
        raise AssertionError(f"{event!r} was built for nobody")


def fail() -> None:
    raise ConnectionResetError


async def hang() -> None:
    await asyncio.sleep(60)


def test_nothing_is_built_where_nobody_listens(virtual_clock: VirtualClock) -> None:
    hub = NobodyListens()
    guarded = Pipeline(
        "guarded",
        Fallback(value="spare", events=hub),
        Retry(events=hub),
        CircuitBreaker(failure_threshold=3, events=hub),
        Bulkhead(max_concurrent=1, events=hub),
        Timeout(1, events=hub),
    )
    assert guarded.call(fail) == "spare"
    assert guarded.call(fail) == "spare"
    assert virtual_clock.run(guarded.acall(hang)) == "spare"
    assert guarded.policies[2].snapshot().state is State.OPEN
    with guarded.policies[3]:  # type: ignore[attr-defined]
        assert guarded.policies[3].try_call(fail).rejected


def test_the_operators_verbs_are_told_at_once() -> None:
    hub, heard = EventHub(), []
    hub.subscribe(heard.append)
    breaker = CircuitBreaker("payments", events=hub)
    verbs: list[tuple[Any, State]] = [
        (lambda: breaker.isolate("drill"), State.ISOLATED),
        (lambda: breaker.force_closed("drill"), State.FORCED_CLOSED),
        (lambda: breaker.disable("drill"), State.DISABLED),
        (lambda: breaker.release(), State.CLOSED),
        (lambda: breaker.observe("drill"), State.OBSERVE),
        (lambda: breaker.reset(), State.CLOSED),
    ]
    for number, (verb, target) in enumerate(verbs, 1):
        verb()
        assert len(heard) == number
        assert heard[-1].target is target
        assert (heard[-1].name, heard[-1].kind) == ("payments", "manual")


def test_the_end_of_a_mode_is_told_to_whoever_looks(virtual_clock: VirtualClock) -> None:
    hub, heard = EventHub(), []
    breaker = CircuitBreaker(events=hub)
    breaker.isolate("drill", ttl=5)
    hub.subscribe(heard.append)
    virtual_clock.advance(5)
    assert breaker.state is State.HALF_OPEN
    assert [(event.source, event.target) for event in heard] == [(State.ISOLATED, State.HALF_OPEN)]


def test_a_listener_may_ask_for_some_kinds_and_stop() -> None:
    hub = EventHub()
    changes: list[CircuitChanged] = []
    refusals: list[CallRejected] = []
    stop = hub.subscribe(changes.append, CircuitChanged)
    hub.subscribe(refusals.append, CallRejected)
    breaker = CircuitBreaker("payments", events=hub)
    breaker.isolate("drill")
    assert breaker.try_call(fail).rejected
    stop()
    breaker.release()
    assert (len(changes), len(refusals)) == (1, 1)
    assert (refusals[0].policy, refusals[0].reason) == ("circuit_breaker", "isolated")
