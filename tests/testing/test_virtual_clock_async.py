"""Coroutines on virtual time."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from holdfast._core.clock import AMBIENT
from holdfast.testing import DeadlockError, VirtualClock


def test_a_million_seconds_pass_in_no_time():
    clock = VirtualClock()
    began = time.perf_counter()
    clock.run(asyncio.sleep(1_000_000))
    assert clock.now() == 1_000_000
    assert time.perf_counter() - began < 1


def test_result_error_and_repeated_use():
    clock = VirtualClock(10.0)

    async def fail() -> None:
        await asyncio.sleep(1)
        raise LookupError("gone")

    assert clock.run(asyncio.sleep(2, "done")) == "done"
    with pytest.raises(LookupError, match="gone"):
        clock.run(fail())
    assert clock.now() == 13.0


def test_timers_fire_at_their_own_time_in_order():
    clock = VirtualClock()
    seen: list[tuple[str, float]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(2, lambda: seen.append(("timer", loop.time())))

        async def nap(name: str, seconds: float) -> None:
            await clock.asleep(seconds)
            seen.append((name, clock.now()))

        await asyncio.gather(nap("c", 3), nap("a", 1), nap("b", 1))

    clock.run(main())
    assert seen == [("a", 1.0), ("b", 1.0), ("timer", 2.0), ("c", 3.0)]


@pytest.mark.parametrize("start", [0.0, 0.1, 12345.678, 1e9 + 0.1])
def test_a_timer_never_fires_before_its_time(start: float):
    clock = VirtualClock(start)

    async def main() -> None:
        for _ in range(200):
            due = clock.now() + 0.3
            await asyncio.sleep(0.3)
            assert clock.now() == due

    clock.run(main())


def test_asyncio_timeouts_follow():
    clock = VirtualClock()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.sleep(100)
        assert clock.now() == 30
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 5)

    clock.run(main())
    assert clock.now() == 35


def test_a_blocking_sleep_stalls_the_loop():
    clock = VirtualClock()

    async def main() -> float:
        late = asyncio.create_task(asyncio.sleep(1))
        await asyncio.sleep(0)
        clock.sleep(10)
        await late
        return clock.now()

    assert clock.run(main()) == 10


def test_time_waits_for_jobs_in_threads():
    clock = VirtualClock()

    async def main() -> float:
        async with asyncio.timeout(5):
            await asyncio.to_thread(time.sleep, 0.05)
        return clock.now()

    assert clock.run(main()) == 0


def test_time_waits_for_a_job_whose_waiter_was_cancelled():
    clock = VirtualClock()
    finished = threading.Event()
    release = threading.Event()

    def work() -> None:
        release.wait(5)
        finished.set()

    async def main() -> None:
        task = asyncio.create_task(asyncio.to_thread(work))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        asyncio.get_running_loop().call_soon(release.set)
        await asyncio.sleep(60)
        assert finished.is_set()

    clock.run(main())


def test_jobs_in_threads_sleep_on_the_clock():
    clock = VirtualClock()
    seen: list[tuple[str, float]] = []

    def job() -> None:
        clock.sleep(2)
        seen.append(("job", clock.now()))

    async def main() -> None:
        task = asyncio.create_task(asyncio.to_thread(job))
        for _ in range(3):
            await asyncio.sleep(0.9)
            seen.append(("loop", clock.now()))
        await task

    clock.run(main())
    assert [name for name, _ in seen] == ["loop", "loop", "job", "loop"]
    assert [at for _, at in seen] == pytest.approx([0.9, 1.8, 2.0, 2.7])


def test_more_sleeping_jobs_than_workers():
    clock = VirtualClock()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(2) as pool:
            await asyncio.gather(*(loop.run_in_executor(pool, clock.sleep, 1) for _ in range(10)))

    clock.run(main())
    assert clock.now() == 5


def test_time_waits_for_another_process():
    clock = VirtualClock()

    async def main() -> int:
        with ProcessPoolExecutor(1) as pool:
            async with asyncio.timeout(5):
                return await asyncio.get_running_loop().run_in_executor(pool, pow, 2, 10)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads, from 3.12 on
        assert clock.run(main()) == 1024
    assert clock.now() == 0


@pytest.mark.parametrize("limit", [None, 60])
def test_time_waits_for_a_thread_of_ones_own(limit: float | None):
    clock = VirtualClock()

    async def main() -> str:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str] = loop.create_future()

        def work() -> None:
            time.sleep(0.05)
            loop.call_soon_threadsafe(answer.set_result, "here")

        thread = threading.Thread(target=work)
        thread.start()
        async with asyncio.timeout(limit):
            result = await answer
        thread.join()
        return result

    assert clock.run(main()) == "here"
    assert clock.now() == 0


def test_a_silent_background_thread_holds_time_only_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("holdfast.testing.virtual_loop.STRANGER_PATIENCE", 0.03)
    clock = VirtualClock()
    stop = threading.Event()

    async def main() -> None:
        thread = threading.Thread(target=stop.wait)
        thread.start()
        for _ in range(1000):
            await asyncio.sleep(1)
        stop.set()
        thread.join()

    began = time.perf_counter()
    clock.run(main())
    assert clock.now() == 1000
    assert time.perf_counter() - began < 2


def test_sockets_inside_one_loop_work():
    clock = VirtualClock()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    async def main() -> bytes:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello\n")
        line = await reader.readline()
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        return line

    assert clock.run(main()) == b"hello\n"


def test_input_from_outside_is_no_deadlock():
    clock = VirtualClock()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    sender = threading.Timer(0.05, theirs.send, [b"x"])
    sender.start()

    async def main() -> bytes:
        return await asyncio.get_running_loop().sock_recv(ours, 1)

    with ours, theirs:
        assert clock.run(main()) == b"x"
    sender.join()


def test_a_deadlock_names_the_tasks_and_cleans_up():
    clock = VirtualClock()
    cleaned: list[str] = []

    async def stuck() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append("stuck")

    async def main() -> None:
        await asyncio.sleep(7)
        task = asyncio.create_task(stuck(), name="the stuck one")
        await task

    with pytest.raises(DeadlockError) as caught:
        clock.run(main())
    text = str(caught.value)
    assert "virtual time 7" in text
    assert "the stuck one" in text
    assert "stuck, at" in text
    assert cleaned == ["stuck"]


def test_an_open_socket_delays_a_deadlock_only(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("holdfast.testing.virtual_loop.INPUT_PATIENCE", 0.02)
    clock = VirtualClock()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    async def main() -> bytes:
        return await asyncio.get_running_loop().sock_recv(ours, 1)

    with ours, theirs, pytest.raises(DeadlockError):
        clock.run(main())


def test_leftovers_are_cancelled_and_generators_closed():
    clock = VirtualClock()
    seen: list[str] = []

    async def leftover() -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
            seen.append("cancelled")
            raise

    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            seen.append("generator closed")

    async def main() -> None:
        task = asyncio.create_task(leftover())
        await asyncio.sleep(0)
        generator = numbers()
        await anext(generator)
        main.keep = (task, generator)  # type: ignore[attr-defined]

    clock.run(main())
    assert seen == ["cancelled", "generator closed"]
    assert clock.now() == 1


def test_run_inside_a_running_loop_is_refused():
    clock = VirtualClock()

    async def main() -> None:
        inner = asyncio.sleep(1)
        with pytest.raises(RuntimeError, match="running event loop"):
            clock.run(inner)
        inner.close()

    clock.run(main())


def test_sleeping_on_a_foreign_loop_is_refused():
    clock = VirtualClock()
    with pytest.raises(RuntimeError, match=r"clock\.run"):
        asyncio.run(clock.asleep(1))  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match=r"clock\.run"):
        VirtualClock().run(clock.asleep(1))  # type: ignore[arg-type]


def test_the_loop_factory_serves_a_runner():
    clock = VirtualClock()
    with asyncio.Runner(loop_factory=clock.loop_factory) as runner:
        runner.run(asyncio.sleep(3))
        runner.run(asyncio.sleep(4))
    assert clock.now() == 7


def test_cancelling_a_thousand_sleeps_leaves_nothing():
    clock = VirtualClock()

    async def main() -> None:
        tasks = [asyncio.create_task(clock.asleep(index)) for index in range(1000)]  # type: ignore[arg-type]
        await asyncio.sleep(499.5)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(result is None for result in results) == 500

    clock.run(main())
    assert clock.now() == 499.5


def test_two_loops_in_two_threads_share_time():
    clock = VirtualClock()
    seen: list[tuple[str, float]] = []

    def loop(name: str, *naps: float):
        async def main() -> None:
            for nap in naps:
                await asyncio.sleep(nap)
                seen.append((name, clock.now()))

        return lambda: clock.run(main())

    clock.run_threads(loop("a", 1, 3), loop("b", 2, 2), lambda: clock.sleep(10))
    assert seen == [("a", 1.0), ("b", 2.0), ("a", 4.0), ("b", 4.0)]
    assert clock.now() == 10


def test_ambient_code_runs_on_the_installed_clock():
    clock = VirtualClock(100)

    async def main() -> float:
        await AMBIENT.asleep(50)
        return AMBIENT.now()

    with clock:
        assert clock.run(main()) == 150
    assert AMBIENT.now() != 150


def test_nothing_is_left_open():
    before = threading.active_count()
    clock = VirtualClock()

    async def main() -> None:
        await asyncio.to_thread(clock.sleep, 1)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(20):
            clock.run(main())
        gc.collect()
    assert threading.active_count() == before
    assert clock.now() == 20
