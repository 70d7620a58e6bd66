"""What a test of resilient code needs: virtual time, waiting switched off, a network that fails.

`VirtualClock` makes time jump, `instant` makes waits return at once, `FaultProxy` stands between a
client and a server and misbehaves on command, with toxics such as `Latency`; `black_hole` is a
server that never even accepts. The fixtures are in `holdfast.testing.pytest_plugin`.
"""

from __future__ import annotations

from holdfast.testing.black_hole import black_hole
from holdfast.testing.instant import instant
from holdfast.testing.proxy import FaultProxy, FaultProxySnapshot
from holdfast.testing.timeline import DeadlockError
from holdfast.testing.toxics import (
    Bandwidth,
    Corrupt,
    DataLimit,
    Down,
    Duplicate,
    HalfClose,
    Latency,
    Reset,
    Slicer,
    SlowClose,
    Timeout,
    Toxic,
)
from holdfast.testing.virtual_clock import VirtualClock

__all__ = [
    "Bandwidth",
    "Corrupt",
    "DataLimit",
    "DeadlockError",
    "Down",
    "Duplicate",
    "FaultProxy",
    "FaultProxySnapshot",
    "HalfClose",
    "Latency",
    "Reset",
    "Slicer",
    "SlowClose",
    "Timeout",
    "Toxic",
    "VirtualClock",
    "black_hole",
    "instant",
]
