"""One variant of the task board with a user service of its own, and the fault proxy between them.

Nothing is shared between variants, so that the load each puts on its user service can be told
apart, and none of them suffers for another.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from holdfast.cli.demo.figures import Record
from holdfast.cli.demo.processes import DemoError, Server, server
from holdfast.testing import FaultProxy, Toxic

VARIANTS = {
    "bare": "bare call",
    "handmade": "timeout + 3 retries",
    "holdfast": "Holdfast",
}
"""The variants of the task board, and what they are called on the screen."""


@dataclass(frozen=True, slots=True)
class Site:
    """A running variant, and what is measured of it."""

    variant: str
    taskboard: Server
    user_service: Server
    proxy: FaultProxy
    record: Record = field(default_factory=Record)

    def suffer(self, toxic: Toxic | None) -> None:
        """Let this befall the replies of the user service, in place of what did before."""
        if toxic is None:
            self.proxy.clear()
        else:
            self.proxy.add("outage", toxic)


@contextmanager
def running(variants: Sequence[str], seed: int) -> Generator[list[Site]]:
    """Sites for these variants, ready to serve; nothing of them is left after the block.

    Raises:
        DemoError: one of them cannot be started.
    """
    with ExitStack() as stack:
        directory = stack.enter_context(TemporaryDirectory(prefix="holdfast-demo-"))
        sites = [_start(variant, Path(directory), seed, stack) for variant in variants]
        for site in sites:
            site.user_service.wait_until_ready()
            site.taskboard.wait_until_ready("/tasks/1")  # all the way, so that all of it is warm
        yield sites


def _start(variant: str, directory: Path, seed: int, stack: ExitStack) -> Site:
    users = stack.enter_context(server(f"user service of {variant}", "user_service", directory))
    address = urlsplit(users.url)
    try:
        proxy = stack.enter_context(
            FaultProxy((str(address.hostname), int(address.port or 0)), seed=seed)
        )
    except OSError as error:
        raise DemoError(f"the fault proxy cannot listen: {error}") from error
    board = stack.enter_context(
        server(
            f"task board of {variant}",
            "app",
            directory,
            {
                "TASKBOARD_VARIANT": variant,
                "TASKBOARD_USER_SERVICE": proxy.url,
                "TASKBOARD_DATABASE": str(directory / f"{variant}.sqlite"),
            },
        )
    )
    return Site(variant, board, users, proxy)
