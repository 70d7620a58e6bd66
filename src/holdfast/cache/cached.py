"""`@cache.cached(...)`: the results of a function, kept by its arguments."""

from __future__ import annotations

import datetime
import functools
import inspect
import typing
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from holdfast._core.validate import refuse
from holdfast.cache.answers import WriteStatus
from holdfast.cache.errors import CacheKeyError
from holdfast.errors import ConfigurationError

if TYPE_CHECKING:
    from holdfast.cache.namespace import Namespace

F = TypeVar("F", bound=Callable[..., Any])

TELLING: Final = (str, int, float, bool, bytes, type(None), uuid.UUID, datetime.date, datetime.time)
"""Types whose `repr` says all there is to say of a value, and the same in every process."""


class Keyer:
    """The key for a call of a function.

    `key` is a format string over the parameters (``"user:{user_id}"``), or a callable that takes
    the arguments and returns the key, or None for one made of the function's name and all its
    arguments, which must then be plain values.
    """

    def __init__(self, fn: Callable[..., Any], key: str | Callable[..., str] | None) -> None:
        self._signature = inspect.signature(fn)
        self._name = f"{fn.__module__}.{fn.__qualname__}"
        self._key = key
        if key is not None and not callable(key):
            if not isinstance(key, str):
                raise refuse("key", key, "a format string, a callable or None")
            self._try_out(key)

    def __call__(self, *args: Any, **kwargs: Any) -> str:
        if callable(self._key):
            return self._key(*args, **kwargs)
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        if self._key is not None:
            return self._key.format(**bound.arguments)
        parts: list[str] = []
        for name, value in bound.arguments.items():
            # What ``*args`` takes in comes as a tuple.
            for part in cast(Any, value) if isinstance(value, tuple) else (value,):
                if not isinstance(part, TELLING):
                    raise CacheKeyError(
                        f"no key can be made of the argument {name!r} of {self._name}, which is of "
                        f"type {type(part).__qualname__}: write key='...{{{name}.id}}...', say"
                    )
            parts.append(f"{name}={value!r}")
        return f"{self._name}({', '.join(parts)})"

    def _try_out(self, key: str) -> None:
        """Refuse a format string that names what is no parameter."""
        from string import Formatter

        try:
            fields = [field for _, field, _, _ in Formatter().parse(key) if field is not None]
        except ValueError as error:
            raise ConfigurationError(f"key is no format string: {error}") from None
        for field in fields:
            name = field.partition(".")[0].partition("[")[0]
            if name not in self._signature.parameters:
                allowed = ", ".join(self._signature.parameters) or "none"
                raise refuse("key", key, f"a format string over the parameters ({allowed})")


class Cached(Generic[F]):
    """What is added to a decorated function, as its attribute ``cache``."""

    __slots__ = ("_namespace", "key")

    def __init__(self, namespace: Namespace, key: Keyer) -> None:
        self._namespace = namespace
        self.key = key
        """The key for a call with these arguments."""

    async def invalidate(self, *args: Any, **kwargs: Any) -> WriteStatus:
        """Delete the result for a call with these arguments."""
        return await self._namespace.delete(self.key(*args, **kwargs))

    def invalidate_sync(self, *args: Any, **kwargs: Any) -> WriteStatus:
        """The sync twin of `invalidate`."""
        from holdfast.cache.sync import SyncNamespace

        return SyncNamespace(self._namespace).delete(self.key(*args, **kwargs))


def decorate(
    namespace: Namespace,
    key: str | Callable[..., str] | None,
    type: Any,
    options: dict[str, Any],
) -> Callable[[F], F]:
    """See `Namespace.cached`."""
    from holdfast.cache.sync import SyncNamespace

    namespace.options.changed(options)  # refused now rather than at the first call

    def decorator(fn: F) -> F:
        if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
            raise TypeError("the items of a generator cannot be cached: return a list instead")
        keyer = Keyer(fn, key)
        wanted = _returned(fn) if type is None else type
        if inspect.iscoroutinefunction(fn):

            async def answered(*args: Any, **kwargs: Any) -> Any:
                return await namespace.get_or_set(
                    keyer(*args, **kwargs), lambda: fn(*args, **kwargs), type=wanted, **options
                )

            wrapped: Any = functools.update_wrapper(answered, fn)
        else:
            blocking = SyncNamespace(namespace)

            def answered_sync(*args: Any, **kwargs: Any) -> Any:
                return blocking.get_or_set(
                    keyer(*args, **kwargs), lambda: fn(*args, **kwargs), type=wanted, **options
                )

            wrapped = functools.update_wrapper(answered_sync, fn)
        wrapped.cache = Cached[F](namespace, keyer)
        return cast(F, wrapped)

    return decorator


def _returned(fn: Callable[..., Any]) -> Any:
    """The annotated type of the result, as which a cached one is decoded; None if it says none."""
    try:
        wanted = typing.get_type_hints(fn).get("return")
    except Exception:
        return None  # names that exist for type checkers only
    return None if wanted in (Any, object) else wanted
