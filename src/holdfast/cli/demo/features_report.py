"""What the third floor shows: the matrix, and what it comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from holdfast.cli.demo.features_figures import (
    Matrix,
    Pace,
    Promise,
    Seen,
    Verdict,
    judge,
)
from holdfast.cli.demo.report import percent, plain, seconds

STYLES = {"full": "green", "cached": "yellow", "static": "yellow", "partial": "yellow"}
BAD = "bold red"

MOST_WRONG = 10
"""Broken promises that are listed."""

FOOTNOTE = (
    "A column is an outage of one dependency, which refuses once and hangs once. A\n"
    "cell is what the responses say of themselves, by status and X-Degraded header.\n"
    "These outages happen in virtual time; the pace is measured in real time."
)


@dataclass(frozen=True, slots=True)
class FeaturesReport:
    """What a run showed, as tables and as plain data."""

    seed: int
    matrix: Matrix
    pace: Pace

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        return judge(self.matrix, self.pace)

    @property
    def passed(self) -> bool:
        """Whether every target was met."""
        return all(verdict.met for verdict in self.verdicts)

    def shown(self) -> RenderableType:
        """The matrix with a last word."""
        return Group(
            Text(),
            singles(self.matrix),
            Text(FOOTNOTE, style="dim"),
            Text(),
            self._summary(),
            *self._wrong(),
            Text(),
            self._last_word(),
        )

    def as_data(self) -> dict[str, object]:
        """The same for scripts; what could not be measured is None."""
        matrix, pace = self.matrix, self.pace
        return {
            "seed": self.seed,
            "dependencies": list(matrix.dependencies),
            "outages": matrix.outages,
            "matrix": {
                " + ".join(sorted(outage)) or "nothing": {
                    promise.feature: matrix.cell(promise.feature, outage)
                    for promise in matrix.promises
                }
                for outage in dict.fromkeys(one.case.outage for one in matrix.seen)
            },
            "broken_promises": [
                {
                    "outage": sorted(case.outage),
                    "how": case.how,
                    "feature": promise.feature,
                    "promised": promise.level(case.outage),
                    "served": list(levels),
                }
                for case, promise, levels in matrix.wrong()
            ],
            "unaffected": {
                "p99_seconds": plain(pace.broken),
                "p99_seconds_without_outage": plain(pace.whole),
                "rounds": len(pace.rounds),
                "requests": pace.requests,
            },
            "targets": [verdict.as_data() for verdict in self.verdicts],
            "passed": self.passed,
        }

    def _summary(self) -> Table:
        served, levels, ratio = self.verdicts
        matrix, pace = self.matrix, self.pace
        what = f"{matrix.outages} outages × {len(matrix.promises)} features"
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        rows = (
            (f"{what}: served as the oracle says", percent(served.value), served),
            ("  and at the level that was promised", percent(levels.value), levels),
            (
                f"unaffected features, p99: {seconds(pace.broken)} "
                f"({seconds(pace.whole)} in peace)",
                f"{ratio.value:.2f} ×",
                ratio,
            ),
        )
        for label, value, verdict in rows:
            sign = "✓ met" if verdict.met else "✗ missed"
            style = "green" if verdict.met else BAD
            table.add_row(label, Text(value, "bold"), Text(f"{verdict.states}  {sign}", style))
        return table

    def _wrong(self) -> list[Text]:
        wrong = list(self.matrix.wrong())
        lines = [
            Text(
                f"  {case}: {promise.feature} was {'/'.join(levels)}, "
                f"not {promise.level(case.outage)}",
                style=BAD,
            )
            for case, promise, levels in islice(wrong, MOST_WRONG)
        ]
        if len(wrong) > MOST_WRONG:
            lines.append(Text(f"  … and {len(wrong) - MOST_WRONG} more", style=BAD))
        return lines

    def _last_word(self) -> Text:
        missed = [verdict.name for verdict in self.verdicts if not verdict.met]
        if missed:
            return Text(f"The portal missed its target for: {', '.join(missed)}", style=BAD)
        return Text("Every feature kept its promise in every outage.", style="bold green")


def singles(matrix: Matrix) -> Table:
    """A row for each feature, a column for each dependency that is down alone."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("down:", no_wrap=True)
    columns = [frozenset[str](), *(frozenset({name}) for name in matrix.dependencies)]
    for outage in columns:
        table.add_column("".join(outage) or "nothing", no_wrap=True)
    for promise in matrix.promises:
        cells = [_cell(matrix, promise, outage) for outage in columns]
        table.add_row(promise.feature, *cells)
    return table


def _cell(matrix: Matrix, promise: Promise, outage: frozenset[str]) -> Text:
    level = matrix.cell(promise.feature, outage)
    if level == promise.level(outage):
        return Text(level, STYLES.get(level, "dim"))
    return Text(f"{level} !", BAD)


def progress(
    promises: Sequence[Promise], seen: Sequence[Seen | None], rounds: int, of: int
) -> RenderableType:
    """A cell for each case, in the order in which they are tried out, and one for each round."""
    cells = [
        Text("·", "dim")
        if one is None
        else Text("█", "green")
        if all(one.levels[p.feature] == (p.level(one.case.outage),) for p in promises)
        else Text("×", BAD)
        for one in seen
    ]
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_row("outages", Text.assemble(*cells))
    table.add_row("pace", Text("█" * rounds + "·" * (of - rounds), "green" if rounds else "dim"))
    return table
