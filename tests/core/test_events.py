"""Telling listeners, who can never break what they listen to."""

from __future__ import annotations

import dataclasses
import logging

import pytest

from holdfast._core.events import (
    CallRejected,
    CallTimedOut,
    CircuitChanged,
    Event,
    EventHub,
    FallbackUsed,
    RetryGaveUp,
    RetryScheduled,
)
from holdfast._core.states import State

TIMED_OUT = CallTimedOut(name="dep", at=1.0, seconds=2.0)
FELL_BACK = FallbackUsed(name="dep", at=2.0, error_type="KeyError")
ALL = [
    TIMED_OUT,
    FELL_BACK,
    CallRejected(name="dep", at=1, policy="bulkhead", reason="full", retry_after=None),
    RetryScheduled(name="dep", at=1, attempt=1, delay=0.5, error_type="OSError", category=None),
    RetryGaveUp(name="dep", at=1, attempts=3, reason="attempts used up", error_type="OSError"),
    CircuitChanged(
        name="dep",
        at=1,
        source=State.CLOSED,
        target=State.OPEN,
        kind="auto",
        reason="5 failures in the window",
        retry_in=30.0,
        shadow=False,
    ),
]


@pytest.mark.parametrize("event", ALL)
def test_events_are_frozen_data(event: Event) -> None:
    assert isinstance(event, Event)
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.name = "other"  # type: ignore[misc]


def test_listeners_hear_what_they_asked_for_in_order() -> None:
    hub, heard = EventHub(), []
    hub.subscribe(lambda event: heard.append(("all", event)))
    hub.subscribe(lambda event: heard.append(("some", event)), CallTimedOut, RetryGaveUp)
    hub.emit(TIMED_OUT)
    hub.emit(FELL_BACK)
    assert heard == [("all", TIMED_OUT), ("some", TIMED_OUT), ("all", FELL_BACK)]


def test_active_only_while_somebody_listens() -> None:
    hub = EventHub()
    assert not hub.active
    stop = hub.subscribe(print)
    assert hub.active
    stop()
    assert not hub.active
    stop()


def test_the_parent_is_told_as_well() -> None:
    parent, heard = EventHub(), []
    child = EventHub(parent)
    assert not child.active
    parent.subscribe(heard.append)
    assert child.active
    child.emit(TIMED_OUT)
    assert heard == [TIMED_OUT]
    child.subscribe(heard.append)
    child.emit(FELL_BACK)
    assert heard == [TIMED_OUT, FELL_BACK, FELL_BACK]
    parent.emit(TIMED_OUT)
    assert len(heard) == 4


def test_unsubscribing_ends_one_subscription_only() -> None:
    hub, heard = EventHub(), []
    stop = hub.subscribe(heard.append)
    hub.subscribe(heard.append)
    stop()
    hub.emit(TIMED_OUT)
    assert heard == [TIMED_OUT]


def test_subscribing_while_being_told_takes_effect_with_the_next_event() -> None:
    hub, heard = EventHub(), []
    hub.subscribe(lambda event: hub.subscribe(heard.append), CallTimedOut)
    hub.emit(TIMED_OUT)
    assert heard == []
    hub.emit(FELL_BACK)
    assert heard == [FELL_BACK]


def test_a_listener_that_raises_is_counted_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub, heard = EventHub(), []

    def broken(event: Event) -> None:
        raise RuntimeError("listener down")

    stop = hub.subscribe(broken)
    hub.subscribe(heard.append)
    with caplog.at_level(logging.ERROR, "holdfast"):
        for _ in range(3):
            hub.emit(TIMED_OUT)
    assert heard == [TIMED_OUT] * 3
    assert hub.failures == 3
    (record,) = caplog.records
    assert "broken" in record.getMessage()
    assert record.exc_info is not None
    stop()
    hub.subscribe(broken)
    with caplog.at_level(logging.ERROR, "holdfast"):
        hub.emit(TIMED_OUT)
    assert len(caplog.records) == 2, "a new subscription is a new complaint"


def test_two_broken_listeners_are_both_logged(caplog: pytest.LogCaptureFixture) -> None:
    hub = EventHub()
    hub.subscribe(lambda event: 1 / 0)
    hub.subscribe(lambda event: [][0])
    with caplog.at_level(logging.ERROR, "holdfast"):
        hub.emit(TIMED_OUT)
        hub.emit(TIMED_OUT)
    assert len(caplog.records) == 2
    assert hub.failures == 4


def test_what_is_no_error_goes_through() -> None:
    """Ctrl-C during a listener still ends the program."""
    hub = EventHub()

    def interrupted(event: Event) -> None:
        raise KeyboardInterrupt

    hub.subscribe(interrupted)
    with pytest.raises(KeyboardInterrupt):
        hub.emit(TIMED_OUT)
    assert hub.failures == 0
