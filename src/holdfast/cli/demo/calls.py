"""The first floor: the user service becomes slow, fails and dies, and is called three ways.

The faults are put on the replies, so that the user service sees each request that is made: its own
counter then tells what load the callers put on it while it suffers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from holdfast.cli.demo.figures import (
    STEADY_FOR,
    Kind,
    Record,
    load,
    percentile,
    recovery,
    share,
)
from holdfast.cli.demo.floor import Floor
from holdfast.cli.demo.processes import DemoError
from holdfast.cli.demo.report import (
    Report,
    Row,
    Run,
    percent,
    plain,
    recovered,
    seconds,
    side_by_side,
)
from holdfast.cli.demo.schedule import Phase, Schedule
from holdfast.cli.demo.site import Ground, Site
from holdfast.cli.demo.targets import Target, judge
from holdfast.testing import FaultProxy, Latency, Reset, Timeout

FOOTNOTE = (
    "All three ran at once, each with a user service of its own that does 30 requests\n"
    "a second at most. The load is what that service saw, replies lost or not."
)


def schedule(length: float) -> Schedule:
    """A healthy phase, three with a fault, and a healthy one again."""
    return Schedule(
        (
            Phase("healthy", 0.15 * length, "all is well"),
            Phase("slow", 0.20 * length, "a reply takes 2 s", Latency(2.0, jitter=0.5)),
            Phase("failing", 0.15 * length, "replies are cut off", Reset(after_bytes=1)),
            Phase("dead", 0.20 * length, "no reply at all", Timeout()),
            Phase("back", 0.30 * length, "all is well again"),
        )
    )


def outage(of: Schedule) -> tuple[float, float]:
    """When the first fault begins and the last one ends."""
    faulty = [(start, phase) for start, phase in of.starts() if phase.toxic is not None]
    return faulty[0][0], faulty[-1][0] + faulty[-1][1].seconds


# -- what is measured ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Figures:
    """One variant in figures: shares from 0 to 1, times in seconds, loads in requests per second.

    `recovery` is None when the variant did not recover in the `watched` seconds after the outage.
    """

    requests: int
    full: float
    degraded: float
    errors: float
    p50: float
    p99: float
    load_healthy: float
    load_outage: float
    recovery: float | None
    watched: float

    @property
    def usable(self) -> float:
        """The share of answers that a user can work with."""
        return self.full + self.degraded

    @property
    def load_factor(self) -> float:
        """The load during the outage in relation to the healthy one."""
        return self.load_outage / self.load_healthy if self.load_healthy else math.nan


def figures(record: Record, outage: tuple[float, float], end: float) -> Figures:
    """The figures of a run that lasted until `end`."""
    begins, ends = outage
    answers = record.answers
    latencies = [answer.latency for answer in answers]
    full, degraded, errors = (share(answers, kind) for kind in Kind)
    return Figures(
        requests=len(answers),
        full=full,
        degraded=degraded,
        errors=errors,
        p50=percentile(latencies, 0.50),
        p99=percentile(latencies, 0.99),
        load_healthy=load(record.readings, 0.0, begins),
        load_outage=load(record.readings, begins, ends),
        recovery=recovery(answers, ends, end),
        watched=max(0.0, end - ends - STEADY_FOR),
    )


TARGETS: tuple[Target[Figures], ...] = (
    Target("usable", "≥ 99 %", lambda own: own.usable, lambda bare: 0.99, at_least=True),
    Target("p99", "≤ 1 s", lambda own: own.p99, lambda bare: 1.0),
    Target("load", "≤ ¼ of bare", lambda own: own.load_outage, lambda bare: bare.load_outage / 4),
    Target("recovery", "≤ 3 s", lambda own: own.recovery, lambda bare: 3.0),
)

ROWS: tuple[Row[Figures], ...] = (
    ("usable", "usable answers", lambda f: percent(f.usable)),
    ("", "  full", lambda f: percent(f.full)),
    ("", "  degraded, declared", lambda f: percent(f.degraded)),
    ("", "errors", lambda f: percent(f.errors)),
    ("", "time to answer, median", lambda f: seconds(f.p50)),
    ("p99", "time to answer, p99", lambda f: seconds(f.p99)),
    ("", "load on user service", lambda f: f"{f.load_healthy:.1f}/s"),
    ("load", "  during the outage", lambda f: f"{f.load_outage:.1f}/s"),
    ("", "  compared to before", lambda f: f"{f.load_factor:.2f} ×"),
    ("recovery", "recovered after", lambda f: recovered(f.recovery, f.watched)),
)


def report(run: Run) -> Report:
    """The figures and verdicts of a run that is over."""
    when = outage(run.schedule)
    return judged(
        run, {name: figures(one, when, run.schedule.seconds) for name, one in run.records.items()}
    )


def judged(run: Run, variants: Mapping[str, Figures]) -> Report:
    """The report on these figures."""
    verdicts = judge(variants, TARGETS)
    return Report(
        run,
        (side_by_side(CALLS, ROWS, variants, verdicts),),
        FOOTNOTE,
        {name: _data(one) for name, one in variants.items()},
        verdicts,
    )


def _data(figures: Figures) -> dict[str, object]:
    return {
        "requests": figures.requests,
        "usable": plain(figures.usable),
        "full": plain(figures.full),
        "degraded": plain(figures.degraded),
        "errors": plain(figures.errors),
        "p50_seconds": plain(figures.p50),
        "p99_seconds": plain(figures.p99),
        "load_healthy_per_second": plain(figures.load_healthy),
        "load_outage_per_second": plain(figures.load_outage),
        "load_factor": plain(figures.load_factor),
        "recovery_seconds": plain(figures.recovery),
    }


# -- what runs -------------------------------------------------------------------------------------


def build(variant: str, ground: Ground) -> Site:
    """A task board, a user service, and the fault proxy between them."""
    users = ground.user_service(variant)
    address = urlsplit(users.url)
    try:
        proxy = ground.stack.enter_context(
            FaultProxy((str(address.hostname), int(address.port or 0)), seed=ground.seed)
        )
    except OSError as error:
        raise DemoError(f"the fault proxy cannot listen: {error}") from error

    def enter(phase: Phase) -> None:
        if phase.toxic is None:
            proxy.clear()
        else:
            proxy.add("outage", phase.toxic)

    # Whoever has a Redis in the environment does not mean it for this.
    settings = {"TASKBOARD_USER_SERVICE": proxy.url, "REDIS_URL": ""}
    return Site(variant, ground.taskboard(variant, settings), users, enter)


CALLS = Floor(
    name="calls",
    variants={"bare": "bare call", "handmade": "timeout + 3 retries", "holdfast": "Holdfast"},
    starts="6 processes and 3 fault proxies",
    about="every answer needs the user service",
    suffers="user service",
    schedule=schedule,
    build=build,
    report=report,
)
