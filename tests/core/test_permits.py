"""Single races of the bulkhead's permits, interleaved by hand where another thread would cut in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from holdfast._core.permits import Permits, Waiter


class CutIn(list[Any]):
    """A list of free places in which somebody else acts right after, or before, one operation."""

    def __init__(self, places: list[Any], **cuts: Callable[[], object]) -> None:
        super().__init__(places)
        self.cuts = cuts

    def _cut(self, where: str) -> None:
        action = self.cuts.pop(where, None)
        if action is not None:
            action()

    def pop(self, *args: Any) -> Any:
        try:
            return super().pop(*args)
        finally:
            self._cut("after_pop")

    def append(self, place: Any) -> None:
        self._cut("before_append")
        super().append(place)
        self._cut("after_append")


def waiter() -> Waiter:
    return Waiter(lambda: None)


def full(limit: int = 1, max_queue: int = 3) -> Permits:
    permits = Permits(limit, max_queue)
    for _ in range(limit):
        assert permits.take() is not None
    return permits


def test_a_place_returned_while_somebody_joins_the_queue_is_theirs() -> None:
    """The returner saw nobody waiting, and puts the place down after they began to."""
    permits, late = full(), waiter()
    permits._free = CutIn([], before_append=lambda: permits.enqueue(late))
    assert permits.give_back(permits.place) is late
    assert late.granted is permits.place
    assert permits.active == 1


@pytest.mark.parametrize("act", ["enqueue", "resize"])
def test_who_looks_for_a_free_place_has_raised_the_flag_before(act: str) -> None:
    """Or a place that is put down right after the look would be noticed by nobody."""
    permits = full(limit=2)
    flags: list[bool] = []
    permits._free = CutIn([], after_pop=lambda: flags.append(permits.busy))
    if act == "enqueue":
        permits.enqueue(waiter())
    else:
        permits.resize(1, 0)
    assert flags == [True]


def test_a_place_picked_up_by_a_passer_by_comes_to_the_queue_afterwards() -> None:
    permits, late = full(), waiter()
    stolen: list[Any] = []
    permits._free = CutIn(
        [],
        before_append=lambda: permits.enqueue(late),
        after_append=lambda: stolen.append(permits._free.pop()),
    )
    assert permits.give_back(permits.place) is None
    assert stolen == [permits.place]
    assert late.granted is None
    assert permits.give_back(stolen[0]) is late


def test_who_comes_last_does_not_overtake_even_when_a_place_lies_free_for_a_moment() -> None:
    permits, first, last = full(), waiter(), waiter()
    permits._free = CutIn(
        [],
        before_append=lambda: permits.enqueue(first),
        after_append=lambda: permits.enqueue(last),
    )
    assert permits.give_back(permits.place) is first
    assert last.granted is None
    assert permits.give_back(permits.place) is last


def test_a_place_returned_while_the_bulkhead_shrinks_is_not_stranded() -> None:
    """The shrinking found no free place; one comes back before it is through."""
    permits, queued = full(limit=3), waiter()
    woken: list[Waiter | None] = []
    returner: list[Callable[[], object]] = [lambda: permits._free.append(permits.place)]
    permits._free = CutIn([], after_pop=lambda: returner.pop()())
    permits.resize(1, 3)
    # The other half of that return: it looks again, and takes the place back.
    assert permits.busy
    taken = permits._take_free()
    assert taken is not None
    woken.append(permits._return(taken))
    assert permits.active == 2
    assert permits.enqueue(queued)
    woken.append(permits.give_back(permits.place))
    woken.append(permits.give_back(permits.place))
    assert woken == [None, None, queued]
    assert permits.active == 1


def test_places_free_at_the_moment_of_shrinking_go_first() -> None:
    permits = Permits(4, 0)
    permits.take()
    permits.resize(2, 0)
    assert (permits.active, permits.busy) == (1, False)
    assert permits.take() is not None
    assert permits.take() is None


def test_growing_pays_the_debt_of_shrinking_before_it_lets_anybody_in() -> None:
    permits, queued = full(limit=3), waiter()
    permits.resize(1, 3)
    assert permits.enqueue(queued)
    assert permits.resize(3, 3) == []
    assert permits.active == 3
    assert permits.resize(4, 3) == [queued]


def test_a_waiter_that_leaves_twice_gives_one_place_back() -> None:
    """Its loop was closed when it was to be woken, and then its coroutine is collected."""
    permits, gone = full(), waiter()
    permits.enqueue(gone)
    assert permits.give_back(permits.place) is gone
    assert permits.abandon(gone) is None
    assert permits.orphan(gone) == []
    assert permits.active == 0
    assert permits.take() is not None
    assert permits.take() is None


def test_a_place_lost_in_a_bulkhead_where_nobody_ever_waited_is_free_at_once() -> None:
    permits = full()
    with permits._lock:
        assert permits.orphan(permits.place) == []
    assert permits.take() is not None


def test_a_place_lost_just_when_somebody_begins_to_wait_is_theirs() -> None:
    permits, late = full(), waiter()
    permits._free = CutIn([], before_append=lambda: permits.enqueue(late))
    assert permits.orphan(permits.place) == [late]


def test_a_place_lost_and_picked_up_by_a_passer_by_is_not_given_twice() -> None:
    permits, late = full(), waiter()
    permits._free = CutIn(
        [], before_append=lambda: permits.enqueue(late), after_append=lambda: permits._free.clear()
    )
    assert permits.orphan(permits.place) == []
    assert late.granted is None
    assert permits.active == 1


def test_a_waiter_knows_how_to_be_woken() -> None:
    woken: list[str] = []
    sleeper = Waiter(lambda: woken.append("awake"))
    assert sleeper.granted is None
    sleeper.wake()
    assert woken == ["awake"]


def test_leaving_counts_as_a_rejection_only_if_it_was_one() -> None:
    permits = full()
    for rejected, total in (({}, 0), ({"rejected": True}, 1)):
        queued = waiter()
        permits.enqueue(queued)
        permits.abandon(queued, **rejected)
        assert permits.snapshot("dep").rejected_total == total


def test_leaving_a_queue_that_nobody_ever_joined_changes_nothing() -> None:
    permits = full()
    assert permits.abandon(waiter()) is None
    assert permits.active == 1


def test_a_place_from_before_a_fork_is_void() -> None:
    permits = full(limit=2)
    old = permits.place
    permits._after_fork()
    assert permits.active == 0
    assert permits.give_back(old) is None
    assert permits.orphan(old) == []
    assert permits.active == 0
    assert permits.place is not old
