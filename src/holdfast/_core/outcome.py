"""What comes back: verdicts for machines, outcomes for callers that prefer values to exceptions."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, Generic, NoReturn, TypeVar

from holdfast import errors

T_co = TypeVar("T_co", covariant=True)


class Verdict(Enum):
    """What an outcome teaches a gate. `IGNORED` gives the place back and teaches nothing."""

    SUCCESS = "success"
    FAILURE = "failure"
    IGNORED = "ignored"


class Outcome(Generic[T_co]):
    """The result of `try_call` and `try_acall`: a value, an error, or a policy's refusal.

    Attributes:
        ok: whether there is a value.
        rejected: whether a policy refused to start the call.
        error: the exception, or None when `ok`. For a refusal it is built on first use.
    """

    __slots__ = ()
    ok: bool = False
    rejected: bool = False

    @property
    def error(self) -> Exception | None:
        return None

    def unwrap(self) -> T_co:
        """The value, or raise `error`."""
        raise AssertionError("every kind of outcome unwraps itself")  # pragma: no cover - abstract

    def value_or(self, default: Any) -> Any:
        """The value, or `default` when there is none."""
        return self.unwrap() if self.ok else default


class Success(Outcome[T_co]):
    """The call returned `value`."""

    __slots__ = ("value",)
    ok = True

    def __init__(self, value: T_co) -> None:
        self.value: Final = value

    def unwrap(self) -> T_co:
        return self.value

    def __repr__(self) -> str:
        return f"Success({self.value!r})"


class Failure(Outcome[Any]):
    """The call raised `error`."""

    __slots__ = ("_error",)

    def __init__(self, error: Exception) -> None:
        self._error = error

    @property
    def error(self) -> Exception:
        return self._error

    def unwrap(self) -> NoReturn:
        raise self._error

    def __repr__(self) -> str:
        return f"Failure({self._error!r})"


_ERRORS: Final[dict[str, type[errors.RejectedError]]] = {
    "circuit_breaker": errors.CircuitOpenError,
    "bulkhead": errors.BulkheadFullError,
    "deadline": errors.DeadlineExceededError,
    "budget": errors.BudgetExhaustedError,
    "rate_limit": errors.RateLimitedError,
}


class Rejection(Outcome[Any]):
    """A gate's refusal, as data; the exception is built only if somebody wants one."""

    __slots__ = ("_error", "name", "policy", "reason", "retry_after")
    rejected = True

    def __init__(
        self, policy: str, name: str, reason: str, retry_after: float | None = None
    ) -> None:
        self.policy = policy
        self.name = name
        self.reason = reason
        self.retry_after = retry_after
        self._error: errors.RejectedError | None = None

    @property
    def error(self) -> errors.RejectedError:
        if self._error is None:
            kind = _ERRORS.get(self.policy, errors.RejectedError)
            self._error = kind(self.policy, self.name, self.reason, self.retry_after)
        return self._error

    def unwrap(self) -> NoReturn:
        raise self.error

    def __repr__(self) -> str:
        return f"Rejection({self.policy!r}, {self.name!r}, {self.reason!r}, {self.retry_after!r})"
