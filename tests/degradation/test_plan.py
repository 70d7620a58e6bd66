"""The plan of a call against a naive model: which step is asked, and for how long."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.degradation import FallbackStep, Level
from holdfast.degradation.plan import ChainPlan
from holdfast.errors import DeadlineExceededError


class Kind(NamedTuple):
    """A step in the model's words; `takes` is how long it runs before it fails."""

    static: bool
    timeout: float | None
    share: float | None
    needs: float
    takes: float


quarters = st.sampled_from([0.25, 0.5, 1.0])
kinds = st.builds(
    Kind,
    static=st.booleans(),
    timeout=st.none() | st.sampled_from([1.0, 2.0, 8.0]),
    share=st.none() | quarters,
    needs=st.sampled_from([0.0, 0.0, 0.5, 1.0]),
    takes=st.sampled_from([0.0, 0.5, 1.0, 4.0]),
)


def make(number: int, kind: Kind) -> FallbackStep[Any]:
    if kind.static:
        return FallbackStep(str(number), value=number)
    return FallbackStep(
        str(number), lambda: None, timeout=kind.timeout, share=kind.share, needs=kind.needs
    )


@given(st.lists(kinds, min_size=1, max_size=6), st.none() | st.sampled_from([0.0, 1.0, 3.0, 16.0]))
def test_agrees_with_a_naive_model(chain: list[Kind], seconds: float | None) -> None:
    plan = ChainPlan(tuple(make(*each) for each in enumerate(chain)))
    now = 100.0
    deadline = None if seconds is None else now + seconds
    skipped: list[str] = []
    for number, kind in enumerate(chain):
        left = None if deadline is None else deadline - now
        if not kind.static and left is not None and (left <= 0 or left < kind.needs):
            skipped.append(str(number))
            continue
        step = plan.next(now, deadline)
        assert step is not None
        assert step.name == str(number)
        if kind.static:
            assert plan.limit is None
            assert plan.level is Level.STATIC
        else:
            assert plan.level is list(Level)[min(number, 3)]
            limits = [] if kind.timeout is None else [kind.timeout]
            if left is not None:
                someone_after = not all(later.static for later in chain[number + 1 :])
                share = kind.share or (0.5 if someone_after else 1.0)
                limits.append(max(share * left, kind.needs))
            assert plan.limit == (min(limits) if limits else None)
            assert left is None or plan.limit is None or plan.limit <= left
        plan.failed(KeyError(number))
        now += min(kind.takes, kind.takes if plan.limit is None else plan.limit)
    assert plan.next(now, deadline) is None
    assert plan.next(now, deadline) is None
    assert [cause.step for cause in plan.causes] == [str(number) for number in range(len(chain))]
    assert [cause.step for cause in plan.causes if cause.skipped] == skipped
    for cause in plan.causes:
        assert isinstance(cause.error, DeadlineExceededError if cause.skipped else KeyError)


def test_a_step_says_its_own_level() -> None:
    replica = FallbackStep("replica", lambda: None, level=Level.PRIMARY)
    basic = FallbackStep("basic", value=1, level=Level.PARTIAL)
    plan = ChainPlan((FallbackStep("db", lambda: None), replica, basic))
    levels = []
    while plan.next(0.0, None) is not None:
        levels.append(plan.level)
    assert levels == [Level.PRIMARY, Level.PRIMARY, Level.PARTIAL]


@pytest.mark.parametrize(
    ("left", "reason"), [(0.0, "the deadline has passed"), (0.5, "too little time is left")]
)
def test_a_skipped_step_says_why(left: float, reason: str) -> None:
    plan = ChainPlan((FallbackStep("db", lambda: None, needs=1.0),))
    assert plan.next(10.0, 10.0 + left) is None
    [cause] = plan.causes
    assert isinstance(cause.error, DeadlineExceededError)
    assert (cause.error.reason, cause.error.name) == (reason, "db")
