"""The result: as a table for people, as data for scripts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from holdfast.cli.demo.figures import Figures
from holdfast.cli.demo.schedule import Schedule
from holdfast.cli.demo.site import VARIANTS
from holdfast.cli.demo.targets import JUDGED, Verdict

FOOTNOTE = (
    "All three ran at once, each with a user service of its own that does 40 requests\n"
    "a second at most. The load is what that service saw, replies lost or not."
)


def _recovered(figures: Figures) -> str:
    if figures.recovery is None:
        return f"> {figures.watched:.0f} s"
    return "at once" if figures.recovery < 0.1 else seconds(figures.recovery)


ROWS: tuple[tuple[str, str, Callable[[Figures], str]], ...] = (
    ("usable", "usable answers", lambda f: percent(f.usable)),
    ("", "  full", lambda f: percent(f.full)),
    ("", "  degraded, declared", lambda f: percent(f.degraded)),
    ("", "errors", lambda f: percent(f.errors)),
    ("", "time to answer, median", lambda f: seconds(f.p50)),
    ("p99", "time to answer, p99", lambda f: seconds(f.p99)),
    ("", "load on user service", lambda f: f"{f.load_healthy:.1f}/s"),
    ("load", "  during the outage", lambda f: f"{f.load_outage:.1f}/s"),
    ("", "  compared to before", lambda f: f"{f.load_factor:.2f} ×"),
    ("recovery", "recovered after", _recovered),
)
"""The target that judges the row, its label, and the text of a cell."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a run showed."""

    schedule: Schedule
    rate: float
    seed: int
    variants: Mapping[str, Figures]
    verdicts: tuple[Verdict, ...]

    @property
    def passed(self) -> bool:
        """Whether the protected variant met every target."""
        return all(verdict.met for verdict in self.verdicts)

    def table(self) -> RenderableType:
        """The variants side by side, with the targets of the protected one and a last word."""
        verdicts = {verdict.target.name: verdict for verdict in self.verdicts}
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column(no_wrap=True)
        for variant in self.variants:
            style = "bold" if variant == JUDGED else ""
            title = VARIANTS[variant].replace(" + ", " +\n")
            table.add_column(title, justify="right", style=style, no_wrap=True)
        table.add_column("target", no_wrap=True)
        for name, label, cell in ROWS:
            cells = (cell(figures) for figures in self.variants.values())
            table.add_row(label, *cells, _verdict(verdicts.get(name)))
        return Group(table, Text(FOOTNOTE, style="dim"), Text(), self._last_word())

    def as_data(self) -> dict[str, object]:
        """The same for scripts: plain data; what could not be measured is None."""
        return {
            "seconds": round(self.schedule.seconds, 3),
            "rate_per_second": self.rate,
            "seed": self.seed,
            "schedule": [
                {
                    "phase": phase.name,
                    "from": round(start, 3),
                    "to": round(start + phase.seconds, 3),
                }
                for start, phase in self.schedule.starts()
            ],
            "variants": {name: _figures(figures) for name, figures in self.variants.items()},
            "targets": [
                {
                    "name": verdict.target.name,
                    "target": verdict.target.states,
                    "value": _number(verdict.value),
                    "bound": _number(verdict.bound),
                    "met": verdict.met,
                }
                for verdict in self.verdicts
            ],
            "passed": self.passed,
        }

    def _last_word(self) -> Text:
        missed = [verdict.target.name for verdict in self.verdicts if not verdict.met]
        if missed:
            return Text(f"Holdfast missed its target for: {', '.join(missed)}", style="bold red")
        return Text("Holdfast met all its targets.", style="bold green")


def percent(value: float) -> str:
    """A share, never rounded up to all."""
    return f"{math.floor(value * 1000) / 10:.1f} %"


def seconds(value: float) -> str:
    """A time to read at a glance."""
    if math.isnan(value):
        return "unknown"
    return f"{value * 1000:.0f} ms" if value < 0.0995 else f"{value:.2f} s"


def _verdict(verdict: Verdict | None) -> Text:
    if verdict is None:
        return Text()
    if verdict.met:
        return Text(f"{verdict.target.states}  ✓ met", style="green")
    return Text(f"{verdict.target.states}  ✗ missed", style="bold red")


def _figures(figures: Figures) -> dict[str, object]:
    return {
        "requests": figures.requests,
        "usable": _number(figures.usable),
        "full": _number(figures.full),
        "degraded": _number(figures.degraded),
        "errors": _number(figures.errors),
        "p50_seconds": _number(figures.p50),
        "p99_seconds": _number(figures.p99),
        "load_healthy_per_second": _number(figures.load_healthy),
        "load_outage_per_second": _number(figures.load_outage),
        "load_factor": _number(figures.load_factor),
        "recovery_seconds": _number(figures.recovery),
    }


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 4)
