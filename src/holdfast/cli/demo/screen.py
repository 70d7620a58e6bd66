"""What is seen while the demo runs: a live picture, or a line per phase.

The picture has one strip per variant. A cell is a stretch of traffic, placed where its requests
were due, under the phase they fell into; it fills in when the answers come.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from holdfast.cli.demo.figures import PROMPT, Answer, Kind, load, percentile, share
from holdfast.cli.demo.floor import Floor
from holdfast.cli.demo.report import percent, seconds
from holdfast.cli.demo.schedule import Schedule
from holdfast.cli.demo.site import Site
from holdfast.cli.demo.traffic import METER_EVERY

CELLS = 54
RECENT = 3.0

Show = Callable[[float], None]
"""Shows how things stand so many seconds after the traffic began; infinity stands for the end."""

Cell = tuple[str, str]
"""A sign and its style."""

FULL: Cell = ("█", "green")
LATE: Cell = ("▄", "dark_orange")
DEGRADED: Cell = ("▒", "yellow")
ERROR: Cell = ("×", "bold red")
WAITING: Cell = ("·", "dim")

LEGEND = (
    (FULL, "full"),
    (LATE, f"full, after over {PROMPT:g} s"),
    (DEGRADED, "declared degraded"),
    (ERROR, "error"),
    (WAITING, "waiting"),
)
NOTICEABLE = 0.1
"""A cell shows the worst that befell this share of its requests."""


def consoles(as_json: bool) -> tuple[Console, Console]:
    """Where to talk and where to put the result: JSON has standard output for itself."""
    result = Console(file=sys.stdout, highlight=False)
    return (Console(file=sys.stderr, highlight=False) if as_json else result), result


@contextmanager
def live_screen(
    console: Console, floor: Floor, schedule: Schedule, rate: float, sites: Sequence[Site]
) -> Generator[Show]:
    """The picture, redrawn in place; the last one stays."""
    with Live(console=console, auto_refresh=False) as live:

        def show(now: float) -> None:
            parts = [headline(floor, schedule, rate, now), picture(floor, schedule, sites, now)]
            if now < schedule.seconds:
                parts.append(recent(floor, sites, now))
            live.update(Group(*parts), refresh=True)

        yield show


@contextmanager
def plain_screen(
    console: Console, floor: Floor, schedule: Schedule, sites: Sequence[Site]
) -> Generator[Show]:
    """A line when a phase begins, and the picture when all is over."""
    coming = list(schedule.starts())

    def show(now: float) -> None:
        while coming and coming[0][0] <= now:
            start, phase = coming.pop(0)
            console.print(f"{start:5.1f} s  {phase.name:8} {phase.about}")

    yield show
    console.print(picture(floor, schedule, sites, schedule.seconds))


def headline(floor: Floor, schedule: Schedule, rate: float, now: float) -> RenderableType:
    """Where we are."""
    phase = schedule.at(now)
    news = f"{floor.suffers} {phase.name}: {phase.about}"
    if now > schedule.seconds:
        news = "waiting for the last answers" if now < math.inf else "all answers are in"
    return Text.assemble(
        f"{rate:g} requests per second to each task board; {floor.about}\n",
        (
            f"{min(max(now, 0.0), schedule.seconds):4.1f} s of {schedule.seconds:g} s   {news}",
            "bold",
        ),
    )


def picture(floor: Floor, schedule: Schedule, sites: Sequence[Site], now: float) -> RenderableType:
    """The strips, one above the other, and what the signs mean."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 1, 0, 0))
    table.add_row("", Text(ruler(schedule), style="bold"))
    for site in sites:
        cells = strip(site.record.answers, schedule.seconds, now)
        table.add_row(floor.variants[site.variant], Text.assemble(*cells))
    words = [part for sign, meaning in LEGEND for part in (sign, f" {meaning}   ")]
    return Group(Text(), table, Text.assemble(*words))


def ruler(schedule: Schedule) -> str:
    """The names of the phases, each above the cells of its time."""
    line = ""
    for start, phase in schedule.starts():
        line = line.ljust(round(CELLS * start / schedule.seconds)) + f"│{phase.name}"
    return line


def strip(answers: Sequence[Answer], total: float, now: float) -> Iterator[Cell]:
    """The cells of all time that has begun."""
    cells: list[list[Answer]] = [[] for _ in range(CELLS)]
    for answer in answers:
        cells[min(CELLS - 1, int(CELLS * answer.due / total))].append(answer)
    for number, content in enumerate(cells):
        if number * total / CELLS < now:
            yield cell(content)


def cell(answers: Sequence[Answer]) -> Cell:
    """The sign for these answers."""
    if not answers:
        return WAITING
    if share(answers, Kind.ERROR) >= NOTICEABLE:
        return ERROR
    if share(answers, Kind.DEGRADED) >= NOTICEABLE:
        return DEGRADED
    late = sum(answer.latency > PROMPT for answer in answers)
    return LATE if late >= NOTICEABLE * len(answers) else FULL


def recent(floor: Floor, sites: Sequence[Site], now: float) -> Table:
    """The last seconds in figures: of the answers that came, and of the load."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(f"last {RECENT:g} s", min_width=max(map(len, floor.variants.values())))
    titles = (title for title, _ in floor.columns)
    for title in ("answers", "usable", "p99", *titles, "service load"):
        table.add_column(title, justify="right", min_width=6)
    since = max(0.0, now - RECENT)
    for site in sites:
        answers = [answer for answer in site.record.answers if answer.due + answer.latency > since]
        usable = 1 - share(answers, Kind.ERROR)
        table.add_row(
            floor.variants[site.variant],
            f"{len(answers) / RECENT:.0f}/s",
            percent(usable) if answers else "–",
            seconds(percentile((a.latency for a in answers), 0.99)) if answers else "–",
            *(show(answers) if answers else "–" for _, show in floor.columns),
            f"{load(site.record.readings, since, max(now, since + METER_EVERY)):.0f}/s",
        )
    return table
