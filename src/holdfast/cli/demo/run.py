"""The director: everything is started, broken on schedule, measured and ended."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Protocol, cast

from rich.console import Console, RenderableType

from holdfast.cli.demo.features import report_features
from holdfast.cli.demo.floor import Floor
from holdfast.cli.demo.processes import DemoError
from holdfast.cli.demo.report import Report, Run
from holdfast.cli.demo.schedule import Schedule
from holdfast.cli.demo.screen import Show, consoles, live_screen, plain_screen
from holdfast.cli.demo.site import Site, running
from holdfast.cli.demo.traffic import Clock, send_traffic, watch_load

SETTLE = 1.0
"""Seconds before the first request in which the clients are made; that takes time, too."""


class Told(Protocol):
    """What came of a floor."""

    @property
    def passed(self) -> bool:
        """Whether all its targets were met."""
        ...

    def shown(self) -> RenderableType:
        """For people."""
        ...

    def as_data(self) -> dict[str, object]:
        """For scripts."""
        ...


def run_demo(
    floors: Sequence[Floor],
    seconds: float,
    rate: float,
    seed: int,
    *,
    features: bool = False,
    live: bool,
    as_json: bool,
) -> bool:
    """Run these floors one after the other, show them, and say whether Holdfast met its targets.

    A floor that cannot be had on this machine is left out if there is another one. `features` adds
    the one that needs no traffic.

    Raises:
        DemoError: something cannot be started.
    """
    talk, result = consoles(as_json)
    reports: dict[str, Told] = {}

    def tell(name: str, report: Told) -> None:
        reports[name] = report
        if not as_json:
            result.print(report.shown())
            result.print()

    for floor in floors:
        missing = floor.missing()
        if missing is None:
            tell(floor.name, run_floor(floor, seconds, rate, seed, live=live, talk=talk))
        elif len(floors) == 1:
            raise DemoError(missing)
        else:
            talk.print(f"no {floor.name} floor: {missing}")
    if features:
        tell("features", report_features(seed=seed, live=live, talk=talk))
    passed = all(report.passed for report in reports.values())
    if as_json:
        data = {name: report.as_data() for name, report in reports.items()}
        result.print_json(data=data | {"passed": passed})
    return passed


def run_floor(
    floor: Floor, seconds: float, rate: float, seed: int, *, live: bool, talk: Console
) -> Report:
    """Run one floor and show what happens.

    Raises:
        DemoError: something cannot be started.
    """
    schedule = floor.schedule(seconds)
    rate *= floor.busier
    talk.print(f"{floor.name}: starting {floor.starts} …", style="bold")
    with running(floor.build, list(floor.variants), seed, floor.warm) as sites:
        screen = (
            live_screen(talk, floor, schedule, rate, sites)
            if live and talk.is_terminal
            else plain_screen(talk, floor, schedule, sites)
        )
        with screen as show:
            try:
                asyncio.run(direct(sites, schedule, rate, seed, show))
            except ExceptionGroup as group:
                raise _first(group) from group
    records = {site.variant: site.record for site in sites}
    return floor.report(Run(schedule, rate, seed, records))


def _first(error: Exception) -> Exception:
    """The first error of a group, however deep it is in."""
    while isinstance(error, ExceptionGroup):
        error = cast("ExceptionGroup[Exception]", error).exceptions[0]
    return error


async def direct(
    sites: Sequence[Site],
    schedule: Schedule,
    rate: float,
    seed: int,
    show: Show,
) -> None:
    """Send the traffic through the outage; returns when the last answer is in."""
    loop = asyncio.get_running_loop()
    start = loop.time() + SETTLE

    def clock() -> float:
        return loop.time() - start

    async with asyncio.TaskGroup() as everything:
        shown = everything.create_task(_keep_showing(clock, show))
        async with asyncio.TaskGroup() as group:
            group.create_task(_break_things(sites, schedule, clock))
            for number, site in enumerate(sites):
                group.create_task(watch_load(site, clock, seconds=schedule.seconds))
                group.create_task(
                    send_traffic(
                        site,
                        clock,
                        rate=rate,
                        seconds=schedule.seconds,
                        seed=seed,
                        offset=number / (rate * len(sites)),
                    )
                )
        shown.cancel()
    show(math.inf)


async def _break_things(sites: Sequence[Site], schedule: Schedule, clock: Clock) -> None:
    for start, phase in schedule.starts():
        await asyncio.sleep(start - clock())
        await asyncio.gather(*(asyncio.to_thread(site.enter, phase) for site in sites))


async def _keep_showing(clock: Clock, show: Show) -> None:
    while True:
        show(clock())
        await asyncio.sleep(0.25)
