"""Time, sleep and randomness are injected: only the clock itself may touch the real ones."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import holdfast

SOURCE = Path(holdfast.__file__).parent

ALLOWED = ("_core/clock.py", "testing/", "cli/")
"""The system clock, and what lives in real time by its nature: test servers and the demo."""

BANNED_MODULES = {"time", "random", "secrets"}
BANNED_NAMES = {"asyncio.sleep", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}


def uses(source: str) -> Iterator[tuple[int, str]]:
    """(line, name) of every use of real time, sleep or randomness, under whatever name."""
    tree = ast.parse(source)
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                modules[alias.asname or alias.name] = alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                modules[alias.asname or alias.name] = full
                if node.module in BANNED_MODULES or full in BANNED_NAMES:
                    yield node.lineno, full
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            owner = modules.get(owner, owner)
            full = f"{owner}.{node.attr}"
            short = ".".join(full.split(".")[-2:])
            if owner in BANNED_MODULES or full in BANNED_NAMES or short in BANNED_NAMES:
                yield node.lineno, full


def test_nothing_asks_for_real_time() -> None:
    wrong: list[str] = []
    looked_at = 0
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        if not name.startswith(ALLOWED):
            looked_at += 1
            wrong += [f"{name}:{line} uses {used}" for line, used in uses(path.read_text("utf-8"))]
    assert wrong == []
    assert looked_at > 30


@pytest.mark.parametrize(
    ("source", "used"),
    [
        ("import time\ntime.sleep(1)", "time.sleep"),
        ("import time as t\nnow = t.monotonic", "time.monotonic"),
        ("from time import time", "time.time"),
        ("import asyncio\nasync def f(): await asyncio.sleep(1)", "asyncio.sleep"),
        ("from asyncio import sleep as pause", "asyncio.sleep"),
        ("import random\nrandom.Random(1)", "random.Random"),
        ("from datetime import datetime\ndatetime.now()", "datetime.datetime.now"),
        ("import datetime\ndatetime.datetime.now()", "datetime.datetime.now"),
    ],
)
def test_the_rule_sees(source: str, used: str) -> None:
    assert [name for _, name in uses(source)] == [used]


def test_the_rule_lets_other_things_be() -> None:
    assert list(uses("clock.sleep(1)\nself.random()\nloop.time()\nfrom datetime import UTC")) == []
