"""Options that cannot work are refused at once, by an error that names the parameter."""

from __future__ import annotations

import re
from typing import Any

import pytest

from holdfast import (
    Bulkhead,
    CircuitBreaker,
    ConfigurationError,
    Fallback,
    ResilienceError,
    Retry,
    Timeout,
)

NAN = float("nan")

BAD: list[tuple[Any, str, Any]] = [
    (Retry, "attempts", 0),
    (Retry, "attempts", 2.5),
    (Retry, "attempts", True),
    (Retry, "backoff", 1.5),
    (Retry, "budget", 3),
    (Retry, "max_elapsed", 0),
    (Retry, "max_retry_after", -1),
    (Retry, "on", "ConnectionError"),
    (Retry, "on", []),
    (Retry, "on", [3]),
    (Retry, "on", 3),
    (Retry, "on", int),
    (Retry, "name", ""),
    (CircuitBreaker, "name", 7),
    (CircuitBreaker, "failure_threshold", 0),
    (CircuitBreaker, "failure_rate", 0),
    (CircuitBreaker, "failure_rate", 1.1),
    (CircuitBreaker, "slow_call_duration", 0),
    (CircuitBreaker, "slow_call_rate", 2),
    (CircuitBreaker, "minimum_calls", 0),
    (CircuitBreaker, "window", 0),
    (CircuitBreaker, "window", NAN),
    (CircuitBreaker, "window_calls", 0),
    (CircuitBreaker, "reset_timeout", -1),
    (CircuitBreaker, "reset_backoff", 0.5),
    (CircuitBreaker, "max_reset_timeout", 1),
    (CircuitBreaker, "reset_jitter", 1.5),
    (CircuitBreaker, "half_open_max_calls", 0),
    (CircuitBreaker, "probe_timeout", 0),
    (CircuitBreaker, "ramp", -1),
    (CircuitBreaker, "on", "x"),
    (CircuitBreaker, "success_on", "x"),
    (Bulkhead, "max_concurrent", 0),
    (Bulkhead, "max_queue", -1),
    (Bulkhead, "max_wait", -1),
    (Bulkhead, "max_wait", "1"),
    (Timeout, "seconds", 0),
    (Timeout, "seconds", float("inf")),
    (Timeout, "seconds", "1"),
    (lambda **options: Timeout(1, **options), "sync", "process"),
    (lambda **options: Timeout(1, **options), "max_abandoned", 0),
    (Fallback, "handler", None),
    (Fallback, "handler", "value"),
    (lambda **options: Fallback(value=1, **options), "on", "x"),
]


@pytest.mark.parametrize(
    ("policy", "option", "value"), [pytest.param(*row, id=f"{row[1]}={row[2]!r}") for row in BAD]
)
def test_bad_options_name_parameter_value_and_what_is_allowed(
    policy: Any, option: str, value: Any
) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"^{option} must be .+, not {re.escape(repr(value))}$"
    ) as caught:
        policy(**{option: value})
    assert isinstance(caught.value, ResilienceError)
    assert isinstance(caught.value, ValueError)


def test_a_fallback_takes_a_handler_or_a_value_not_both() -> None:
    with pytest.raises(ConfigurationError, match=r"^handler must be"):
        Fallback(print, value=1)


def test_verbs_of_the_operator_check_their_arguments() -> None:
    breaker = CircuitBreaker()
    for verb in (breaker.isolate, breaker.force_closed, breaker.disable, breaker.observe):
        with pytest.raises(ConfigurationError, match=r"^ttl must be"):
            verb("drill", ttl=0)
        with pytest.raises(ConfigurationError, match=r"^reason must be"):
            verb("")
    assert breaker.snapshot().transitions_total == 0


def test_a_bad_change_changes_nothing() -> None:
    breaker, bulkhead = CircuitBreaker(window=7), Bulkhead(max_concurrent=3)
    with pytest.raises(ConfigurationError, match=r"^window must be"):
        breaker.reconfigure(reset_timeout=1, window=0)
    with pytest.raises(TypeError, match="windows"):
        breaker.reconfigure(windows=3)
    with pytest.raises(ConfigurationError, match=r"^max_concurrent must be"):
        bulkhead.resize(max_concurrent=0, max_queue=5)
    with pytest.raises(ConfigurationError, match=r"^max_queue must be"):
        bulkhead.resize(max_concurrent=5, max_queue=-1)
    assert (breaker.options.window, breaker.options.reset_timeout) == (7, 30)
    assert (bulkhead.snapshot().limit, bulkhead.snapshot().max_queue) == (3, 0)
