"""The store against a model that keeps one plain list and counts its hands' places in it."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from holdfast._core.sieve import LOOKS, Sieve, SieveSnapshot

keys = st.sampled_from("abcdefghij")
sizes = st.sampled_from([0, 1, 2, 3, 5, 8, 13, 40])
lives = st.sampled_from([-1.0, 0.0, 1.0, 2.0, 5.0, 20.0, inf])


@dataclass
class Item:
    key: str
    value: int
    size: int
    soft: float
    hard: float
    visited: bool = False
    stale: bool = False


class Model:
    """`items` is the queue, oldest first; a hand is a place in it, None between head and tail."""

    def __init__(self, max_bytes: int, max_entries: int | None, max_stale: int, overhead: int):
        self.max_bytes, self.max_entries = max_bytes, max_entries
        self.max_stale, self.overhead = max_stale, overhead
        self.items: list[Item] = []
        self.hand: int | None = None
        self.broom: int | None = None
        self.lap = 0
        self.evicted = self.expired = 0

    @property
    def bytes(self) -> int:
        return sum(item.size for item in self.items)

    @property
    def stale_bytes(self) -> int:
        return sum(item.size for item in self.items if item.stale)

    def find(self, key: str) -> Item | None:
        return next((item for item in self.items if item.key == key), None)

    def place(self, index: int | None) -> int | None:
        return index if index is not None and index < len(self.items) else None

    def remove(self, item: Item) -> None:
        index = self.items.index(item)
        del self.items[index]
        if self.hand is not None:
            self.hand = self.place(self.hand - (index < self.hand))
        if self.broom is not None:
            self.broom = self.place(self.broom - (index < self.broom))

    def read(self, key: str, now: float, trace: bool) -> int | None:
        item = self.find(key)
        if item is None:
            return None
        if item.hard <= now:
            if trace:
                self.expired += 1
                self.remove(item)
            return None
        item.visited = item.visited or trace
        return item.value

    def put(self, new: Item, now: float) -> bool:
        new.size += self.overhead
        if new.size > self.max_bytes or new.hard <= now:
            self.pop(new.key)
            return False
        if self.bytes + new.size > self.max_bytes or len(self.items) == self.max_entries:
            self.sweep(now, LOOKS)
        old = self.find(new.key)
        if old is None:
            while self.bytes + new.size > self.max_bytes or len(self.items) == self.max_entries:
                self.evict(now, None)
            self.items.append(new)
            return True
        new.visited = True
        self.items[self.items.index(old)] = new
        while self.bytes > self.max_bytes:
            self.evict(now, new)
        return True

    def evict(self, now: float, spared: Item | None) -> None:
        index = self.hand or 0
        while True:
            item = self.items[index]
            if item is not spared and item.hard <= now:
                self.expired += 1
                break
            if item is not spared and not item.visited:
                self.evicted += 1
                break
            if item is not spared:
                item.visited = False
            index = (index + 1) % len(self.items)
        self.hand = index
        self.remove(item)

    def pop(self, key: str) -> int | None:
        item = self.find(key)
        if item is None:
            return None
        self.remove(item)
        return item.value

    def sweep(self, now: float, limit: int) -> int:
        before = len(self.items)
        for _ in range(min(limit, before)):
            if not self.items:
                break
            if self.broom is None or self.lap == 0:
                self.broom, self.lap = 0, len(self.items)
            self.lap -= 1
            item = self.items[self.broom]
            self.broom = self.place(self.broom + 1)
            if item.hard <= now:
                self.expired += 1
                self.remove(item)
            elif item.soft <= now and not item.stale:
                if item.size > self.max_stale:
                    self.evicted += 1
                    self.remove(item)
                    continue
                item.stale = True
                while self.stale_bytes > self.max_stale:
                    stale = [item for item in self.items if item.stale]
                    self.evicted += 1
                    self.remove(min(stale, key=lambda item: item.soft))
        return before - len(self.items)


class SieveMachine(RuleBasedStateMachine):
    @initialize(
        max_bytes=st.integers(1, 60),
        max_entries=st.none() | st.integers(1, 8),
        max_stale=st.none() | st.integers(0, 30),
        overhead=st.sampled_from([0, 1, 4]),
    )
    def build(
        self, max_bytes: int, max_entries: int | None, max_stale: int | None, overhead: int
    ) -> None:
        self.sieve: Sieve[int] = Sieve(
            max_bytes, max_entries=max_entries, max_stale_bytes=max_stale, overhead=overhead
        )
        self.nodes = self.sieve.nodes
        if max_stale is None:
            max_stale = max_bytes
        self.model = Model(max_bytes, max_entries, max_stale, overhead)
        self.now = 100.0
        self.serial = 0

    @rule(key=keys)
    def get(self, key: str) -> None:
        assert self.sieve.get(key, self.now) == self.model.read(key, self.now, trace=True)

    @rule(key=keys)
    def peek(self, key: str) -> None:
        assert self.sieve.peek(key, self.now) == self.model.read(key, self.now, trace=False)

    @rule(key=keys, size=sizes, fresh=lives, more=lives)
    def put(self, key: str, size: int, fresh: float, more: float) -> None:
        self.serial += 1
        # Each soft end is another one, so that there is one answer to which is the stalest.
        soft = self.now + fresh + self.serial / 2**20
        hard = max(soft, self.now + fresh + more)
        new = Item(key, self.serial, size, soft, hard)
        done = self.sieve.put(key, self.serial, size, soft, hard, self.now)
        assert done is self.model.put(new, self.now)
        assert (self.sieve.peek(key, self.now) == self.serial) is done

    @rule(key=keys)
    def pop(self, key: str) -> None:
        assert self.sieve.pop(key) == self.model.pop(key)

    @rule(limit=st.sampled_from([0, 1, 2, 3, 5, 100]))
    def sweep(self, limit: int) -> None:
        assert self.sieve.sweep(self.now, limit) == self.model.sweep(self.now, limit)

    @rule(seconds=st.sampled_from([0.25, 1.0, 3.0, 25.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(dice=st.integers(0, 9))
    def clear(self, dice: int) -> None:
        if dice == 0:
            self.sieve.clear()
            self.model.items.clear()
            self.model.hand = self.model.broom = None
            self.model.lap = 0

    @invariant()
    def agree(self) -> None:
        sieve, model = self.sieve, self.model
        assert list(sieve) == [item.key for item in model.items]
        assert [(node.value, node.size, node.visited) for node in sieve.nodes.values()] == [
            (item.value, item.size, item.visited) for item in model.items
        ]
        stale = [item for item in model.items if item.stale]
        assert sieve.snapshot() == SieveSnapshot(
            entries=len(model.items),
            bytes=model.bytes,
            stale_entries=len(stale),
            stale_bytes=model.stale_bytes,
            max_bytes=model.max_bytes,
            max_entries=model.max_entries,
            max_stale_bytes=model.max_stale,
            evictions_total=model.evicted,
            expirations_total=model.expired,
        )
        assert len(sieve) == len(model.items)

    @invariant()
    def bounds_hold(self) -> None:
        assert self.sieve.bytes <= self.sieve.max_bytes
        assert self.sieve.stale_bytes <= self.sieve.max_stale_bytes
        assert self.sieve.max_entries is None or len(self.sieve) <= self.sieve.max_entries

    @invariant()
    def the_ring_is_the_queue_both_ways(self) -> None:
        assert self.sieve.nodes is self.nodes
        root = self.sieve._root
        queue = list(self.nodes.values())
        node = root
        for expected in [*queue, root]:
            assert node.newer is expected
            assert expected.older is node
            node = expected


TestSieve = SieveMachine.TestCase
