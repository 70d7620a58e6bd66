"""A flag that one thread waits for and another one sets, once."""

from __future__ import annotations

from threading import TIMEOUT_MAX, Lock


class Signal:
    """What `threading.Event` does, without a lock inside that setting it could wait for.

    A finaliser may set one at any point, also while its own thread is in `wait`; an Event would
    then wait for itself.
    """

    __slots__ = ("_unset",)

    def __init__(self) -> None:
        self._unset = Lock()
        self._unset.acquire()

    def set(self) -> None:
        """Let `wait` return, now or later. Called once."""
        self._unset.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it is set; False when `timeout` seconds were not enough."""
        limit = -1 if timeout is None else min(max(0.0, timeout), TIMEOUT_MAX)
        if not self._unset.acquire(timeout=limit):
            return False
        self._unset.release()
        return True
