"""Pure decisions: every resilience mechanism as a machine that meets no clock, thread or socket.

A machine is told the time, decides under its own lock and returns what happened as data; the
drivers in `holdfast.policies` do the waiting, calling and telling.

Two shapes cover everything. A **gate** admits and later settles: ``admit(now)`` gives a permit or a
`Rejection`, and the permit carries the era it was admitted in, so that a late outcome cannot touch
a newer era. A **plan** lives for one call: ``next(...)`` says whether to stop or how long to wait.

How machines lock
    Each machine has one `threading.Lock`, held for the decision only. It is taken as ::

        try:
            self._lock.acquire()
            ...
        finally:
            self._lock.release()

    which costs half of a ``with`` block, and a machine would pay that on every call. The
    acquisition stands inside the ``try`` because a signal handler may raise right after it (Ctrl-C,
    a worker's soft time limit); standing before it, such a moment would leave the lock taken for
    ever.

    The collector may finalise an abandoned coroutine at any point, also while this very thread
    holds the lock that the coroutine's permit needs. A permit that comes back that way (as
    `GeneratorExit`) never waits for the lock: where that is taken, the permit is put on a list, and
    whoever works on the machine next takes it in.
"""
