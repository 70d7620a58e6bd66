"""The second floor: a real Valkey is frozen, killed and flushed, and is used as a cache three ways.

There is three times as much traffic as on the first floor, and more than the user service can do:
the cache is not there for speed only, the whole cannot do without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from holdfast.cli.demo.cache_figures import TARGETS, CacheFigures, figures
from holdfast.cli.demo.figures import share_from
from holdfast.cli.demo.floor import Floor
from holdfast.cli.demo.processes import DemoError
from holdfast.cli.demo.report import (
    Report,
    Row,
    Run,
    percent,
    recovered,
    seconds,
    side_by_side,
)
from holdfast.cli.demo.schedule import Phase, Schedule
from holdfast.cli.demo.site import Ground, Site
from holdfast.cli.demo.targets import JUDGED, judge
from holdfast.cli.demo.traffic import USERS
from holdfast.testing import ValkeyServer

RECOVERY_NEEDS = 3.6
"""Seconds in which the target for the recovery can be told from missing it."""

FOOTNOTE = (
    "All three ran at once, each with a Valkey of its own and a user service of its\n"
    "own, the origin, that does 30 requests a second at most. A peak is the highest\n"
    "load over one second.  * what bare takes when all is well, at least 50 ms"
)


def schedule(length: float) -> Schedule:
    """A healthy phase, then three outages, each with what comes after it."""
    thawed = max(0.17 * length, RECOVERY_NEEDS)
    rest = (length - thawed) / 0.83
    return Schedule(
        (
            Phase("healthy", 0.15 * rest, "all is well"),
            Phase("frozen", 0.20 * rest, "stopped by SIGSTOP", deed=ValkeyServer.freeze),
            Phase("thawed", thawed, "goes on by SIGCONT", deed=ValkeyServer.thaw),
            Phase("killed", 0.15 * rest, "nobody listens", deed=ValkeyServer.kill),
            Phase("empty", 0.15 * rest, "started anew, without data", deed=ValkeyServer.restart),
            Phase("flushed", 0.18 * rest, "has lost its data", deed=ValkeyServer.flush),
        )
    )


# -- what is shown ---------------------------------------------------------------------------------


def _reconnected(figures: CacheFigures) -> str:
    after = figures.reconnection
    return "not seen" if after is None else recovered(after, 0.0)


ROWS: tuple[Row[CacheFigures], ...] = (
    ("usable", "usable answers", lambda f: percent(f.whole.usable)),
    ("", "  degraded, declared", lambda f: percent(f.whole.degraded)),
    ("", "  of these, stale", lambda f: percent(f.whole.stale)),
    ("p99", "time to answer, p99", lambda f: seconds(f.whole.p99)),
    ("frozen", "  frozen, after 1 s", lambda f: seconds(f.p99_frozen)),
    ("", "from the cache", lambda f: percent(f.whole.hits)),
    ("", "  by Redis", lambda f: percent(f.whole.redis)),
    ("", "  by memory", lambda f: percent(f.whole.memory)),
    ("", "load on user service", lambda f: f"{f.phases['healthy'].load:.1f}/s"),
    ("", "  peak while frozen", lambda f: f"{f.phases['frozen'].peak_load:.1f}/s"),
    ("load", "  peak after flush", lambda f: f"{f.phases['flushed'].peak_load:.1f}/s"),
    ("recovery", "recovered after thaw", lambda f: recovered(f.recovery, f.watched)),
    ("", "Redis after restart", _reconnected),
)


def by_phase(variants: Mapping[str, CacheFigures], order: Schedule) -> RenderableType:
    """A row for each phase and variant."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("Valkey", no_wrap=True)
    table.add_column(no_wrap=True)
    for title in ("usable", "p99", "Redis", "memory", "origin", "degraded", "peak"):
        table.add_column(title, justify="right", no_wrap=True)
    for phase in order.phases:
        for variant, whole in variants.items():
            one = whole.phases[phase.name]
            table.add_row(
                phase.name if variant == next(iter(variants)) else "",
                CACHE.variants[variant],
                _whole(one.usable),
                seconds(one.p99),
                _whole(one.redis),
                _whole(one.memory),
                _whole(one.user_service),
                _whole(one.degraded),
                f"{one.peak_load:.0f}/s",
                style="bold" if variant == JUDGED else "",
            )
    return table


def _whole(share: float) -> str:
    return f"{int(100 * share + 1e-9)} %"


def report(run: Run) -> Report:
    """The figures and verdicts of a run that is over."""
    return judged(run, {name: figures(one, run.schedule) for name, one in run.records.items()})


def judged(run: Run, variants: Mapping[str, CacheFigures]) -> Report:
    """The report on these figures."""
    verdicts = judge(variants, TARGETS)
    return Report(
        run,
        (Text(), by_phase(variants, run.schedule), side_by_side(CACHE, ROWS, variants, verdicts)),
        FOOTNOTE,
        {name: one.as_data() for name, one in variants.items()},
        verdicts,
    )


# -- what runs -------------------------------------------------------------------------------------


def missing() -> str | None:
    """Why the floor cannot be had on this machine; None if it can."""
    for package in ("msgspec", "redis"):
        if find_spec(package) is None:
            return f"{package} is not installed; get it with: pip install 'holdfast[redis]'"
    return ValkeyServer.missing_reason()


def build(variant: str, ground: Ground) -> Site:
    """A task board, a user service, and the Valkey in which the former keeps what the latter says.

    The server is this process's own child, so it is sure whom the signals go to.
    """
    users = ground.user_service(variant)
    try:
        valkey = ground.stack.enter_context(ValkeyServer())
    except (RuntimeError, OSError) as error:
        raise DemoError(f"the Valkey of {variant} cannot be started: {error}") from error

    def enter(phase: Phase) -> None:
        if phase.deed is None:
            return
        try:
            phase.deed(valkey)
        except (RuntimeError, OSError) as error:
            raise DemoError(
                f"the Valkey of {variant} cannot become {phase.name}: {error}"
            ) from error

    settings = {"TASKBOARD_USER_SERVICE": users.url, "REDIS_URL": valkey.url}
    return Site(variant, ground.taskboard(variant, settings), users, enter)


CACHE = Floor(
    name="cache",
    variants={"bare": "bare redis-py", "handmade": "timeout + try", "holdfast": "Holdfast"},
    starts="9 processes",
    about="every answer needs a cached user",
    suffers="Valkey",
    busier=3,
    warm=tuple(f"/users/{user}" for user in range(1, USERS + 1)),
    schedule=schedule,
    build=build,
    report=report,
    columns=(
        ("Redis", lambda answers: _whole(share_from(answers, "redis"))),
        ("memory", lambda answers: _whole(share_from(answers, "memory"))),
    ),
    missing=missing,
)
