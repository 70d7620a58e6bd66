"""Holdfast keeps Python services useful while the things they depend on fail."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

from holdfast._core.backoff import Backoff
from holdfast._core.budget import Budget as RetryBudget
from holdfast._core.deadline import deadline, time_left
from holdfast._core.outcome import Outcome
from holdfast.classify import classifier, classify
from holdfast.errors import (
    BudgetExhaustedError,
    BulkheadFullError,
    CallTimeoutError,
    Category,
    CircuitOpenError,
    ConfigurationError,
    DeadlineExceededError,
    PipelineOrderWarning,
    RateLimitedError,
    RejectedError,
    ResilienceError,
    UnwantedResultError,
)
from holdfast.policies.bulkhead import Bulkhead
from holdfast.policies.circuit_breaker import CircuitBreaker
from holdfast.policies.fallback import Fallback
from holdfast.policies.pipeline import Pipeline
from holdfast.policies.retry import Retry
from holdfast.policies.timeout import Timeout

if _TYPE_CHECKING:
    from holdfast.cache import ResilientCache
    from holdfast.cache.errors import CacheUnavailableError
    from holdfast.degradation import (
        AllFallbacksFailedError,
        CacheFallback,
        FallbackStep,
        GracefulDegradation,
        current_degradation,
    )
    from holdfast.health import HealthMonitor
    from holdfast.keyed import Keyed
    from holdfast.resilience import Resilience
    from holdfast.retry_service import RetryService
    from holdfast.settings import Settings

__all__ = [
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

_LATE = {
    "AllFallbacksFailedError": "holdfast.degradation.errors",
    "CacheFallback": "holdfast.degradation",
    "CacheUnavailableError": "holdfast.cache.errors",
    "FallbackStep": "holdfast.degradation",
    "GracefulDegradation": "holdfast.degradation",
    "HealthMonitor": "holdfast.health",
    "Keyed": "holdfast.keyed",
    "Resilience": "holdfast.resilience",
    "ResilientCache": "holdfast.cache",
    "RetryService": "holdfast.retry_service",
    "Settings": "holdfast.settings",
    "current_degradation": "holdfast.degradation",
}
"""Names that load their module when first used, so that importing the policies stays fast."""


def __getattr__(name: str) -> object:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(_import_module(_LATE[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
