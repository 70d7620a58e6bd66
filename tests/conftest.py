"""How much Hypothesis tries: enough to find what breaks, little enough to run on every change.

With ``CI=true`` in the environment every run draws the same examples, so that a red build is
about the change that made it.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import Phase, settings

# So that pytest explains the assertions of the suites that ship with the library.
pytest.register_assert_rewrite("holdfast.testing.contracts")

settings.register_profile("here", deadline=None, max_examples=80, stateful_step_count=40)
settings.register_profile("ci", settings.get_profile("here"), derandomize=True, database=None)
# For a mutation run: the same examples each time, and a failure is enough, however long.
settings.register_profile(
    "mutants", settings.get_profile("ci"), phases=[Phase.explicit, Phase.generate]
)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "here")
