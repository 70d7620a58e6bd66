"""Holdfast keeps Python services useful while the things they depend on fail."""

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

__all__ = [
    "Backoff",
    "BudgetExhaustedError",
    "Bulkhead",
    "BulkheadFullError",
    "CallTimeoutError",
    "Category",
    "CircuitBreaker",
    "CircuitOpenError",
    "ConfigurationError",
    "DeadlineExceededError",
    "Fallback",
    "Outcome",
    "Pipeline",
    "PipelineOrderWarning",
    "RateLimitedError",
    "RejectedError",
    "ResilienceError",
    "Retry",
    "RetryBudget",
    "Timeout",
    "UnwantedResultError",
    "classifier",
    "classify",
    "deadline",
    "time_left",
]
