"""What sort of callable is this? Decided once, when it is decorated."""

from __future__ import annotations

import functools
import inspect
from enum import Enum
from typing import Any


class Kind(Enum):
    """How a callable must be driven."""

    SYNC = "function"
    ASYNC = "coroutine function"
    GENERATOR = "generator function"
    ASYNC_GENERATOR = "async generator function"


def kind_of(fn: Any) -> Kind:
    """The kind of a function, method, `functools.partial` or object with ``__call__``.

    Raises:
        TypeError: `fn` cannot be called, or is a class, whose methods should be decorated instead.
    """
    while isinstance(fn, functools.partial):
        fn = fn.func
    if isinstance(fn, type):
        raise TypeError(f"{fn!r} is a class: decorate its methods, or wrap the call in a function")
    if not callable(fn):
        raise TypeError(f"{fn!r} cannot be called, so there is nothing to protect")
    for candidate in (fn, getattr(fn, "__call__", None)):  # noqa: B004 - async __call__ counts
        if inspect.isasyncgenfunction(candidate):
            return Kind.ASYNC_GENERATOR
        if inspect.iscoroutinefunction(candidate):
            return Kind.ASYNC
        if inspect.isgeneratorfunction(candidate):
            return Kind.GENERATOR
    return Kind.SYNC
