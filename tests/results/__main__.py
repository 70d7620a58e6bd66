"""The published figures beside ours: ``python -m tests.results``, from the repository's root.

Row 8 needs a trace that is not part of the repository, so it is shown only if its path is given:
``python -m tests.results --trace FILE``. Exits with 1 if a figure is outside of its tolerance.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

# The simulations import each other by their bare names, as pytest offers them; do as pytest does.
sys.path.insert(0, str(Path(__file__).parent))

import sim_grpc_throttle
import sim_nested
import sim_occ
import sim_retry_guards
import sim_sieve
from published_figure import Figure


def table(figures: Sequence[Figure]) -> Iterator[str]:
    yield f"{'row':>3}  {'figure':<42} {'ours':>9} {'published':>9}  {'tolerance':<9} ok"
    for figure in figures:
        yield (
            f"{figure.row:>3}  {figure.what:<42} {figure.ours:>9.5g} {figure.published:>9.5g}"
            f"  {figure.tolerance:<9} {'yes' if figure.ok else 'NO'}"
        )


def success_funded() -> Iterator[str]:
    yield "Not published: the bucket of row 2, but filled by successes, at most 3 retries a call."
    for failing, success, load in sim_retry_guards.comparison():
        yield f"     p = {failing:<4g} success {success:.3f}, load {load:.3f}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.results")
    parser.add_argument("--trace", type=Path, help="for row 8: a file of lines `object,size`")
    trace: Path | None = parser.parse_args().trace
    modules = (sim_occ, sim_retry_guards, sim_nested, sim_grpc_throttle)
    figures = [figure for module in modules for figure in module.figures()]
    if trace is not None:
        figures += sim_sieve.figures(trace)
    sys.stdout.write("\n".join([*table(figures), "", *success_funded(), ""]))
    return 0 if all(figure.ok for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
