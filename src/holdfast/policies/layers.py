"""Binding a row of policies around a callable, innermost first, in as few layers as possible.

Neighbouring gates share a layer two at a time, and a `Timeout` that stands innermost is taken over
by the gate in front of it. Nothing about the behaviour depends on that; a test binds every pipeline
both ways and compares.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.policies.base import Inner, Policy, Reject
from holdfast.policies.gate import (
    Gate,
    one_gate,
    one_gate_async,
    two_gates,
    two_gates_async,
)
from holdfast.policies.timeout import Timeout


def bind_sync(policies: Sequence[Policy], inner: Inner, reject: Reject) -> Inner:
    """`inner` inside all `policies`, the first of them outermost."""
    rest = list(policies)
    while rest:
        policy = rest.pop()
        if not isinstance(policy, Gate):
            inner = policy._bind_sync(inner, reject)
        elif rest and isinstance(rest[-1], Gate):
            inner = two_gates(rest.pop(), policy, inner, reject)  # type: ignore[arg-type]
        else:
            inner = one_gate(policy, inner, reject)
    return inner


def bind_async(policies: Sequence[Policy], inner: Inner, reject: Reject) -> Inner:
    """The async twin of `bind_sync`."""
    rest = list(policies)
    timeout: Timeout | None = None
    if len(rest) > 1 and isinstance(rest[-1], Timeout) and isinstance(rest[-2], Gate):
        timeout = rest.pop()  # type: ignore[assignment]
    innermost = True
    while rest:
        policy = rest.pop()
        if isinstance(policy, Timeout):
            inner = policy._bind_limit(inner, reject, publish=not innermost)
        elif not isinstance(policy, Gate):
            inner = policy._bind_async(inner, reject)
        elif rest and isinstance(rest[-1], Gate):
            inner = two_gates_async(rest.pop(), policy, inner, reject, timeout)  # type: ignore[arg-type]
            timeout = None
        else:
            inner = one_gate_async(policy, inner, reject, timeout)
            timeout = None
        innermost = False
    return inner
