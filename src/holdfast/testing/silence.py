"""A port where nobody answers the knock.

A listening socket whose queue of finished handshakes is full makes the kernel drop further SYN
packets: a client that connects hears nothing at all, neither "refused" nor "welcome", exactly as
with a firewall that drops packets. Linux does so; other kernels may refuse instead.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Generator
from contextlib import ExitStack, contextmanager

GRACE_MS = 20
MOST = 16


@contextmanager
def black_hole() -> Generator[tuple[str, int]]:
    """Host and port (on 127.0.0.1) of a server where connecting hangs until it times out.

    Raises:
        RuntimeError: this kernel goes on accepting connections.
    """
    with ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address: tuple[str, int] = listener.getsockname()
        for _ in range(MOST):
            filler = sockets.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
            writable = select.poll()
            writable.register(filler, select.POLLOUT)
            if not writable.poll(GRACE_MS):
                break
        else:
            raise RuntimeError("no black hole on this system: the queue of a socket never fills")
        yield address
