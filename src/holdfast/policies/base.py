"""What all policies share: the ways to use one, and how layers are bound around a callable.

A policy is a layer. `_bind_sync` and its siblings take the next callable inward and return a plain
closure around it; a `Pipeline` chains them. This happens once per decorated function, so a call
looks nothing up.

Inside a chain a refusal is a value. Each closure gets a `reject` function for the moment it has to
refuse: in the raising forms that function raises, in the `try_` forms it hands the `Rejection` back
as the result. Every layer lets a `Rejection` pass and learns nothing from it.
"""

from __future__ import annotations

import functools
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from types import CoroutineType
from typing import Any, ClassVar, Final, NoReturn, ParamSpec, TypeVar, cast

from holdfast._core.clock import AMBIENT, Clock
from holdfast._core.hub import EVENTS, EventHub
from holdfast._core.outcome import Failure, Outcome, Rejection, Success
from holdfast._core.validate import text
from holdfast.policies.kinds import Kind, kind_of

P = ParamSpec("P")
R = TypeVar("R")

Inner = Callable[..., Any]
Reject = Callable[[Rejection], Any]


def refuse_coroutine(result: CoroutineType[Any, Any, Any]) -> NoReturn:
    """Refuse a coroutine that came out of a callable which looked synchronous.

    Its work has not even begun, so nothing that was decided around it would hold.
    """
    name = result.__qualname__
    result.close()
    raise TypeError(
        f"{name} returned a coroutine from a call that is protected as synchronous: "
        "declare the function `async def`, or use acall() instead of call()"
    )


async def awaited(awaitable: Awaitable[Any]) -> Any:
    """A coroutine around something else that can be awaited."""
    return await awaitable


def raise_rejection(rejection: Rejection) -> NoReturn:
    raise rejection.error


def raise_from_call(rejection: Rejection) -> NoReturn:
    """As `raise_rejection`, in the chains of `call` and `acall`."""
    raise rejection.error


def own_arguments(reject: Reject, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The caller's arguments: in the chains of the call methods the function stands in front."""
    return args if reject is raise_rejection else args[1:]


def hand_over(rejection: Rejection) -> Rejection:
    return rejection


def _invoke(fn: Inner, /, *args: Any, **kwargs: Any) -> Any:
    return fn(*args, **kwargs)


_log = logging.getLogger("holdfast")

MOST_COMPLAINTS: Final = 1000
_complained: Final[set[tuple[str, str]]] = set()

_CALL, _ACALL, _TRY_CALL, _TRY_ACALL = range(4)
_UNBOUND: Final[tuple[Inner | None, ...]] = (None, None, None, None)


class Policy(ABC):
    """A layer of protection, usable as a decorator and by its call methods.

    The same object may protect any number of callables, which then share its state. Thread safe,
    and independent of event loops: it can be created at import time and used from several.
    """

    kind: ClassVar[str]
    """The name of this kind of policy, in snake case."""

    __slots__ = (
        "_chains",
        "_clock",
        "_events",
        "_name",
    )

    def __init__(self, name: str | None, clock: Clock | None, events: EventHub | None) -> None:
        self._name = None if name is None else text("name", name)
        self._clock = AMBIENT if clock is None else clock
        self._events = EVENTS if events is None else events
        self._chains: tuple[Inner | None, ...] = _UNBOUND

    @property
    def name(self) -> str:
        """The name given, else that of the first pipeline it became part of, else its kind."""
        return self.kind if self._name is None else self._name

    def _adopt(self, name: str) -> None:
        """Take the pipeline's name, if it has none of its own."""
        if self._name is None:
            self._name = name

    def _parts(self) -> tuple[Policy, ...]:
        """The policies this one stands for, outermost first."""
        return (self,)

    # -- what each policy is -------------------------------------------------------------------

    @abstractmethod
    def snapshot(self) -> Any:
        """This policy at this moment, as a frozen dataclass."""

    @abstractmethod
    def _bind_sync(self, inner: Inner, reject: Reject) -> Inner: ...

    @abstractmethod
    def _bind_async(self, inner: Inner, reject: Reject) -> Inner: ...

    @abstractmethod
    def _bind_generator(self, inner: Inner) -> Inner: ...

    @abstractmethod
    def _bind_async_generator(self, inner: Inner) -> Inner: ...

    # -- how it is used ------------------------------------------------------------------------

    def __call__(self, fn: Callable[P, R]) -> Callable[P, R]:
        """Protect `fn`: a sync or async function, method, generator function or callable object.

        Raises:
            TypeError: `fn` cannot be called, or is a class.
        """
        if isinstance(fn, (staticmethod, classmethod)):
            method = cast(Any, fn)
            return cast("Callable[P, R]", type(method)(self(method.__func__)))
        kind = kind_of(fn)
        if kind is Kind.SYNC:
            bound = self._bind_sync(fn, raise_rejection)
        elif kind is Kind.ASYNC:
            bound = self._bind_async(fn, raise_rejection)
        elif kind is Kind.GENERATOR:
            bound = self._bind_generator(fn)
        else:
            bound = self._bind_async_generator(fn)
        return cast("Callable[P, R]", functools.update_wrapper(bound, fn))

    def call(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """``fn(*args, **kwargs)`` under this policy."""
        chain = self._chains[_CALL] or self._bind_chain(_CALL)
        return cast(R, chain(fn, *args, **kwargs))

    def acall(
        self, fn: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]:
        """``await fn(*args, **kwargs)`` under this policy."""
        chain = self._chains[_ACALL] or self._bind_chain(_ACALL)
        return cast("Coroutine[Any, Any, R]", chain(fn, *args, **kwargs))

    def try_call(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Outcome[R]:
        """As `call`, but with the result, the error or the refusal as an `Outcome`.

        Nothing is raised except what is no `Exception`, such as `KeyboardInterrupt`.
        """
        chain = self._chains[_TRY_CALL] or self._bind_chain(_TRY_CALL)
        try:
            result = chain(fn, *args, **kwargs)
        except Exception as error:
            return Failure(error)
        return result if result.__class__ is Rejection else Success(result)

    async def try_acall(
        self, fn: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Outcome[R]:
        """As `acall`, but with the result, the error or the refusal as an `Outcome`.

        Nothing is raised except what is no `Exception`, such as `asyncio.CancelledError`.
        """
        chain = self._chains[_TRY_ACALL] or self._bind_chain(_TRY_ACALL)
        try:
            result = await chain(fn, *args, **kwargs)
        except Exception as error:
            return Failure(error)
        return result if result.__class__ is Rejection else Success(result)

    def _bind_chain(self, form: int) -> Inner:
        """Bind the layers for one of the call methods, when it is used for the first time."""
        reject = raise_from_call if form in (_CALL, _ACALL) else hand_over
        bind = self._bind_sync if form in (_CALL, _TRY_CALL) else self._bind_async
        chain = bind(_invoke, reject)
        # Two threads may both come here; either of their chains will do.
        chains = list(self._chains)
        chains[form] = chain
        self._chains = tuple(chains)
        return chain

    # -- for the policies ----------------------------------------------------------------------

    def _tell_rejected(self, rejection: Rejection) -> Rejection:
        """Emit the refusal, if anybody listens, and pass it on."""
        if self._events.active:
            from holdfast._core.events import CallRejected

            self._events.emit(
                CallRejected(
                    name=rejection.name,
                    at=self._clock.wall(),
                    policy=rejection.policy,
                    reason=rejection.reason,
                    retry_after=rejection.retry_after,
                )
            )
        return rejection

    def _complain(self, option: str) -> None:
        """Log, once per policy name, that a predicate of the user's raised.

        It cannot break the call: the policy's defaults decide instead.
        """
        if (self.kind, self.name) not in _complained and len(_complained) < MOST_COMPLAINTS:
            _complained.add((self.kind, self.name))
            _log.exception("%s of %r raised; the default decides instead", option, self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"
