"""The third floor: every outage there can be, and what is left of a portal in each.

Nothing is started here: the portal runs in this process, with dependencies in memory that fail on
command. The outages happen on a virtual clock, on which a hang takes no time and no other program
disturbs the result; that is what makes it possible to try out all of them. How quickly the portal
answers is measured after that, and in real time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live

from holdfast.cli.demo.features_figures import Matrix, Seen, cases
from holdfast.cli.demo.features_pace import ROUNDS, measure
from holdfast.cli.demo.features_portal import dependencies, look, promised
from holdfast.cli.demo.features_report import FeaturesReport, progress
from holdfast.testing import VirtualClock

Show = Callable[[list[Seen | None], int], None]
"""Shows how far it is: what was seen in each case, and how many rounds of the pace are over."""


def report_features(*, seed: int, live: bool, talk: Console) -> FeaturesReport:
    """Run the floor and show what happens.

    Raises:
        DemoError: the portal does not even work without an outage.
    """
    outages = 2 ** len(dependencies())
    talk.print(
        f"features: a portal with {len(promised())} features, {outages} outages …", style="bold"
    )
    with _quiet(), _screen(talk, live=live and talk.is_terminal) as show:
        matrix = survey(seed, lambda seen: show(seen, 0))
        seen = list[Seen | None](matrix.seen)
        pace = asyncio.run(measure(seed, lambda rounds: show(seen, rounds)))
    return FeaturesReport(seed, matrix, pace)


def survey(seed: int, show: Callable[[list[Seen | None]], None]) -> Matrix:
    """What is served in every outage."""
    names = dependencies()
    wanted = list(cases(names))
    seen: list[Seen | None] = [None] * len(wanted)
    show(seen)
    for number, case in enumerate(wanted):
        with VirtualClock() as clock:
            seen[number] = clock.run(look(case, seed))
        show(seen)
    return Matrix(names, promised(), tuple(one for one in seen if one is not None))


@contextmanager
def _quiet() -> Generator[None]:
    """Sixty outages make a lot of lines in the log, none of which is news here."""
    log = logging.getLogger("holdfast")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


@contextmanager
def _screen(console: Console, *, live: bool) -> Generator[Show]:
    """The picture, redrawn in place; without a terminal only the last one."""
    last: tuple[list[Seen | None], int] = ([], 0)
    promises = promised()
    with Live(console=console, auto_refresh=False) if live else _no_picture() as picture:

        def show(seen: list[Seen | None], rounds: int) -> None:
            nonlocal last
            last = (seen, rounds)
            if picture is not None:
                picture.update(progress(promises, seen, rounds, ROUNDS), refresh=True)

        yield show
    if not live:
        console.print(progress(promises, *last, ROUNDS))


@contextmanager
def _no_picture() -> Generator[None]:
    yield None
