"""Levels, answers, causes and the groups of causes."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise

import pytest

from holdfast.degradation import (
    AllFallbacksFailedError,
    Cause,
    Composed,
    EssentialPartFailedError,
    Level,
    NothingKeptError,
    Served,
)
from holdfast.degradation.served import cause_of, oldest, worst
from holdfast.errors import CircuitOpenError, ResilienceError

REFUSED = CircuitOpenError("circuit_breaker", "db", "open", 1.0)


def test_the_levels_from_best_to_worst() -> None:
    assert list(Level) == ["primary", "cached", "static", "partial"]
    assert all(better.rank < worse.rank for better, worse in pairwise(Level))


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([], Level.PRIMARY),
        ([Level.CACHED, Level.PRIMARY], Level.CACHED),
        ([Level.PARTIAL, Level.STATIC], Level.PARTIAL),
        ([Level.STATIC, Level.CACHED], Level.STATIC),
    ],
)
def test_the_worst_level(levels: list[Level], expected: Level) -> None:
    assert worst(levels) is expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [(None, None, None), (1.0, None, 1.0), (None, 2.0, 2.0), (1.0, 2.0, 2.0), (3.0, 2.0, 3.0)],
)
def test_the_older_age(one: float | None, other: float | None, expected: float | None) -> None:
    assert oldest(one, other) == expected


def test_an_answer_shows_where_it_came_from_but_not_what_it_is() -> None:
    causes = (cause_of("db", ValueError("secret")), cause_of("replica", REFUSED))
    served = Served({"password": "secret"}, Level.CACHED, "cache", 12.5, causes)
    assert served.degraded
    assert repr(served) == (
        "<Served cached by 'cache', 12.5 s old, causes=[Cause('db', ValueError), "
        "Cause('replica', skipped, CircuitOpenError)]>"
    )
    assert repr(Served(1, step="db")) == "<Served primary by 'db'>"
    assert not Served(1).degraded


def test_a_composed_answer_is_as_good_as_its_worst_part() -> None:
    parts = {
        "a": Served(1, Level.PRIMARY, "a", None),
        "b": Served(2, Level.CACHED, "c", 7.0, (cause_of("b", KeyError()),)),
        "d": Served(3, Level.CACHED, "d", 3.0),
    }
    whole = Composed("home", parts, {})
    assert (whole.value, whole.level, whole.age) == ({"a": 1, "b": 2, "d": 3}, Level.CACHED, 7.0)
    assert [cause.step for cause in whole.causes] == ["b"]
    partial = Composed("home", parts, {"e": REFUSED})
    assert partial.level is Level.PARTIAL
    assert partial.missing == {"e": REFUSED}
    assert [(cause.step, cause.skipped) for cause in partial.causes] == [("b", False), ("e", True)]
    assert partial.step == "home"


CAUSES = (Cause("db", ConnectionError("secret"), False), Cause("replica", REFUSED, True))


@pytest.mark.parametrize("kind", [AllFallbacksFailedError, EssentialPartFailedError])
def test_the_group_holds_every_cause(
    kind: type[AllFallbacksFailedError] | type[EssentialPartFailedError],
) -> None:
    error = kind("profile", CAUSES)
    assert isinstance(error, ResilienceError)
    assert isinstance(error, ExceptionGroup)
    assert error.exceptions == (CAUSES[0].error, REFUSED)
    assert (error.name, error.causes) == ("profile", CAUSES)
    assert "secret" not in str(error)
    assert "'db' failed: ConnectionError, 'replica' skipped: CircuitOpenError" in str(error)
    matched, rest = error.split(ConnectionError)
    assert matched is not None
    assert rest is not None
    assert matched.exceptions == (CAUSES[0].error,)
    assert rest.exceptions == (REFUSED,)
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(twin) is kind
        assert (twin.name, len(twin.causes), str(twin)) == ("profile", 2, str(error))


def test_what_the_groups_say() -> None:
    assert str(AllFallbacksFailedError("p", CAUSES)).startswith("no step of 'p' gave an answer: ")
    assert str(EssentialPartFailedError("p", CAUSES)).startswith("'p' lacks an essential part: ")
    assert str(NothingKeptError()) == "no response is kept"
