"""Named things, made once and found again by their name, never replaced unnoticed.

Two places of a program that use one name mean one thing. If they describe it differently, one of
them is wrong, and silently taking the first description (or the last) would hide which.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
from typing import Generic, TypeVar

from holdfast._core import fork
from holdfast._core.validate import text
from holdfast.errors import ConfigurationError

T = TypeVar("T")


class Registry(Generic[T]):
    """At most `limit` things of one kind, called `what` in errors. Thread safe."""

    __slots__ = ("__weakref__", "_limit", "_lock", "_things", "_what")

    def __init__(self, what: str, limit: int) -> None:
        self._what = what
        self._limit = limit
        self._lock = RLock()
        self._things: dict[str, tuple[object, T]] = {}
        fork.watch(self)

    def get(self, name: str, options: object, make: Callable[[], T]) -> T:
        """The thing of this name, made (outside of the lock) if it is new.

        Raises:
            ConfigurationError: the name is not printable text, exists with other options, or is one
                too many.
        """
        if name.__class__ is not str:
            text("name", name)
        with self._lock:
            known = self._things.get(name)
        if known is None:
            text("name", name)
            made = (options, make())
            with self._lock:
                if name not in self._things and len(self._things) >= self._limit:
                    raise ConfigurationError(
                        f"name {name!r} is one too many: there are {self._limit} names of "
                        f"{self._what} kind already. Name what is called, such as 'user-db', not "
                        "single calls or users; for something per key there is Keyed"
                    )
                known = self._things.setdefault(name, made)
        if known[0] != options:
            raise ConfigurationError(
                f"{self._what} {name!r} exists with {known[0]!r} and is now asked for with "
                f"{options!r}: write the same options in both places, or give one of them another "
                "name"
            )
        return known[1]

    def find(self, name: str) -> T:
        """The thing of this name.

        Raises:
            ConfigurationError: there is none, or the name is not printable text.
        """
        text("name", name)
        with self._lock:
            known = self._things.get(name)
        if known is None:
            raise ConfigurationError(f"{self._what} {name!r} is not known here: register it first")
        return known[1]

    def all(self) -> list[T]:
        """Everything there is, in the order it came."""
        with self._lock:
            return [thing for _, thing in self._things.values()]

    def _after_fork(self) -> None:
        self._lock = RLock()
