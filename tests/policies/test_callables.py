"""Every sort of callable can be protected, and stays what it was."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import inspect
import warnings
from collections.abc import Generator
from typing import Any

import pytest

from holdfast import Bulkhead, CallTimeoutError, CircuitBreaker, Fallback, Pipeline, Retry, Timeout
from holdfast.testing import VirtualClock


def everything() -> Pipeline:
    return Pipeline(
        "everything",
        Fallback(value="spare", on=BlockingIOError),
        Retry(),
        CircuitBreaker(),
        Bulkhead(),
        Timeout(5),
    )


GUARD = everything()


@GUARD
def function(a: int, *, b: int = 1) -> tuple[int, int]:
    """Adds nothing."""
    return a, b


@GUARD
async def coroutine_function(a: int, *, b: int = 1) -> tuple[int, int]:
    return a, b


class Methods:
    def __init__(self, base: int) -> None:
        self.base = base

    @GUARD
    def instance(self, a: int) -> tuple[int, int]:
        return self.base, a

    @GUARD
    async def async_instance(self, a: int) -> tuple[int, int]:
        return self.base, a

    @GUARD
    @classmethod
    def class_inside(cls, a: int) -> tuple[str, int]:
        return cls.__name__, a

    @classmethod
    @GUARD
    def class_outside(cls, a: int) -> tuple[str, int]:
        return cls.__name__, a

    @GUARD
    @staticmethod
    def static_inside(a: int) -> int:
        return a

    @staticmethod
    @GUARD
    def static_outside(a: int) -> int:
        return a

    @GUARD
    @staticmethod
    async def async_static(a: int) -> int:
        return a

    @GUARD
    @classmethod
    async def async_class(cls, a: int) -> tuple[str, int]:
        return cls.__name__, a


class Callable:
    def __call__(self, a: int) -> int:
        return a


class AsyncCallable:
    async def __call__(self, a: int) -> int:
        return a


class GeneratorCallable:
    def __call__(self, a: int) -> Generator[int, None, None]:
        yield a


def test_functions_keep_their_names_and_signatures() -> None:
    assert function(1, b=2) == (1, 2)
    assert function.__name__ == "function"
    assert function.__doc__ == "Adds nothing."
    assert list(inspect.signature(function).parameters) == ["a", "b"]
    assert function.__wrapped__(1) == (1, 1)  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        function()  # type: ignore[call-arg]


def test_coroutine_functions_stay_such() -> None:
    assert inspect.iscoroutinefunction(coroutine_function)
    assert asyncio.run(coroutine_function(1, b=2)) == (1, 2)


def test_methods() -> None:
    thing = Methods(7)
    assert thing.instance(1) == (7, 1)
    assert Methods.instance(thing, 1) == (7, 1)
    assert asyncio.run(thing.async_instance(1)) == (7, 1)
    for owner in (Methods, thing):
        assert owner.class_inside(1) == ("Methods", 1)
        assert owner.class_outside(1) == ("Methods", 1)
        assert owner.static_inside(1) == 1
        assert owner.static_outside(1) == 1
        assert asyncio.run(owner.async_static(1)) == 1
        assert asyncio.run(owner.async_class(1)) == ("Methods", 1)


def test_bound_methods_and_builtins() -> None:
    assert GUARD(Methods(7).base.__add__)(1) == 8
    assert GUARD(len)([1, 2]) == 2
    assert GUARD.call(len, [1, 2]) == 2


def test_callable_objects() -> None:
    assert GUARD(Callable())(3) == 3
    assert asyncio.run(GUARD(AsyncCallable())(3)) == 3
    assert list(GUARD(GeneratorCallable())(3)) == [3]
    assert GUARD.call(Callable(), 3) == 3
    assert asyncio.run(GUARD.acall(AsyncCallable(), 3)) == 3


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_partials(depth: int) -> None:
    sync: Any = function
    asynchronous: Any = coroutine_function
    stream: Any = GeneratorCallable()
    for _ in range(depth):
        sync = functools.partial(sync, b=depth)
        asynchronous = functools.partial(asynchronous, b=depth)
        stream = functools.partial(stream)
    assert GUARD(sync)(1) == (1, depth)
    assert asyncio.run(GUARD(asynchronous)(1)) == (1, depth)
    assert list(GUARD(stream)(1)) == [1]
    assert GUARD.call(sync, 1) == (1, depth)
    assert asyncio.run(GUARD.acall(asynchronous, 1)) == (1, depth)


class Awaitable:
    """Awaitable without being a coroutine; suspends once."""

    def __await__(self) -> Generator[Any, None, str]:
        yield from asyncio.sleep(0.5).__await__()
        return "awaited"


async def answer() -> str:
    await asyncio.sleep(0.5)
    return "awaited"


AWAITABLES = {
    "coroutine": lambda: answer(),
    "task": lambda: asyncio.create_task(answer()),
    "future": lambda: asyncio.wrap_future(_later()),
    "awaitable": Awaitable,
    "gathered": lambda: asyncio.gather(answer()),
}


def _later() -> concurrent.futures.Future[str]:
    future: concurrent.futures.Future[str] = concurrent.futures.Future()
    asyncio.get_running_loop().call_later(0.5, future.set_result, "awaited")
    return future


POLICIES = {
    "retry": Retry,
    "breaker": CircuitBreaker,
    "bulkhead": Bulkhead,
    "timeout": lambda: Timeout(1),
    "fallback": lambda: Fallback(value="spare"),
    "breaker and timeout": lambda: Pipeline("p", CircuitBreaker(), Timeout(1)),
    "two gates": lambda: Pipeline("p", CircuitBreaker(), Bulkhead()),
    "two gates and timeout": lambda: Pipeline("p", CircuitBreaker(), Bulkhead(), Timeout(1)),
    "everything": everything,
}


@pytest.mark.parametrize("awaitable", AWAITABLES)
@pytest.mark.parametrize("policy", POLICIES)
def test_anything_awaitable_under_acall(
    policy: str, awaitable: str, virtual_clock: VirtualClock
) -> None:
    async def main() -> Any:
        return await POLICIES[policy]().acall(lambda: AWAITABLES[awaitable]())  # type: ignore[operator]

    assert virtual_clock.run(main()) in ("awaited", ["awaited"])
    assert virtual_clock.now() == 0.5


@pytest.mark.parametrize("awaitable", AWAITABLES)
@pytest.mark.parametrize("policy", ["timeout", "breaker and timeout", "two gates and timeout"])
def test_anything_awaitable_is_cut_off(
    policy: str, awaitable: str, virtual_clock: VirtualClock
) -> None:
    timeout = Timeout(0.25)
    guarded = {
        "timeout": lambda: timeout,
        "breaker and timeout": lambda: Pipeline("p", CircuitBreaker(), timeout),
        "two gates": lambda: Pipeline("p", CircuitBreaker(), Bulkhead()),
        "two gates and timeout": lambda: Pipeline("p", CircuitBreaker(), Bulkhead(), timeout),
    }[policy]()

    async def main() -> None:
        with pytest.raises(CallTimeoutError):
            await guarded.acall(lambda: AWAITABLES[awaitable]())  # type: ignore[arg-type]
        assert virtual_clock.now() == 0.25
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    virtual_clock.run(main())


@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_not_awaitable_under_acall(policy: str) -> None:
    async def main() -> None:
        with pytest.raises(TypeError):
            await POLICIES[policy]().acall(lambda: "no awaitable")  # type: ignore[operator]

    asyncio.run(main())


@pytest.mark.parametrize("form", ["call", "decorated", "try_call"])
@pytest.mark.parametrize("policy", [*POLICIES, "thread", "deadline and breaker"])
def test_a_coroutine_from_a_sync_looking_callable(policy: str, form: str) -> None:
    """A clear error; the coroutine is closed and nobody has learnt anything."""
    subject: Any = {
        **POLICIES,
        "thread": lambda: Timeout(5, sync="thread"),
        "deadline and breaker": lambda: Pipeline("p", Timeout(5), CircuitBreaker(), Timeout(4)),
    }[policy]()
    made: list[Any] = []

    def looks_sync() -> Any:
        made.append(answer())
        return made[-1]

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as "coroutine was never awaited"
        with pytest.raises(TypeError, match=r"answer returned a coroutine .* use acall"):
            {
                "call": lambda: subject.call(looks_sync),
                "decorated": lambda: subject(looks_sync)(),
                "try_call": lambda: subject.try_call(looks_sync).unwrap(),
            }[form]()
    (coroutine,) = made
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
    for part in subject._parts():
        snapshot = part.snapshot()
        for counter in ("failures_total", "successes_total", "success_without_retry", "active"):
            assert getattr(snapshot, counter, 0) == 0


def test_a_coroutine_from_a_fallback_handler_of_a_sync_function() -> None:
    guarded = Fallback(lambda error: answer())

    @guarded
    def fail() -> str:
        raise ConnectionResetError

    with pytest.raises(TypeError, match="answer returned a coroutine"):
        fail()


def test_a_fallback_handler_of_a_coroutine_function_may_be_sync_or_async() -> None:
    async def fail() -> str:
        raise ConnectionResetError

    async def substitute(error: Exception) -> str:
        return "async"

    assert asyncio.run(Fallback(substitute)(fail)()) == "async"
    assert asyncio.run(Fallback(lambda error: "sync")(fail)()) == "sync"


@pytest.mark.parametrize("policy", POLICIES)
def test_classes_and_things_that_cannot_be_called_are_refused(policy: str) -> None:
    subject: Any = POLICIES[policy]()
    with pytest.raises(TypeError, match="is a class: decorate its methods"):

        @subject
        class Service:
            pass

    with pytest.raises(TypeError, match="cannot be called"):
        subject("not a function")


def test_the_forms_of_one_policy_share_its_state() -> None:
    bulkhead = Bulkhead(max_concurrent=1)

    @bulkhead
    def one() -> Any:
        with pytest.raises(Exception, match="refused the call: full"), bulkhead:
            pass
        return bulkhead.try_call(two)

    def two() -> None:
        pytest.fail("there was no second place")

    assert one().rejected


@pytest.mark.parametrize("form", ["decorated", "call", "try_call"])
def test_a_fallbacks_handler_gets_the_callers_arguments_in_every_form(form: str) -> None:
    """`call(fn, 1)` must not show the handler the function where the decorator does not."""
    seen: list[tuple[Any, ...]] = []

    def handler(error: Exception, *args: Any, **kwargs: Any) -> str:
        seen.append((args, kwargs))
        return "instead"

    def fails(number: int, *, unit: str) -> str:
        raise ConnectionResetError("gone")

    pipeline = Pipeline("p", Fallback(handler), Retry(attempts=1))
    if form == "decorated":
        answer = pipeline(fails)(1, unit="m")
    elif form == "call":
        answer = pipeline.call(fails, 1, unit="m")
    else:
        answer = pipeline.try_call(fails, 1, unit="m").unwrap()
    assert (answer, seen) == ("instead", [((1,), {"unit": "m"})])


@pytest.mark.parametrize("form", ["decorated", "acall", "try_acall"])
def test_an_async_fallbacks_handler_gets_them_too(form: str) -> None:
    async def handler(error: Exception, number: int) -> int:
        return number

    async def fails(number: int) -> int:
        raise ConnectionResetError("gone")

    async def main() -> Any:
        fallback = Fallback(handler)
        if form == "decorated":
            return await fallback(fails)(7)
        if form == "acall":
            return await fallback.acall(fails, 7)
        return (await fallback.try_acall(fails, 7)).unwrap()

    assert asyncio.run(main()) == 7
