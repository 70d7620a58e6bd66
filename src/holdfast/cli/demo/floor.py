"""What makes a floor of the demo: the same task board and users, but another thing that breaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from holdfast.cli.demo.figures import Answer
from holdfast.cli.demo.report import Report, Run
from holdfast.cli.demo.schedule import Schedule
from holdfast.cli.demo.site import Build

Column = tuple[str, Callable[[Sequence[Answer]], str]]
"""The title of a column, and what is in it for these answers."""


def _nothing() -> str | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """One of the demo's stories.

    Attributes:
        name: as on the command line.
        variants: those of the task board, and what they are called on the screen.
        starts: what is started, for the first line.
        about: what the traffic needs, for the headline.
        suffers: what the faults befall, for the headline.
        busier: by how much there is more traffic than on the first floor.
        warm: the paths that a task board is asked for before the traffic begins.
        schedule: what happens when, fitted into so many seconds.
        build: starts the site of a variant.
        report: makes the figures of a run and judges them.
        columns: of the live table, beside those that every floor has.
        missing: why the floor cannot be had on this machine; None if it can.
    """

    name: str
    variants: Mapping[str, str]
    starts: str
    about: str
    suffers: str
    schedule: Callable[[float], Schedule]
    build: Build
    report: Callable[[Run], Report]
    busier: int = 1
    warm: Sequence[str] = ("/tasks/1",)
    columns: tuple[Column, ...] = ()
    missing: Callable[[], str | None] = _nothing
