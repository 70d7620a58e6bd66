"""What is decorated keeps its type; checked by type checkers, never run."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Generator
from typing import assert_type

from holdfast import Bulkhead, CircuitBreaker, Fallback, Pipeline, Retry, Timeout

guard = Pipeline("guard", Retry(), CircuitBreaker(), Bulkhead(), Timeout(1))


@guard
def sync(a: int, *, b: str = "") -> float:
    return float(a)


assert_type(sync(1), float)
assert_type(sync(a=1, b="x"), float)
sync("1")  # type: ignore[arg-type]
sync(1, b=2)  # type: ignore[arg-type]
sync(1, "x")  # type: ignore[call-arg]
sync()  # type: ignore[call-arg]
sync(1, c="x")  # type: ignore[call-arg]


@guard
async def coroutine(a: int, /, *rest: str) -> list[int]:
    return [a]


async def use_coroutine() -> None:
    assert_type(await coroutine(1, "x", "y"), list[int])
    await coroutine(a=1)  # type: ignore[call-arg]
    await coroutine(1, 2)  # type: ignore[arg-type]


@guard
def generator(a: int) -> Generator[int, str, bool]:
    sent = yield a
    return bool(sent)


assert_type(generator(1), Generator[int, str, bool])
generator("1")  # type: ignore[arg-type]


@guard
async def async_generator(a: int) -> AsyncGenerator[int, str]:
    yield a


async def use_async_generator() -> None:
    assert_type(async_generator(1), AsyncGenerator[int, str])
    async for item in async_generator(1):
        assert_type(item, int)
    async_generator()  # type: ignore[call-arg]


class Service:
    @guard
    def method(self, a: int) -> str:
        return str(a)

    @guard
    async def async_method(self, a: int) -> str:
        return str(a)

    @staticmethod
    @guard
    def static(a: int) -> str:
        return str(a)

    @classmethod
    @guard
    def of_class(cls, a: int) -> Service:
        return cls()


async def use_service(service: Service) -> None:
    assert_type(service.method(1), str)
    assert_type(await service.async_method(1), str)
    assert_type(Service.static(1), str)
    assert_type(service.static(1), str)
    assert_type(Service.of_class(1), Service)
    service.method("1")  # type: ignore[arg-type]
    await service.async_method()  # type: ignore[call-arg]
    Service.static("1")  # type: ignore[arg-type]
    Service.of_class("1")  # type: ignore[arg-type]


class Sized:
    def __call__(self, a: int) -> str:
        return str(a)


class AsyncSized:
    async def __call__(self, a: int) -> str:
        return str(a)


async def use_objects() -> None:
    assert_type(guard(Sized())(1), str)
    assert_type(await guard(AsyncSized())(1), str)
    guard(Sized())("1")  # type: ignore[arg-type]
    assert_type(guard(functools.partial(sync, b="x"))(1), float)
    assert_type(await guard(functools.partial(coroutine, 1))("x"), list[int])
    assert_type(guard(lambda: 1)(), int)


assert_type(guard(len)([1]), int)

# Each policy by itself, with and without a name.
assert_type(Retry("r")(sync)(1), float)
assert_type(CircuitBreaker("c")(sync)(1), float)
assert_type(Bulkhead("b")(sync)(1), float)
assert_type(Timeout(1.5, "t")(sync)(1), float)
assert_type(Fallback(value=0.0)(sync)(1), float)

# What cannot be decorated.
guard("not callable")  # type: ignore[arg-type]
Retry(attempts="3")  # type: ignore[arg-type]
Timeout()  # type: ignore[call-arg]
Pipeline(Retry())  # type: ignore[arg-type]
Pipeline("p", Retry)  # type: ignore[arg-type]
Timeout(1, sync="process")  # type: ignore[arg-type]
