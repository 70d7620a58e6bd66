"""Every behaviour of the table, in every form that it fits."""

from __future__ import annotations

import pytest

from policies.behaviour import FORMS, run
from policies.cases_breaker import BREAKER
from policies.cases_others import BULKHEAD, COMPOSED, FALLBACK, TIMEOUT
from policies.cases_retry import RETRY

CASES = (*RETRY, *BREAKER, *BULKHEAD, *TIMEOUT, *FALLBACK, *COMPOSED)
TABLE = [
    pytest.param(case, form, id=f"{case.name}-{form.name}".replace(" ", "_"))
    for case in CASES
    for form in FORMS
    if form.fits(case)
]


@pytest.mark.parametrize(("case", "form"), TABLE)
def test_behaviour(case, form) -> None:
    run(case, form)


def test_the_table_runs_every_case_and_every_form() -> None:
    assert {param.values[0].name for param in TABLE} == {case.name for case in CASES}
    assert {param.values[1].name for param in TABLE} == {form.name for form in FORMS}
    assert len({case.name for case in CASES}) == len(CASES)
