"""Binding a row of policies around a callable, innermost first, in as few layers as possible.

A driver takes up to ``Retry, Gate, Gate, Timeout`` in one layer; the rest are layers of their own.
Nothing about the behaviour depends on that: a test binds pipelines both ways and compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from holdfast.policies.base import Inner, Policy, Reject
from holdfast.policies.drivers import drive, drive_async
from holdfast.policies.gate import Gate
from holdfast.policies.retry import Retry
from holdfast.policies.timeout import Timeout

PolicyT = TypeVar("PolicyT", bound=Policy)


def bind_sync(policies: Sequence[Policy], inner: Inner, reject: Reject) -> Inner:
    """`inner` inside all `policies`, the first of them outermost."""
    rest = list(policies)
    while rest:
        gate = _next_gate(rest)
        outer = _next_gate(rest) if gate else None
        retry = _next(rest, Retry)
        if gate or retry:
            inner = drive(retry, outer, gate, inner, reject)
        else:
            inner = rest.pop()._bind_sync(inner, reject)
    return inner


def bind_async(policies: Sequence[Policy], inner: Inner, reject: Reject) -> Inner:
    """The async twin of `bind_sync`."""
    rest = list(policies)
    timeout = _next(rest, Timeout)
    innermost = True
    while rest or timeout:
        gate = _next_gate(rest)
        outer = _next_gate(rest) if gate else None
        retry = _next(rest, Retry)
        if gate or retry:
            # Only a timeout with nothing inside it: others are the deadline of what is inside.
            inner = drive_async(retry, outer, gate, timeout, inner, reject)
            timeout = None
        elif timeout:
            inner, timeout = timeout._bind_async(inner, reject), None
        else:
            policy = rest.pop()
            if isinstance(policy, Timeout):
                inner = policy._bind_limit(inner, reject, publish=not innermost)
            else:
                inner = policy._bind_async(inner, reject)
        innermost = False
    return inner


def _next_gate(rest: list[Policy]) -> Gate | None:
    """Take the innermost policy off `rest` if it is a gate."""
    gate = rest[-1] if rest else None
    if not isinstance(gate, Gate):
        return None
    rest.pop()
    return gate


def _next(rest: list[Policy], kind: type[PolicyT]) -> PolicyT | None:
    """Take the innermost policy off `rest` if it is of this kind."""
    if rest and isinstance(rest[-1], kind):
        return rest.pop()  # type: ignore[return-value]
    return None
