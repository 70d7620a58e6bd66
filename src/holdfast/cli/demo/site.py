"""One variant of the task board with a user service of its own, and what stands between them.

Nothing is shared between variants, so that the load each puts on its user service can be told
apart, and none of them suffers for another.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from holdfast.cli.demo.figures import Record
from holdfast.cli.demo.processes import Server, server
from holdfast.cli.demo.schedule import Phase


@dataclass(frozen=True, slots=True)
class Site:
    """A running variant, and what is measured of it. `enter` has a phase begin there."""

    variant: str
    taskboard: Server
    user_service: Server
    enter: Callable[[Phase], None]
    record: Record = field(default_factory=Record)


@dataclass(frozen=True, slots=True)
class Ground:
    """Where the parts of a site are put: a directory, and what ends them all."""

    directory: Path
    seed: int
    stack: ExitStack

    def user_service(self, variant: str) -> Server:
        """Start the user service of a variant."""
        return self.stack.enter_context(
            server(f"user service of {variant}", "user_service", self.directory)
        )

    def taskboard(self, variant: str, environment: Mapping[str, str]) -> Server:
        """Start the task board of a variant."""
        settings = {
            "TASKBOARD_VARIANT": variant,
            "TASKBOARD_DATABASE": str(self.directory / f"{variant}.sqlite"),
        }
        return self.stack.enter_context(
            server(f"task board of {variant}", "app", self.directory, settings | dict(environment))
        )


Build = Callable[[str, Ground], Site]
"""Starts the site of a variant."""


@contextmanager
def running(
    build: Build, variants: Sequence[str], seed: int, warm: Sequence[str]
) -> Generator[list[Site]]:
    """Sites for these variants, ready to serve; nothing of them is left after the block.

    Each is asked for the paths in `warm` first.

    Raises:
        DemoError: one of them cannot be started.
    """
    with ExitStack() as stack:
        directory = stack.enter_context(TemporaryDirectory(prefix="holdfast-demo-"))
        ground = Ground(Path(directory), seed, stack)
        sites = [build(variant, ground) for variant in variants]

        def prepare(site: Site) -> None:
            site.user_service.wait_until_ready("/health")
            site.taskboard.wait_until_ready(*warm)  # all the way, so that all of it is warm

        with ThreadPoolExecutor(len(sites)) as threads:
            list(threads.map(prepare, sites))
        yield sites
