"""What a contender costs before it does anything: memory per key, and the time of its import.

Both need a process of their own: memory, so that nothing else was allocated; an import, because it
happens once. Processes take turns like the samples of `benchmarks.harness`. They share a bytecode
cache that is thrown away afterwards: the first turn, which fills it, is not counted.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.result import Result

ROOT = Path(__file__).parent.parent
STANDARD_LIBRARY = "standard library"
IMPORTS = {
    "holdfast": "holdfast",
    STANDARD_LIBRARY: "asyncio, dataclasses, inspect, logging, typing",
    "nopanic": "nopanic",
    "interlock": "interlock",
    "hyx": "hyx.retry, hyx.circuitbreaker, hyx.bulkhead, hyx.timeout",
    "tenacity": "tenacity",
    "stamina": "stamina",
    "backoff": "backoff",
    "pybreaker": "pybreaker",
    "circuitbreaker": "circuitbreaker",
    "aiobreaker": "aiobreaker",
    "purgatory": "purgatory",
}
TIMED_IMPORT = """
from time import perf_counter
start = perf_counter()
import {modules}
print((perf_counter() - start) * 1e3)
"""


class Memory:
    name = "memory"

    def run(self, rounds: int) -> Result:
        return Result(
            self.name,
            "10,000 keyed pipelines of retry + breaker + bulkhead + timeout, each called once",
            "MB",
            "nopanic",
            {
                who: [_figure("-m", "benchmarks.keyed", who) / 1e6]
                for who in ("holdfast", "nopanic")
            },
        )


class ImportTime:
    name = "import"

    def run(self, rounds: int) -> Result:
        figures: dict[str, list[float]] = {who: [] for who in IMPORTS}
        with TemporaryDirectory() as bytecode:
            cached = {"PYTHONPYCACHEPREFIX": bytecode, "PYTHONDONTWRITEBYTECODE": ""}
            for turn in range(rounds + 1):
                for who, modules in IMPORTS.items():
                    elapsed = _figure("-c", TIMED_IMPORT.format(modules=modules), **cached)
                    if turn:
                        figures[who].append(elapsed)
        return Result(
            self.name,
            f"import in a fresh process (standard library: {IMPORTS[STANDARD_LIBRARY]})",
            "ms",
            STANDARD_LIBRARY,
            figures,
        )


SCENARIOS = (Memory(), ImportTime())


def _figure(*arguments: str, **environment: str) -> float:
    """The number that a Python process with these arguments prints."""
    return float(
        subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, **environment},
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
    )
