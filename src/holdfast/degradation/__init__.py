"""The best answer that is still possible, and how good it is.

When something is down, a service can often answer all the same: with an earlier answer, a default,
or without the parts that are missing. That is only help if it is said. Everything here therefore
serves a `Level` along with the value, and nothing is ever served stale without it.
"""

from __future__ import annotations

from holdfast.degradation.brownout import BrownoutOptions
from holdfast.degradation.current import Degradation, current_degradation, degradation_scope
from holdfast.degradation.errors import (
    AllFallbacksFailedError,
    EssentialPartFailedError,
    NothingKeptError,
)
from holdfast.degradation.features import Feature, Features
from holdfast.degradation.last_good import CacheFallback, LastGood, MemoryLastGood
from holdfast.degradation.served import Cause, Composed, Level, Served
from holdfast.degradation.service import GracefulDegradation
from holdfast.degradation.step import FallbackStep

__all__ = [
    "AllFallbacksFailedError",
    "BrownoutOptions",
    "CacheFallback",
    "Cause",
    "Composed",
    "Degradation",
    "EssentialPartFailedError",
    "FallbackStep",
    "Feature",
    "Features",
    "GracefulDegradation",
    "LastGood",
    "Level",
    "MemoryLastGood",
    "NothingKeptError",
    "Served",
    "current_degradation",
    "degradation_scope",
]
