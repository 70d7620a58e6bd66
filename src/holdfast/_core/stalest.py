"""The stale entries of a store in the order of their soft ends: a binary heap that one can leave.

Most stale entries go because somebody writes them anew, not because they are the stalest. A heap
from which such entries are only crossed off would grow with every rewrite. In this one each node
knows its place, so that it can be taken out of the middle, and the heap holds what is stale and
nothing else. All moves are O(log n). Source: J. W. J. Williams, *Algorithm 232: Heapsort*,
Communications of the ACM 7(6), 1964.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from holdfast._core.sieve import Node

V = TypeVar("V")

NOWHERE: Final = -1
"""The rank of a node that is not in the heap."""


class Stalest(Generic[V]):
    """Nodes by `soft_end`, which must not change while they are here. Not thread safe."""

    __slots__ = ("_nodes",)

    def __init__(self) -> None:
        self._nodes: list[Node[V]] = []

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def first(self) -> Node[V]:
        """The stalest node; there must be one."""
        return self._nodes[0]

    def add(self, node: Node[V]) -> None:
        """Take in a node that is nowhere."""
        self._nodes.append(node)
        self._rise(node, len(self._nodes) - 1)

    def remove(self, node: Node[V]) -> None:
        """Let go of a node that is here."""
        rank, node.rank = node.rank, NOWHERE
        last = self._nodes.pop()
        if last is not node:
            # The last one takes the place; it comes from another branch, so it may go either way.
            self._rise(last, self._sink(last, rank))

    def clear(self) -> None:
        """Let go of all."""
        for node in self._nodes:
            node.rank = NOWHERE
        self._nodes.clear()

    def _rise(self, node: Node[V], rank: int) -> None:
        """Put `node` at `rank`, or above if it is staler than what is there."""
        nodes = self._nodes
        while rank:
            above = (rank - 1) >> 1
            other = nodes[above]
            if other.soft_end <= node.soft_end:
                break
            nodes[rank] = other
            other.rank = rank
            rank = above
        nodes[rank] = node
        node.rank = rank

    def _sink(self, node: Node[V], rank: int) -> int:
        """Where below `rank` there is nothing staler than `node`; what was on the way moves up."""
        nodes = self._nodes
        size = len(nodes)
        while (below := 2 * rank + 1) < size:
            if below + 1 < size and nodes[below + 1].soft_end < nodes[below].soft_end:
                below += 1
            other = nodes[below]
            if node.soft_end <= other.soft_end:
                break
            nodes[rank] = other
            other.rank = rank
            rank = below
        return rank
