"""The cache for synchronous code: in a thread of its own, or beside a loop that is there."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import pytest

from cache.world import until
from holdfast import deadline
from holdfast.cache import (
    CacheError,
    ResilientCache,
    Status,
    Tier,
    WriteStatus,
)
from holdfast.cache.sync import _starting, _threads
from holdfast.errors import ConfigurationError, DeadlineExceededError
from holdfast.testing.tiers import ChaosTier, MemoryTier, Shelf

APPLIED = WriteStatus.APPLIED


@pytest.fixture(params=["memory", "redis"])
def cache(request: pytest.FixtureRequest) -> Generator[ResilientCache]:
    shelf = Shelf()
    tier = None if request.param == "memory" else lambda: MemoryTier(shelf)
    cache = ResilientCache(tier=tier, early=0)
    yield cache
    cache.sync.close()
    assert not _threads


class TestInAThreadOfItsOwn:
    def test_each_method_does_what_its_twin_does(self, cache: ResilientCache) -> None:
        sync = cache.sync
        assert cache.sync is sync
        assert sync.name == ""
        assert sync.set("k", 1, ttl=60) is APPLIED
        assert sync.get("k") == 1
        assert sync.get("none", "default") == "default"
        assert sync.get("k", type=int) == 1
        assert sync.lookup("k").status is Status.HIT
        assert sync.exists("k")
        assert 59 < (sync.ttl("k") or 0) <= 60
        assert sync.touch("k", ttl=600)
        assert 599 < (sync.ttl("k") or 0) <= 600
        assert sync.set_many({"a": 1, "b": 2}) == {"a": APPLIED, "b": APPLIED}
        assert sync.get_many(["a", "b", "c"]) == {"a": 1, "b": 2}
        assert sync.delete("a") is APPLIED
        assert sync.delete_many(["b"]) == {"b": APPLIED}
        assert sync.incr("n", 5) == 5
        assert sync.clear() is APPLIED
        assert not sync.exists("k")
        users = sync.namespace("users", ttl=5)
        assert users.name == "users"
        users.set("k", 2)
        assert (users.get("k"), sync.get("k")) == (2, None)
        assert [thread.name for thread in threading.enumerate()].count("holdfast-cache") == 1

    def test_errors_come_out_as_they_are(self, cache: ResilientCache) -> None:
        with pytest.raises(ValueError, match="at least 1 character"):
            cache.sync.set("", 1)
        with pytest.raises(TypeError, match="cannot be encoded"):
            cache.sync.set("k", object())
        with pytest.raises(ConfigurationError, match="ttl"):
            cache.sync.set("k", 1, ttl=-1)
        with pytest.raises(ConfigurationError, match="ttl"):
            cache.sync.get_or_set("k", lambda: 1, ttl=-1)

    def test_a_hit_in_memory_needs_no_other_thread(self) -> None:
        cache = ResilientCache()
        cache.sync.set("k", [1])
        cache.sync.close()
        assert cache.sync.get("k") == [1]
        assert not _threads

    def test_closed_it_opens_again(self, cache: ResilientCache) -> None:
        with cache.sync as sync:
            sync.set("k", 1)
            assert len(_threads) == 1
        assert not _threads
        cache.sync.close()
        assert cache.sync.lookup("k").value == 1
        assert len(_threads) == 1

    def test_many_threads_at_once(self, cache: ResilientCache) -> None:
        found: list[Any] = []

        def work(number: int) -> None:
            cache.sync.set(f"k{number}", number)
            found.append(cache.sync.lookup(f"k{number}").value)
            cache.sync.incr("n")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found) == list(range(16))
        assert cache.sync.get("n") == 16
        assert len(_threads) == 1

    def test_what_cannot_be_opened_leaves_no_thread(self) -> None:
        tier = MemoryTier()
        tier.max_connections = 2
        cache = ResilientCache(tier=lambda: tier)
        for _ in range(3):
            with pytest.raises(ConfigurationError, match="max_connections"):
                cache.sync.get("k")
        assert not _threads
        for thread in threading.enumerate():
            if thread.name == "holdfast-cache":
                thread.join(5)
                assert not thread.is_alive()


class TestLoading:
    def test_in_the_thread_that_calls(self, cache: ResilientCache) -> None:
        loaded_in: list[int] = []

        def load() -> str:
            loaded_in.append(threading.get_ident())
            return "value"

        found = cache.sync.lookup_or_set("k", load)
        assert (found.value, found.tier) == ("value", Tier.LOADER)
        assert cache.sync.get_or_set("k", load) == "value"
        assert loaded_in == [threading.get_ident()]

    def test_once_for_all_threads(self, cache: ResilientCache) -> None:
        release = threading.Event()
        asked: list[int] = []
        found: list[Any] = []

        def load() -> int:
            asked.append(1)
            release.wait(5)
            return len(asked)

        def work() -> None:
            found.append(cache.sync.get_or_set("k", load))

        threads = [threading.Thread(target=work) for _ in range(5)]
        for thread in threads:
            thread.start()
        wait_for(lambda: cache.snapshot().namespaces[0].joined == 4)
        release.set()
        for thread in threads:
            thread.join()
        assert found == [1] * 5

    def test_errors_are_the_loaders_own(self, cache: ResilientCache) -> None:
        def load() -> None:
            raise LookupError("gone")

        with pytest.raises(LookupError, match="gone"):
            cache.sync.get_or_set("k", load)

    def test_absence_is_remembered(self, cache: ResilientCache) -> None:
        asked: list[int] = []
        for _ in range(3):
            assert cache.sync.get_or_set("k", lambda: asked.append(1)) is None
        assert asked == [1]

    def test_an_interrupted_thread_lets_the_others_know(self, cache: ResilientCache) -> None:
        class Interrupt(BaseException):
            pass

        waiting: list[BaseException] = []
        entered, release = threading.Event(), threading.Event()

        def load() -> None:
            entered.set()
            release.wait(5)
            raise Interrupt

        def other() -> None:
            try:
                cache.sync.get_or_set("k", lambda: None)
            except CacheError as error:
                waiting.append(error)

        def first() -> None:
            try:
                cache.sync.get_or_set("k", load)
            except Interrupt as error:
                waiting.append(error)

        threads = [threading.Thread(target=first), threading.Thread(target=other)]
        threads[0].start()
        assert entered.wait(5)
        threads[1].start()
        wait_for(lambda: cache.snapshot().namespaces[0].joined == 1)
        release.set()
        for thread in threads:
            thread.join()
        assert sorted(type(error).__name__ for error in waiting) == [
            "CacheError",
            "Interrupt",
        ]

    def test_a_timeout_lets_the_others_go_on(self, cache: ResilientCache) -> None:
        release = threading.Event()
        errors: list[BaseException] = []

        def slow() -> None:
            try:
                cache.sync.get_or_set("k", lambda: release.wait(5), hard_timeout=0.01)
            except TimeoutError as error:
                errors.append(error)

        thread = threading.Thread(target=slow)
        thread.start()
        wait_for(lambda: cache.snapshot().namespaces[0].load_failures == 1)
        assert cache.sync.get_or_set("k", lambda: "another") == "another"
        release.set()
        thread.join()
        assert len(errors) == 1

    def test_early_refresh_is_done_by_whoever_meets_it(self) -> None:
        cache = ResilientCache(ttl=1000)
        asked: list[int] = []

        def load() -> int:
            asked.append(1)
            return len(asked)

        with cache.sync as sync:
            sync.get_or_set("k", load)
            entry = cache._inside.engine.memory.store.nodes["holdfast::k:k"].value.entry
            entry.cost = 1e9
            assert sync.get_or_set("k", load) == 2
            assert sync.get("k") == 2


class TestBesideALoop:
    def test_shares_a_loop_that_runs(self) -> None:
        async def main() -> None:
            shelf = Shelf()
            async with ResilientCache(tier=lambda: MemoryTier(shelf)) as cache:
                await cache.set("k", 1)
                assert await asyncio.to_thread(cache.sync.get, "k") == 1
                assert await asyncio.to_thread(cache.sync.set, "m", 2) is APPLIED
                assert await cache.get("m") == 2
                assert not _threads

        asyncio.run(main())

    def test_on_the_loop_itself_it_would_never_end(self) -> None:
        async def main() -> None:
            shelf = Shelf()
            async with ResilientCache(tier=lambda: MemoryTier(shelf)) as cache:
                for call in (
                    lambda: cache.sync.get("k"),
                    lambda: cache.sync.set("k", 1),
                    lambda: cache.sync.get_or_set("k", lambda: 1),
                    cache.sync.close,
                ):
                    with pytest.raises(RuntimeError, match="would block the event loop"):
                        call()

        asyncio.run(main())

    def test_on_another_loop_it_blocks_that_one_only(self) -> None:
        shelf = Shelf()
        cache = ResilientCache(tier=lambda: MemoryTier(shelf))
        with cache.sync as sync:

            async def main() -> WriteStatus:
                return sync.set("k", 1)

            assert asyncio.run(main()) is APPLIED

    def test_calls_of_another_loop_are_carried_over(self) -> None:
        shelf = Shelf()
        cache = ResilientCache(tier=lambda: MemoryTier(shelf), early=0)
        with cache.sync as sync:
            home = cache._inside.engine.loop

            async def main() -> None:
                assert await cache.set("k", 1) is APPLIED
                assert await cache.get("k") == 1
                assert (await cache.lookup("k")).value == 1
                assert await cache.get_many(["k"]) == {"k": 1}
                assert await cache.set_many({"m": 2}) == {"m": APPLIED}
                assert await cache.delete_many(["m"]) == {"m": APPLIED}
                assert await cache.ttl("k") is not None
                assert await cache.touch("k")
                assert await cache.incr("n") == 1
                assert await cache.get_or_set("l", lambda: 3) == 3
                assert await cache.delete("k") is APPLIED
                assert await cache.clear() is APPLIED
                with pytest.raises(ValueError, match="at least 1 character"):
                    await cache.get("")

            asyncio.run(main())
            assert cache._inside.engine.loop is home
            assert sync.get("l") is None

    def test_another_loop_can_close_it(self) -> None:
        shelf = Shelf()
        cache = ResilientCache(tier=lambda: MemoryTier(shelf))
        cache.sync.set("k", 1)
        (thread,) = _threads.values()
        asyncio.run(cache.aclose())
        assert cache._inside.engine.loop is None
        assert not _threads
        thread.join(5)
        assert not thread.is_alive()

    def test_a_call_that_is_carried_over_can_be_cancelled(self) -> None:
        shelf = Shelf()
        network = ChaosTier(MemoryTier(shelf))
        cache = ResilientCache(tier=lambda: network, command_timeout=60.0)
        with cache.sync as sync:
            sync.get("k")
            network.freeze()
            before = network.commands["read"]

            async def main() -> None:
                task = asyncio.ensure_future(cache.get("k"))
                await until(lambda: network.commands["read"] > before)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

            asyncio.run(main())

    def test_what_else_runs_on_a_loop_of_its_own_ends_with_it(self) -> None:
        cache = ResilientCache()
        cache.sync.set("k", 1)
        (loop,) = _threads
        left = asyncio.run_coroutine_threadsafe(asyncio.sleep(99), loop)
        cache.sync.close()
        assert left.cancelled()

    def test_a_thread_that_has_left_loads_nothing(self) -> None:
        shelf = Shelf()
        tier = MemoryTier(shelf)
        cache = ResilientCache(tier=lambda: tier)
        shelf.put("holdfast::l:k:k", b"another process", None)
        with cache.sync as sync:
            with deadline(0.01), pytest.raises(DeadlineExceededError):
                sync.get_or_set("k", lambda: pytest.fail("loaded"))
            shelf.remove("holdfast::l:k:k")
            wait_for(lambda: cache.snapshot().namespaces[0].load_failures == 1)


class TestLoopsThatEnd:
    def test_the_cache_moves_to_the_next_one(self) -> None:
        shelf = Shelf()
        made: list[MemoryTier] = []

        def tier() -> MemoryTier:
            made.append(MemoryTier(shelf))
            return made[-1]

        cache = ResilientCache(tier=tier)

        async def write(number: int) -> None:
            await cache.set(f"k{number}", number)

        for number in range(3):
            asyncio.run(write(number))
        assert len(made) == 3, "connections do not move"
        assert cache.sync.get_many(["k0", "k1", "k2"]) == {"k0": 0, "k1": 1, "k2": 2}
        cache.sync.close()

    def test_a_load_that_ended_with_its_loop_is_begun_anew(self) -> None:
        cache = ResilientCache()

        async def begin() -> None:
            task = asyncio.ensure_future(cache.get_or_set("k", lambda: asyncio.sleep(99, 1)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()

        async def again() -> Any:
            return await cache.get_or_set("k", lambda: 2)

        asyncio.run(begin())
        assert cache.snapshot().loading == 0
        assert asyncio.run(again()) == 2

    def test_whoever_waits_for_one_that_ends_is_told(self) -> None:
        """From another thread, and from another loop."""
        shelf = Shelf()
        network = ChaosTier(MemoryTier(shelf))
        cache = ResilientCache(tier=lambda: network, command_timeout=60.0)
        ready, errors = threading.Event(), list[str]()

        async def home() -> None:
            await cache.get("k")
            network.freeze()
            before = network.commands["read"]
            ready.set()
            await until(lambda: network.commands["read"] > before and "write" in network.commands)

        def blocked() -> None:
            try:
                cache.sync.get("k")
            except CacheError as error:
                errors.append(str(error))

        async def elsewhere() -> None:
            try:
                await cache.set("k", 1)
            except CacheError as error:
                errors.append(str(error))

        first = threading.Thread(target=asyncio.run, args=(home(),))
        first.start()
        assert ready.wait(5)
        others = [
            threading.Thread(target=blocked),
            threading.Thread(target=lambda: asyncio.run(elsewhere())),
        ]
        for thread in others:
            thread.start()
        for thread in (first, *others):
            thread.join(10)
            assert not thread.is_alive()
        assert errors == ["the event loop of the cache has ended"] * 2

    def test_one_that_only_stopped_keeps_nobody_waiting(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("holdfast.cache.sync.GLANCE", 0.01)
        shelf = Shelf()
        cache = ResilientCache(tier=lambda: MemoryTier(shelf))
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(cache.set("k", 1))
            with pytest.raises(CacheError, match="the event loop of the cache has ended"):
                cache.sync.get("k")
            assert loop.run_until_complete(cache.get("k")) == 1
            loop.run_until_complete(cache.aclose())
        finally:
            loop.close()

    def test_closing_frees_whoever_was_carried_over(self) -> None:
        shelf = Shelf()
        network = ChaosTier(MemoryTier(shelf))
        cache = ResilientCache(tier=lambda: network, command_timeout=60.0)
        cache.sync.get("k")
        network.freeze()
        before = network.commands["read"]
        found: list[Any] = []

        def blocked() -> None:
            found.append(cache.sync.lookup("k"))

        thread = threading.Thread(target=blocked)
        thread.start()
        wait_for(lambda: network.commands["read"] > before)
        cache.sync.close()
        thread.join(10)
        assert not thread.is_alive()
        assert [one.status for one in found] == [Status.UNAVAILABLE]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
class TestFork:
    def in_child(self, work: Callable[[], object]) -> str:
        """What a forked child says that it came to."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                signal.alarm(10)
                said = str(work())
            except BaseException as error:
                said = repr(error)
            finally:
                os.write(writer, said.encode())
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            said = pipe.read().decode()
        os.waitpid(child, 0)
        return said

    def test_a_child_uses_the_cache_again(self, cache: ResilientCache) -> None:
        cache.sync.set("k", 1)

        def work() -> object:
            cache.sync.set("child", 2)
            return cache.sync.get("k"), cache.sync.get("child")

        assert self.in_child(work) == "(1, 2)"
        assert cache.sync.get("k") == 1

    def test_also_if_another_thread_was_just_starting_a_loop(self, cache: ResilientCache) -> None:
        cache.sync.set("k", 1)
        held, over = threading.Event(), threading.Event()

        def hold() -> None:
            with _starting.lock:
                held.set()
                over.wait(10)

        thread = threading.Thread(target=hold)
        thread.start()
        assert held.wait(5)
        try:
            assert self.in_child(lambda: cache.sync.lookup("k").value) == "1"
        finally:
            over.set()
            thread.join()


def wait_for(ready: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for other threads, in real time."""
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.001)
