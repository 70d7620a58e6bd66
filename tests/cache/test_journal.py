"""What is owed to Redis, and how it becomes coarser instead of longer."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from holdfast.cache.entry import VALUE, Entry, tombstone
from holdfast.cache.journal import OVERHEAD, Journal


def value(version: int, size: int = 10) -> Entry:
    return Entry(b"x" * size, VALUE, version)


def owe(journal: Journal, key: str, entry: Entry, **other: Any) -> bool:
    options: dict[str, Any] = {"namespace": "n", "now": 0.0, "forget_at": inf} | other
    return journal.put(key=key, entry=entry, **options)


def owed(journal: Journal) -> dict[str, int]:
    return {key: intent.entry.version for key, intent in journal.intents.items()}


class TestNewestIntent:
    def test_the_newest_of_a_key_is_kept(self) -> None:
        journal = Journal(10_000, 10)
        assert owe(journal, "k", value(5))
        assert owe(journal, "k", value(7))
        assert owed(journal) == {"k": 7}
        assert journal.bytes == OVERHEAD + 1 + 10

    @pytest.mark.parametrize("version", [4, 5])
    def test_what_is_older_or_known_changes_nothing(self, version: int) -> None:
        journal = Journal(10_000, 10)
        owe(journal, "k", tombstone(5, inf), now=1.0)
        assert owe(journal, "k", value(version), now=2.0)
        assert journal.intents["k"].deletes
        assert journal.snapshot(3.0).queued_total == 1
        assert journal.snapshot(3.0).oldest == 2.0

    def test_what_is_below_an_owed_floor_is_owed_already(self) -> None:
        journal = Journal(10_000, 10)
        journal.raise_floor("n", 5)
        assert owe(journal, "k", value(5))
        assert owed(journal) == {}
        assert owe(journal, "k", value(6))
        assert owe(journal, "k", value(1), namespace="other")
        assert len(journal) == 2

    def test_a_floor_drops_the_intents_below_it(self) -> None:
        journal = Journal(10_000, 10)
        owe(journal, "a", value(5))
        owe(journal, "b", value(6))
        owe(journal, "c", value(1), namespace="other")
        journal.raise_floor("n", 5)
        assert owed(journal) == {"b": 6, "c": 1}
        journal.raise_floor("n", 3)
        assert journal.floors == {"n": 5}


class TestSettling:
    def test_settled_by_that_version_or_a_newer_one(self) -> None:
        journal = Journal(10_000, 10)
        owe(journal, "k", value(5))
        journal.settle("k", 4)
        assert owed(journal) == {"k": 5}
        journal.settle("k", 5)
        journal.settle("k", 5)
        assert (owed(journal), journal.bytes) == ({}, 0)
        assert journal.snapshot(0.0).settled_total == 1

    def test_a_floor_likewise(self) -> None:
        journal = Journal(10_000, 10)
        journal.raise_floor("n", 5)
        journal.settle_floor("n", 4)
        journal.settle_floor("other", 9)
        assert journal.floors == {"n": 5}
        journal.settle_floor("n", 6)
        assert journal.floors == {}

    def test_deletions_are_told_first_and_the_oldest_of_each(self) -> None:
        journal = Journal(10_000, 10)
        for number, key in enumerate("abcd"):
            owe(journal, key, value(1) if number % 2 else tombstone(1, inf))
        assert [intent.key for intent in journal.due(10)] == ["a", "c", "b", "d"]
        assert [intent.key for intent in journal.due(3)] == ["a", "c", "b"]
        assert journal.due(0) == []
        owe(journal, "a", tombstone(2, inf))
        assert [intent.key for intent in journal.due(2)] == ["c", "a"]

    def test_forgotten_when_nothing_older_can_be_left(self) -> None:
        journal = Journal(10_000, 10)
        owe(journal, "a", value(1), forget_at=10.0)
        owe(journal, "b", value(1), forget_at=inf)
        journal.raise_floor("other", 1)
        journal.forget(9.9)
        assert len(journal) == 3
        journal.forget(10.0)
        assert owed(journal) == {"b": 1}
        assert journal.floors == {"other": 1}
        assert journal.snapshot(10.0).forgotten_total == 1


class TestBounds:
    def test_a_value_that_does_not_fit_is_owed_as_a_deletion(self) -> None:
        journal = Journal(3 * OVERHEAD, 10)
        assert owe(journal, "a", value(1))
        assert not owe(journal, "b", value(2, size=OVERHEAD * 2))
        assert journal.intents["b"].deletes
        assert journal.intents["b"].entry.version == 2
        assert journal.snapshot(0.0).demoted_total == 1

    def test_a_value_that_grew_too_large_is_not_owed_as_it_was(self) -> None:
        journal = Journal(2 * OVERHEAD, 10)
        assert owe(journal, "a", value(1))
        assert not owe(journal, "a", value(2, size=OVERHEAD * 2))
        assert journal.intents["a"].deletes
        assert journal.bytes == OVERHEAD + 1

    def test_too_many_keys_make_the_largest_namespace_owed_as_a_whole(self) -> None:
        journal = Journal(100_000, 4)
        for number, key in enumerate("abc"):
            owe(journal, key, tombstone(10 + number, inf), namespace="large")
        owe(journal, "x", value(50), namespace="small")
        assert owe(journal, "y", value(60), namespace="small")
        assert journal.floors == {"large": 12}
        assert owed(journal) == {"x": 50, "y": 60}
        assert journal.snapshot(0.0).overflowed_total == 1

    def test_a_newcomer_of_the_largest_namespace_goes_with_it(self) -> None:
        journal = Journal(100_000, 2)
        owe(journal, "a", value(10))
        owe(journal, "b", value(11))
        assert not owe(journal, "c", value(12)), "a value is not kept by a floor"
        assert (journal.floors, owed(journal)) == ({"n": 12}, {})

    def test_a_deletion_is_kept_even_as_part_of_a_floor(self) -> None:
        journal = Journal(100_000, 2)
        owe(journal, "a", value(10))
        owe(journal, "b", value(11))
        assert owe(journal, "c", tombstone(12, inf))
        assert (journal.floors, owed(journal)) == ({"n": 12}, {})

    def test_room_for_a_deletion_is_made_until_there_is_enough(self) -> None:
        """The namespace with most intents may hold fewer bytes than the newcomer takes."""
        journal = Journal(5 * OVERHEAD, 10)
        owe(journal, "a", value(1, size=OVERHEAD), namespace="large")
        owe(journal, "b", tombstone(2, inf), namespace="many")
        owe(journal, "c", tombstone(3, inf), namespace="many")
        assert owe(journal, "k" * 2 * OVERHEAD, tombstone(4, inf), namespace="new")
        assert journal.bytes <= journal.max_bytes
        assert journal.floors["many"] == 3

    def test_even_one_that_can_never_fit_is_kept_as_a_floor(self) -> None:
        journal = Journal(OVERHEAD, 10)
        assert owe(journal, "k", tombstone(9, inf))
        assert (journal.floors, journal.bytes) == ({"n": 9}, 0)


def test_an_empty_journal_is_false_and_says_so() -> None:
    journal = Journal(10, 1)
    assert not journal
    seen = journal.snapshot(5.0)
    assert (seen.intents, seen.floors, seen.bytes, seen.oldest) == (0, 0, 0, None)
    assert (seen.max_bytes, seen.max_intents) == (10, 1)
