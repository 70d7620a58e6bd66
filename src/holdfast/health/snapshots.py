"""What the monitor shows: frozen, and plain enough to be sent anywhere.

Times are in seconds, dates (`at`) in Unix seconds, shares from 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.errors import ConfigurationError
from holdfast.health.statuses import Status


@dataclass(frozen=True, slots=True)
class TrafficSnapshot:
    """The calls of a service within the last `window` seconds.

    `calls` are those that reached the service and tell something about it, `failures` some of them.
    `rejected` were refused by a policy, `fallbacks` answered by one, `ignored` say nothing, and
    `discounted` came in late through our own fault. `error_rate` is a share of `calls`, the other
    two are shares of `calls` and `rejected` together; None where there were none. The percentiles
    are within 1 %; None if no durations are known.
    """

    window: float
    calls: int
    failures: int
    rejected: int
    fallbacks: int
    ignored: int
    discounted: int
    error_rate: float | None
    rejection_rate: float | None
    fallback_rate: float | None
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class CheckSnapshot:
    """An active check: how it last went, and how often in a row it failed.

    `ok` is None before the first result. `error` is a type or "no answer within 1 s"; `ago` and
    `seconds` say when the last result came and how long that run took. `running` is true also for
    a run that hangs.
    """

    interval: float
    timeout: float
    ok: bool | None
    failures_in_a_row: int
    error: str | None
    ago: float | None
    seconds: float | None
    running: bool
    runs_total: int
    failures_total: int


@dataclass(frozen=True, slots=True)
class StatusChange:
    """One change of a component's own status."""

    at: float
    source: Status
    target: Status
    reason: str


@dataclass(frozen=True, slots=True)
class ComponentSnapshot:
    """One component.

    `own_status` is what its own traffic, policies and check say, for `in_status` seconds so far.
    `status` takes what it depends on into account, and `reason` is about that one. `policies` are
    sentences about policies that are not as usual. `history` holds the latest changes of
    `own_status`, oldest first.
    """

    name: str
    status: Status
    reason: str
    own_status: Status
    in_status: float
    critical: bool
    depends_on: tuple[str, ...]
    uses: tuple[str, ...]
    traffic: TrafficSnapshot
    policies: tuple[str, ...]
    check: CheckSnapshot | None
    history: tuple[StatusChange, ...]


@dataclass(frozen=True, slots=True)
class SystemSnapshot:
    """The system: as bad as its worst critical components (`worst`), and why.

    `worst` also holds components that are not critical, where they make it degraded.
    """

    status: Status
    reason: str
    worst: tuple[str, ...]
    in_status: float


@dataclass(frozen=True, slots=True)
class LocalSnapshot:
    """The process itself: whether its event loop (or the monitor's thread) runs on time.

    `lateness` is that of the last heartbeat, `worst_lateness` the longest so far. `stalled` says
    that a heartbeat is overdue right now. `discounted_total` calls were not held against anybody
    because they came in late.
    """

    watching: bool
    stalled: bool
    lateness: float
    worst_lateness: float
    stalls_total: int
    last_stall_ago: float | None
    discounted_total: int


@dataclass(frozen=True, slots=True)
class HealthSnapshot:
    """Everything the monitor knows at one moment.

    `unlisted_total` counts calls of services that were one too many.
    """

    at: float
    system: SystemSnapshot
    components: tuple[ComponentSnapshot, ...]
    local: LocalSnapshot
    unlisted_total: int

    def component(self, name: str) -> ComponentSnapshot:
        """The component of this name.

        Raises:
            ConfigurationError: there is none.
        """
        for component in self.components:
            if component.name == name:
                return component
        raise ConfigurationError(f"component {name!r} is not known here")
