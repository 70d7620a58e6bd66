"""Who is told of events, and how.

Events are told after the machine's lock is released, by the thread or task in which they happened.
A listener can never break a call: one that raises is counted, logged the first time, and the call
goes on. Where nobody listens, no event is even built, nor are the classes of events loaded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast._core.events import Event

_log = logging.getLogger("holdfast")

Listener = Callable[[Any], object]


class EventHub:
    """A list of listeners, and optionally a parent that is told as well.

    Thread safe; subscribing while events are being told takes effect with the next event.
    """

    __slots__ = ("_complained", "_listeners", "_lock", "_parent", "failures")

    def __init__(self, parent: EventHub | None = None) -> None:
        self._listeners: tuple[tuple[Listener, tuple[type[Event], ...]], ...] = ()
        self._parent = parent
        self._lock = Lock()
        self._complained: set[int] = set()
        self.failures = 0
        """How often a listener raised."""

    @property
    def active(self) -> bool:
        """Whether anybody would hear an event."""
        return bool(self._listeners) or (self._parent is not None and self._parent.active)

    def subscribe(self, listener: Listener, *kinds: type[Event]) -> Callable[[], None]:
        """Tell `listener` of every event of these kinds (default: all) until the answer is called.

        The listener runs inside the call that caused the event: it should be quick, and hand on
        whatever is not. What it raises is counted in `failures` and logged once.
        """
        entry = (listener, kinds)
        with self._lock:
            self._listeners = (*self._listeners, entry)

        def unsubscribe() -> None:
            with self._lock:
                self._listeners = tuple(kept for kept in self._listeners if kept is not entry)
                self._complained.discard(id(listener))

        return unsubscribe

    def emit(self, event: Event) -> None:
        """Tell every listener, here and in the parent."""
        for listener, kinds in self._listeners:
            if not kinds or isinstance(event, kinds):
                try:
                    listener(event)
                except Exception:
                    self._complain(listener)
        if self._parent is not None:
            self._parent.emit(event)

    def _complain(self, listener: Listener) -> None:
        with self._lock:
            self.failures += 1
            first = id(listener) not in self._complained
            self._complained.add(id(listener))
        if first:
            _log.exception("listener %r raised; further failures are only counted", listener)


EVENTS = EventHub()
"""The hub of every policy that was not given one of its own."""
