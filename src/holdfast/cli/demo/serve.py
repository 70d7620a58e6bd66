"""The main program of the demo's child processes: one web application on a socket it is given.

The parent opens the socket, so the port is known before the child runs and no other process can
take it meanwhile. The child's standard input is a pipe that nobody writes to: when it ends, the
parent is gone, however it went, and the child follows.

    python -m holdfast.cli.demo.serve FD DIRECTORY MODULE:FACTORY
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time

import uvicorn

GRACE = 1


def main(descriptor: str, directory: str, application: str) -> None:
    """Serve until told to stop, by a signal or by the parent's end."""
    threading.Thread(target=_follow_parent, daemon=True).start()
    sys.path.insert(0, directory)
    config = uvicorn.Config(
        application,
        factory=True,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=GRACE,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(descriptor))])


def _follow_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    time.sleep(GRACE)  # a parent that ends in good order has sent a signal, too
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
