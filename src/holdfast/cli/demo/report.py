"""The result of a floor: as tables for people, as data for scripts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, TypeVar

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from holdfast.cli.demo.figures import Record
from holdfast.cli.demo.schedule import Schedule
from holdfast.cli.demo.targets import JUDGED, Verdict

if TYPE_CHECKING:
    from holdfast.cli.demo.floor import Floor

BUSY = 0.1
"""Seconds by which requests may be sent late before it is said."""

TITLE = 10
"""Characters of a column's title before it goes on below."""

F = TypeVar("F")

Row = tuple[str, str, Callable[[F], str]]
"""The target that judges the row, its label, and the text of a cell."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run that is over, and what was measured of each variant."""

    schedule: Schedule
    rate: float
    seed: int
    records: Mapping[str, Record]


@dataclass(frozen=True, slots=True)
class Report:
    """What a run showed: the same as `tables` and as `variants`, which are plain data."""

    run: Run
    tables: tuple[RenderableType, ...]
    footnote: str
    variants: Mapping[str, Mapping[str, object]]
    verdicts: tuple[Verdict, ...]

    @property
    def passed(self) -> bool:
        """Whether the protected variant met every target."""
        return all(verdict.met for verdict in self.verdicts)

    @property
    def late(self) -> float:
        """By how many seconds requests were sent late, at most."""
        return max((record.late for record in self.run.records.values()), default=0.0)

    def shown(self) -> RenderableType:
        """The tables with a last word."""
        parts = [*self.tables, Text(self.footnote, style="dim"), Text(), self._last_word()]
        if self.late > BUSY:
            late = f"This machine was busy: requests went out up to {seconds(self.late)} late,"
            rest = "\nand all of it is likely to have been slower for that."
            parts.append(Text(late + rest, style="yellow"))
        return Group(*parts)

    def as_data(self) -> dict[str, object]:
        """The same for scripts: plain data; what could not be measured is None."""
        return {
            "seconds": round(self.run.schedule.seconds, 3),
            "rate_per_second": self.run.rate,
            "seed": self.run.seed,
            "sent_late_seconds": plain(self.late),
            "schedule": [
                {
                    "phase": phase.name,
                    "from": round(start, 3),
                    "to": round(start + phase.seconds, 3),
                }
                for start, phase in self.run.schedule.starts()
            ],
            "variants": self.variants,
            "targets": [
                {
                    "name": verdict.target.name,
                    "target": verdict.target.states,
                    "value": plain(verdict.value),
                    "bound": plain(verdict.bound),
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


def side_by_side(
    floor: Floor, rows: Sequence[Row[F]], figures: Mapping[str, F], verdicts: Sequence[Verdict]
) -> Table:
    """The variants in columns, with the targets of the protected one."""
    judged = {verdict.target.name: verdict for verdict in verdicts}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(no_wrap=True)
    for variant in figures:
        style = "bold" if variant == JUDGED else ""
        title = fill(floor.variants[variant], TITLE)
        table.add_column(title, justify="right", style=style, no_wrap=True)
    table.add_column("target", no_wrap=True)
    for name, label, cell in rows:
        cells = (cell(one) for one in figures.values())
        table.add_row(label, *cells, _verdict(judged.get(name)))
    return table


def percent(value: float) -> str:
    """A share, never rounded up to all."""
    return f"{math.floor(value * 1000) / 10:.1f} %"


def seconds(value: float) -> str:
    """A time to read at a glance."""
    if math.isnan(value):
        return "unknown"
    return f"{value * 1000:.0f} ms" if value < 0.0995 else f"{value:.2f} s"


def recovered(after: float | None, watched: float) -> str:
    """How long a recovery took; if none was seen, for how long it was `watched` for."""
    if after is None:
        return f"> {watched:.0f} s"
    return "at once" if after < 0.1 else seconds(after)


def plain(value: float | None) -> float | None:
    """A number for JSON, which knows neither infinity nor "not a number"."""
    return None if value is None or not math.isfinite(value) else round(value, 4)


def _verdict(verdict: Verdict | None) -> Text:
    if verdict is None:
        return Text()
    if verdict.met:
        return Text(f"{verdict.target.states}  ✓ met", style="green")
    return Text(f"{verdict.target.states}  ✗ missed", style="bold red")
