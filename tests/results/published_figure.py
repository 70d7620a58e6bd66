"""One number that somebody published, beside the number that our code gives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """`within` is the absolute distance from `published` that passes; None means *at most*."""

    row: int
    what: str
    ours: float
    published: float
    within: float | None = 0.0

    @property
    def ok(self) -> bool:
        if self.within is None:
            return self.ours <= self.published
        return abs(self.ours - self.published) <= self.within

    @property
    def tolerance(self) -> str:
        if self.within is None:
            return "at most"
        return f"± {self.within:.4g}" if self.within else "exact"
