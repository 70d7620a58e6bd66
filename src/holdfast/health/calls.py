"""How a call ended, as far as the health of what was called is concerned."""

from __future__ import annotations

from typing import Literal

from holdfast.classify import classify
from holdfast.errors import Category, RejectedError

CallOutcome = Literal["success", "failure", "rejected", "ignored"]
"""`rejected`: a policy refused it. `ignored`: it says nothing about the service."""


def outcome_of(error: BaseException | None) -> CallOutcome:
    """What `error` (None: the call returned) says, by the rules that circuit breakers have.

    A refusal by a Holdfast policy is ``"rejected"``; permanent errors and cancellation are
    ``"ignored"``, for they are the caller's own. Never raises.
    """
    if error is None:
        return "success"
    if isinstance(error, RejectedError):
        return "rejected"
    if classify(error) in (Category.PERMANENT, Category.CANCELLED):
        return "ignored"
    return "failure"
