"""The heap of stale entries against a sorted list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast._core.sieve import Node
from holdfast._core.stalest import NOWHERE, Stalest


def node(soft_end: float) -> Node[None]:
    return Node("key", None, 1, soft_end, soft_end)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(0, 20)),
            st.tuples(st.just("remove"), st.integers(0, 200)),
            st.tuples(st.just("first"), st.just(0)),
        ),
        max_size=150,
    )
)
def test_agrees_with_a_sorted_list(moves: list[tuple[str, int]]) -> None:
    heap: Stalest[None] = Stalest()
    inside: list[Node[None]] = []
    for move, amount in moves:
        if move == "add":
            inside.append(node(float(amount)))
            heap.add(inside[-1])
        elif inside:
            one = heap.first if move == "first" else inside[amount % len(inside)]
            heap.remove(one)
            inside.remove(one)
            assert one.rank == NOWHERE
        assert len(heap) == len(inside)
        assert sorted(member.rank for member in inside) == list(range(len(inside)))
        if inside:
            assert heap.first.soft_end == min(member.soft_end for member in inside)


def test_comes_out_in_order() -> None:
    heap: Stalest[None] = Stalest()
    for step in range(1000):
        heap.add(node(float(step * 617 % 1000)))
    out = []
    while len(heap):
        out.append(heap.first.soft_end)
        heap.remove(heap.first)
    assert out == sorted(out)
    assert len(out) == 1000


def test_the_one_that_takes_a_place_may_have_to_rise() -> None:
    heap: Stalest[None] = Stalest()
    members = {end: node(float(end)) for end in (1, 10, 2, 11, 12, 3, 4)}
    for member in members.values():
        heap.add(member)
    heap.remove(members.pop(11))  # its place, below 10, goes to 4
    assert members[4].rank < members[10].rank


def test_clearing_lets_go_of_all() -> None:
    heap: Stalest[None] = Stalest()
    members = [node(float(end)) for end in range(5)]
    for member in members:
        heap.add(member)
    heap.clear()
    assert len(heap) == 0
    assert {member.rank for member in members} == {NOWHERE}
