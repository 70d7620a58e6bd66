"""A few of the random schedules; ``python -m tests.faults.schedules`` runs as many as one likes."""

from __future__ import annotations

import pytest

from holdfast.cache.entry import Entry, tombstone
from holdfast.cache.writing import Writer
from holdfast.testing import ValkeyServer

from . import schedules
from .places import needs_server

pytestmark = needs_server


def test_nothing_is_lost_and_nothing_comes_back_from_the_dead() -> None:
    total = schedules.run(12, seed=1000, empties=False)
    assert total.violations == []
    assert total.operations > 200
    assert total.queued > 30
    assert total.faults > 50


def test_the_judge_sees_deletions_that_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge that never finds anything proves nothing."""

    def too_old(writer: Writer) -> Entry:
        return tombstone(1, writer._engine.shared_now() + 60)

    monkeypatch.setattr(Writer, "tombstone", too_old)
    with ValkeyServer() as server:
        for seed in range(5):
            outcome = schedules.Schedule(seed, server, empties=False).run()
            if any("resurrected" in rule or "older" in rule for rule in outcome.violations):
                return
    pytest.fail("five schedules without a deletion, and nobody noticed")
