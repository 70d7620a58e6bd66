"""get_or_set: once for all who wait, in this process and among several; stale if error."""

from __future__ import annotations

import asyncio
from math import log
from typing import Any

import pytest

from cache.world import World, gathered, virtual
from holdfast import deadline, time_left
from holdfast.cache import CacheEncodeError, CacheError, Status, Tier, WriteStatus
from holdfast.cache.loading import LEASE, REST
from holdfast.cache.port import TierError, Trouble
from holdfast.errors import CallTimeoutError, DeadlineExceededError
from holdfast.testing import VirtualClock


class Origin:
    """What is cached: counts how often it is asked."""

    def __init__(self, clock: VirtualClock, seconds: float = 0.1) -> None:
        self.clock = clock
        self.seconds = seconds
        self.error: Exception | None = None
        self.value: Any = None
        self.asked = 0
        self.started: list[float] = []

    async def __call__(self) -> Any:
        self.asked += 1
        self.started.append(self.clock.now())
        value = self.asked if self.value is None else self.value
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return value


class TestInOneProcess:
    @virtual
    async def test_what_is_there_is_not_loaded(self, world: World) -> None:
        for cache in (world.memory(), world.process()[0]):
            origin = Origin(world.clock)
            await cache.set("k", "kept")
            assert await cache.get_or_set("k", origin) == "kept"
            assert origin.asked == 0

    @virtual
    async def test_many_who_want_it_wait_for_one_load(self, world: World) -> None:
        for cache in (world.memory(), world.process()[0]):
            origin = Origin(world.clock)
            assert await gathered(*(cache.get_or_set("k", origin) for _ in range(50))) == [1] * 50
            assert origin.asked == 1
            (figures,) = cache.snapshot().namespaces
            assert (figures.loads, figures.joined) == (1, 49)
            assert cache.snapshot().loading == 0
            assert await cache.get("k") == 1

    @virtual
    async def test_keys_load_side_by_side(self, world: World) -> None:
        cache, _ = world.process()
        origin = Origin(world.clock)
        await gathered(*(cache.get_or_set(f"k{number}", origin) for number in range(20)))
        assert world.clock.now() < 0.2
        assert origin.asked == 20

    @virtual
    async def test_what_the_loader_gives_is_told_as_such(self, world: World) -> None:
        cache, _ = world.process()
        found = await cache.lookup_or_set("k", Origin(world.clock))
        assert (found.status, found.value, found.tier) == (Status.HIT, 1, Tier.LOADER)
        assert (found.age, found.degraded, found.absent) == (0.0, False, False)

    @virtual
    async def test_a_loader_may_be_a_plain_function(self, world: World) -> None:
        cache, _ = world.process()
        assert await cache.get_or_set("k", lambda: 7) == 7
        assert await cache.get("k") == 7

    @virtual
    async def test_its_options_are_those_of_the_call(self, world: World) -> None:
        cache, _ = world.process(ttl=300)
        await cache.get_or_set("k", lambda: 7, ttl=10, stale_ttl=5)
        assert await cache.ttl("k") == pytest.approx(10)
        await cache.get_or_set("for ever", lambda: 7, ttl=None)
        assert await cache.ttl("for ever") == float("inf")

    @virtual
    async def test_a_type_is_for_what_comes_from_the_cache(self, world: World) -> None:
        cache, _ = world.process()
        assert await cache.get_or_set("k", lambda: (1, 2), type=tuple[int, int]) == (1, 2)
        assert await cache.get_or_set("k", lambda: (3, 4), type=tuple[int, int]) == (1, 2)
        assert await cache.get_or_set("k", lambda: "other", type=str) == "other"

    @virtual
    async def test_a_value_that_cannot_be_kept_is_an_error(self, world: World) -> None:
        cache, _ = world.process()
        with pytest.raises(CacheEncodeError):
            await cache.get_or_set("k", object)
        assert cache.snapshot().loading == 0


class TestAbsence:
    @virtual
    async def test_is_remembered_for_its_time(self, world: World) -> None:
        for cache in (world.memory(absent_ttl=10), world.process(absent_ttl=10)[0]):
            asked = 0

            def nothing() -> None:
                nonlocal asked
                asked += 1

            found = await cache.lookup_or_set("k", nothing)
            assert (found.value, found.absent, found.tier) == (None, True, Tier.LOADER)
            await asyncio.sleep(9)
            found = await cache.lookup_or_set("k", nothing)
            assert (found.status, found.value, found.absent) == (Status.HIT, None, True)
            assert found.value_or("default") == "default"
            assert await cache.get("k", "default") == "default"
            assert not await cache.exists("k")
            assert await cache.ttl("k") is None
            assert not await cache.touch("k")
            assert asked == 1
            await asyncio.sleep(2)
            await cache.get_or_set("k", nothing)
            assert asked == 2

    @virtual
    async def test_need_not_be_remembered(self, world: World) -> None:
        cache, _ = world.process(absent_ttl=0)
        origin = Origin(world.clock)
        origin.value = None
        for asked in (1, 2):
            assert await cache.get_or_set("k", lambda: None) is None
            assert (await cache.lookup("k")).status is Status.MISS
            assert cache.snapshot().namespaces[0].loads == asked

    @virtual
    async def test_ends_when_somebody_writes(self, world: World) -> None:
        cache, _ = world.process()
        await cache.get_or_set("k", lambda: None)
        await cache.set("k", 1)
        assert await cache.get_or_set("k", lambda: None) == 1


class TestValuesThatCannotBeKept:
    @virtual
    async def test_one_that_is_too_large_is_given_all_the_same(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache = world.memory(max_payload=100)
        origin = Origin(world.clock)
        origin.value = "x" * 200
        for _ in range(2):
            assert await cache.get_or_set("k", origin) == "x" * 200
        assert origin.asked == 2
        assert cache.snapshot().namespaces[0].failed == 2
        told = [each for each in caplog.messages if "too large" in each]
        assert told == [
            "cache 'cache': a loaded value of 202 bytes is too large to be kept in namespace ''"
        ]

    @virtual
    async def test_one_of_a_type_that_cannot_be_is_an_error(self, world: World) -> None:
        cache = world.memory()
        with pytest.raises(CacheEncodeError, match="key 'k'"):
            await cache.get_or_set("k", object)


class TestAmongProcesses:
    @virtual
    async def test_one_loads_for_all(self, world: World) -> None:
        """Also those that have just been started and have seen nothing of each other."""
        caches = [world.process()[0] for _ in range(5)]
        origin = Origin(world.clock)
        found = await gathered(*(cache.get_or_set("k", origin) for cache in caches))
        assert (found, origin.asked) == ([1] * 5, 1)
        tiers = [figures.loads for cache in caches for figures in cache.snapshot().namespaces]
        assert sorted(tiers) == [0, 0, 0, 0, 1]

    @virtual
    async def test_one_loads_for_all_that_know_the_same_version(self, world: World) -> None:
        caches = [world.process()[0] for _ in range(5)]
        await caches[0].set("seen", 1)
        for cache in caches:
            await cache.get("seen")
        origin = Origin(world.clock)
        await gathered(*(cache.get_or_set("k", origin) for cache in caches))
        assert origin.asked == 1

    @virtual
    async def test_one_that_ends_between_a_look_and_the_lease_is_not_repeated(
        self, world: World
    ) -> None:
        (one, _), (two, network) = world.process(), world.process()
        origin = Origin(world.clock)
        lease = network.inner.lease

        async def late(*details: Any) -> bool:
            await one.get_or_set("k", origin)
            return await lease(*details)

        network.inner.lease = late  # type: ignore[method-assign]
        assert await two.get_or_set("k", origin) == 1
        assert origin.asked == 1
        assert await network.inner.read(["holdfast::l:k:k"], []) == ([None], [])

    @virtual
    async def test_what_cannot_be_read_as_the_type_is_loaded_anew(self, world: World) -> None:
        cache, _ = world.process()
        await cache.set("k", "text")
        assert await cache.get_or_set("k", lambda: 7, type=int) == 7
        assert await cache.get("k", type=int) == 7

    @virtual
    async def test_others_go_on_when_the_one_dies(self, world: World) -> None:
        (one, network), (two, _) = world.process(hard_timeout=2), world.process(hard_timeout=2)
        origin = Origin(world.clock)
        assert await network.inner.lease("holdfast::l:k:k", "somebody who died", 1.0)
        started = world.clock.now()
        assert await gathered(one.get_or_set("k", origin), two.get_or_set("k", origin)) == [1, 1]
        assert origin.asked == 1
        assert 1.0 <= world.clock.now() - started < 1.5

    @virtual
    async def test_when_the_one_dies_the_rest_do_not_all_load(self, world: World) -> None:
        processes = [world.process(hard_timeout=2) for _ in range(8)]
        origin = Origin(world.clock)
        assert await processes[0][1].inner.lease("holdfast::l:k:k", "somebody who died", 2.0)
        found = await gathered(*(cache.get_or_set("k", origin) for cache, _ in processes))
        assert (found, origin.asked) == ([1] * 8, 1)

    @virtual
    async def test_nobody_waits_for_longer_than_two_leases(self, world: World) -> None:
        cache, network = world.process(hard_timeout=None)
        lease = network.inner.lease
        assert await lease("holdfast::l:k:k", "hangs on to it", 999.0)
        assert await cache.get_or_set("k", Origin(world.clock)) == 1
        assert 2 * LEASE <= world.clock.now() < 2 * LEASE + 1

    @virtual
    async def test_a_lease_is_given_back_when_the_load_is_over(self, world: World) -> None:
        (one, _), (two, _) = world.process(), world.process()
        origin = Origin(world.clock)
        origin.error = OSError("gone")
        with pytest.raises(OSError, match="gone"):
            await one.get_or_set("k", origin)
        await asyncio.sleep(0.01)
        origin.error = None
        started = world.clock.now()
        assert await two.get_or_set("k", origin) == 2
        assert world.clock.now() - started == pytest.approx(origin.seconds, abs=0.02)

    @virtual
    async def test_who_has_something_stale_serves_it_meanwhile(self, world: World) -> None:
        (one, _), (two, _) = (world.process(stale_ttl=60) for _ in range(2))
        origin = Origin(world.clock, seconds=5)
        await one.set("k", "old", ttl=1)
        await two.get("k")
        await asyncio.sleep(2)
        first = asyncio.ensure_future(one.lookup_or_set("k", origin))
        await asyncio.sleep(0.1)
        started = world.clock.now()
        found = await two.lookup_or_set("k", origin)
        assert (found.status, found.value) == (Status.STALE, "old")
        assert world.clock.now() == started
        assert (await first).value == 1

    @virtual
    async def test_who_joins_with_nothing_waits_for_the_other_process(self, world: World) -> None:
        (one, network), _ = world.process(stale_ttl=60), None
        origin = Origin(world.clock)
        await one.set("k", [1], ttl=1)
        await asyncio.sleep(2)
        assert await network.inner.lease("holdfast::l:k:k", "another", 1.0)
        lease = network.inner.lease

        async def slow(*args: Any) -> bool:
            await asyncio.sleep(0.05)
            return await lease(*args)

        network.inner.lease = slow  # type: ignore[method-assign,assignment]
        spared, wanting = await gathered(
            one.lookup_or_set("k", origin), one.lookup_or_set("k", origin, type=str)
        )
        assert (spared.status, spared.value) == (Status.STALE, [1])
        assert (wanting.value, wanting.tier) == (1, Tier.LOADER)

    @virtual
    async def test_a_lease_that_redis_cannot_give_stops_nobody(self, world: World) -> None:
        cache, network = world.process()

        async def fail(*_: Any) -> bool:
            raise TierError(Trouble.UNREACHABLE, "gone")

        network.inner.lease = fail  # type: ignore[method-assign,assignment]
        assert await cache.get_or_set("k", Origin(world.clock)) == 1
        assert world.clock.now() == pytest.approx(0.1), "nor for a moment"

    @virtual
    async def test_in_an_outage_each_process_loads_for_itself(self, world: World) -> None:
        cache, network = world.process()
        await world.take_down(cache, network)
        origin = Origin(world.clock)
        found = await cache.lookup_or_set("k", origin)
        assert (found.value, found.tier, found.degraded) == (1, Tier.LOADER, True)
        found = await cache.lookup_or_set("k", origin)
        assert (found.value, found.tier, found.degraded) == (1, Tier.MEMORY, True)
        assert origin.asked == 1
        assert "lease" not in network.commands


class TestTimeouts:
    @virtual
    async def test_soft_gives_the_stale_value_and_the_load_goes_on(self, world: World) -> None:
        for cache in (
            world.memory(stale_ttl=60, soft_timeout=0.5),
            world.process(stale_ttl=60, soft_timeout=0.5)[0],
        ):
            origin = Origin(world.clock, seconds=2)
            await cache.set("k", "old", ttl=1)
            await asyncio.sleep(1)
            started = world.clock.now()
            found = await cache.lookup_or_set("k", origin)
            assert (found.status, found.value) == (Status.STALE, "old")
            assert world.clock.now() - started == pytest.approx(0.5)
            await asyncio.sleep(2)
            assert await cache.get("k") == 1
            assert origin.asked == 1

    @virtual
    async def test_soft_is_for_those_who_have_something_stale(self, world: World) -> None:
        cache, _ = world.process(soft_timeout=0.5)
        assert await cache.get_or_set("k", Origin(world.clock, seconds=2)) == 1

    @virtual
    async def test_hard_ends_the_load(self, world: World) -> None:
        for cache in (world.memory(hard_timeout=1), world.process(hard_timeout=1)[0]):
            started = world.clock.now()
            with pytest.raises(CallTimeoutError, match=r"cache\.load"):
                await cache.get_or_set("k", Origin(world.clock, seconds=5))
            assert world.clock.now() - started == pytest.approx(1.0)
            assert (await cache.lookup("k")).status is Status.MISS

    @virtual
    async def test_hard_gives_the_stale_value_where_there_is_one(self, world: World) -> None:
        cache, _ = world.process(hard_timeout=1, stale_ttl=60)
        await cache.set("k", "old", ttl=1)
        await asyncio.sleep(1)
        assert await cache.get_or_set("k", Origin(world.clock, seconds=5)) == "old"

    @virtual
    async def test_a_timeout_of_the_loader_itself_is_its_own(self, world: World) -> None:
        cache, _ = world.process()
        origin = Origin(world.clock)
        origin.error = TimeoutError("theirs")
        with pytest.raises(TimeoutError, match="theirs") as caught:
            await cache.get_or_set("k", origin)
        assert not isinstance(caught.value, CallTimeoutError)

    @virtual
    async def test_the_callers_deadline_ends_the_wait_not_the_load(self, world: World) -> None:
        cache, _ = world.process()
        origin = Origin(world.clock, seconds=1)
        with deadline(0.5, clock=world.clock), pytest.raises(DeadlineExceededError):
            await cache.get_or_set("k", origin)
        assert world.clock.now() == pytest.approx(0.5)
        await asyncio.sleep(1)
        assert await cache.get("k") == 1

    @pytest.mark.parametrize("hard", [7.0, None])
    @virtual
    async def test_the_loader_has_a_deadline_of_its_own(
        self, world: World, hard: float | None
    ) -> None:
        cache, _ = world.process(hard_timeout=hard)
        seen: list[float | None] = []
        with deadline(0.5, clock=world.clock):
            await cache.get_or_set("k", lambda: seen.append(time_left(clock=world.clock)))
        assert seen == [hard]

    @virtual
    async def test_the_callers_deadline_gives_the_stale_value(self, world: World) -> None:
        cache, _ = world.process(stale_ttl=60)
        await cache.set("k", "old", ttl=1)
        await asyncio.sleep(1)
        with deadline(0.5, clock=world.clock):
            assert await cache.get_or_set("k", Origin(world.clock, seconds=1)) == "old"


class TestFailures:
    @virtual
    async def test_reach_everybody_who_waits(self, world: World) -> None:
        cache, _ = world.process()
        origin = Origin(world.clock)
        origin.error = OSError("gone")
        done = await asyncio.gather(
            *(cache.get_or_set("k", origin) for _ in range(5)), return_exceptions=True
        )
        assert [str(error) for error in done] == ["gone"] * 5
        assert origin.asked == 1
        assert cache.snapshot().namespaces[0].load_failures == 1

    @virtual
    async def test_give_the_stale_value_and_the_loader_a_rest(self, world: World) -> None:
        cache, _ = world.process(stale_ttl=600)
        origin = Origin(world.clock)
        origin.error = OSError("gone")
        await cache.set("k", "old", ttl=1)
        await asyncio.sleep(1)
        for _ in range(10):
            found = await cache.lookup_or_set("k", origin)
            assert (found.status, found.value) == (Status.STALE, "old")
        assert origin.asked == 1
        await asyncio.sleep(REST)
        origin.error = None
        assert await cache.get_or_set("k", origin) == 2
        assert not cache._inside.loading._resting

    @virtual
    async def test_without_anything_stale_each_call_asks(self, world: World) -> None:
        cache, _ = world.process()
        origin = Origin(world.clock)
        origin.error = OSError("gone")
        for asked in (1, 2, 3):
            with pytest.raises(OSError, match="gone"):
                await cache.get_or_set("k", origin)
            assert origin.asked == asked

    @virtual
    async def test_that_are_permanent_are_raised_each_time(self, world: World) -> None:
        cache, _ = world.process(stale_ttl=600)
        origin = Origin(world.clock)
        origin.error = ValueError("no such user")
        await cache.set("k", "old", ttl=1)
        await asyncio.sleep(1)
        for asked in (1, 2):
            with pytest.raises(ValueError, match="no such user"):
                await cache.get_or_set("k", origin)
            assert origin.asked == asked

    @virtual
    async def test_resting_loaders_are_remembered_in_bounds(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("holdfast.cache.loading.MOST_RESTING", 5)
        cache, _ = world.process()
        origin = Origin(world.clock, seconds=0)
        origin.error = OSError("gone")
        for number in range(12):
            with pytest.raises(OSError, match="gone"):
                await cache.get_or_set(f"k{number}", origin)
        assert len(cache._inside.loading._resting) == 5

    @virtual
    async def test_closing_ends_a_load_and_says_so(self, world: World) -> None:
        cache, _ = world.process()
        task = asyncio.ensure_future(cache.get_or_set("k", Origin(world.clock, seconds=5)))
        await asyncio.sleep(1)
        assert cache.snapshot().loading == 1
        await cache.aclose()
        with pytest.raises(CacheError, match="closed during the load"):
            await task


class TestCancellation:
    @virtual
    async def test_of_the_first_caller_does_not_end_the_load(self, world: World) -> None:
        cache, _ = world.process()
        origin = Origin(world.clock)
        tasks = [asyncio.ensure_future(cache.get_or_set("k", origin)) for _ in range(3)]
        await asyncio.sleep(0.05)
        tasks[0].cancel()
        tasks[2].cancel()
        assert await tasks[1] == 1
        assert tasks[0].cancelled()
        assert origin.asked == 1

    @virtual
    async def test_of_all_callers_does_not_end_it_either(self, world: World) -> None:
        cache, _ = world.process()
        task = asyncio.ensure_future(cache.get_or_set("k", Origin(world.clock)))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.sleep(0.1)
        assert await cache.get("k") == 1


class TestOvertaking:
    @virtual
    async def test_a_deletion_during_the_load_wins(self, world: World) -> None:
        (one, _), (two, _) = world.process(), world.process()
        for cache in (one, two):
            origin = Origin(world.clock)
            load = asyncio.ensure_future(one.get_or_set("k", origin))
            await asyncio.sleep(0.05)
            assert await cache.delete("k") is WriteStatus.APPLIED
            assert await load == 1, "the caller gets what was loaded"
            assert (await one.lookup("k")).status is Status.MISS
            assert (await two.lookup("k")).status is Status.MISS

    @virtual
    async def test_a_write_during_the_load_wins(self, world: World) -> None:
        (one, _), (two, _) = world.process(), world.process()
        load = asyncio.ensure_future(one.get_or_set("k", Origin(world.clock)))
        await asyncio.sleep(0.05)
        await two.set("k", "written")
        await load
        assert await one.get("k") == await two.get("k") == "written"

    @virtual
    async def test_a_clearing_during_the_load_wins(self, world: World) -> None:
        cache, _ = world.process()
        load = asyncio.ensure_future(cache.get_or_set("k", Origin(world.clock)))
        await asyncio.sleep(0.05)
        await cache.clear()
        await load
        assert (await cache.lookup("k")).status is Status.MISS

    @virtual
    async def test_in_memory_likewise(self, world: World) -> None:
        cache = world.memory()
        load = asyncio.ensure_future(cache.get_or_set("k", Origin(world.clock)))
        await asyncio.sleep(0.05)
        await cache.set("k", "written")
        await load
        assert await cache.get("k") == "written"


class TestEarlyRefresh:
    @pytest.mark.parametrize("eagerness", [1.0, 2.0])
    @virtual
    async def test_begins_when_the_die_says_so(self, world: World, eagerness: float) -> None:
        cache, _ = world.process(ttl=10, early=eagerness)
        origin = Origin(world.clock, seconds=0.5)
        await cache.get_or_set("k", origin)
        die = 0.9
        world.clock.random = lambda: die
        # Vattani et al.: as soon as -beta * cost * ln(u) reaches the time left.
        ahead = -eagerness * 0.5 * log(1 - die)
        await asyncio.sleep(10 - ahead - 0.01)
        assert await cache.get_or_set("k", origin) == 1
        assert cache.snapshot().loading == 0
        await asyncio.sleep(0.02)
        found = await cache.lookup_or_set("k", origin)
        assert (found.value, found.status) == (1, Status.HIT), "nobody waits for it"
        assert cache.snapshot().loading == 1
        await asyncio.sleep(0.6)
        assert await cache.get("k") == 2
        assert cache.snapshot().namespaces[0].early == 1

    @virtual
    async def test_may_be_switched_off(self, world: World) -> None:
        cache, _ = world.process(ttl=10, early=0)
        origin = Origin(world.clock, seconds=0.5)
        await cache.get_or_set("k", origin)
        world.clock.random = lambda: 1 - 1e-12
        await asyncio.sleep(9.9)
        assert await cache.get_or_set("k", origin) == 1
        assert origin.asked == 1

    @virtual
    async def test_is_not_for_values_of_unknown_cost_nor_in_an_outage(self, world: World) -> None:
        cache, network = world.process(ttl=10, early=1.0)
        origin = Origin(world.clock, seconds=0.5)
        await cache.set("set", 0)
        await cache.get_or_set("loaded", origin)
        await world.take_down(cache, network)
        world.clock.random = lambda: 1 - 1e-12
        assert await cache.get_or_set("set", origin) == 0
        assert await cache.get_or_set("loaded", origin) == 1
        await asyncio.sleep(1)
        assert origin.asked == 1

    @virtual
    async def test_that_fails_is_nobodys_error(self, world: World) -> None:
        cache, _ = world.process(ttl=10, early=1.0)
        origin = Origin(world.clock, seconds=0.5)
        await cache.get_or_set("k", origin)
        origin.error = OSError("gone")
        world.clock.random = lambda: 1 - 1e-12
        await asyncio.sleep(1)
        assert await cache.get_or_set("k", origin) == 1
        await asyncio.sleep(1)
        assert cache.snapshot().namespaces[0].load_failures == 1
        assert await cache.get("k") == 1
