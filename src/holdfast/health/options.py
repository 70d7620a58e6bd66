"""When a component is called degraded or unhealthy, and how much it takes to change one's mind."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast._core.validate import count, number
from holdfast.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthOptions:
    """The thresholds of one component.

    Args:
        window: seconds of traffic that are judged, above 0. Default 60.
        minimum_calls: below so many calls in the window, failures are not judged; at least 1.
            Default 10.
        degraded_error_rate: from this share of failed calls on it is degraded, above 0 up to 1.
            Default 0.1.
        unhealthy_error_rate: from this share on it is unhealthy, above `degraded_error_rate` up to
            1. Default 0.5.
        degraded_latency: from this 95th percentile in seconds on it is degraded, above 0. Default
            None: latency is shown and not judged.
        unhealthy_latency: from this 95th percentile on it is unhealthy, above `degraded_latency`.
            Default None.
        degraded_rejection_rate: from this share of calls that policies refused on it is degraded,
            above 0 up to 1. Default 0.1.
        degraded_fallback_rate: from this share of calls that a fallback answered on it is degraded,
            above 0 up to 1. Default 0.1.
        worsen_after: readings in a row that say worse before the status gets worse, at least 1.
            Default 2.
        improve_after: readings in a row that say better before it gets better, at least 1.
            Default 3.
        quiet_after: readings in a row that have nothing to go by before it is unknown, at least 1.
            Default 3.

    Raises:
        ConfigurationError: an option is out of its range, or two thresholds are out of order.
    """

    window: float = 60.0
    minimum_calls: int = 10
    degraded_error_rate: float = 0.1
    unhealthy_error_rate: float = 0.5
    degraded_latency: float | None = None
    unhealthy_latency: float | None = None
    degraded_rejection_rate: float = 0.1
    degraded_fallback_rate: float = 0.1
    worsen_after: int = 2
    improve_after: int = 3
    quiet_after: int = 3

    def __post_init__(self) -> None:
        number("window", self.window, above=0)
        for name in ("minimum_calls", "worsen_after", "improve_after", "quiet_after"):
            count(name, getattr(self, name))
        for name in (
            "degraded_error_rate",
            "unhealthy_error_rate",
            "degraded_rejection_rate",
            "degraded_fallback_rate",
        ):
            number(name, getattr(self, name), above=0, at_most=1)
        for name in ("degraded_latency", "unhealthy_latency"):
            if getattr(self, name) is not None:
                number(name, getattr(self, name), above=0)
        _in_order("error_rate", self.degraded_error_rate, self.unhealthy_error_rate)
        if self.degraded_latency is not None and self.unhealthy_latency is not None:
            _in_order("latency", self.degraded_latency, self.unhealthy_latency)


def _in_order(what: str, degraded: float, unhealthy: float) -> None:
    if degraded >= unhealthy:
        raise ConfigurationError(
            f"unhealthy_{what} must be greater than degraded_{what}:"
            f" {unhealthy:g} is not greater than {degraded:g}"
        )
