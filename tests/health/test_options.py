"""Options that cannot work are refused by name."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import ConfigurationError
from holdfast.health import HealthMonitor, HealthOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window must be a finite number greater than 0, not 0"),
        ({"minimum_calls": 0}, "minimum_calls must be a whole number of at least 1, not 0"),
        ({"worsen_after": 0}, "worsen_after must be a whole number of at least 1, not 0"),
        ({"improve_after": 1.5}, "improve_after must be a whole number of at least 1, not 1.5"),
        ({"quiet_after": True}, "quiet_after must be a whole number of at least 1, not True"),
        (
            {"degraded_error_rate": 0},
            "degraded_error_rate must be a finite number greater than 0, at most 1, not 0",
        ),
        (
            {"unhealthy_error_rate": 1.1},
            "unhealthy_error_rate must be a finite number greater than 0, at most 1, not 1.1",
        ),
        (
            {"degraded_rejection_rate": -1},
            "degraded_rejection_rate must be a finite number greater than 0, at most 1, not -1",
        ),
        (
            {"degraded_fallback_rate": 2},
            "degraded_fallback_rate must be a finite number greater than 0, at most 1, not 2",
        ),
        ({"degraded_latency": 0}, "degraded_latency must be a finite number greater than 0, not 0"),
        (
            {"unhealthy_latency": float("nan")},
            "unhealthy_latency must be a finite number greater than 0, not nan",
        ),
        (
            {"degraded_error_rate": 0.5, "unhealthy_error_rate": 0.2},
            "unhealthy_error_rate must be greater than degraded_error_rate: 0.2 is not greater"
            " than 0.5",
        ),
        (
            {"degraded_error_rate": 0.5},
            "unhealthy_error_rate must be greater than degraded_error_rate: 0.5 is not greater"
            " than 0.5",
        ),
        (
            {"degraded_latency": 2.0, "unhealthy_latency": 1.0},
            "unhealthy_latency must be greater than degraded_latency: 1 is not greater than 2",
        ),
    ],
)
def test_bad_thresholds_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        HealthOptions(**options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"interval": 0}, "interval must be a finite number greater than 0, not 0"),
        ({"heartbeat": 0}, "heartbeat must be a finite number greater than 0, not 0"),
        ({"stall": -1}, "stall must be a finite number greater than 0, not -1"),
    ],
)
def test_bad_options_of_the_monitor_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        HealthMonitor(**options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "options",
    [
        {"unhealthy_error_rate": 1},
        {"degraded_latency": 0.1},
        {"unhealthy_latency": 0.1},
        {"degraded_rejection_rate": 1, "degraded_fallback_rate": 1},
    ],
)
def test_bounds_are_allowed(options: dict[str, Any]) -> None:
    HealthOptions(**options)


@pytest.mark.parametrize(
    ("heading", "kind"), [("Options", HealthOptions), ("The monitor's options", HealthMonitor)]
)
def test_the_docs_list_the_options_of_the_code(heading: str, kind: type) -> None:
    page = (Path(__file__).parents[2] / "docs" / "health.md").read_text("utf-8")
    section = page.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\| `([^`]+)`", section, re.MULTILINE)
    defaults = {name: one.default for name, one in inspect.signature(kind).parameters.items()}
    assert {name: ast.literal_eval(shown) for name, shown in rows} == defaults
