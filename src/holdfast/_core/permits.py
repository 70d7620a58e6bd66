"""The bulkhead's machine: a number of places and a bounded queue for them, first come first served.

Free places lie on a list. As long as nobody waits, taking and returning one is a pop and an append,
which are atomic by themselves, and the lock is not needed. `busy` says that there is something to
consider: somebody waits, or the bulkhead has become smaller. Then every move is made under the
lock, and a place that comes free is handed to the head of the queue in the same step, so that no
passer-by takes it and it cannot get lost on the way. A mover that looked at `busy` a moment too
early looks again afterwards.

Whoever gives up waiting says so with `abandon`, which knows whether a place had already been handed
over; both orders of that race end with the place given back exactly once.

The machine is shared by threads and event loops alike; it only knows that a waiter can be woken.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING

from holdfast._core import fork

if TYPE_CHECKING:
    from holdfast._core.snapshots import BulkheadSnapshot


class Place:
    """The permit of everybody admitted in one life of the process; a fork starts another."""

    __slots__ = ()


class Waiter:
    """Somebody in the queue; `wake` is called, without the lock, once a place is theirs."""

    __slots__ = ("granted", "wake")

    def __init__(self, wake: Callable[[], object]) -> None:
        self.wake = wake
        self.granted: Place | None = None


class Permits:
    """`limit` places and a queue of at most `max_queue`. Thread safe."""

    __slots__ = (
        "__weakref__",
        "_debt",
        "_free",
        "_lock",
        "_longest",
        "_queue",
        "_rejected",
        "_waited",
        "busy",
        "limit",
        "max_queue",
        "orphans",
        "place",
    )

    def __init__(self, limit: int, max_queue: int) -> None:
        self.limit = limit
        self.max_queue = max_queue
        self._rejected = 0
        self._waited = 0
        self._longest = 0
        self._after_fork()
        fork.watch(self)

    def _after_fork(self) -> None:
        """Begin with every place free: the threads that held or wanted one are not here."""
        self._lock = Lock()
        self.orphans: list[Place | Waiter] | None = None
        """What finalisers left behind; a list from the first moment in which `busy` is set."""
        self.place = Place()
        self._free = [self.place] * self.limit
        self._debt = 0
        """Places that exist beyond the limit since it was lowered; the next returned ones go."""
        self._queue: OrderedDict[Waiter, None] | None = None
        self.busy = False

    @property
    def active(self) -> int:
        """Places taken now."""
        return self.limit + self._debt - len(self._free)

    def take(self) -> Place | None:
        """A place if one is free and nobody was here before; else None."""
        if self.busy:
            return None
        try:
            return self._free.pop()
        except IndexError:
            return None

    def _take_free(self) -> Place | None:
        """A free place, whoever waits; else None."""
        try:
            return self._free.pop()
        except IndexError:
            return None

    def give_back(self, place: Place, _result: object = None) -> Waiter | None:
        """Return a place. Whoever is named in the answer now has it and must be woken.

        `_result` is what the call came to, which a bulkhead does not care about; drivers of gates
        hand it to whatever settles a permit.
        """
        if self.busy or place is not self.place:
            return self._return(place)
        self._free.append(place)
        if not self.busy:
            return None
        taken = self._take_free()
        # None: a passer-by was quicker, and will see `busy` when it returns the place.
        return None if taken is None else self._return(taken)

    def _return(self, place: Place) -> Waiter | None:
        with self._lock:
            return self._pass_on(place)

    def enqueue(self, waiter: Waiter) -> bool:
        """Join the queue; False if it is full. A place may be granted at once."""
        with self._lock:
            try:
                # First the flag, then the look: one of us notices a place returned in between.
                queue = self._congest()
                if not queue and not self._debt:
                    waiter.granted = self._take_free()
                    if waiter.granted is not None:
                        return True
                if len(queue) >= self.max_queue:
                    self._rejected += 1
                    return False
                queue[waiter] = None
                self._waited += 1
                self._longest = max(self._longest, len(queue))
                return True
            finally:
                self._settle()

    def count_rejection(self) -> None:
        """Somebody was sent away without having queued."""
        with self._lock:
            self._rejected += 1

    def abandon(self, waiter: Waiter, *, rejected: bool = False) -> Waiter | None:
        """Stop waiting; a place already granted goes to the waiter named in the answer, if any."""
        with self._lock:
            self._rejected += rejected
            return self._leave(waiter)

    def resize(self, limit: int, max_queue: int) -> list[Waiter]:
        """Change the bounds; places already taken stay taken. Wake those in the answer."""
        woken: list[Waiter] = []
        with self._lock:
            try:
                self._congest()
                self.max_queue = max_queue
                if self.limit > limit:
                    # All of the debt at once: whoever returns a place from now on must see it.
                    self._debt += self.limit - limit
                    self.limit = limit
                    while self._debt and self._take_free() is not None:
                        self._debt -= 1
                while self.limit < limit:
                    self.limit += 1
                    if self._debt:
                        self._debt -= 1
                        continue
                    heir = self._pass_on(self.place)
                    if heir is not None:
                        woken.append(heir)
                return woken
            finally:
                self._settle()

    # The lock is held in these.

    def _congest(self) -> OrderedDict[Waiter, None]:
        """Have every move made under the lock from now on, until `_settle`."""
        if self._queue is None:
            self._queue = OrderedDict()
            self.orphans = []
        self.busy = True
        return self._queue

    def _pass_on(self, place: Place) -> Waiter | None:
        """A place comes free: it vanishes, goes to the head of the queue, or is free."""
        if place is not self.place:
            return None
        heir = None
        if self._debt:
            self._debt -= 1
        elif self._queue:
            heir, _ = self._queue.popitem(last=False)
            heir.granted = place
        else:
            self._free.append(place)
        self._settle()
        return heir

    def _leave(self, waiter: Waiter) -> Waiter | None:
        # A waiter may leave twice: when its loop turns out to be closed, and when it is collected.
        place, waiter.granted = waiter.granted, None
        if place is not None:
            return self._pass_on(place)
        if self._queue is not None:
            self._queue.pop(waiter, None)
        self._settle()
        return None

    def _settle(self) -> None:
        self.busy = bool(self._queue) or self._debt > 0

    # Finalisers run whenever the collector likes, also while their own thread holds the lock.

    def orphan(self, left: Place | Waiter) -> list[Waiter]:
        """Give a place back or stop waiting, from a finaliser. Wake those in the answer."""
        if self.orphans is None:
            # Nobody ever waited, so this is a place, and no more than an append is needed ...
            if left is not self.place:
                return []
            self._free.append(self.place)
            taken = self._take_free() if self.busy else None
            if taken is None:
                return []
            # ... unless somebody began to wait just now.
            left = taken
        self.orphans.append(left)  # type: ignore[union-attr]
        return self.take_orphans()

    def take_orphans(self) -> list[Waiter]:
        """Take in what finalisers left behind. Wake those in the answer."""
        woken: list[Waiter] = []
        # Whoever holds the lock now looks at the list again after letting go of it.
        while self.orphans and self._lock.acquire(False):
            try:
                while self.orphans:
                    left = self.orphans.pop()
                    heir = self._leave(left) if isinstance(left, Waiter) else self._pass_on(left)
                    if heir is not None:
                        woken.append(heir)
            finally:
                self._lock.release()
        return woken

    def snapshot(self, name: str) -> BulkheadSnapshot:
        from holdfast._core.snapshots import BulkheadSnapshot

        with self._lock:
            return BulkheadSnapshot(
                name=name,
                active=self.active,
                limit=self.limit,
                queued=len(self._queue) if self._queue else 0,
                max_queue=self.max_queue,
                rejected_total=self._rejected,
                waited_total=self._waited,
                longest_queue=self._longest,
            )
