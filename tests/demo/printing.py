"""What a user sees of something, as text."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType


def shown(*what: RenderableType) -> str:
    """As on a terminal of 80 columns."""
    console = Console(file=io.StringIO(), width=80)
    console.print(*what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
