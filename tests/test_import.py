"""What an import loads, who may import whom, and which names are public."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import holdfast

SOURCE = Path(holdfast.__file__).parent

PUBLIC = [
    "AllFallbacksFailedError",
    "Backoff",
    "BudgetExhaustedError",
    "Bulkhead",
    "BulkheadFullError",
    "CacheFallback",
    "CacheUnavailableError",
    "CallTimeoutError",
    "Category",
    "CircuitBreaker",
    "CircuitOpenError",
    "ConfigurationError",
    "DeadlineExceededError",
    "Fallback",
    "FallbackStep",
    "GracefulDegradation",
    "HealthMonitor",
    "Keyed",
    "Outcome",
    "Pipeline",
    "PipelineOrderWarning",
    "RateLimitedError",
    "RejectedError",
    "Resilience",
    "ResilienceError",
    "ResilientCache",
    "Retry",
    "RetryBudget",
    "RetryService",
    "Settings",
    "Timeout",
    "UnwantedResultError",
    "classifier",
    "classify",
    "current_degradation",
    "deadline",
    "time_left",
]

PROGRAM = """
import json, sys
before = set(sys.modules)
import holdfast
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def loaded_by(program: str) -> list[str]:
    """The modules that a fresh interpreter loads."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    modules: list[str] = json.loads(done.stdout)
    return modules


def test_importing_holdfast_loads_the_standard_library_only() -> None:
    roots = {name.partition(".")[0] for name in loaded_by(PROGRAM)}
    assert roots - set(sys.stdlib_module_names) == {"holdfast"}


def test_importing_holdfast_loads_policies_and_what_they_need() -> None:
    rooms = {name for name in loaded_by(PROGRAM) if name.startswith("holdfast.")}
    late_rooms = ("testing", "cli", "settings", "keyed", "resilience", "retry_service")
    for late in (*late_rooms, "cache", "degradation", "health"):
        assert f"holdfast.{late}" not in rooms


def test_using_the_whole_surface_loads_the_standard_library_only() -> None:
    program = PROGRAM.replace(
        "print", "[getattr(holdfast, name) for name in holdfast.__all__]\nprint"
    )
    roots = {name.partition(".")[0] for name in loaded_by(program)}
    assert roots - set(sys.stdlib_module_names) == {"holdfast"}


def test_the_public_names() -> None:
    assert list(holdfast.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(holdfast, name) is not None
    assert set(PUBLIC) <= set(dir(holdfast))
    with pytest.raises(AttributeError, match="no attribute 'Retries'"):
        holdfast.Retries  # type: ignore[attr-defined]  # noqa: B018


# -- who may import whom -----------------------------------------------------------------------

ERRORS = ("errors",)
CLASSIFYING = ("classify", "_classify_codes", "_classify_looks", "_classify_rules", "_retry_after")
DECIDING = ("_core", *ERRORS)
POLICIES = ("policies", *CLASSIFYING, *DECIDING)

MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "errors": (),
    "_core": DECIDING,
    **dict.fromkeys(CLASSIFYING, (*CLASSIFYING, *DECIDING)),
    "policies": POLICIES,
    "settings": ("_redis_url", *DECIDING),
    "_redis_url": DECIDING,
    "cache": ("cache", "_redis_url", "settings", *POLICIES),
    "degradation": ("degradation", "_registry", *POLICIES),
    "health": ("health", *POLICIES),
    "testing": ("testing", "cache", "degradation", "settings", *POLICIES),
}
"""Rooms of the house and what they may import of it. Rooms not listed may import anything."""

OPTIONAL = ("testing/pytest_plugin.py", "testing/contracts/", "cache/")
"""Files that need something installed, and are loaded only where that is asked for. What of the
cache is loaded without asking is held to the standard library by the tests above."""

NEVER_IMPORTED = ("testing", "cli", "contrib")
"""Nobody needs these but themselves, tests, and users who ask for them."""


def imports(path: Path) -> Iterator[str]:
    """The absolute names of all modules that a source file imports, also inside of functions."""
    package = ["holdfast", *path.relative_to(SOURCE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def room_of(module: str) -> str:
    """The first part after the package: _core for holdfast._core.clock; empty for the package."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def arrows() -> Iterator[tuple[str, Path, str]]:
    """(room, file, imported module) throughout the source."""
    for path in sorted(SOURCE.rglob("*.py")):
        room = room_of(".".join(["holdfast", *path.relative_to(SOURCE).with_suffix("").parts]))
        for module in imports(path):
            yield "" if room == "__init__" else room, path, module


def is_a_room(name: str) -> bool:
    return (SOURCE / name).is_dir() or (SOURCE / f"{name}.py").is_file()


def test_the_arrows_between_the_rooms() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)} imports {module}"
        for room, path, module in arrows()
        if room in MAY_IMPORT and module.startswith("holdfast.") and is_a_room(room_of(module))
        if room_of(module) not in MAY_IMPORT[room]
    ]
    assert wrong == []


def test_nobody_imports_the_outbuildings() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)} imports {module}"
        for room, path, module in arrows()
        if module.startswith("holdfast.") and room_of(module) in NEVER_IMPORTED
        if room not in (room_of(module), "cli")
    ]
    assert wrong == []


def test_these_rooms_import_no_third_party() -> None:
    known = set(sys.stdlib_module_names) | {"holdfast"}
    wrong = [
        f"{path.relative_to(SOURCE)} imports {module}"
        for room, path, module in arrows()
        if room in MAY_IMPORT and module.partition(".")[0] not in known
        if not str(path.relative_to(SOURCE)).startswith(OPTIONAL)
    ]
    assert wrong == []


def test_the_rules_are_about_rooms_that_exist() -> None:
    for room in MAY_IMPORT:
        assert is_a_room(room), room
    assert len(list(arrows())) > 100
