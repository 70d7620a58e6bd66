"""Results as text for a terminal and as plain data for JSON."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from benchmarks.result import BARE, Result
from benchmarks.targets import Verdict

LIBRARIES = (
    "holdfast",
    "aiobreaker",
    "aiocache",
    "backoff",
    "cashews",
    "circuitbreaker",
    "hyx",
    "interlock-cb",
    "nopanic",
    "pybreaker",
    "purgatory",
    "redis",
    "stamina",
    "tenacity",
)


def environment() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "machine": platform.machine(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def result_table(result: Result) -> str:
    """One line per contender, the fastest first."""
    head = ["", "median", "min", "spread", f"× {result.reference}"]
    if result.added:
        head.insert(1, "added")
    rows = [head]
    for who in sorted(result.samples, key=result.median):
        row = [
            who,
            _figure(result.median(who)),
            _figure(min(result.samples[who])),
            f"{result.spread(who):.0%}",
            "" if (ratio := _ratio(result, who)) is None else f"{ratio:.2f}",
        ]
        if result.added:
            row.insert(1, "" if who == BARE else _figure(result.extra(who)))
        rows.append(row)
    lines = [f"{result.name}: {result.title} ({result.unit})", *aligned(rows)]
    lines += [f"  not here: {who}: {why}" for who, why in result.left_out.items()]
    return "\n".join(lines)


def verdict_table(verdicts: Iterable[Verdict]) -> str:
    rows = [["what", "ours", "at most", "", ""]]
    for verdict in verdicts:
        ours, limit = _figure(verdict.ours), f"{verdict.limit:g}"
        rows.append([verdict.what, ours, limit, verdict.unit, "met" if verdict.met else "MISSED"])
    return "\n".join(["targets", *aligned(rows, text=(0, 3, 4))])


def as_data(results: Mapping[str, Result], verdicts: Iterable[Verdict], rounds: int) -> Any:
    """Everything, samples included; nothing that tells where it was run."""
    return {
        **environment(),
        "rounds": rounds,
        "scenarios": {name: _result_data(result) for name, result in results.items()},
        "targets": [
            {
                "what": verdict.what,
                "ours": verdict.ours,
                "limit": verdict.limit,
                "unit": verdict.unit,
                "met": verdict.met,
            }
            for verdict in verdicts
        ],
    }


def _result_data(result: Result) -> Any:
    return {
        "title": result.title,
        "unit": result.unit,
        "reference": result.reference,
        "ratios_of": "added" if result.added else "figure",
        "contenders": {
            who: {
                "median": result.median(who),
                "min": min(figures),
                "spread": result.spread(who),
                "added": result.extra(who) if result.added else None,
                "ratio": _ratio(result, who),
                "samples": list(figures),
            }
            for who, figures in result.samples.items()
        },
        "left_out": dict(result.left_out),
    }


def _ratio(result: Result, who: str) -> float | None:
    return None if result.added and who == BARE else result.ratio(who, result.reference)


def _figure(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def aligned(rows: Sequence[Sequence[str]], text: Sequence[int] = (0,)) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if column in text else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
