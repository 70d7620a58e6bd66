"""The exceptions Holdfast raises, and the categories every error is sorted into.

One base class, `ResilienceError`. Whatever a policy refuses to start is a `RejectedError` and says
which policy refused, why, and how long to stay away. A call that was started and then cut off by
our own timer is a `CallTimeoutError`. Nothing here ever replaces the callee's own exception: a
retry that gives up re-raises what the callee raised last.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "BudgetExhaustedError",
    "BulkheadFullError",
    "CallTimeoutError",
    "Category",
    "CircuitOpenError",
    "ConfigurationError",
    "DeadlineExceededError",
    "PipelineOrderWarning",
    "RateLimitedError",
    "RejectedError",
    "ResilienceError",
    "UnwantedResultError",
]


class Category(StrEnum):
    """What an error says about the dependency, which decides who acts on it.

    Breakers count all but `PERMANENT` and `CANCELLED` as failures; retries default to `TRANSIENT`,
    `TIMEOUT` and `OVERLOAD`.
    """

    TRANSIENT = "transient"
    """A hiccup: a reset connection, a deadlock victim. The same call may well succeed now."""
    TIMEOUT = "timeout"
    """No answer in time. The call may or may not have taken effect."""
    OVERLOAD = "overload"
    """The dependency asks for less: HTTP 429 or 503, a full pool, too many connections."""
    UNAVAILABLE = "unavailable"
    """Nobody is there: connection refused, name not found, circuit open."""
    PERMANENT = "permanent"
    """The caller's fault; the same call will fail again: a bad argument, HTTP 404, no right."""
    CANCELLED = "cancelled"
    """The caller gave up. It says nothing about the dependency."""
    UNKNOWN = "unknown"
    """Nothing is known about this kind of error."""


class ResilienceError(Exception):
    """Base of every exception that Holdfast itself raises."""


class ConfigurationError(ResilienceError, ValueError):
    """A setting or an option has a value that cannot work; the message says what is allowed."""


class PipelineOrderWarning(UserWarning):
    """The order of a pipeline's policies is legal but rarely what was meant."""


class RejectedError(ResilienceError):
    """A policy refused to start the call; the dependency was not touched.

    Attributes:
        policy: the kind of policy that refused, for example ``"circuit_breaker"``.
        name: the name of the policy that refused.
        reason: one or two words for logs and metrics, for example ``"open"``.
        retry_after: seconds after which another try makes sense, or None when nobody can say.
    """

    def __init__(self, policy: str, name: str, reason: str, retry_after: float | None = None):
        super().__init__(policy, name, reason, retry_after)
        self.policy = policy
        self.name = name
        self.reason = reason
        self.retry_after = retry_after

    def __str__(self) -> str:
        after = "" if self.retry_after is None else f"; try again in {self.retry_after:.3g} s"
        return (
            f"{self.policy.replace('_', ' ')} {self.name!r} refused the call: {self.reason}{after}"
        )


class CircuitOpenError(RejectedError):
    """The circuit breaker is open (or isolated, or its probe places are taken)."""


class BulkheadFullError(RejectedError):
    """All places of the bulkhead and of its queue are taken, or the wait for one took too long."""


class RateLimitedError(RejectedError):
    """The rate limit has no token left for this call."""


class DeadlineExceededError(RejectedError):
    """The ambient deadline has passed, so the work was not started."""


class BudgetExhaustedError(RejectedError):
    """The retry budget holds no token for another attempt."""


class CallTimeoutError(ResilienceError, TimeoutError):
    """A `Timeout` policy's own timer ran out; never raised for a timeout of the callee's.

    Attributes:
        name: the name of the `Timeout` policy.
        seconds: the limit that applied, in seconds (shorter than the policy's when a deadline is
            nearer).
    """

    def __init__(self, name: str, seconds: float):
        super().__init__(name, seconds)
        self.name = name
        self.seconds = seconds

    def __str__(self) -> str:
        return f"timeout {self.name!r}: no result within {self.seconds:.3g} s"


class UnwantedResultError(ResilienceError):
    """What a fallback's handler is told when not an exception but a result was to be replaced.

    Attributes:
        result: the result that `on_result` turned down.
    """

    def __init__(self, result: object):
        super().__init__(result)
        self.result = result

    def __str__(self) -> str:
        # Not the result itself: it may be large, or private.
        return f"on_result turned down a result of type {type(self.result).__qualname__}"
