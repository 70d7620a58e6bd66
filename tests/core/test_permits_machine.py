"""The bulkhead's permits against a queue kept by hand."""

from __future__ import annotations

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast._core.permits import Permits, Place, Waiter

sizes = st.integers(1, 4)
queues = st.integers(0, 4)
picks = st.integers(0, 50)


class PermitsMachine(RuleBasedStateMachine):
    """`holders` have a place, `line` waits for one, in order. Nothing else is remembered."""

    @initialize(limit=sizes, max_queue=queues)
    def build(self, limit: int, max_queue: int) -> None:
        self.permits = Permits(limit, max_queue)
        self.limit, self.max_queue = limit, max_queue
        self.holders: list[Waiter | Place] = []
        self.line: deque[Waiter] = deque()
        self.from_the_parent: list[Place] = []
        self.rejected = self.waited = self.longest = 0
        self.most = limit
        """More may hold a place than the limit says only after it was lowered."""

    def grant(self, woken: list[Waiter]) -> None:
        """The first in line have got a place, and exactly those must be woken."""
        expected: list[Waiter] = []
        while self.line and len(self.holders) < self.limit:
            expected.append(self.line.popleft())
            self.holders.append(expected[-1])
        assert woken == expected
        assert all(waiter.granted is self.permits.place for waiter in woken)

    def returned(self, woken: Waiter | None) -> None:
        self.most = max(self.limit, len(self.holders))
        self.grant([] if woken is None else [woken])

    def place_of(self, holder: Waiter | Place) -> Place:
        if isinstance(holder, Place):
            return holder
        assert holder.granted is not None
        return holder.granted

    @rule()
    def take(self) -> None:
        place = self.permits.take()
        free = len(self.holders) < self.limit and not self.line
        assert (place is not None) is free
        if place is not None:
            self.holders.append(place)

    @rule()
    def enqueue(self) -> None:
        waiter = Waiter(lambda: None)
        joined = self.permits.enqueue(waiter)
        if len(self.holders) < self.limit and not self.line:
            assert joined
            assert waiter.granted is self.permits.place
            self.holders.append(waiter)
        elif len(self.line) < self.max_queue:
            assert joined
            assert waiter.granted is None
            self.line.append(waiter)
            self.waited += 1
            self.longest = max(self.longest, len(self.line))
        else:
            assert not joined
            assert waiter.granted is None
            self.rejected += 1

    @precondition(lambda self: self.holders)
    @rule(which=picks)
    def give_back(self, which: int) -> None:
        place = self.place_of(self.holders.pop(which % len(self.holders)))
        self.returned(self.permits.give_back(place))

    @precondition(lambda self: any(isinstance(holder, Waiter) for holder in self.holders))
    @rule(which=picks, rejected=st.booleans(), again=st.booleans())
    def abandon_after_the_grant(self, which: int, rejected: bool, again: bool) -> None:
        granted = [holder for holder in self.holders if isinstance(holder, Waiter)]
        waiter = granted[which % len(granted)]
        self.holders.remove(waiter)
        self.rejected += rejected
        self.returned(self.permits.abandon(waiter, rejected=rejected))
        if again:
            # Its loop was closed when it was woken, and now its coroutine is collected.
            assert self.permits.orphan(waiter) == []

    @precondition(lambda self: self.line)
    @rule(which=picks, rejected=st.booleans(), again=st.booleans())
    def abandon_before_the_grant(self, which: int, rejected: bool, again: bool) -> None:
        waiter = self.line[which % len(self.line)]
        self.line.remove(waiter)
        self.rejected += rejected
        assert self.permits.abandon(waiter, rejected=rejected) is None
        if again:
            assert self.permits.abandon(waiter) is None

    @rule()
    def turn_away(self) -> None:
        self.permits.count_rejection()
        self.rejected += 1

    @rule(limit=sizes, max_queue=queues)
    def resize(self, limit: int, max_queue: int) -> None:
        woken = self.permits.resize(limit, max_queue)
        self.limit, self.max_queue = limit, max_queue
        self.most = max(limit, len(self.holders))
        self.grant(woken)

    @precondition(lambda self: self.holders or self.line)
    @rule(which=picks, locked=st.booleans())
    def orphan(self, which: int, locked: bool) -> None:
        """A finaliser gives up a place, or a position in the line, perhaps inside a decision."""
        everybody = [*self.holders, *self.line]
        lost = everybody[which % len(everybody)]
        left = self.place_of(lost) if lost in self.holders and which % 2 else lost
        if locked:
            with self.permits._lock:
                assert self.permits.orphan(left) == []
            woken = self.permits.take_orphans()
        else:
            woken = self.permits.orphan(left)
        assert not self.permits.orphans
        if lost in self.holders:
            self.holders.remove(lost)
        else:
            assert isinstance(lost, Waiter)
            self.line.remove(lost)
        self.most = max(self.limit, len(self.holders))
        self.grant(woken)

    @rule()
    def fork(self) -> None:
        """In a child nobody holds a place, nobody waits, and the parent's permits are void."""
        self.from_the_parent = [self.place_of(holder) for holder in self.holders]
        with self.permits._lock:
            self.permits.orphan(self.permits.place)
            self.permits._after_fork()
        self.holders.clear()
        self.line.clear()
        self.most = self.limit

    @precondition(lambda self: self.from_the_parent)
    @rule(late=st.booleans())
    def settle_what_the_parent_admitted(self, late: bool) -> None:
        place = self.from_the_parent.pop()
        if late:
            assert self.permits.give_back(place) is None
        else:
            assert self.permits.orphan(place) == []

    @invariant()
    def the_snapshot_agrees(self) -> None:
        shown = self.permits.snapshot("dep")
        assert (shown.name, shown.limit, shown.max_queue) == ("dep", self.limit, self.max_queue)
        assert shown.active == self.permits.active == len(self.holders)
        assert shown.queued == len(self.line)
        assert shown.rejected_total == self.rejected
        assert shown.waited_total == self.waited
        assert shown.longest_queue == self.longest
        assert 0 <= shown.active <= self.most

    @invariant()
    def busy_only_while_there_is_something_to_consider(self) -> None:
        """Else every call would take the slow way, or a quick one would pass the queue."""
        assert self.permits.busy is (bool(self.line) or len(self.holders) > self.limit)

    @invariant()
    def nobody_waits_beside_a_free_place(self) -> None:
        assert not self.line or len(self.holders) >= self.limit

    def teardown(self) -> None:
        """When everybody is gone, everything is free again."""
        if not hasattr(self, "permits"):
            return
        while self.holders:
            self.returned(self.permits.give_back(self.place_of(self.holders.pop())))
        assert not self.line
        assert self.permits.active == 0
        taken = [self.permits.take() for _ in range(self.limit + 1)]
        assert [place is not None for place in taken] == [True] * self.limit + [False]


TestPermitsMachine = PermitsMachine.TestCase
TestPermitsMachine.settings = settings(max_examples=150)  # they are quick
