"""Pure decisions: every resilience mechanism as a machine that meets no clock, thread or socket.

A machine is told the time, decides under its own lock and returns what happened as data; the
drivers in `holdfast.policies` do the waiting, calling and telling.

Two shapes cover everything. A **gate** admits and later settles: ``admit(now)`` gives a permit or a
`Rejection`, and the permit carries the era it was admitted in, so that a late outcome cannot touch
a newer era. A **plan** lives for one call: ``next(...)`` says whether to stop or how long to wait.

How machines lock
    Each machine has one `threading.Lock`, held for the decision only: never across user code,
    listeners or logging. It is taken in a ``with`` block (a finaliser, which must not wait, is the
    exception). Taking and releasing it by hand costs less, but a signal handler that raises between
    two instructions (Ctrl-C, a worker's soft time limit) could then leave it taken for ever, or
    release another thread's. Where a lock would cost too much, the everyday path does without: it
    reads one attribute, pops a list or appends to one, each of which is atomic by itself.

    The collector may finalise an abandoned coroutine at any point, also while this very thread
    holds the lock that the coroutine's permit needs. A permit that comes back that way (as
    `GeneratorExit`) never waits for the lock: where that is taken, the permit is put on a list, and
    whoever works on the machine next takes it in.
"""
