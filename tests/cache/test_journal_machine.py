"""The journal against a model that forgets nothing: whatever is owed stays owed, in some form."""

from __future__ import annotations

from math import inf

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from holdfast.cache.entry import VALUE, Entry, tombstone
from holdfast.cache.journal import OVERHEAD, Journal

KEYS = st.sampled_from([(space, f"{space}{number}") for space in "abc" for number in range(3)])
MAX_BYTES = 4 * OVERHEAD
MAX_INTENTS = 4


class JournalMachine(RuleBasedStateMachine):
    """The model keeps for each key the newest version, and whether it is a value."""

    def __init__(self) -> None:
        super().__init__()
        self.journal = Journal(MAX_BYTES, MAX_INTENTS)
        self.now = 0.0
        self.version = 0
        self.owed: dict[str, tuple[str, int, int | None, float]] = {}
        """By key: namespace, version, size of the value or None, and when it may be forgotten."""
        self.cleared: dict[str, int] = {}

    @rule(
        where=KEYS,
        size=st.sampled_from([None, 0, 30, OVERHEAD, 3 * OVERHEAD]),
        back=st.sampled_from([0, 0, 0, 3]),
        keep=st.sampled_from([5.0, inf]),
        long=st.booleans(),
    )
    def put(
        self, where: tuple[str, str], size: int | None, back: int, keep: float, long: bool
    ) -> None:
        space, key = where
        key += "k" * 900 if long else ""
        self.version += 1
        version = max(self.version - back, 1)
        entry = tombstone(version, inf) if size is None else Entry(b"x" * size, VALUE, version)
        known = self.owed.get(key)
        news = known is None or known[1] < version
        floor = self.journal.floors.get(space, 0)
        told = self.journal.put(space, key, entry, self.now, self.now + keep)
        if news and version > floor:
            self.owed[key] = (space, version, size, self.now + keep)
            intent = self.journal.intents.get(key)
            as_it_is = intent is not None and intent.entry == entry
            assert told is (size is None or as_it_is)
        else:
            assert told

    @rule(space=st.sampled_from("abc"))
    def clear(self, space: str) -> None:
        self.version += 1
        self.journal.raise_floor(space, self.version)
        self.cleared[space] = self.version
        self.owed = {key: owed for key, owed in self.owed.items() if owed[0] != space}

    @rule(where=KEYS, ahead=st.sampled_from([-1, 0, 1]))
    def settle(self, where: tuple[str, str], ahead: int) -> None:
        key = where[1]
        known = self.owed.get(key)
        if known is not None:
            self.journal.settle(key, known[1] + ahead)
            if ahead >= 0 and known[1] > self.journal.floors.get(known[0], 0):
                del self.owed[key]

    @rule(space=st.sampled_from("abc"))
    def settle_floor(self, space: str) -> None:
        floor = self.journal.floors.get(space)
        if floor is None:
            return
        self.journal.settle_floor(space, floor - 1)
        assert self.journal.floors[space] == floor
        self.journal.settle_floor(space, floor)
        self.cleared.pop(space, None)
        self.owed = {
            key: owed for key, owed in self.owed.items() if owed[0] != space or owed[1] > floor
        }

    @rule(seconds=st.sampled_from([1.0, 6.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.journal.forget(self.now)
        self.owed = {key: owed for key, owed in self.owed.items() if owed[3] > self.now}

    @invariant()
    def bounded(self) -> None:
        journal = self.journal
        assert len(journal.intents) <= MAX_INTENTS
        assert journal.bytes <= MAX_BYTES
        assert journal.bytes == sum(
            OVERHEAD + len(key) + len(intent.entry.payload)
            for key, intent in journal.intents.items()
        )

    @invariant()
    def nothing_is_lost(self) -> None:
        for key, (space, version, size, _) in self.owed.items():
            intent = self.journal.intents.get(key)
            if intent is None:
                assert version <= self.journal.floors.get(space, 0), "owed to nobody"
                continue
            assert intent.entry.version == version
            assert intent.deletes or (size is not None and len(intent.entry.payload) == size)
        for space, version in self.cleared.items():
            assert self.journal.floors[space] >= version

    @invariant()
    def due_in_order(self) -> None:
        due = self.journal.due(100)
        assert {intent.key for intent in due} == set(self.journal.intents)
        order = [intent.deletes for intent in due]
        assert order == sorted(order, reverse=True)
        for deletes in (True, False):
            since = [intent.since for intent in due if intent.deletes is deletes]
            assert since == sorted(since)


TestJournal = JournalMachine.TestCase
