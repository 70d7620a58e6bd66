"""What a test of resilient code needs: virtual time, waiting switched off, a network that fails.

`VirtualClock` makes time jump, `instant` makes waits return at once, `FaultProxy` stands between a
client and a server and misbehaves on command, with toxics such as `Latency`; `black_hole` is a
server that never even accepts; `ValkeyServer` is a real one that can be killed and frozen. The
fixtures are in `holdfast.testing.pytest_plugin`.

pytest loads this package in every run through that plugin, so a name is imported when it is first
used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.testing.proxy import FaultProxy, FaultProxySnapshot
    from holdfast.testing.silence import black_hole
    from holdfast.testing.tiers import ChaosTier, MemoryTier, NullTier, Shelf
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
    from holdfast.testing.valkey import ValkeyServer
    from holdfast.testing.virtual_clock import VirtualClock
    from holdfast.testing.waits import instant

__all__ = [
    "Bandwidth",
    "ChaosTier",
    "Corrupt",
    "DataLimit",
    "DeadlockError",
    "Down",
    "Duplicate",
    "FaultProxy",
    "FaultProxySnapshot",
    "HalfClose",
    "Latency",
    "MemoryTier",
    "NullTier",
    "Reset",
    "Shelf",
    "Slicer",
    "SlowClose",
    "Timeout",
    "Toxic",
    "ValkeyServer",
    "VirtualClock",
    "black_hole",
    "instant",
]

_HOMES = dict.fromkeys(__all__, "toxics") | {
    "ChaosTier": "tiers",
    "DeadlockError": "timeline",
    "FaultProxy": "proxy",
    "FaultProxySnapshot": "proxy",
    "MemoryTier": "tiers",
    "NullTier": "tiers",
    "Shelf": "tiers",
    "ValkeyServer": "valkey",
    "VirtualClock": "virtual_clock",
    "black_hole": "silence",
    "instant": "waits",
}

if not TYPE_CHECKING:  # a type checker would take any name for granted

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return value
