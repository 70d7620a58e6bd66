"""Generators under a policy, without losing any of their protocol.

A policy sees a stream as a *session*: it is opened, which ends with the first item; it takes
steps; it ends, with an error or without. What a consumer sends in or throws in is passed on, what
the generator returns is passed back. A consumer that stops early shows as `GeneratorExit`.

The two `guard` functions hold the loop (PEP 380, spelt out, because ``yield from`` says nothing
about the first item and has no async form); policies override the few methods they care about.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from functools import partial
from typing import Any, Generic, TypeVar

from holdfast.policies.base import Inner

PolicyT = TypeVar("PolicyT")

Call = partial[Any]
"""The generator function with the arguments of this call; each use makes a new generator."""


class Session(Generic[PolicyT]):
    """One stream of a sync generator under a policy."""

    source: Generator[Any, Any, Any]

    def __init__(self, policy: PolicyT, call: Call) -> None:
        self.policy = policy
        self.call = call

    def open(self) -> Any:
        """Make the generator and give its first item; StopIteration if there is none."""
        self.source = self.call()
        return self.step(self.source.__next__)

    def step(self, resume: Callable[..., Any], *argument: Any) -> Any:
        """Resume the generator once."""
        return resume(*argument)

    def end(self, error: BaseException | None) -> None:
        """The stream is over. Called exactly once, also when `open` failed."""


class AsyncSession(Generic[PolicyT]):
    """The async twin of `Session`."""

    source: AsyncGenerator[Any, Any]

    def __init__(self, policy: PolicyT, call: Call) -> None:
        self.policy = policy
        self.call = call

    async def open(self) -> Any:
        """Make the generator and give its first item; StopAsyncIteration if there is none."""
        self.source = self.call()
        return await self.step(self.source.__anext__)

    async def step(self, resume: Callable[..., Awaitable[Any]], *argument: Any) -> Any:
        """Resume the generator once."""
        return await resume(*argument)

    def end(self, error: BaseException | None) -> None:
        """The stream is over. Called exactly once, also when `open` failed."""


def guard(inner: Inner, begin: Callable[[Call], Session[Any]]) -> Inner:
    """A generator function that runs the generators of `inner` in sessions."""

    def guarded(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        session = begin(partial(inner, *args, **kwargs))
        result = None
        try:
            try:
                item = session.open()
                while True:
                    try:
                        sent = yield item
                    except GeneratorExit:
                        session.source.close()
                        raise
                    except BaseException as thrown:
                        item = session.step(session.source.throw, thrown)
                    else:
                        item = session.step(session.source.send, sent)
            except StopIteration as stop:
                result = stop.value
        except BaseException as error:
            session.end(error)
            raise
        session.end(None)
        return result

    return guarded


def guard_async(inner: Inner, begin: Callable[[Call], AsyncSession[Any]]) -> Inner:
    """The async twin of `guard`."""

    async def guarded(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        session = begin(partial(inner, *args, **kwargs))
        try:
            try:
                item = await session.open()
                while True:
                    try:
                        sent = yield item
                    except GeneratorExit:
                        await session.source.aclose()
                        raise
                    except BaseException as thrown:
                        item = await session.step(session.source.athrow, thrown)
                    else:
                        item = await session.step(session.source.asend, sent)
            except StopAsyncIteration:
                pass
        except BaseException as error:
            session.end(error)
            raise
        session.end(None)

    return guarded
