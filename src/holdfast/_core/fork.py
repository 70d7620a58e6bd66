"""What a forked child must forget.

A child inherits the machines' memory but only the thread that forked: locks taken by other threads
would stay taken, and the places those threads held would never be given back. So every machine that
holds places is known here, weakly, and made new in the child.
"""

from __future__ import annotations

import os
import weakref
from threading import RLock
from typing import Protocol


class Forkable(Protocol):
    def _after_fork(self) -> None: ...


_machines: list[weakref.ref[Forkable]] = []
_sweep_at = 1024
_watching = RLock()


def watch(machine: Forkable) -> None:
    """Have `machine._after_fork()` called in every child process, as long as it lives."""
    global _sweep_at
    with _watching:
        _machines.append(weakref.ref(machine))
        if len(_machines) > _sweep_at:
            # A list with a sweep now and then weighs half of a WeakSet.
            _machines[:] = [known for known in _machines if known() is not None]
            _sweep_at = 2 * len(_machines) + 1024


class SharedLock:
    """One lock for many small things that are rarely touched, such as counters of failures.

    Reentrant, because a finaliser that runs while its thread holds it may count something too.
    """

    __slots__ = ("__weakref__", "lock")

    def __init__(self) -> None:
        self._after_fork()
        watch(self)

    def _after_fork(self) -> None:
        self.lock = RLock()


def _in_child() -> None:
    global _watching
    _watching = RLock()
    for known in _machines:
        machine = known()
        if machine is not None:
            machine._after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch - absent on Windows only
    os.register_at_fork(after_in_child=_in_child)
