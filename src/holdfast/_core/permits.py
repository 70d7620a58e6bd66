"""The bulkhead's machine: a number of places and a bounded queue for them, first come first served.

A place that comes free while somebody waits is handed to the head of the queue in the same locked
step, so it can neither be taken by a passer-by nor get lost on the way. Whoever gives up waiting
says so with `abandon`, which knows whether the place had already been handed over; both orders of
that race end with the place given back exactly once.

The machine is shared by threads and event loops alike; it only knows that a waiter can be woken.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from holdfast._core import fork


class Place:
    """The permit of everybody admitted in one life of the process; a fork starts another."""

    __slots__ = ()


class Waiter:
    """Somebody in the queue; `wake` is called, without the lock, once a place is theirs."""

    __slots__ = ("granted", "wake")

    def __init__(self, wake: Callable[[], object]) -> None:
        self.wake = wake
        self.granted: Place | None = None


@dataclass(frozen=True, slots=True)
class BulkheadSnapshot:
    """A bulkhead at one moment: places and queue now, totals since the beginning."""

    name: str
    active: int
    limit: int
    queued: int
    max_queue: int
    admitted_total: int
    rejected_total: int
    waited_total: int
    longest_queue: int


class Permits:
    """`limit` places and a queue of at most `max_queue`. Thread safe."""

    __slots__ = (
        "__weakref__",
        "_acquire",
        "_admitted",
        "_lock",
        "_longest",
        "_queue",
        "_rejected",
        "_release",
        "_returned",
        "_waited",
        "limit",
        "max_queue",
        "orphans",
        "place",
    )

    def __init__(self, limit: int, max_queue: int) -> None:
        self.limit = limit
        self.max_queue = max_queue
        self.orphans: list[Place | Waiter] = []
        self.place = Place()
        self._queue: OrderedDict[Waiter, None] | None = None
        self._admitted = 0
        self._returned = 0
        self._rejected = 0
        self._waited = 0
        self._longest = 0
        self._new_lock()
        fork.watch(self)

    def _new_lock(self) -> None:
        self._lock = Lock()
        self._acquire = self._lock.acquire
        self._release = self._lock.release

    @property
    def active(self) -> int:
        """Places taken now."""
        return self._admitted - self._returned

    def take(self) -> Place | None:
        """A place if one is free and nobody was here before; else None."""
        try:
            self._acquire()
            if self._admitted - self._returned < self.limit and not self._queue:
                self._admitted += 1
                return self.place
            return None
        finally:
            self._release()

    def enqueue(self, waiter: Waiter) -> bool:
        """Join the queue; False if it is full. A place may be granted at once."""
        try:
            self._acquire()
            queue = self._queue
            if queue is None:
                queue = self._queue = OrderedDict()
            if self.active < self.limit and not queue:
                self._admitted += 1
                waiter.granted = self.place
                return True
            if len(queue) >= self.max_queue:
                self._rejected += 1
                return False
            queue[waiter] = None
            self._waited += 1
            self._longest = max(self._longest, len(queue))
            return True
        finally:
            self._release()

    def give_back(self, place: Place) -> Waiter | None:
        """Return a place. Whoever is named in the answer now has it and must be woken."""
        try:
            self._acquire()
            if self._queue or place is not self.place:
                return self._pass_on(place)
            self._returned += 1
            return None
        finally:
            self._release()

    def abandon(self, waiter: Waiter, *, rejected: bool = False) -> Waiter | None:
        """Stop waiting; a place already granted goes to the waiter named in the answer, if any."""
        try:
            self._acquire()
            self._rejected += rejected
            if waiter.granted is not None:
                return self._pass_on(waiter.granted)
            if self._queue is not None:
                self._queue.pop(waiter, None)
            return None
        finally:
            self._release()

    def resize(self, limit: int, max_queue: int) -> list[Waiter]:
        """Change the bounds; places already taken stay taken. Wake those in the answer."""
        try:
            self._acquire()
            self.limit = limit
            self.max_queue = max_queue
            return self._grant_free_places()
        finally:
            self._release()

    def _pass_on(self, place: Place) -> Waiter | None:
        """One place comes back; the lock is held."""
        if place is not self.place:
            # Taken before a fork, by a thread that the child does not have.
            return None
        if self._queue and self.active <= self.limit:
            waiter, _ = self._queue.popitem(last=False)
            waiter.granted = place
            self._returned += 1
            self._admitted += 1
            return waiter
        self._returned += 1
        return None

    def _grant_free_places(self) -> list[Waiter]:
        granted: list[Waiter] = []
        while self._queue and self.active < self.limit:
            waiter, _ = self._queue.popitem(last=False)
            waiter.granted = self.place
            self._admitted += 1
            granted.append(waiter)
        return granted

    def orphan(self, left: Place | Waiter) -> list[Waiter]:
        """Give a place back or stop waiting, from a finaliser. Wake those in the answer.

        Never waits for the lock, which the finaliser's own thread may be holding.
        """
        self.orphans.append(left)
        return self.take_orphans()

    def take_orphans(self) -> list[Waiter]:
        """Take in what finalisers left behind. Wake those in the answer."""
        woken: list[Waiter] = []
        # Whoever holds the lock now looks at the list again after letting go of it.
        while self.orphans and self._acquire(False):
            try:
                while self.orphans:
                    left = self.orphans.pop()
                    place = left.granted if isinstance(left, Waiter) else left
                    heir = None
                    if place is not None:
                        heir = self._pass_on(place)
                    elif self._queue is not None:
                        self._queue.pop(left, None)
                    if heir is not None:
                        woken.append(heir)
            finally:
                self._release()
        return woken

    def snapshot(self, name: str) -> BulkheadSnapshot:
        try:
            self._acquire()
            return BulkheadSnapshot(
                name=name,
                active=self.active,
                limit=self.limit,
                queued=len(self._queue) if self._queue else 0,
                max_queue=self.max_queue,
                admitted_total=self._admitted,
                rejected_total=self._rejected,
                waited_total=self._waited,
                longest_queue=self._longest,
            )
        finally:
            self._release()

    def _after_fork(self) -> None:
        # The threads that held or wanted places do not exist here.
        self._new_lock()
        self._returned = self._admitted
        self._queue = None
        self.place = Place()
        self.orphans.clear()
