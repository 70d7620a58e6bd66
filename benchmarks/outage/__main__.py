"""Run every contender under every fault, and flush Redis under load; print tables."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import platform
import sys
from dataclasses import asdict
from importlib.metadata import version
from math import inf, isfinite
from pathlib import Path
from typing import Any

from benchmarks.outage.contenders import CONTENDERS
from benchmarks.outage.experiment import CHANGES, GOOD, KEYS, ORIGIN, RATE, Phases, Report, run
from benchmarks.outage.faults import FAULTS
from benchmarks.report import aligned
from holdfast.testing import ValkeyServer
from tests.faults import flush

FULL = Phases(before=2, during=5, after=5)
QUICK = Phases(before=0.5, during=1.5, after=1.5)
PROXIED = ("black hole", "slow")
HEAD = (
    "",
    "errors",
    "p50",
    "p99",
    "max",
    "hits",
    "stale",
    "lost deletes",
    "recovery",
    "CPU",
    "before",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outage", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short outages")
    parser.add_argument("--only", action="append", choices=FAULTS, help="this fault only")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write every figure to this file")
    options = parser.parse_args()
    phases = QUICK if options.quick else FULL
    # Two of them log each failure with its traceback. Nobody reads it here, nor pays for it.
    logging.getLogger().addHandler(logging.NullHandler())

    print(
        f"{RATE} calls a second, one in {CHANGES} a change with a deletion; {KEYS} keys, Zipf; "
        f"an origin of {ORIGIN * 1000:g} ms;\n{phases.during:g} s of trouble, then {phases.after:g}"
        f" s; times in milliseconds, recovery in seconds",
        end="\n\n",
    )
    reports: dict[str, dict[str, Report]] = {}
    for name in options.only or FAULTS:
        what, fault = FAULTS[name]
        reports[name] = {}
        rows = [list(HEAD)]
        for who, make in CONTENDERS.items():
            report = run(make, fault, phases, options.seed, proxied=name in PROXIED)
            reports[name][who] = report
            rows.append([who, *_row(report, phases)])
        print(f"{name}: {what}", *aligned(rows), sep="\n", end="\n\n", flush=True)
    flushed = {} if options.only else asyncio.run(_flushed(1.0 if options.quick else 2.0))
    if flushed:
        print(_flush_table(flushed))
    if options.json:
        data = _as_data(reports, flushed, phases, options.seed)
        options.json.write_text(json.dumps(data, indent=2) + "\n")
    return 0


def _row(report: Report, phases: Phases) -> list[str]:
    recovery = f"> {phases.after:g}" if report.recovery == inf else f"{report.recovery:.2f}"
    return [
        f"{(report.errors + report.unfinished) / report.calls:.1%}",
        _milliseconds(report.p50),
        _milliseconds(report.p99),
        _milliseconds(report.slowest),
        f"{report.hits:.1%}",
        f"{report.stale:.1%}",
        f"{report.lost_deletes} of {report.deletes}",
        recovery,
        f"{report.cpu:.1%}",
        f"{report.cpu_before:.1%}",
    ]


def _milliseconds(seconds: float) -> str:
    return "never" if seconds == inf else f"{seconds * 1000:.1f}"


async def _flushed(seconds: float) -> dict[str, flush.Flushed]:
    with ValkeyServer() as server:
        found = {"redis-py": await flush.unprotected(server, seconds)}
        for who, memory in (("holdfast", True), ("holdfast, leases alone", False)):
            server.flush()
            found[who] = await flush.protected(server, seconds, memory=memory)
    return found


def _flush_table(flushed: dict[str, flush.Flushed]) -> str:
    naive = flushed["redis-py"]
    rows = [["", "peak", "of redis-py", "loads", "reads"]]
    rows += [
        [who, str(one.peak), f"{one.peak / naive.peak:.1%}", str(one.loads), str(one.reads)]
        for who, one in flushed.items()
    ]
    return "\n".join(
        [
            f"FLUSHALL under load: {flush.PROCESSES} caches, {flush.RATE} reads a second of "
            f"{flush.KEYS} hot keys, an origin of {flush.ORIGIN * 1000:g} ms;\n"
            "loads of the origin afterwards, at most in 100 ms and altogether",
            *aligned(rows),
        ]
    )


def _as_data(
    reports: dict[str, dict[str, Report]],
    flushed: dict[str, flush.Flushed],
    phases: Phases,
    seed: int,
) -> Any:
    return {
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in ("redis", "cashews", "aiocache")},
        "rate": RATE,
        "keys": KEYS,
        "origin": ORIGIN,
        "good": GOOD,
        "phases": asdict(phases),
        "seed": seed,
        "faults": {
            name: {who: _plain(asdict(report)) for who, report in those.items()}
            for name, those in reports.items()
        },
        "flush": {who: asdict(one) for who, one in flushed.items()},
    }


def _plain(figures: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: what never ended is null."""
    return {
        name: None if isinstance(value, float) and not isfinite(value) else value
        for name, value in figures.items()
    }


if __name__ == "__main__":
    sys.exit(main())
