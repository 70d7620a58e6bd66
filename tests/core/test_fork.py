"""A forked child can use every machine, whatever other threads of its parent held."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from holdfast._core import fork
from holdfast._core.budget import Budget
from holdfast._core.circuit import Circuit, CircuitOptions, Lease
from holdfast._core.outcome import Rejection
from holdfast._core.permits import Permits, Waiter
from holdfast._core.tally import RetryTally

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

PATIENCE = 10.0


def in_child(work: Callable[[], None]) -> None:
    """Run `work` in a forked child; fail with what it raised, or if it hangs."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 and later warn about forking while other threads run. That is the point.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        # Nothing of pytest may run here, neither its cleanup nor its output.
        try:
            work()
            os._exit(0)
        except BaseException:
            os.write(writing, traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(1)
    os.close(writing)
    try:
        status = waited(child)
        assert status == 0, os.read(reading, 4000).decode()
    finally:
        os.close(reading)


def waited(child: int) -> int:
    """The exit code of a child, which is killed if it hangs."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError("the child hung")


@contextmanager
def held_elsewhere(*locks: threading.Lock) -> Iterator[None]:
    """Another thread holds these locks."""
    holding, done = threading.Event(), threading.Event()

    def hold() -> None:
        with ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            holding.set()
            done.wait(PATIENCE)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holding.wait(PATIENCE)
    try:
        yield
    finally:
        done.set()
        thread.join()


def half_open() -> Circuit:
    circuit = Circuit("dep", CircuitOptions(failure_threshold=1, reset_timeout=0), 0.0, lambda: 0.0)
    circuit.fail(circuit.era, 0.0)
    return circuit


def test_a_probe_of_the_parent_does_not_lock_the_child_out() -> None:
    circuit = half_open()
    probe = circuit.admit(1.0)
    assert isinstance(probe, Lease)
    assert isinstance(circuit.admit(1.0), Rejection)

    def child() -> None:
        circuit.succeed(probe, 1.0)
        assert circuit.snapshot(1.0).state == "half_open", "not the child's probe"
        circuit.succeed(circuit.admit(1.0), 1.0)  # type: ignore[arg-type]
        assert circuit.snapshot(1.0).state == "closed"

    with held_elsewhere(circuit._lock):
        in_child(child)
    assert circuit.snapshot(1.0).probes == 1, "the parent's own probe is still out"


def test_places_of_the_parent_are_free_in_the_child() -> None:
    permits = Permits(2, 2)
    old = permits.take()
    assert old is not None
    assert permits.take() is not None
    assert permits.enqueue(Waiter(lambda: None))

    def child() -> None:
        assert permits.snapshot("dep").active == 0
        assert permits.snapshot("dep").queued == 0
        assert permits.give_back(old) is None
        assert permits.take() is not None
        assert permits.enqueue(Waiter(lambda: None))
        assert permits.enqueue(Waiter(lambda: None))
        assert permits.snapshot("dep").active == 2
        assert permits.snapshot("dep").queued == 1

    with held_elsewhere(permits._lock):
        in_child(child)
    assert permits.snapshot("dep").active == 2


def test_a_budget_and_a_tally_work_in_the_child() -> None:
    from holdfast._core import budget as budgets
    from holdfast._core import tally as tallies

    budget = Budget(refill=0)
    tally = RetryTally(budget)

    def child() -> None:
        assert budget.withdraw(0.0)
        budget.deposit()
        tally.first_try()
        tally.over(2, ok=True)
        assert tally.snapshot("dep").calls_total == 2

    with held_elsewhere(budgets._SHARED.lock, tallies._SHARED.lock):
        in_child(child)
    assert tally.snapshot("dep").calls_total == 0


def test_machines_are_not_kept_alive() -> None:
    machine = weakref.ref(Permits(1, 0))
    gc.collect()
    assert machine() is None


class Machine:
    renewed = 0

    def _after_fork(self) -> None:
        self.renewed += 1


def test_every_watched_machine_is_made_new() -> None:
    machines = [Machine() for _ in range(3)]
    for machine in machines:
        fork.watch(machine)
    del machine
    machines.pop()
    fork._in_child()
    assert [machine.renewed for machine in machines] == [1, 1]


def test_the_dead_are_swept_out_and_the_living_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork, "_machines", [])
    monkeypatch.setattr(fork, "_sweep_at", 10)
    living = [Machine() for _ in range(5)]
    for machine in living:
        fork.watch(machine)
        fork.watch(Machine())
    assert len(fork._machines) == 10
    fork.watch(living[0])
    assert [known() for known in fork._machines] == [*living, living[0]]
    assert fork._sweep_at == 2 * 6 + 1024


def test_machines_made_at_once_are_all_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread sweeps while others add theirs."""
    monkeypatch.setattr(fork, "_machines", [])
    monkeypatch.setattr(fork, "_sweep_at", 0)
    newcomer = Machine()

    class Slow:
        """A reference that is looked at while somebody else comes along."""

        def __call__(self) -> None:
            thread.start()
            thread.join(0.01)

    thread = threading.Thread(target=fork.watch, args=(newcomer,))
    fork._machines.append(Slow())  # type: ignore[arg-type]
    first = Machine()
    fork.watch(first)
    thread.join(PATIENCE)
    assert {known() for known in fork._machines} == {first, newcomer}


def test_a_lock_held_elsewhere_does_not_keep_a_child_from_making_machines() -> None:
    with held_elsewhere(fork._watching):  # type: ignore[arg-type]
        in_child(lambda: fork.watch(Machine()))
