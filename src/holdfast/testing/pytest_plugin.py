"""Fixtures for tests of resilient code: `virtual_clock`, `instant_waits` and `fault_proxy`.

pytest loads this module in every run on a machine where Holdfast is installed, so it imports
nothing of Holdfast until a fixture is used.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from holdfast.testing import FaultProxy, VirtualClock
    from holdfast.testing.server import Address


@pytest.fixture
def virtual_clock() -> Generator[VirtualClock]:
    """A `VirtualClock` that is the clock of the whole process during the test."""
    from holdfast.testing import VirtualClock

    with VirtualClock() as clock:
        yield clock


@pytest.fixture
def instant_waits() -> Generator[list[float]]:
    """Waiting switched off during the test; the list of the seconds that were asked for."""
    from holdfast.testing import instant

    with instant() as waits:
        yield waits


@pytest.fixture
def fault_proxy() -> Generator[Callable[[Address], FaultProxy]]:
    """A function that starts a `FaultProxy` to an address; all are closed after the test."""
    from holdfast.testing import FaultProxy

    with ExitStack() as proxies:
        yield lambda upstream: proxies.enter_context(FaultProxy(upstream))
