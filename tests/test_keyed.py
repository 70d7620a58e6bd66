"""Keyed policies: one per key, found again, retired when idle, never more than `max_keys`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from holdfast import (
    Bulkhead,
    CircuitBreaker,
    CircuitOpenError,
    ConfigurationError,
    Keyed,
    Pipeline,
    RejectedError,
    Retry,
    Timeout,
)
from holdfast.keyed import PAUSE
from holdfast.testing import VirtualClock


def breakers(clock: VirtualClock, **options: Any) -> Keyed[CircuitBreaker]:
    return Keyed(
        "hosts",
        lambda key: CircuitBreaker(key, failure_threshold=1, reset_timeout=60.0, clock=clock),
        clock=clock,
        **options,
    )


def fail() -> None:
    raise ConnectionError


def trip(breaker: CircuitBreaker) -> None:
    with pytest.raises(ConnectionError):
        breaker.call(fail)


# -- finding and making ----------------------------------------------------------------------------


def test_each_key_has_a_policy_of_its_own_that_is_found_again() -> None:
    keyed = breakers(VirtualClock())
    a, b = keyed.get("a.example"), keyed.get("b.example")
    assert keyed.get("a.example") is a is not b
    assert a.name == "a.example"
    assert len(keyed) == 2
    trip(a)
    with pytest.raises(CircuitOpenError):
        a.call(print)
    assert b.call(lambda: 7) == 7


def test_a_key_may_be_a_subclass_of_str() -> None:
    class Host(str):
        __slots__ = ()

    keyed = breakers(VirtualClock())
    assert keyed.get(Host("a")) is keyed.get("a")


@pytest.mark.parametrize("key", ["", "a\nb", "x" * 201, None, 5, b"a", ["a"], ("a",)])
def test_a_key_must_be_printable_text(key: Any) -> None:
    keyed = breakers(VirtualClock())
    with pytest.raises(ConfigurationError, match="key must be a printable"):
        keyed.get(key)
    assert len(keyed) == 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_keys": 0}, "max_keys"),
        ({"max_keys": 2.5}, "max_keys"),
        ({"max_keys": True}, "max_keys"),
        ({"idle": 0}, "idle"),
        ({"idle": float("inf")}, "idle"),
        ({"idle": "5"}, "idle"),
        ({"name": ""}, "name"),
        ({"factory": None}, "factory"),
    ],
)
def test_bad_options_are_refused_by_name(options: dict[str, Any], named: str) -> None:
    arguments: dict[str, Any] = {"name": "x", "factory": CircuitBreaker, **options}
    with pytest.raises(ConfigurationError, match=f"^{named} must be"):
        Keyed(**arguments)


def test_a_factory_that_raises_is_asked_again() -> None:
    made: list[str] = []

    def factory(key: str) -> Retry:
        made.append(key)
        if len(made) == 1:
            raise LookupError("no such tenant yet")
        return Retry(key)

    keyed = Keyed("tenants", factory)
    with pytest.raises(LookupError, match="no such tenant"):
        keyed.get("t")
    assert len(keyed) == 0
    assert keyed.get("t") is keyed.get("t")
    assert made == ["t", "t"]
    assert keyed.snapshot().created_total == 1


def test_a_factory_must_return_a_policy() -> None:
    keyed: Keyed[Any] = Keyed("x", lambda key: key)  # type: ignore[arg-type, return-value]
    with pytest.raises(TypeError, match="factory must return a policy, not 'k'"):
        keyed.get("k")


def test_a_factory_that_asks_for_its_own_key_is_told_so() -> None:
    keyed: Keyed[Any] = Keyed("loop", lambda key: keyed.get(key))
    with pytest.raises(RuntimeError, match="asked for its own key"):
        keyed.get("k")


def test_a_factory_may_ask_for_another_key() -> None:
    def factory(key: str) -> Retry:
        return Retry(key, budget=None if key == "base" else keyed.get("base").budget)

    keyed: Keyed[Retry] = Keyed("x", factory)
    assert keyed.get("derived").budget is None
    assert len(keyed) == 2


def test_eight_threads_that_want_the_same_keys_make_each_once() -> None:
    keys = [f"host-{number}" for number in range(50)]
    made: list[str] = []
    start = threading.Barrier(8)

    def factory(key: str) -> CircuitBreaker:
        made.append(key)
        return CircuitBreaker(key)

    keyed = Keyed("hosts", factory)
    found: list[list[CircuitBreaker]] = []

    def work() -> None:
        start.wait()
        found.append([keyed.get(key) for key in keys])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == sorted(keys)
    assert all(row == found[0] for row in found)
    assert len(found) == 8


def test_other_keys_are_served_while_one_is_being_made() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def factory(key: str) -> Retry:
        if key == "slow":
            inside.set()
            assert go_on.wait(10)
        return Retry(key)

    keyed = Keyed("x", factory)
    slow: list[Retry] = []
    first = threading.Thread(target=lambda: slow.append(keyed.get("slow")))
    first.start()
    assert inside.wait(10)
    second = threading.Thread(target=lambda: slow.append(keyed.get("slow")))
    second.start()
    assert keyed.get("fast").name == "fast"
    assert not slow
    go_on.set()
    first.join()
    second.join()
    assert slow[0] is slow[1]


def test_a_waiter_makes_the_policy_itself_when_the_first_factory_call_fails() -> None:
    inside, go_on = threading.Event(), threading.Event()
    calls: list[int] = []

    def factory(key: str) -> Retry:
        calls.append(1)
        if len(calls) == 1:
            inside.set()
            assert go_on.wait(10)
            raise LookupError
        return Retry(key)

    keyed = Keyed("x", factory)
    ended: list[object] = []

    def attempt() -> None:
        try:
            ended.append(keyed.get("k"))
        except LookupError as error:
            ended.append(type(error))

    threads = [threading.Thread(target=attempt) for _ in range(2)]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join()
    assert LookupError in ended
    assert keyed.get("k") in ended


# -- retirement ------------------------------------------------------------------------------------


def test_an_idle_policy_is_retired_in_passing_and_made_anew() -> None:
    clock = VirtualClock()
    keyed = breakers(clock, idle=10.0)
    old = keyed.get("old")
    keyed.get("busy")
    for _ in range(4):
        clock.advance(5)
        keyed.get("busy")
    assert [key for key, _ in keyed.items()] == ["busy"]
    assert keyed.snapshot().retired_total == 1
    assert keyed.get("old") is not old


def test_a_policy_used_within_idle_stays() -> None:
    clock = VirtualClock()
    keyed = breakers(clock, idle=10.0)
    kept = keyed.get("kept")
    for _ in range(5):
        clock.advance(9.9)
        assert keyed.get("kept") is kept
    assert keyed.snapshot().retired_total == 0


def test_a_policy_idle_for_exactly_idle_seconds_goes() -> None:
    clock = VirtualClock()
    keyed = breakers(clock, idle=10.0)
    keyed.get("old")
    clock.advance(10)
    keyed.get("new")
    assert [key for key, _ in keyed.items()] == ["new"]


def test_a_call_retires_only_a_few_so_no_call_pays_for_all() -> None:
    clock = VirtualClock()
    looked = 0

    class Counted(CircuitBreaker):
        def snapshot(self) -> Any:
            nonlocal looked
            looked += 1
            return super().snapshot()

    keyed = Keyed("x", lambda key: Counted(key, clock=clock), idle=10.0, clock=clock)
    for number in range(1000):
        keyed.get(f"old-{number}")
    clock.advance(11)
    keyed.get("new-0")
    assert 1 < looked <= 8
    for number in range(1, 500):
        keyed.get(f"new-{number}")
    assert len(keyed) == 500  # retiring kept ahead of creating, and all the old ones are gone


Hold = Callable[[Any], Callable[[], object]]


def hold_open(breaker: CircuitBreaker) -> Callable[[], object]:
    trip(breaker)
    return lambda: breaker.reset()


def hold_isolated(breaker: CircuitBreaker) -> Callable[[], object]:
    breaker.isolate("maintenance")
    return breaker.reset


def hold_disabled(breaker: CircuitBreaker) -> Callable[[], object]:
    breaker.disable("false alarms")
    return breaker.release


def hold_probe(breaker: CircuitBreaker) -> Callable[[], object]:
    breaker.isolate("maintenance")
    breaker.release()
    breaker.__enter__()  # a probe under way
    return lambda: breaker.__exit__(None, None, None)


@pytest.mark.parametrize("hold", [hold_open, hold_isolated, hold_disabled, hold_probe])
def test_a_breaker_that_knows_something_is_not_retired(hold: Hold) -> None:
    clock = VirtualClock()
    keyed = breakers(clock, idle=10.0)
    breaker = keyed.get("held")
    let_go = hold(breaker)
    clock.advance(11)
    keyed.get("other")
    assert keyed.get("held") is breaker
    clock.advance(11)
    keyed.get("another")
    assert dict(keyed.items())["held"] is breaker
    let_go()
    clock.advance(11)
    keyed.get("another")
    assert "held" not in dict(keyed.items())


def test_an_open_circuit_goes_once_its_break_is_over() -> None:
    # Hosts that died and are never called again would otherwise fill the registry for ever.
    clock = VirtualClock()
    keyed = breakers(clock, idle=10.0)
    trip(keyed.get("dead"))
    for _ in range(5):
        clock.advance(11)
        keyed.get("alive")
    assert "dead" in dict(keyed.items())
    for _ in range(2):
        clock.advance(11)
        keyed.get("alive")
    assert "dead" not in dict(keyed.items())


def test_a_mode_with_a_time_to_live_holds_only_until_then() -> None:
    clock = VirtualClock()
    keyed = breakers(clock, idle=10.0)
    keyed.get("held").isolate("maintenance", ttl=15.0)
    clock.advance(11)
    keyed.get("other")
    assert "held" in dict(keyed.items())
    clock.advance(11)
    keyed.get("other")
    assert "held" not in dict(keyed.items())


def test_a_bulkhead_with_a_call_running_or_waiting_is_not_retired() -> None:
    clock = VirtualClock()
    keyed = Keyed(
        "x",
        lambda key: Pipeline(key, Retry(clock=clock), Bulkhead(max_concurrent=1, clock=clock)),
        idle=10.0,
        clock=clock,
    )

    async def main() -> None:
        pipeline = keyed.get("slow")
        task = asyncio.create_task(pipeline.acall(asyncio.sleep, 50))
        await asyncio.sleep(11)
        keyed.get("other")
        assert keyed.get("slow") is pipeline
        await task
        await asyncio.sleep(11)
        keyed.get("other")
        assert "slow" not in dict(keyed.items())

    clock.run(main())


def test_a_timeout_that_left_a_thread_behind_is_not_retired() -> None:
    clock = VirtualClock()
    release, ended = threading.Event(), threading.Event()

    def hang() -> None:
        release.wait(10)
        ended.set()

    limit = 0.001
    keyed = Keyed("x", lambda key: Timeout(limit, key, sync="thread"), idle=10.0, clock=clock)
    timeout = keyed.get("stuck")
    with pytest.raises(TimeoutError):
        timeout.call(hang)
    clock.advance(11)
    keyed.get("other")
    assert keyed.get("stuck") is timeout
    release.set()
    assert ended.wait(10)
    while timeout.snapshot().abandoned:
        pass
    clock.advance(11)
    keyed.get("other")
    assert keyed.snapshot().retired_total == 1


# -- the bound -------------------------------------------------------------------------------------


def test_at_the_bound_the_longest_unused_goes() -> None:
    keyed = breakers(VirtualClock(), max_keys=3)
    for key in ("a", "b", "c", "a", "d"):
        keyed.get(key)
    assert [key for key, _ in keyed.items()] == ["c", "a", "d"]
    assert keyed.snapshot().retired_total == 1


def test_at_the_bound_one_that_holds_something_is_passed_over() -> None:
    keyed = breakers(VirtualClock(), max_keys=3)
    opened = keyed.get("a")
    trip(opened)
    for key in ("b", "c", "d", "e", "f", "g"):
        keyed.get(key)
        assert len(keyed) <= 3
    assert keyed.get("a") is opened


def test_when_none_may_go_new_keys_are_refused_and_known_ones_go_on() -> None:
    clock = VirtualClock()
    keyed = breakers(clock, max_keys=3)
    for key in ("a", "b", "c"):
        trip(keyed.get(key))
    with pytest.raises(RejectedError, match="each of 3 policies holds something") as caught:
        keyed.get("d")
    assert (caught.value.policy, caught.value.name) == ("keyed", "hosts")
    assert caught.value.retry_after == PAUSE
    assert keyed.get("b").name == "b"
    assert keyed.snapshot().refused_total == 1
    keyed.get("c").reset()
    clock.advance(PAUSE / 2)
    with pytest.raises(RejectedError):  # not looked for again so soon
        keyed.get("d")
    clock.advance(PAUSE / 2)
    assert keyed.get("d").name == "d"
    assert {key for key, _ in keyed.items()} == {"a", "b", "d"}


def test_threads_never_push_the_registry_over_its_bound() -> None:
    keyed = Keyed("x", CircuitBreaker, max_keys=16)
    sizes: list[int] = []

    def work(offset: int) -> None:
        for number in range(300):
            key = f"k{(number * 7 + offset * 13) % 60}"
            assert keyed.get(key).name == key
            sizes.append(len(keyed))

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sizes) == 8 * 300
    assert max(sizes) <= 16
    snapshot = keyed.snapshot()
    assert snapshot.created_total - snapshot.retired_total == snapshot.keys == 16


def test_a_policy_asked_for_while_it_is_looked_at_stays() -> None:
    found: list[CircuitBreaker] = []

    class Nosy(CircuitBreaker):
        def snapshot(self) -> Any:
            # What another thread would do at this moment.
            found.append(keyed.get(self.name))
            return super().snapshot()

    keyed: Keyed[Nosy] = Keyed("x", Nosy, max_keys=1)
    first = keyed.get("a")
    with pytest.raises(RejectedError):
        keyed.get("b")
    assert found == [first]
    assert keyed.get("a") is first
    assert keyed.snapshot().retired_total == 0


# -- the decorator ---------------------------------------------------------------------------------


def by_host(host: str, *args: Any, **kwargs: Any) -> str:
    return host


def test_a_sync_function_is_protected_per_key() -> None:
    keyed = breakers(VirtualClock())

    @keyed(key=by_host)
    def fetch(host: str, path: str = "/") -> str:
        """Fetch a page."""
        if host == "bad":
            raise ConnectionError
        return host + path

    assert fetch("good", path="/x") == "good/x"
    with pytest.raises(ConnectionError):
        fetch("bad")
    with pytest.raises(CircuitOpenError):
        fetch("bad")
    assert fetch("good") == "good/"
    assert (fetch.__name__, fetch.__doc__) == ("fetch", "Fetch a page.")


def test_an_async_function_is_protected_per_key() -> None:
    keyed = breakers(VirtualClock())

    @keyed(key=by_host)
    async def fetch(host: str) -> str:
        if host == "bad":
            raise ConnectionError
        return host

    async def main() -> None:
        assert asyncio.iscoroutinefunction(fetch)
        assert await fetch("good") == "good"
        with pytest.raises(ConnectionError):
            await fetch("bad")
        with pytest.raises(CircuitOpenError):
            await fetch("bad")

    asyncio.run(main())


def test_methods_of_all_kinds_are_protected_per_key() -> None:
    keyed = breakers(VirtualClock())

    class Client:
        @keyed(key=lambda self, host: host)
        def get(self, host: str) -> tuple[Client, str]:
            return self, host

        @keyed(key=by_host)
        @staticmethod
        def ping(host: str) -> str:
            return host

        @keyed(key=lambda cls, host: host)
        @classmethod
        def make(cls, host: str) -> type[Client]:
            return cls

    client = Client()
    assert client.get("a") == (client, "a")
    assert client.ping("b") == "b"
    assert Client.make("c") is Client
    assert {key for key, _ in keyed.items()} == {"a", "b", "c"}


def test_generators_keep_their_protocol_and_are_protected_per_key() -> None:
    keyed = breakers(VirtualClock())

    @keyed(key=by_host)
    def lines(host: str) -> Iterator[Any]:
        sent = yield f"{host}-1"
        if sent == "fail":
            raise ConnectionError
        return sent

    stream = lines("a")
    assert len(keyed) == 0  # nothing happens before the first item is wanted
    assert next(stream) == "a-1"
    with pytest.raises(StopIteration) as stop:
        stream.send("done")  # type: ignore[attr-defined]
    assert stop.value.value == "done"
    stream = lines("b")
    next(stream)
    with pytest.raises(ConnectionError):
        stream.send("fail")  # type: ignore[attr-defined]
    with pytest.raises(CircuitOpenError):
        next(lines("b"))
    assert next(lines("a")) == "a-1"


def test_async_generators_are_protected_per_key() -> None:
    keyed = breakers(VirtualClock())

    @keyed(key=by_host)
    async def lines(host: str) -> AsyncIterator[str]:
        yield f"{host}-1"
        raise ConnectionError

    async def main() -> None:
        stream = lines("a")
        assert await anext(stream) == "a-1"
        with pytest.raises(ConnectionError):
            await anext(stream)
        with pytest.raises(CircuitOpenError):
            await anext(lines("a"))
        early = lines("b")
        assert await anext(early) == "b-1"
        await early.aclose()  # type: ignore[attr-defined]
        assert keyed.get("b").state == "closed"

    asyncio.run(main())


def test_the_key_function_is_checked() -> None:
    keyed = breakers(VirtualClock())

    async def later(host: str) -> str:
        return host

    for key in (later, "host", None, str):
        with pytest.raises(TypeError):
            keyed(key=key)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        keyed(key=by_host)(5)  # type: ignore[arg-type]

    @keyed(key=lambda number: number)
    def square(number: int) -> int:
        return number * number

    with pytest.raises(ConfigurationError, match="key must be"):
        square(4)


def test_repr_and_snapshot_say_how_many() -> None:
    keyed = breakers(VirtualClock(), max_keys=7)
    keyed.get("a")
    assert repr(keyed) == "<Keyed 'hosts': 1 keys>"
    assert keyed.name == "hosts"
    snapshot = keyed.snapshot()
    assert (snapshot.name, snapshot.keys, snapshot.max_keys) == ("hosts", 1, 7)


def test_a_forked_child_does_not_inherit_a_taken_lock_or_a_factory_call() -> None:
    keyed = breakers(VirtualClock())
    other = threading.Thread(target=keyed._lock.acquire)
    other.start()
    other.join()
    keyed._making["k"] = object()  # type: ignore[assignment]
    keyed._after_fork()
    assert keyed.get("k").name == "k"


def test_room_that_came_free_in_the_meantime_is_taken() -> None:
    keyed = breakers(VirtualClock(), max_keys=1)
    keyed._make_room(0.0)
    keyed.get("a")
    assert keyed.snapshot().retired_total == 0
