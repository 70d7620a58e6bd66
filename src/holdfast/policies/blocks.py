"""What a shared policy must remember between entering a ``with`` block and leaving it.

The policy object may be in many blocks at once, in threads and tasks alike, so the memory is kept
in a context variable: a linked stack of entries, innermost first.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

_Entry = tuple[object, Any, Any]

_entered: ContextVar[_Entry | None] = ContextVar("holdfast_blocks", default=None)


def push(policy: object, memory: Any) -> None:
    """Remember that this task or thread entered a block of `policy`."""
    _entered.set((policy, memory, _entered.get()))


def pop(policy: object) -> Any:
    """What was pushed by the innermost block of `policy`; None if that was in another context."""
    skipped: list[_Entry] = []
    entry = _entered.get()
    while entry is not None and entry[0] is not policy:
        skipped.append(entry)
        entry = entry[2]
    if entry is None:
        return None
    rest: _Entry | None = entry[2]
    for other in reversed(skipped):
        rest = (other[0], other[1], rest)
    _entered.set(rest)
    return entry[1]
