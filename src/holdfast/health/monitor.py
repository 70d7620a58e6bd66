"""The monitor: who is healthy, who is not, why, and what that makes of the whole.

It is fed, and asks nobody by itself. Each call that is recorded, and each policy that is watched,
belongs to a *component*, which is judged at most every `interval` seconds: whenever somebody takes
a snapshot, and by a timer while the monitor is started. Time in which nobody looked counts as one
judgement, not as many, so statuses move at the pace of the looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from holdfast._core.clock import AMBIENT, Clock
from holdfast._core.hub import EVENTS, EventHub
from holdfast._core.sketch import Sketch
from holdfast._core.validate import number
from holdfast.errors import ConfigurationError
from holdfast.health.background import Background
from holdfast.health.board import Board
from holdfast.health.calls import CallOutcome
from holdfast.health.check import Check
from holdfast.health.drivers import Rounds, TaskDriver, ThreadDriver
from holdfast.health.heart import Heart
from holdfast.health.options import HealthOptions
from holdfast.health.snapshots import HealthSnapshot
from holdfast.health.track import Track
from holdfast.policies.base import Policy

PolicyT = TypeVar("PolicyT", bound=Policy)
CheckT = TypeVar("CheckT", bound=Callable[[], Any])


class HealthMonitor:
    """The health of the services that a program calls, and of the program as a whole.

    Args:
        options: the thresholds of components that were not given their own; default
            `HealthOptions()`.
        interval: seconds between two judgements of a component, above 0. Default 5.
        heartbeat: while started, seconds between the beats that find a stalled event loop, above 0.
            Default 0.1; None for none.
        stall: seconds by which a beat must be late to be called a stall, above 0. Default 0.2.
        clock, events: for tests and containers.

    Raises:
        ConfigurationError: an option is out of its range; (from the methods) a name is no printable
            text, is used for something else, or is one too many.

    Nothing runs in the background until ``async with monitor`` (a task of that loop), or
    ``with monitor`` or `start` (a thread). Then the heart beats, active checks run, and components
    are judged in time. Started without a heartbeat and without checks, nothing runs either.

    Thread safe, and usable from several event loops. At most 1,000 components, 100 checks, 50
    changes of status per component are kept. A forked child keeps what was learnt, and has to start
    the monitor itself.
    """

    def __init__(
        self,
        options: HealthOptions | None = None,
        *,
        interval: float = 5.0,
        heartbeat: float | None = 0.1,
        stall: float = 0.2,
        clock: Clock | None = None,
        events: EventHub | None = None,
    ) -> None:
        self.options: Final = HealthOptions() if options is None else options
        self._interval = number("interval", interval, above=0)
        beat = inf if heartbeat is None else number("heartbeat", heartbeat, above=0)
        self._heart = Heart(beat, number("stall", stall, above=0))
        self._clock = AMBIENT if clock is None else clock
        hub = EVENTS if events is None else events
        self._board = Board(self.options, self._interval, self._heart, self._clock, hub)
        self._background = Background(self._rounds, self._board.checks, idle=heartbeat is None)

    # -- what there is -------------------------------------------------------------------------

    def component(
        self,
        name: str,
        *,
        critical: bool = False,
        depends_on: Iterable[str] = (),
        uses: Iterable[str] = (),
        options: HealthOptions | None = None,
    ) -> None:
        """Declare a component, once. What is fed without being declared is not critical.

        Args:
            name: of a service that is called, or of a part of this program.
            critical: whether the system is unhealthy if this is; else it is degraded at most.
            depends_on: names of components without which it cannot do its work.
            uses: names of components that it can do without.
            options: thresholds of its own.

        Raises:
            ConfigurationError: it was declared differently, names a component that is not known, or
                depends on itself by whatever way.
        """
        component = self._board.known(name, "name")
        self._board.declare(name, critical=critical, depends_on=depends_on, uses=uses)
        if options is not None:
            component.reconfigure(options)

    def watch(self, policy: PolicyT, service: str | None = None) -> PolicyT:
        """Learn from the snapshots of a policy or pipeline, which costs its calls nothing.

        Args:
            policy: with a circuit breaker, retry, bulkhead or fallback; it is also the answer.
            service: the component it belongs to; default: its name.

        Calls are counted by the breaker, else by the retry, without durations. Where calls are
        recorded one by one as well, only those count, and of the policies their states.
        """
        name = policy.name if service is None else service
        self._board.known(name).watch(policy, self._clock.now())
        return policy

    def record(
        self,
        service: str,
        seconds: float | None = None,
        outcome: CallOutcome = "success",
        *,
        fallback: bool = False,
    ) -> None:
        """Count one call that ended now.

        Args:
            service: the component; a new name makes one. Beyond 1,000 names it is counted as
                unlisted.
            seconds: how long it took; None if nobody knows.
            outcome: ``"success"``, ``"failure"``, ``"rejected"`` (a policy refused it) or
                ``"ignored"`` (it says nothing); `outcome_of` tells which an exception is.
            fallback: whether the caller was given another answer instead.

        About a microsecond. A failure or refusal that a stall of this process may have caused is
        counted as discounted only.
        """
        component = self._board.components.get(service) or self._board.add(service)
        if component is None:
            self._board.count_unlisted()
            return
        component.record(self._clock.now(), outcome, seconds, fallback=fallback)

    def track(self, service: str) -> Track:
        """A decorator, block or pipeline layer that records each call of a service."""
        return Track(self._board.known(service), self._clock)

    def check(
        self, name: str, *, interval: float = 10.0, timeout: float = 1.0, jitter: float = 0.1
    ) -> Callable[[CheckT], CheckT]:
        """Decorate a function that asks a component actively, while the monitor is started.

        Args:
            name: of the component; each has one check at most.
            interval: seconds from one run to the next, above 0. Default 10.
            timeout: seconds for a run, above 0 and at most `interval`. Default 1.
            jitter: up to this share is added to an interval at random, 0 to 1. Default 0.1.

        The function takes no arguments, and fails by raising or by returning False. An async one is
        cancelled when its time is up. A sync one runs in a thread, which nothing can end; the next
        run waits for it. Two failures in a row make the component unhealthy.

        Raises:
            ConfigurationError: an option is out of its range, the component has a check, the check
                is async and the monitor runs in a thread, or it comes too late to be run.
            TypeError: what is decorated is no plain or coroutine function.
        """

        def register(fn: CheckT) -> CheckT:
            check = Check(name, fn, interval=interval, timeout=timeout, jitter=jitter)
            self._background.admit(check)
            self._board.add_check(check)
            return fn

        return register

    # -- looking in ----------------------------------------------------------------------------

    def snapshot(self) -> HealthSnapshot:
        """Everything at this moment. Judges components that are due, and may tell listeners."""
        return self._board.snapshot()

    def latencies(self, service: str) -> Sketch:
        """The durations of a component's calls in its window, to be merged with other processes'.

        Raises:
            ConfigurationError: there is no such component.
        """
        component = self._board.components.get(service)
        if component is None:
            raise ConfigurationError(f"component {service!r} is not known here")
        return component.latencies(self._clock.now())

    # -- the background ------------------------------------------------------------------------

    def start(self) -> None:
        """Run in a thread until `stop`.

        Raises:
            ConfigurationError: it runs already, or a check is async.
        """
        self._background.start_thread()

    def stop(self) -> None:
        """End what `start` began, waiting up to a second for it; fine if nothing runs."""
        driver = self._background.take()
        if isinstance(driver, ThreadDriver):
            driver.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        self._background.start_task()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        driver = self._background.take()
        if isinstance(driver, TaskDriver):
            await driver.stop()

    def _rounds(self) -> Rounds:
        board = self._board
        return Rounds(self._clock, self._heart, board.checks, board.judge, self._interval)
