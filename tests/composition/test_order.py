"""The order of a pipeline is checked, and whoever got it wrong is told what to write."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from holdfast import (
    Bulkhead,
    BulkheadFullError,
    CircuitBreaker,
    CircuitOpenError,
    ConfigurationError,
    Fallback,
    Pipeline,
    PipelineOrderWarning,
    RejectedError,
    Retry,
    Timeout,
)
from holdfast.policies.base import Policy

Make = Callable[[], Sequence[Policy]]
SAME = CircuitBreaker("same")

IMPOSSIBLE: dict[str, tuple[Make, str]] = {
    "listed twice": (lambda: [SAME, Timeout(1), SAME], "list each policy once"),
    "two retries": (
        lambda: [Retry(), CircuitBreaker(), Retry()],
        "write one Retry with the total number of attempts",
    ),
    "retry that names open circuits": (
        lambda: [Retry(on=CircuitOpenError), CircuitBreaker()],
        "leave them out of `on` and answer them with a Fallback in front",
    ),
    "retry that names all refusals": (
        lambda: [Retry(on=(ConnectionError, RejectedError)), CircuitBreaker()],
        "leave them out of `on` and answer them with a Fallback in front",
    ),
    "inner timeout too long": (
        lambda: [Timeout(2), Retry(), Timeout(2)],
        "give one attempt less time than all together",
    ),
}

DOUBTFUL: dict[str, tuple[Make, str]] = {
    "timeout only outside breaker": (
        lambda: [Timeout(1), CircuitBreaker(), Bulkhead()],
        "write CircuitBreaker(...), Timeout(...), or add a shorter Timeout inside",
    ),
    "breaker outside retry": (
        lambda: [CircuitBreaker(), Retry()],
        "write Retry(...), CircuitBreaker(...)",
    ),
    "bulkhead outside retry": (lambda: [Bulkhead(), Retry()], "write Retry(...), Bulkhead(...)"),
    "timeout only outside retry": (
        lambda: [Timeout(5), Retry(), CircuitBreaker()],
        "write Retry(...), Timeout(...), or add a shorter Timeout inside",
    ),
    "fallback inside breaker": (
        lambda: [CircuitBreaker(), Fallback(value=None)],
        "write Fallback(...) first",
    ),
    "fallback inside retry": (
        lambda: [Retry(), Fallback(value=None), Timeout(1)],
        "write Fallback(...) first",
    ),
}

SENSIBLE: dict[str, Make] = {
    "the recommended order": lambda: [
        Fallback(value=None),
        Timeout(10),
        Retry(),
        CircuitBreaker(),
        Bulkhead(),
        Timeout(2),
    ],
    "the design's example": lambda: [Retry(), CircuitBreaker(), Bulkhead(), Timeout(2)],
    "breaker after bulkhead": lambda: [Retry(), Bulkhead(), CircuitBreaker(), Timeout(2)],
    "no retry": lambda: [CircuitBreaker(), Bulkhead(), Timeout(1)],
    "timeouts that shrink": lambda: [Timeout(10), Timeout(2)],
    "two breakers": lambda: [CircuitBreaker("region"), CircuitBreaker("host")],
    "two bulkheads": lambda: [Bulkhead("wide"), Bulkhead("narrow", max_concurrent=1)],
    "retry that names a full bulkhead": lambda: [Retry(on=BulkheadFullError), Bulkhead()],
    "fallback inside bulkhead": lambda: [Bulkhead(), Fallback(value=None)],
    **{
        kind: (lambda make=make: [make()])
        for kind, make in {
            "retry": Retry,
            "breaker": CircuitBreaker,
            "bulkhead": Bulkhead,
            "timeout": lambda: Timeout(1),
            "fallback": lambda: Fallback(value=None),
        }.items()
    },
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_an_impossible_order_is_refused(case: str) -> None:
    make, advice = IMPOSSIBLE[case]
    with pytest.raises(ConfigurationError, match=re.escape(advice)) as caught:
        Pipeline("orders", *make())
    assert str(caught.value).startswith("pipeline 'orders': ")


@pytest.mark.parametrize("case", DOUBTFUL)
def test_a_doubtful_order_draws_one_warning(case: str) -> None:
    make, advice = DOUBTFUL[case]
    with pytest.warns(PipelineOrderWarning, match=re.escape(advice)) as caught:
        pipeline = Pipeline("orders", *make())
    assert len(caught) == 1
    assert str(caught[0].message).startswith("pipeline 'orders': ")
    assert Path(caught[0].filename) == Path(__file__), "it points at whoever wrote the order"
    assert len(pipeline.policies) == len(make())


@pytest.mark.parametrize("case", SENSIBLE)
def test_a_sensible_order_draws_none(case: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(Pipeline("orders", *SENSIBLE[case]()).policies) == len(SENSIBLE[case]())


def test_a_pipeline_in_a_pipeline_is_checked_as_a_whole() -> None:
    with pytest.raises(ConfigurationError, match="one Retry"):
        Pipeline("outer", Retry(), Pipeline("inner", Retry(), Timeout(1)))
    inner = Pipeline("inner", CircuitBreaker(), Timeout(1))
    assert [policy.name for policy in Pipeline("outer", Retry(), inner).policies] == [
        "outer",
        "inner",
        "inner",
    ]


def test_a_pipeline_needs_a_name_and_policies() -> None:
    with pytest.raises(TypeError, match=r'needs a name first: Pipeline\("user-db"'):
        Pipeline(Retry())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="at least one policy"):
        Pipeline("empty")
    with pytest.raises(TypeError, match="is not a policy; write for example Retry"):
        Pipeline("wrong", Retry)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"^name must be"):
        Pipeline("", Retry())


def test_names_are_taken_over_once() -> None:
    shared = CircuitBreaker()
    assert (shared.name, repr(shared)) == ("circuit_breaker", "<CircuitBreaker 'circuit_breaker'>")
    first = Pipeline("first", shared, Timeout(1, "own"))
    Pipeline("second", shared)
    assert [policy.name for policy in first.policies] == ["first", "own"]
    assert shared.snapshot().name == "first"
    shared.isolate("drill")
    with pytest.raises(CircuitOpenError, match="'first'"):
        first.call(int)


def test_the_snapshot_of_a_pipeline_is_that_of_its_policies() -> None:
    pipeline = Pipeline("whole", Retry(), Timeout(1))
    snapshot = pipeline.snapshot()
    assert snapshot.name == "whole"
    assert snapshot.policies == tuple(policy.snapshot() for policy in pipeline.policies)
