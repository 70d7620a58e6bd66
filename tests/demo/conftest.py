from __future__ import annotations

import importlib
import sys
from types import ModuleType

import pytest

from holdfast.cli.demo.processes import taskboard


@pytest.fixture(scope="session")
def users() -> ModuleType:
    """The module of the task board in which the three variants are."""
    path, package = taskboard()
    sys.path.insert(0, str(path))
    try:
        return importlib.import_module(f"{package}.users")
    finally:
        sys.path.remove(str(path))
