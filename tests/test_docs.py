"""The documentation is true: its code runs, its links lead somewhere, its tables match the code.

Every ``python`` block of README.md and docs/*.md is executed, those of one page in one namespace
from top to bottom, on a virtual clock, so that nothing really waits. A block may await at its top
level. The info string ``python no-run`` leaves a block out; the page then says why.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

import holdfast
from holdfast._core.states import diagram
from holdfast.cache import CacheOptions, lifeline
from holdfast.classify import classifier
from holdfast.health import HealthOptions
from holdfast.testing import VirtualClock

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
TEXTS = sorted(
    {
        *PAGES,
        *ROOT.glob("*.md"),
        *ROOT.glob("examples/**/*.md"),
        *ROOT.glob("benchmarks/*.md"),
    }
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


# -- reading pages ---------------------------------------------------------------------------------


class Block(NamedTuple):
    """A fenced block: its info string, its text and the number of its first line."""

    info: str
    text: str
    line: int


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page. Fences are three backticks at the beginning of a line."""
    info, first, lines = None, 0, list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith("```"):
            lines.append(line)
        elif info is None:
            info, first, lines = line[3:].strip(), number + 1, []
        else:
            yield Block(info, "\n".join(lines) + "\n", first)
            info = None
    assert info is None, f"the block that begins at line {first} does not end"


def prose(text: str) -> str:
    """A page without its fenced blocks and its code spans."""
    outside = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]+`", "", outside)


def runnable(path: Path) -> list[Block]:
    return [block for block in blocks(path.read_text("utf-8")) if block.info == "python"]


def test_a_page_is_cut_into_its_blocks() -> None:
    text = "a\n```python\nx = 1\n```\nb\n```python no-run\ny\n```\n"
    assert list(blocks(text)) == [
        Block("python", "x = 1\n", 3),
        Block("python no-run", "y\n", 7),
    ]
    assert prose(text + "`[no](link)`, [one](there)").split() == ["a", "b", ",", "[one](there)"]


# -- the code --------------------------------------------------------------------------------------


def execute(block: Block, page: str, names: dict[str, Any], runner: asyncio.Runner) -> None:
    """Run one block; a traceback shows the lines of the page."""
    code = compile(
        "\n" * (block.line - 1) + block.text,
        page,
        "exec",
        flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        dont_inherit=True,
    )
    if code.co_flags & inspect.CO_COROUTINE:
        runner.run(eval(code, names))
    else:
        exec(code, names)


@pytest.mark.parametrize("page", [path for path in PAGES if runnable(path)], ids=name_of)
def test_the_code_of_a_page_runs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(f"page_{page.stem}".replace("-", "_"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(classifier, "rules", classifier.rules)  # what the page registers goes
    clock = VirtualClock()
    with clock, asyncio.Runner(loop_factory=clock.loop_factory) as runner:
        for block in runnable(page):
            execute(block, str(page), module.__dict__, runner)
        for name, shown in list(vars(module).items()):
            if name.startswith("test_"):
                shown()


def test_a_block_may_await_and_goes_on_in_the_same_names() -> None:
    clock = VirtualClock()
    names: dict[str, Any] = {}
    with asyncio.Runner(loop_factory=clock.loop_factory) as runner:
        execute(Block("python", "import asyncio\nx = 1\n", 3), "page", names, runner)
        execute(Block("python", "await asyncio.sleep(60)\nx += 1\n", 9), "page", names, runner)
        with pytest.raises(ZeroDivisionError) as caught:
            execute(Block("python", "x += 1\nx / 0\n", 20), "page", names, runner)
    assert names["x"] == 3
    assert clock.now() == 60
    assert caught.traceback[-1].lineno + 1 == 21


def test_a_block_that_does_not_run_has_a_reason() -> None:
    for page in PAGES:
        text = page.read_text("utf-8")
        left_out = [block for block in blocks(text) if block.info == "python no-run"]
        assert not left_out or "not executed" in prose(text), f"{name_of(page)} does not say why"
        kinds = {block.info for block in blocks(text) if block.info.startswith("python")}
        assert kinds <= {"python", "python no-run"}, f"{name_of(page)}: {kinds}"


def test_the_quick_start_is_short() -> None:
    text = (ROOT / "README.md").read_text("utf-8").split("## Quick start", 1)[1]
    first = next(blocks(text))
    assert first.info == "python"
    assert len(first.text.splitlines()) <= 15


# -- the links -------------------------------------------------------------------------------------


def links(text: str) -> list[str]:
    """Where the relative links of a page lead."""
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(text))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def headings(text: str) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in found}


@pytest.mark.parametrize("page", TEXTS, ids=name_of)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for link in links(page.read_text("utf-8")):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{name_of(page)} links to {link}"
        assert target.is_relative_to(ROOT), f"{name_of(page)} links out of the project: {link}"
        if anchor:
            assert anchor in headings(target.read_text("utf-8")), f"{name_of(page)}: {link}"


@pytest.mark.parametrize("page", TEXTS, ids=name_of)
def test_files_that_are_named_exist(page: Path) -> None:
    for file in re.findall(r"`([\w./]+\.py)`", page.read_text("utf-8")):
        places = [page.parent, ROOT, ROOT / "src", ROOT / "src/holdfast"]
        assert any((place / file).exists() for place in places), f"{name_of(page)} names {file}"


def test_the_index_lists_every_page() -> None:
    listed = {link.partition("#")[0] for link in links((DOCS / "index.md").read_text("utf-8"))}
    pages = {path.name for path in DOCS.glob("*.md")} - {"index.md"}
    assert pages <= listed, f"docs/index.md does not list {sorted(pages - listed)}"


# -- the tables and the diagram --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("circuit-breaker.md", diagram() + "\n"), ("cache.md", lifeline.diagram() + "\n")],
)
def test_the_state_diagram_is_the_transition_table(name: str, wanted: str) -> None:
    page = DOCS / name
    drawn = [block.text for block in blocks(page.read_text("utf-8")) if block.info == "mermaid"]
    assert drawn == [wanted], f"put this into the mermaid block of {page.name}:\n\n{wanted}"


OPTIONS = {
    "retry.md#Options": holdfast.Retry,
    "retry.md#Backoff": holdfast.Backoff,
    "retry.md#Budget": holdfast.RetryBudget,
    "circuit-breaker.md#Options": holdfast.CircuitBreaker,
    "bulkhead.md#Options": holdfast.Bulkhead,
    "timeout.md#Options": holdfast.Timeout,
    "fallback.md#Options": holdfast.Fallback,
    "cache.md#Options of a namespace": CacheOptions,
    "cache.md#Options of the cache": holdfast.ResilientCache,
    "health.md#Options": HealthOptions,
}


@pytest.mark.parametrize("where", OPTIONS)
def test_the_options_are_those_of_the_code(where: str) -> None:
    page, heading = where.split("#")
    text = (DOCS / page).read_text("utf-8")
    section = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|", section, re.MULTILINE)
    options = inspect.signature(OPTIONS[where]).parameters
    assert [name for name, _ in rows] == list(options)
    for name, default in rows:
        actual = options[name].default
        if actual is inspect.Parameter.empty:
            assert default.strip() == "required", name
        elif actual is None or isinstance(actual, (bool, int, float, str)):
            shown = re.match(r" *`([^`]+)`", default)
            assert shown, f"{name}: the default is {actual!r}"
            assert ast.literal_eval(shown[1]) == actual, name


def test_every_dependency_has_a_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    groups = project["project"]["optional-dependencies"] | project["dependency-groups"]
    page = (DOCS / "dependencies.md").read_text("utf-8")
    for group, packages in groups.items():
        assert f"| `{group}` |" in page, group
        for package in packages:
            name = package["include-group"] if isinstance(package, dict) else package
            (bare,) = re.findall(r"^[\w-]+", name)
            assert re.search(rf"\b{bare}\b", page), bare
    assert project["project"]["dependencies"] == []
