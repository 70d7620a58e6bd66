"""A token bucket that success fills and retries empty.

While a dependency answers, every success pays a fraction of a token in, so that retries may add at
most that fraction of load. While it fails, nothing is paid in, the bucket runs dry and retries
stop: the load returns to one attempt per call instead of multiplying. Sources: Marc Brooker,
*Fixing retries with token buckets and circuit breakers*, 2022; gRPC proposal A6 (retry throttling).

Two deviations, both so that a small program is not punished for being small: a bucket starts half
full, and `refill` trickles tokens in over time, which is nothing to a busy dependency and enough
for a job that calls once a minute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast._core.fork import SharedLock
from holdfast._core.validate import number

if TYPE_CHECKING:
    from holdfast._core.snapshots import BudgetSnapshot

_SHARED = SharedLock()
# All budgets: they are only touched while they fill up and when something fails.

_HAIR = 1e-9
"""Ten deposits of 0.1 must be worth one token in binary floats too."""


class Budget:
    """Tokens for extra attempts, shared by everything that retries one dependency.

    Args:
        ratio: tokens that one success pays in, from 0 to 1. Default 0.1: at most 10 % more load.
        capacity: the most tokens it can hold, above 0. Default 10.
        initial: tokens at the start; default half the capacity.
        refill: tokens per second that come in whatever happens, at least 0. Default 0.1.
        reserve: nothing is paid out unless at least this remains. Default 0: the last token can be
            spent.

    Thread safe. Never blocks for longer than a few instructions.
    """

    __slots__ = (
        "_granted",
        "_refilled_at",
        "_refused",
        "_tokens",
        "capacity",
        "full",
        "ratio",
        "refill",
        "reserve",
    )

    def __init__(
        self,
        *,
        ratio: float = 0.1,
        capacity: float = 10.0,
        initial: float | None = None,
        refill: float = 0.1,
        reserve: float = 0.0,
    ) -> None:
        self.ratio = number("ratio", ratio, at_least=0, at_most=1)
        self.capacity = number("capacity", capacity, above=0)
        self.refill = number("refill", refill, at_least=0)
        self.reserve = number("reserve", reserve, at_least=0, at_most=capacity)
        self._tokens = (
            self.capacity / 2
            if initial is None
            else number("initial", initial, at_least=0, at_most=capacity)
        )
        self.full = self._tokens >= self.capacity
        """Whether a deposit would change nothing; may be read without the lock."""
        self._refilled_at: float | None = None
        self._granted = 0
        self._refused = 0

    @property
    def tokens(self) -> float:
        """Tokens held now, as of the last time somebody asked for one."""
        return self._tokens

    @property
    def open(self) -> bool:
        """Whether more than the reserve is left (gRPC's rule for allowing retries at all)."""
        return self._tokens > self.reserve + _HAIR

    def deposit(self, tokens: float | None = None) -> None:
        """Pay in for one success (`ratio`), or give `tokens` back that were not used."""
        with _SHARED.lock:
            amount = self.ratio if tokens is None else tokens
            self._tokens = min(self.capacity, self._tokens + amount)
            self.full = self._tokens >= self.capacity

    def charge(self, cost: float = 1.0) -> None:
        """Take `cost` tokens out without asking, down to none (gRPC's way to count a failure)."""
        with _SHARED.lock:
            self._tokens = max(0.0, self._tokens - cost)
            self.full = False

    def withdraw(self, now: float, cost: float = 1.0) -> bool:
        """Take `cost` tokens for one extra attempt; False (and none taken) if there are too few."""
        with _SHARED.lock:
            if self._refilled_at is not None:
                # Another thread may have read the clock later and come here first.
                now = max(now, self._refilled_at)
                gained = (now - self._refilled_at) * self.refill
                self._tokens = min(self.capacity, self._tokens + gained)
            self._refilled_at = now
            if self._tokens - cost < self.reserve - _HAIR:
                self._refused += 1
                return False
            self._tokens = max(0.0, self._tokens - cost)
            self.full = False
            self._granted += 1
            return True

    def snapshot(self) -> BudgetSnapshot:
        from holdfast._core.snapshots import BudgetSnapshot

        with _SHARED.lock:
            return BudgetSnapshot(self._tokens, self.capacity, self._granted, self._refused)
