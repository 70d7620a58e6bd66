"""Run the scenarios, print their tables, judge the targets; exit code 1 if one is missed."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks import breakers, cache, degradation, footprint, report, retries, stacks
from benchmarks.targets import judge

SCENARIOS = {
    scenario.name: scenario
    for module in (stacks, breakers, retries, footprint, cache, degradation)
    for scenario in module.SCENARIOS
}
ROUNDS = 15
QUICK_ROUNDS = 5


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds, not {ROUNDS}")
    parser.add_argument(
        "--only",
        action="append",
        choices=SCENARIOS,
        metavar="NAME",
        help=f"run this scenario only (may be repeated): {', '.join(SCENARIOS)}",
    )
    parser.add_argument("--no-gate", action="store_true", help="exit with 0 whatever was missed")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write every figure to this file")
    options = parser.parse_args()
    rounds = QUICK_ROUNDS if options.quick else ROUNDS

    results = {}
    for name in options.only or SCENARIOS:
        results[name] = SCENARIOS[name].run(rounds)
        print(report.result_table(results[name]), end="\n\n", flush=True)
    verdicts = judge(results)
    if verdicts:
        print(report.verdict_table(verdicts))
    if options.json:
        data = report.as_data(results, verdicts, rounds)
        options.json.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n")
    return 0 if options.no_gate or all(verdict.met for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
