"""Many calls, one timer: what runs out runs out exactly when it should, and in that order."""

from __future__ import annotations

import asyncio
import random

import pytest

from holdfast import CallTimeoutError, Timeout
from holdfast.policies import timers
from holdfast.testing import VirtualClock


def armed() -> int:
    """Timers that the running loop has."""
    return len(asyncio.get_running_loop()._scheduled)  # type: ignore[attr-defined]


def test_thousands_of_calls_share_one_armed_timer(virtual_clock: VirtualClock) -> None:
    timeout = Timeout(5)

    async def main() -> None:
        release = asyncio.Event()
        calls = [asyncio.create_task(timeout.acall(release.wait)) for _ in range(5_000)]
        await asyncio.sleep(0)
        assert armed() == 1
        release.set()
        await asyncio.gather(*calls)
        assert armed() == 1
        await asyncio.sleep(6)
        assert armed() == 0

    virtual_clock.run(main())


def test_each_call_expires_exactly_on_time_and_in_order(virtual_clock: VirtualClock) -> None:
    dice = random.Random(7)
    limits = [Timeout(limit) for limit in (0.5, 1.0, 2.5)]
    expired: list[tuple[float, int]] = []

    async def main() -> None:
        async def one(number: int, start: float, timeout: Timeout, takes: float) -> None:
            await asyncio.sleep(start)
            if takes < timeout.seconds:
                await timeout.acall(asyncio.sleep, takes)
                assert virtual_clock.now() == start + takes
            else:
                with pytest.raises(CallTimeoutError):
                    await timeout.acall(asyncio.sleep, takes)
                assert virtual_clock.now() == start + timeout.seconds
                expired.append((virtual_clock.now(), number))

        # Multiples of 1/1024 are exact, so that "exactly" can be meant.
        await asyncio.gather(
            *(
                one(
                    number,
                    dice.randrange(10_000) / 1024,
                    dice.choice(limits),
                    dice.randrange(1, 4096) / 1024,
                )
                for number in range(3_000)
            )
        )
        assert armed() <= len(limits)

    virtual_clock.run(main())
    assert len(expired) > 1_000
    assert [moment for moment, _ in expired] == sorted(moment for moment, _ in expired)


def test_calls_that_began_together_expire_in_the_order_in_which_they_began(
    virtual_clock: VirtualClock,
) -> None:
    timeout, expired = Timeout(1), []

    async def main() -> None:
        async def one(number: int) -> None:
            with pytest.raises(CallTimeoutError):
                await timeout.acall(asyncio.sleep, 60)
            expired.append(number)

        await asyncio.gather(*map(one, range(100)))

    virtual_clock.run(main())
    assert expired == list(range(100))


def test_the_number_of_queues_is_bounded(
    virtual_clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timers, "MOST_QUEUES", 3)
    limits = [Timeout(number) for number in range(1, 11)]

    async def main() -> None:
        async def one(timeout: Timeout) -> None:
            assert await timeout.acall(asyncio.sleep, 0.5) is None
            with pytest.raises(CallTimeoutError):
                await timeout.acall(asyncio.sleep, 60)
            assert virtual_clock.now() == 0.5 + timeout.seconds

        await asyncio.gather(*map(one, limits))
        owner, queues = timers._local.here
        assert owner is asyncio.get_running_loop()
        assert len(queues) == 3

    virtual_clock.run(main())


def test_a_limit_that_a_deadline_made_gets_no_queue(virtual_clock: VirtualClock) -> None:
    from holdfast import deadline

    timeout = Timeout(5)

    async def main() -> None:
        for number in range(1, 50):
            with deadline(number / 64), pytest.raises(CallTimeoutError):
                await timeout.acall(asyncio.sleep, 60)
        assert len(timers._local.here[1]) == 0

    virtual_clock.run(main())


def test_a_new_loop_in_the_same_thread_has_its_own_timers(virtual_clock: VirtualClock) -> None:
    timeout = Timeout(1)

    async def main() -> float:
        began = virtual_clock.now()
        with pytest.raises(CallTimeoutError):
            await timeout.acall(asyncio.sleep, 60)
        return virtual_clock.now() - began

    assert [virtual_clock.run(main()) for _ in range(3)] == [1, 1, 1]


def test_a_watch_stopped_as_it_becomes_due_does_not_fire(virtual_clock: VirtualClock) -> None:
    """The call ends in the same turn of the loop: the timer must not cancel what comes after."""
    timeout = Timeout(1)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        loop.call_at(1, done.set)
        for _ in range(2):
            try:
                await timeout.acall(done.wait)
            except CallTimeoutError:
                pass
            await asyncio.sleep(0.25)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    virtual_clock.run(main())


def test_watches_stopped_by_a_finaliser_while_others_expire(virtual_clock: VirtualClock) -> None:
    timeout, expired = Timeout(1), []

    async def main() -> None:
        async def one(number: int) -> None:
            with pytest.raises(CallTimeoutError):
                await timeout.acall(asyncio.sleep, 60)
            expired.append(number)

        tasks = [asyncio.create_task(one(number)) for number in range(3)]
        await asyncio.sleep(0.5)
        queue = timers._local.here[1][1.0]
        first, second, _ = queue.watches
        fire = timers.Watch.fire

        class Meddling(timers.Watch):
            __slots__ = ()

            def fire(self) -> None:
                second.stop()
                fire(self)

        first.__class__ = Meddling
        await asyncio.wait(tasks, timeout=2)
        assert expired == [0, 2]
        tasks[1].cancel()
        await asyncio.wait(tasks)

    virtual_clock.run(main())
