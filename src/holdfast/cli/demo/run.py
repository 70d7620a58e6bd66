"""The director: everything is started, broken on schedule, measured and ended."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from holdfast.cli.demo.figures import figures
from holdfast.cli.demo.report import Report
from holdfast.cli.demo.schedule import Phase, Schedule, standard
from holdfast.cli.demo.screen import Show, consoles, live_screen, plain_screen
from holdfast.cli.demo.site import VARIANTS, Site, running
from holdfast.cli.demo.targets import judge
from holdfast.cli.demo.traffic import Clock, send_traffic, watch_load

SETTLE = 1.0
"""Seconds before the first request in which the clients are made; that takes time, too."""


def run_demo(seconds: float, rate: float, seed: int, *, live: bool, as_json: bool) -> bool:
    """Run the demo, show it, and say whether Holdfast met its targets.

    Raises:
        DemoError: something cannot be started.
    """
    schedule = standard(seconds)
    talk, result = consoles(as_json)
    talk.print(f"starting {2 * len(VARIANTS)} processes and {len(VARIANTS)} fault proxies …")
    with running(list(VARIANTS), seed) as sites:
        screen = (
            live_screen(talk, schedule, rate, sites)
            if live and talk.is_terminal
            else plain_screen(talk, schedule, sites)
        )
        with screen as show:
            asyncio.run(direct(sites, schedule, rate, seed, show))
    report = make_report(sites, schedule, rate, seed)
    if as_json:
        result.print_json(data=report.as_data())
    else:
        result.print(report.table())
    return report.passed


def make_report(sites: Sequence[Site], schedule: Schedule, rate: float, seed: int) -> Report:
    """The figures and verdicts of a run that is over."""
    variants = {
        site.variant: figures(site.record, schedule.outage, schedule.seconds) for site in sites
    }
    return Report(schedule, rate, seed, variants, judge(variants))


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
        await asyncio.to_thread(_enter, phase, sites)


def _enter(phase: Phase, sites: Sequence[Site]) -> None:
    for site in sites:
        site.suffer(phase.toxic)


async def _keep_showing(clock: Clock, show: Show) -> None:
    while True:
        show(clock())
        await asyncio.sleep(0.25)
