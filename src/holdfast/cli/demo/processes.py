"""Child processes: started, waited for, and ended, by their own handle only."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

import holdfast

STARTS_WITHIN = 30.0
ENDS_WITHIN = 3.0
LAST_LINES = 8


class DemoError(Exception):
    """The demo cannot run; the text says why."""


@dataclass(frozen=True, slots=True)
class Server:
    """A child that serves on a loopback port, and the file that it logs to."""

    name: str
    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def wait_until_ready(self, *paths: str) -> None:
        """Return once it has given a good answer to each of these requests.

        Raises:
            DemoError: it ended, or does not answer in time.
        """
        give_up = time.monotonic() + STARTS_WITHIN
        with httpx.Client(base_url=self.url, timeout=1.0) as http:
            for path in paths:
                while not self._answers(http, path):
                    if self.process.poll() is not None:
                        raise DemoError(
                            f"the {self.name} ended with code {self.process.returncode}:"
                            + self._last_words()
                        )
                    if time.monotonic() > give_up:
                        raise DemoError(
                            f"the {self.name} does not answer after {STARTS_WITHIN:g} s:"
                            + self._last_words()
                        )
                    time.sleep(0.05)

    @staticmethod
    def _answers(http: httpx.Client, path: str) -> bool:
        try:
            return http.get(path).is_success
        except httpx.TransportError:
            return False

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        return "".join(f"\n    {line}" for line in lines) or " it said nothing"


def taskboard() -> tuple[Path, str]:
    """Where the task board is: what to put on the path, and the name of its package there.

    In a checkout that is ``examples/taskboard``; a wheel has a copy.
    """
    package = Path(holdfast.__file__).parent
    examples = package.parents[1] / "examples"
    if (examples / "taskboard").is_dir():
        return examples, "taskboard"
    return package.parent, "holdfast._taskboard"


@contextmanager
def server(
    name: str, module: str, directory: Path, environment: Mapping[str, str] | None = None
) -> Generator[Server]:
    """A module of the task board, served by a process of its own until the block ends."""
    path, package = taskboard()
    log = directory / f"{name}.log"
    try:
        listener = socket.create_server(("127.0.0.1", 0))
    except OSError as error:
        raise DemoError(f"cannot listen on a loopback port: {error}") from error
    # The child has the socket now; if it dies, nobody listens and callers learn it at once.
    with listener, log.open("wb") as output:
        port = listener.getsockname()[1]
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "holdfast.cli.demo.serve",
                str(listener.fileno()),
                str(path),
                f"{package}.{module}:create",
            ],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[listener.fileno()],
            env=os.environ | dict(environment or {}),
            start_new_session=True,  # Ctrl-C is for the parent, which ends its children in order
        )
    try:
        yield Server(name, f"http://127.0.0.1:{port}", process, log)
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    with process:
        process.terminate()
        try:
            process.wait(ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
