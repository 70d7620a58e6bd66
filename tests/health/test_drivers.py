"""The background: checks run, hang, are cancelled and cleaned up; nothing runs uncalled for."""

from __future__ import annotations

import asyncio
import threading
from itertools import pairwise
from typing import Any

import pytest

from holdfast.errors import ConfigurationError
from holdfast.health import CheckSnapshot, HealthMonitor, HealthOptions, Status
from holdfast.health import board as room
from holdfast.health.check import Check
from holdfast.health.drivers import FALSE, PATIENCE, ThreadDriver
from holdfast.testing import VirtualClock

QUICK = {"interval": 10.0, "timeout": 1.0, "jitter": 0.0}


def state(monitor: HealthMonitor, name: str = "db") -> CheckSnapshot:
    check = monitor.snapshot().component(name).check
    assert check is not None
    return check


def others() -> set[str]:
    """The tasks of this loop, but for the one that asks."""
    return {task.get_name() for task in asyncio.all_tasks() - {asyncio.current_task()}}


class TestTask:
    def test_runs_an_async_check_every_interval(self, virtual_clock: VirtualClock) -> None:
        monitor = HealthMonitor()
        ran: list[float] = []

        @monitor.check("db", **QUICK)
        async def ask() -> None:
            ran.append(virtual_clock.now())
            await asyncio.sleep(0.5)

        async def main() -> None:
            assert others() == set()
            async with monitor as entered:
                assert entered is monitor
                await asyncio.sleep(25)
                assert others() == {"holdfast-health"}
            assert others() == set()
            assert ran == [0, 10, 20]
            shown = state(monitor)
            assert (shown.ok, shown.seconds, shown.runs_total) == (True, 0.5, 3)
            assert monitor.snapshot().component("db").status is Status.HEALTHY
            await asyncio.sleep(100)
            assert len(ran) == 3, "stopped"

        virtual_clock.run(main())

    def test_jitter_spreads_the_runs(self, virtual_clock: VirtualClock) -> None:
        monitor = HealthMonitor()
        ran: list[float] = []

        @monitor.check("db", interval=10.0, timeout=1.0, jitter=0.5)
        async def ask() -> None:
            ran.append(virtual_clock.now())

        async def main() -> None:
            async with monitor:
                await asyncio.sleep(200)

        virtual_clock.run(main())
        gaps = [later - earlier for earlier, later in pairwise(ran)]
        assert 0 < ran[0] <= 5.1
        assert all(10 <= gap <= 15.2 for gap in gaps)
        assert len({round(gap, 3) for gap in gaps}) > 5

    @pytest.mark.parametrize("answer", ["raises", "false", "cancels itself"])
    def test_failures_make_it_unhealthy(self, virtual_clock: VirtualClock, answer: str) -> None:
        monitor = HealthMonitor()

        @monitor.check("db", **QUICK)
        async def ask() -> bool:
            if answer == "raises":
                raise ConnectionRefusedError("secret host")
            if answer == "cancels itself":
                raise asyncio.CancelledError
            return False

        async def main() -> None:
            async with monitor:
                await asyncio.sleep(25)
            shown = monitor.snapshot().component("db")
            assert shown.status is Status.UNHEALTHY
            error = {
                "raises": "ConnectionRefusedError",
                "false": "it returned False",
                "cancels itself": "CancelledError",
            }[answer]
            assert state(monitor).error == error
            assert f"its check failed 3 times in a row ({error})" in shown.reason
            assert "secret" not in repr(shown)

        virtual_clock.run(main())

    def test_one_that_hangs_is_cancelled_after_its_timeout(
        self, virtual_clock: VirtualClock
    ) -> None:
        monitor = HealthMonitor()
        ended: list[float] = []

        @monitor.check("db", **QUICK)
        async def ask() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                ended.append(virtual_clock.now())

        async def main() -> None:
            async with monitor:
                await asyncio.sleep(25)
                assert others() == {"holdfast-health"}
            assert ended == [1, 11, 21]
            assert state(monitor).error == "no answer within 1 s"
            assert state(monitor).failures_in_a_row == 3

        virtual_clock.run(main())

    def test_one_that_will_not_be_cancelled_does_not_pile_up(
        self, virtual_clock: VirtualClock
    ) -> None:
        monitor = HealthMonitor()
        started = 0

        @monitor.check("db", **QUICK)
        async def ask() -> None:
            nonlocal started
            started += 1
            until = virtual_clock.now() + 35
            while virtual_clock.now() < until:
                try:
                    await asyncio.sleep(until - virtual_clock.now())
                except asyncio.CancelledError:
                    pass

        async def main() -> None:
            async with monitor:
                await asyncio.sleep(31)
                assert others() == {"holdfast-health", "holdfast-check-db"}
                assert started == 1
                assert state(monitor).failures_in_a_row == 4
                assert state(monitor).running
                await asyncio.sleep(10)
                assert started == 2
                before = virtual_clock.now()
            assert virtual_clock.now() - before == PATIENCE, "stopping does not wait for ever"
            await asyncio.sleep(60)
            assert others() == set()

        virtual_clock.run(main())

    def test_stopping_cancels_a_run_which_then_never_was(self, virtual_clock: VirtualClock) -> None:
        monitor = HealthMonitor()
        cancelled: list[float] = []

        @monitor.check("db", **QUICK)
        async def ask() -> None:
            try:
                await asyncio.sleep(0.75)
            except asyncio.CancelledError:
                cancelled.append(virtual_clock.now())
                raise

        async def main() -> None:
            async with monitor:
                await asyncio.sleep(0.5)
            assert cancelled == [0.5]
            assert (state(monitor).ok, state(monitor).running) == (None, False)
            assert others() == set()
            async with monitor:
                await asyncio.sleep(15)
            assert state(monitor).ok

        virtual_clock.run(main())

    def test_a_cancelled_block_leaves_nothing_behind(self, virtual_clock: VirtualClock) -> None:
        monitor = HealthMonitor()

        @monitor.check("db", **QUICK)
        async def ask() -> None:
            await asyncio.sleep(0.9)

        async def block() -> None:
            async with monitor:
                await asyncio.sleep(3600)

        async def main() -> None:
            for pause in (0.0, 0.5, 5.0):
                task = asyncio.create_task(block())
                await asyncio.sleep(pause)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert others() == set()
                assert not monitor.snapshot().local.watching

        virtual_clock.run(main())

    def test_a_loop_that_ends_early_does_not_leave_the_heart_waiting(
        self, virtual_clock: VirtualClock
    ) -> None:
        monitor = HealthMonitor()

        async def main() -> None:
            await monitor.__aenter__()

        virtual_clock.run(main())
        assert not monitor.snapshot().local.watching

        async def again() -> None:
            async with monitor:
                assert monitor.snapshot().local.watching

        virtual_clock.run(again())

    def test_a_sync_check_runs_in_a_thread(self, virtual_clock: VirtualClock) -> None:
        monitor = HealthMonitor()
        threads: list[str] = []

        @monitor.check("db", **QUICK)
        def ask() -> None:
            threads.append(threading.current_thread().name)
            if len(threads) == 2:
                raise OSError

        async def main() -> None:
            async with monitor:
                await asyncio.sleep(5)
                assert state(monitor).ok
                await asyncio.sleep(10)
                assert state(monitor).error == "OSError"

        virtual_clock.run(main())
        assert threads == ["holdfast-check-db"] * 2

    def test_a_thread_that_hangs_does_not_pile_up(self, virtual_clock: VirtualClock) -> None:
        monitor = HealthMonitor()
        release = threading.Event()
        started: list[threading.Thread] = []

        @monitor.check("db", **QUICK)
        def ask() -> None:
            started.append(threading.current_thread())
            release.wait()

        async def main() -> None:
            async with monitor:
                await asyncio.sleep(35)
                assert len(started) == 1
                assert state(monitor).failures_in_a_row == 4
                assert state(monitor).error == "an earlier run still hangs"

        try:
            virtual_clock.run(main())
        finally:
            release.set()
            started[0].join()
        assert not state(monitor).running

    def test_a_function_that_hides_a_coroutine_is_a_failure(
        self, virtual_clock: VirtualClock
    ) -> None:
        monitor = HealthMonitor()

        async def hidden() -> None: ...

        monitor.check("db", **QUICK)(lambda: hidden())

        async def main() -> None:
            async with monitor:
                await asyncio.sleep(5)
                assert state(monitor).error == "TypeError"

        virtual_clock.run(main())

    def test_no_thread_to_be_had_is_not_held_against_it(
        self, virtual_clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monitor = HealthMonitor()
        monitor.check("db", **QUICK)(lambda: None)

        def start(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        async def main() -> None:
            async with monitor:
                await asyncio.sleep(15)
            assert (state(monitor).ok, state(monitor).running) == (None, False)
            assert state(monitor).runs_total == 2

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            virtual_clock.run(main())

    def test_judges_in_time_though_nobody_looks(self, virtual_clock: VirtualClock) -> None:
        monitor = HealthMonitor(HealthOptions(worsen_after=3))

        async def main() -> None:
            async with monitor:
                for _ in range(21):
                    monitor.record("db", 0.1, "failure")
                    await asyncio.sleep(1)
            db = monitor._board.components["db"]
            assert db.standing().status is Status.UNHEALTHY
            assert db._machine.since == pytest.approx(20), "at 5 there were too few calls"

        virtual_clock.run(main())

    def test_a_stall_is_not_held_against_a_check(self, virtual_clock: VirtualClock) -> None:
        monitor = HealthMonitor()

        @monitor.check("db", **QUICK)
        async def ask() -> None:
            await asyncio.sleep(0.5)
            if virtual_clock.now() > 1:
                raise TimeoutError

        async def main() -> None:
            async with monitor:
                await asyncio.sleep(0.25)
                virtual_clock.advance(5)
                await asyncio.sleep(1)
                assert state(monitor).failures_total == 0
                await asyncio.sleep(10)
                assert state(monitor).failures_total == 1

        virtual_clock.run(main())


class TestThread:
    def test_goes_round_until_it_is_stopped(self) -> None:
        clock = VirtualClock()
        monitor = HealthMonitor(HealthOptions(worsen_after=1), clock=clock)
        ran: list[float] = []

        @monitor.check("db", **QUICK)
        def ask() -> bool:
            ran.append(clock.now())
            return False

        class Direct(ThreadDriver):
            """Runs checks in its own thread, which virtual time waits for."""

            def _launch(self, check: Check) -> None:
                self._rounds.finished(check, FALSE if check.fn() is False else None)

        driver = Direct(monitor._rounds())

        def user() -> None:
            clock.sleep(20.5)
            driver.stop()

        clock.run_threads(driver.run, user)
        assert ran == [0, 10, 20]
        assert monitor._board.components["db"].standing().status is Status.UNHEALTHY
        assert not monitor.snapshot().local.watching

    def test_start_and_stop_on_the_real_clock(self) -> None:
        monitor = HealthMonitor(heartbeat=0.01)
        ran = threading.Event()
        monitor.check("db", interval=10.0, jitter=0.0)(ran.set)
        with monitor as entered:
            assert entered is monitor
            assert ran.wait(5)
            assert "holdfast-health" in {thread.name for thread in threading.enumerate()}
        assert "holdfast-health" not in {thread.name for thread in threading.enumerate()}
        monitor.stop()

    def test_may_be_stopped_from_itself(self) -> None:
        monitor = HealthMonitor(heartbeat=0.01, interval=0.02)
        done = threading.Event()
        driver = ThreadDriver(monitor._rounds())

        def stop(now: float) -> None:
            driver.stop()
            done.set()

        driver._rounds._evaluate = stop
        driver.start()
        assert done.wait(5)
        driver._thread.join(5)
        assert not driver.alive

    def test_async_checks_need_a_loop(self) -> None:
        monitor = HealthMonitor()

        async def ask() -> None: ...

        monitor.check("db")(ask)
        with pytest.raises(ConfigurationError, match="check of 'db' is async and needs an event"):
            monitor.start()
        monitor = HealthMonitor()
        with monitor:
            with pytest.raises(ConfigurationError, match="is async and needs an event loop"):
                monitor.check("db")(ask)
            monitor.check("db")(lambda: None)


class TestStarting:
    def test_without_heartbeat_and_checks_nothing_runs(self, virtual_clock: VirtualClock) -> None:
        monitor = HealthMonitor(heartbeat=None)

        async def main() -> None:
            async with monitor:
                assert others() == set()
                with pytest.raises(ConfigurationError, match="the check of 'db' comes too late"):
                    monitor.check("db")(lambda: None)
                with pytest.raises(ConfigurationError, match="is started already"):
                    monitor.start()

        virtual_clock.run(main())
        threads = threading.active_count()
        with monitor:
            assert threading.active_count() == threads

    def test_a_check_alone_is_enough(self, virtual_clock: VirtualClock) -> None:
        monitor = HealthMonitor(heartbeat=None)
        monitor.check("db", **QUICK)(lambda: None)

        async def main() -> None:
            async with monitor:
                await asyncio.sleep(15)
                assert state(monitor).runs_total == 2
                assert not monitor.snapshot().local.watching
                late = False

                @monitor.check("late", **QUICK)
                async def ask() -> None:
                    nonlocal late
                    late = True

                await asyncio.sleep(2)
                assert late, "found within a second"

        virtual_clock.run(main())

    def test_twice_is_refused(self, virtual_clock: VirtualClock) -> None:
        monitor = HealthMonitor()

        async def main() -> None:
            async with monitor:
                for again in (monitor.start, monitor.__enter__):
                    with pytest.raises(ConfigurationError, match="is started already"):
                        again()
                with pytest.raises(ConfigurationError, match="is started already"):
                    await monitor.__aenter__()

        virtual_clock.run(main())

    def test_a_component_has_one_check(self) -> None:
        monitor = HealthMonitor()
        monitor.check("db")(lambda: None)
        with pytest.raises(ConfigurationError, match="component 'db' has a check already"):
            monitor.check("db")(lambda: None)

    def test_checks_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(room, "MOST_CHECKS", 1)
        monitor = HealthMonitor()
        monitor.check("a")(lambda: None)
        with pytest.raises(ConfigurationError, match="check of 'b' is one too many: there are 1"):
            monitor.check("b")(lambda: None)

    def test_what_is_decorated_stays_as_it_is(self) -> None:
        def ask() -> None: ...

        assert HealthMonitor().check("db")(ask) is ask

    @pytest.mark.parametrize("options", [{"interval": 0}, {"timeout": 20.0}, {"jitter": 2}])
    def test_bad_options_are_refused_and_leave_no_component(self, options: dict[str, Any]) -> None:
        monitor = HealthMonitor()
        with pytest.raises(ConfigurationError):
            monitor.check("db", **options)(lambda: None)
        assert monitor.snapshot().components == ()
