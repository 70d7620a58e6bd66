"""Which orders of policies make sense.

The first policy listed is the outermost. The order that fits almost always is Fallback, Timeout
for all attempts, Retry, CircuitBreaker, Bulkhead, Timeout for one attempt. What cannot work is
refused, what rarely is meant draws a `PipelineOrderWarning`; both say what to write instead.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

from holdfast.errors import ConfigurationError, PipelineOrderWarning
from holdfast.policies.base import Policy
from holdfast.policies.bulkhead import Bulkhead
from holdfast.policies.circuit_breaker import CircuitBreaker
from holdfast.policies.fallback import Fallback
from holdfast.policies.retry import Retry
from holdfast.policies.timeout import Timeout


def check_order(name: str, policies: Sequence[Policy], *, stacklevel: int) -> None:
    """Refuse or warn about the order of `policies`, outermost first.

    Raises:
        ConfigurationError: the order cannot work.
    """
    for problem in _impossible(policies):
        raise ConfigurationError(f"pipeline {name!r}: {problem}")
    for problem in _doubtful(policies):
        warnings.warn(
            f"pipeline {name!r}: {problem}", PipelineOrderWarning, stacklevel=stacklevel + 1
        )


def _pairs(policies: Sequence[Policy]) -> Iterator[tuple[Policy, Policy]]:
    """Every (outer, inner) pair."""
    for at, outer in enumerate(policies):
        for inner in policies[at + 1 :]:
            yield outer, inner


def _timed(policies: Sequence[Policy], policy: Policy) -> bool:
    """Whether a Timeout stands inside `policy`."""
    return any(outer is policy and isinstance(inner, Timeout) for outer, inner in _pairs(policies))


def _impossible(policies: Sequence[Policy]) -> Iterator[str]:
    for outer, inner in _pairs(policies):
        if outer is inner:
            yield f"{outer!r} is listed twice; list each policy once"
        elif isinstance(outer, Retry) and isinstance(inner, Retry):
            yield (
                "two Retry policies multiply their attempts; write one Retry with the total number "
                "of attempts"
            )
        elif isinstance(outer, Retry) and isinstance(inner, CircuitBreaker):
            if outer.names_rejections:
                yield (
                    "the Retry names refusals such as CircuitOpenError in `on`, so it would wait "
                    "out the CircuitBreaker inside it; leave them out of `on` and answer them with "
                    "a Fallback in front"
                )
        elif (
            isinstance(outer, Timeout)
            and isinstance(inner, Timeout)
            and inner.seconds >= outer.seconds
        ):
            yield (
                f"the inner Timeout of {inner.seconds:g} s can never run out inside the outer "
                f"one of {outer.seconds:g} s; give one attempt less time than all together"
            )


def _doubtful(policies: Sequence[Policy]) -> Iterator[str]:
    for outer, inner in _pairs(policies):
        if isinstance(inner, Retry):
            if isinstance(outer, CircuitBreaker):
                yield (
                    "the CircuitBreaker outside the Retry sees only the outcome of all attempts "
                    "together; write Retry(...), CircuitBreaker(...)"
                )
            elif isinstance(outer, Bulkhead):
                yield (
                    "the Bulkhead outside the Retry keeps its place occupied while the Retry "
                    "waits; write Retry(...), Bulkhead(...)"
                )
            elif isinstance(outer, Timeout) and not _timed(policies, inner):
                yield (
                    "a Timeout only outside the Retry lets one slow attempt use up all the time; "
                    "write Retry(...), Timeout(...), or add a shorter Timeout inside"
                )
        if (
            isinstance(outer, Timeout)
            and isinstance(inner, CircuitBreaker)
            and not _timed(policies, inner)
            and not any(isinstance(policy, Retry) for policy in policies)
        ):
            yield (
                "a Timeout only outside the CircuitBreaker looks like a caller who gave up, so a "
                "dependency that hangs never opens the circuit; write CircuitBreaker(...), "
                "Timeout(...), or add a shorter Timeout inside"
            )
        if isinstance(inner, Fallback) and isinstance(outer, (Retry, CircuitBreaker)):
            yield (
                f"the Fallback hides failures from the {type(outer).__name__} outside it; write "
                f"Fallback(...) first"
            )
