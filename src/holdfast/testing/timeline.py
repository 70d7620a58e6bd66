"""Who takes part in virtual time, who is parked, and when time may jump.

The rule is that of discrete-event simulation: time stands still while anybody works, and when
everybody waits it jumps to the earliest moment somebody waits for. The participants are threads,
event loops and jobs in executors; each is either running or parked. The one that parks last
decides, under the lock, what happens next:

1. somebody parked has meanwhile become ready (an event was set, a loop has input): resume them;
2. otherwise move time to the earliest wake-up, ties by order of arrival, and resume that one;
3. otherwise nobody can ever go on: that is a deadlock, and the one parked longest is told so.

One participant is resumed at a time, so a run is repeatable however the operating system schedules
threads. Code that blocks in ways the clock cannot see counts as running.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass


class DeadlockError(RuntimeError):
    """Everybody on the virtual clock waits for something that will never happen."""


@dataclass(slots=True, eq=False)
class Parked:
    """A participant that waits: until when, for what, and how to reach it.

    `outcome` is None while parked; then True (it was ready), False (its time came) or the error.
    """

    until: float
    ready: Callable[[], bool]
    wake: Callable[[], None]
    describe: Callable[[], str]
    outcome: bool | DeadlockError | None = None


class Timeline:
    """Virtual time and its participants; every method may be called from any thread."""

    def __init__(self, start: float) -> None:
        self.now = start
        self.moves = 0
        """Grows whenever a participant parks, goes on or leaves."""
        self._lock = threading.Lock()
        self._members: set[int] = set()
        self._running = 0
        self._parked: list[Parked] = []  # in order of arrival

    def advance(self, seconds: float) -> None:
        """Move time by hand; whoever becomes due goes on when the others park."""
        with self._lock:
            self.now += seconds

    @contextmanager
    def taking_part(self) -> Generator[None]:
        """Count the calling thread as a participant inside the block, once however deep."""
        me = threading.get_ident()
        if me in self._members:
            yield
            return
        with self._lock:
            self._members.add(me)
        self.begin()
        try:
            yield
        finally:
            with self._lock:
                self._members.discard(me)
            self.end()

    @contextmanager
    def standing_in(self) -> Generator[None]:
        """Let the calling thread act for a participant that is counted already."""
        me = threading.get_ident()
        with self._lock:
            self._members.add(me)
        try:
            yield
        finally:
            with self._lock:
                self._members.discard(me)

    @contextmanager
    def standing_aside(self) -> Generator[None]:
        """Do not count the calling thread while it really blocks for other participants."""
        if threading.get_ident() not in self._members:
            yield
            return
        self.end()
        try:
            yield
        finally:
            self.begin()

    def is_member(self, thread: threading.Thread) -> bool:
        """Whether `thread` takes part at this moment."""
        return thread.ident in self._members

    def begin(self) -> None:
        """Count one more running participant."""
        with self._lock:
            self._running += 1

    def end(self) -> None:
        """Count one running participant less."""
        with self._lock:
            self._stop_one()

    def enter(self, *parked: Parked) -> None:
        """Let new participants in, parked: each first runs when its turn comes."""
        with self._lock:
            self._parked.extend(parked)
            self._decide()

    def park(self, parked: Parked, block: Callable[[], object]) -> bool:
        """Wait as `parked` says; True if it became ready, False if its time came.

        `block` really blocks the thread until `parked.wake` is called; if it returns earlier, the
        participant has become ready by itself.

        Raises:
            DeadlockError: nobody can ever go on.
        """
        with self.taking_part():
            try:
                with self._lock:
                    self._parked.append(parked)
                    self._stop_one()
                if parked.outcome is None:
                    block()
            finally:
                with self._lock:
                    if parked.outcome is None:
                        self._resume(parked, True)
        if isinstance(parked.outcome, DeadlockError):
            raise parked.outcome
        return parked.outcome is True

    def nudge(self) -> None:
        """Resume one participant that is due at this very moment although others still run."""
        with self._lock:
            for parked in self._parked:
                if parked.until <= self.now or parked.ready():
                    self._resume(parked, parked.until > self.now)
                    return

    def _stop_one(self) -> None:
        """The lock is held."""
        self._running -= 1
        self.moves += 1
        self._decide()

    def _decide(self) -> None:
        """Resume somebody if everybody is parked. The lock is held."""
        if self._running or not self._parked:
            return
        for parked in self._parked:
            if parked.ready():
                self._resume(parked, True)
                return
        first = min(self._parked, key=lambda parked: parked.until)
        if first.until == math.inf:
            self._resume(first, self._deadlock())
            return
        self.now = max(self.now, first.until)
        self._resume(first, False)

    def _resume(self, parked: Parked, outcome: bool | DeadlockError) -> None:
        """The lock is held."""
        self._parked.remove(parked)
        self._running += 1
        self.moves += 1
        parked.outcome = outcome
        parked.wake()

    def _deadlock(self) -> DeadlockError:
        waiting = "\n".join(f"  - {parked.describe()}" for parked in self._parked)
        return DeadlockError(
            f"deadlock at virtual time {self.now:g}: everybody waits, without a timeout, for "
            f"something that will never happen:\n{waiting}"
        )
