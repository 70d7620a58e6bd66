from __future__ import annotations

import importlib
import sys
from types import ModuleType

import pytest

from holdfast.cli.demo.processes import taskboard


def module(name: str) -> ModuleType:
    """A module of the task board."""
    path, package = taskboard()
    sys.path.insert(0, str(path))
    try:
        return importlib.import_module(f"{package}.{name}")
    finally:
        sys.path.remove(str(path))


@pytest.fixture(scope="session")
def users() -> ModuleType:
    """The module in which the three ways to ask for a user are."""
    return module("users")


@pytest.fixture(scope="session")
def caching() -> ModuleType:
    """The module in which the three ways to keep one are."""
    return module("caching")


@pytest.fixture(scope="session")
def app() -> ModuleType:
    """The module with the web application."""
    return module("app")
