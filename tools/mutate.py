"""Do the tests notice when the core is wrong? Change one thing at a time and see.

Usage: ``python tools/mutate.py [module ...]`` (default: all that have tests of their own). Each
mutant is one small change of one machine, most of which are in `holdfast._core`: another
comparison, operator, constant or condition, or a statement left out. It is made in a copy of the
project, never in the working tree, and the module's tests run against it. A mutant that no test
notices has survived: a test is missing, or the change makes no difference. `docs/mutation.md` says
which of the two.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).parent.parent
SOURCE = Path("src/holdfast")
WORKERS = 2
LIMIT = 20.0
"""Seconds for the tests of one mutant; one that hangs them is noticed."""

TESTS = {
    "backoff": ["test_backoff"],
    "budget": ["test_budget", "test_fork"],
    "circuit": ["test_circuit", "test_states", "test_fork", "test_circuit_machine"],
    "circuit_types": ["test_circuit"],
    "deadline": ["test_deadline"],
    "fork": ["test_fork"],
    "hub": ["test_events"],
    "outcome": ["test_outcome"],
    "permits": ["test_permits", "test_fork", "test_permits_machine"],
    "plan": ["test_plan"],
    "tally": ["test_tally", "test_fork"],
    "validate": ["test_validate"],
    "sieve": ["test_sieve_machine", "test_sieve"],
    "stalest": ["test_sieve_stalest", "test_sieve_machine"],
    "versions": ["test_versions"],
    "window": ["test_window"],
    "cache/batcher": ["test_batcher"],
    "cache/journal": ["test_journal", "test_journal_machine"],
    "cache/lifeline": ["test_lifeline"],
    "health/machine": ["test_machine"],
    "degradation/plan": ["test_plan"],
    "degradation/brownout": ["test_brownout"],
}
"""Each module's own tests, the quick ones first. Without a folder it is one of `_core`."""

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


@dataclass(frozen=True)
class Mutant:
    module: str
    line: int
    change: str
    source: str


def sites(node: ast.AST) -> Iterator[tuple[ast.AST, str, ast.AST]]:
    """Every node that can be changed, by the attribute of its parent; no types, no docstrings."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or _is_declaration(child):
                continue
            yield node, name, child
            yield from sites(child)


def _is_declaration(node: ast.AST) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Assign):
        return ast.unparse(node.targets[0]) in ("__slots__", "__all__")
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    return isinstance(node, (ast.Import, ast.ImportFrom))


def changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What a node can be changed into."""
    if type(node) in SWAPS:
        swapped = SWAPS[type(node)]
        yield f"{type(node).__name__} becomes {swapped.__name__}", swapped()
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield f"{node.value} becomes {not node.value}", ast.Constant(not node.value)
        elif isinstance(node.value, (int, float)):
            yield f"{node.value} becomes {node.value + 1}", ast.Constant(node.value + 1)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        yield f"'{ast.unparse(node)}' loses its sign", node.operand
    elif isinstance(node, (ast.If, ast.While, ast.IfExp)):
        parts = {name: getattr(node, name) for name in node._fields}
        parts["test"] = ast.UnaryOp(ast.Not(), node.test)
        yield f"condition '{ast.unparse(node.test)}' is negated", type(node)(**parts)
    elif isinstance(node, (ast.Expr, ast.AugAssign, ast.Continue, ast.Raise)) or (
        isinstance(node, ast.Assign) and not isinstance(node.targets[0], ast.Name)
    ):
        yield f"'{ast.unparse(node)}' is left out", ast.Pass()


def source_of(module: str) -> Path:
    return SOURCE / (f"{module}.py" if "/" in module else f"_core/{module}.py")


def mutants(module: str, root: Path) -> Iterator[Mutant]:
    """Every mutant of one module."""
    tree = ast.parse((root / source_of(module)).read_text())
    line = 1
    for parent, name, node in list(sites(tree)):
        line = getattr(node, "lineno", line)
        for change, other in changes(node):
            yield Mutant(module, line, change, _with(tree, parent, name, node, other))


def _with(tree: ast.AST, parent: ast.AST, name: str, node: ast.AST, other: ast.AST) -> str:
    """The source of the tree with one node exchanged; the tree itself is put back."""
    before = getattr(parent, name)
    after = [other if one is node else one for one in before] if isinstance(before, list) else other
    setattr(parent, name, after)
    try:
        return ast.unparse(ast.fix_missing_locations(tree))
    finally:
        setattr(parent, name, before)


def survives(mutant: Mutant, room: Path) -> bool:
    """Whether the tests pass all the same, in `room`, a copy of the project."""
    target = room / source_of(mutant.module)
    original = target.read_text()
    target.write_text(mutant.source)
    try:
        return passes(mutant.module, room)
    finally:
        target.write_text(original)


def passes(module: str, room: Path) -> bool:
    folder = Path(module).parent.name or "core"
    files = [f"tests/{folder}/{name}.py" for name in TESTS[module]]
    command = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    try:
        done = subprocess.run(
            [*command, "--hypothesis-profile=mutants", *files],
            cwd=room,
            env={**os.environ, "PYTHONPATH": str(room / "src")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def main(modules: list[str]) -> int:
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        rooms: SimpleQueue[Path] = SimpleQueue()
        for number in range(WORKERS):
            room = Path(place, str(number))
            for part in ("src", "tests"):
                shutil.copytree(ROOT / part, room / part)
            shutil.copy(ROOT / "pyproject.toml", room)
            rooms.put(room)

        def judge(mutant: Mutant) -> bool:
            room = rooms.get()
            try:
                return survives(mutant, room)
            finally:
                rooms.put(room)

        with ThreadPoolExecutor(WORKERS) as crew:
            for module in modules:
                if not passes(module, room):
                    print(f"{module}: its tests fail without any change")
                    return 1
                found = list(mutants(module, room))
                noticed = len(found)
                for mutant, lives in zip(found, crew.map(judge, found), strict=True):
                    if lives:
                        noticed -= 1
                        print(f"  {module}, line {mutant.line}: {mutant.change}", flush=True)
                print(f"{module}: {noticed} of {len(found)} noticed", flush=True)
    print(f"{time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    unknown = set(sys.argv[1:]) - set(TESTS)
    if unknown:
        sys.exit(
            f"no tests are known for {', '.join(sorted(unknown))}; there are: {', '.join(TESTS)}"
        )
    sys.exit(main(sys.argv[1:] or list(TESTS)))
