"""The level of a request, across tasks, threads and nested chains."""

from __future__ import annotations

import asyncio
import gc
import threading
from contextvars import Context, copy_context
from typing import Any

import pytest

from holdfast.degradation import (
    AllFallbacksFailedError,
    Degradation,
    FallbackStep,
    GracefulDegradation,
    Level,
    Served,
    current_degradation,
    degradation_scope,
)
from holdfast.degradation.current import MOST_NAMES, SCOPE, Scope
from holdfast.events import EventHub

service = GracefulDegradation(events=EventHub())


def fail() -> Any:
    raise ConnectionError


async def afail() -> Any:
    raise ConnectionError


@service.with_fallbacks("full", FallbackStep("basic", value=0))
async def full() -> int:
    return 1


@service.with_fallbacks("static", FallbackStep("basic", value=0))
async def static() -> int:
    raise ConnectionError


async def from_cache() -> Served[int]:
    return Served(2, age=7.0)


@service.with_fallbacks("cached", FallbackStep("cache", from_cache))
async def cached() -> int:
    raise ConnectionError


@service.with_fallbacks("sync-static", FallbackStep("basic", value=0))
def sync_static() -> int:
    raise ConnectionError


def run(main: Any) -> Any:
    """In a context of its own, as every request has one."""
    return Context().run(asyncio.run, main())


def test_without_anything_served_it_is_full_service() -> None:
    assert Context().run(current_degradation) == Degradation()
    assert not Degradation().degraded


def test_after_a_call_in_the_same_task() -> None:
    async def main() -> None:
        assert await cached() == 2
        assert current_degradation() == Degradation(level=Level.CACHED, age=7.0, by=("cached",))
        assert current_degradation().degraded
        # Nothing says that it was one request: the next call is another one.
        assert await full() == 1
        assert current_degradation() == Degradation()

    run(main)


def test_a_request_accumulates_the_worst_of_its_answers() -> None:
    async def main() -> None:
        with degradation_scope() as request:
            assert await cached() == 2
            assert await full() == 1
            assert current_degradation().level is Level.CACHED
            assert await static() == 0
            expected = Degradation(level=Level.STATIC, age=7.0, by=("cached", "static"))
            assert current_degradation() == expected
        assert request.snapshot() == expected
        assert current_degradation() == Degradation(), "the request is over"

    run(main)


def test_across_tasks_gather_and_threads() -> None:
    async def in_a_task() -> None:
        await asyncio.sleep(0)
        await cached()

    async def main() -> None:
        with degradation_scope():
            await asyncio.gather(in_a_task(), full(), full())
            assert current_degradation().by == ("cached",)
            await asyncio.create_task(static())
            assert current_degradation().by == ("cached", "static")
            await asyncio.to_thread(sync_static)
            assert current_degradation().by == ("cached", "static", "sync-static")

    run(main)


def test_requests_do_not_see_each_other() -> None:
    async def request(call: Any, pause: float) -> Degradation:
        with degradation_scope() as scope:
            await asyncio.sleep(pause)
            await call()
            await asyncio.sleep(0.01)
            return scope.snapshot()

    async def main() -> None:
        one, two = await asyncio.gather(request(static, 0), request(full, 0.005))
        assert (one.level, two.level) == (Level.STATIC, Level.PRIMARY)
        assert current_degradation() == Degradation()

    run(main)


def test_threads_without_the_context_are_on_their_own() -> None:
    seen: list[Degradation] = []

    def work() -> None:
        sync_static()
        seen.append(current_degradation())

    with degradation_scope() as scope:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert scope.snapshot() == Degradation()
    assert seen[0].level is Level.STATIC


def test_an_answer_is_no_better_than_what_it_was_made_of() -> None:
    async def main() -> Served[Any]:
        async def with_an_inner_chain() -> int:
            return await cached()

        return await service.execute_with_fallback_chain(
            "outer", [FallbackStep("database", with_an_inner_chain)]
        )

    served = run(main)
    assert (served.value, served.level, served.step, served.age) == (
        2,
        Level.CACHED,
        "database",
        7.0,
    )


def test_what_a_failed_step_was_served_does_not_count() -> None:
    async def half() -> int:
        await static()
        raise ConnectionError

    async def main() -> None:
        with degradation_scope():
            served = await service.execute_with_fallback_chain(
                "outer",
                [FallbackStep("a", half), FallbackStep("replica", full, level=Level.PRIMARY)],
            )
            assert served.level is Level.PRIMARY
            assert not current_degradation().degraded
            with pytest.raises(AllFallbacksFailedError):
                await service.execute_with_fallback_chain("outer", [FallbackStep("a", half)])
            with pytest.raises(ConnectionError):
                await service.execute_with_fallback_chain(
                    "outer", [FallbackStep("a", half, on=KeyError)]
                )
            assert not current_degradation().degraded

    run(main)


def test_inside_a_chain_the_request_so_far_is_seen() -> None:
    async def look() -> Degradation:
        await cached()
        return current_degradation()

    async def main() -> None:
        with degradation_scope():
            await static()
            served = await service.execute_with_fallback_chain("o", [FallbackStep("look", look)])
            assert served.value.by == ("cached", "static")
            assert served.value.level is Level.STATIC
            assert served.level is Level.CACHED, "the request's other answers are not in this one"

    run(main)


def test_scopes_nest() -> None:
    async def main() -> None:
        with degradation_scope() as outer:
            with degradation_scope() as inner:
                await cached()
            assert inner.snapshot().by == outer.snapshot().by == ("cached",)
            with degradation_scope() as inner:
                pass
            assert inner.snapshot() == Degradation()

    run(main)


def test_work_that_outlives_its_request_notes_nothing_there() -> None:
    async def main() -> None:
        go = asyncio.Event()

        async def later() -> Degradation:
            await go.wait()
            await static()
            return current_degradation()

        with degradation_scope() as request:
            task = asyncio.create_task(later())
        go.set()
        assert (await task).level is Level.STATIC
        assert request.snapshot() == Degradation()

    run(main)


def test_names_are_bounded() -> None:
    scope = Scope(None)
    for number in range(MOST_NAMES + 5):
        scope.note(Level.CACHED, None, str(number))
    scope.note(Level.PARTIAL, 9.0, "one more")
    seen = scope.snapshot()
    assert len(seen.by) == MOST_NAMES
    assert (seen.level, seen.age) == (Level.PARTIAL, 9.0)


def test_a_call_that_the_collector_ends_elsewhere_leaves_that_context_alone() -> None:
    async def pause() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        call = service.execute_with_fallback_chain("x", [FallbackStep("a", pause)])
        with degradation_scope():
            copy_context().run(call.send, None)
        with degradation_scope() as here:
            call.close()
            assert SCOPE.get() is here
        gc.collect()

    run(main)


def test_chains_do_not_pile_up_scopes() -> None:
    async def main() -> None:
        for _ in range(50):
            await static()
        scope = SCOPE.get()
        assert scope is not None
        assert scope.outer is None

    run(main)
