"""How an exception instance is read: by its type, its codes, its words and its causes.

`known` finds the recipe for a type once (the looks to try in order, and the category when all of
them pass) and keeps it in a weak table, so that classifying costs one look-up for most errors.

Clients often wrap an error of the operating system without copying its number. `rooted` reads the
first such error in the chain of causes: it tells "connection refused" from "connection reset".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from threading import Lock
from typing import Any, cast
from weakref import WeakKeyDictionary

from holdfast import _classify_codes as codes
from holdfast.errors import Category

Look = Callable[[Any], Category | None]
"""Reads one exception; None when it cannot tell. What it raises is taken for None."""

Recipe = tuple[tuple[Look, ...], Category]

RULES: dict[str, Category | Look] = {}
"""``module.qualname`` of a class to what it means; filled by `holdfast._classify_rules`."""

_RECIPES_AT_MOST = 1024
_recipes: WeakKeyDictionary[type[BaseException], Recipe] = WeakKeyDictionary()
_lock = Lock()

_DEPTH = 8
"""How many causes deep a look goes; clients nest four at most."""

_MEMBERS = 100
"""How many members of an exception group are read."""


def known(exc: BaseException) -> Category:
    """The category by the built-in rules alone."""
    looks, otherwise = _recipes.get(type(exc)) or _learn(type(exc))
    for look in looks:
        try:
            found = look(exc)
        except Exception:  # noqa: S112  an odd instance (no response, a property that raises)
            continue
        if found is not None:
            return found
    return otherwise


def _learn(kind: type[BaseException]) -> Recipe:
    looks: list[Look] = []
    # What is no Exception asks the program to stop: cancellation, interrupt, exit.
    otherwise = Category.UNKNOWN if issubclass(kind, Exception) else Category.CANCELLED
    for base in kind.__mro__:
        # Past the last class that a library made: whatever it is, it may carry a status.
        if base.__module__ == "builtins" != kind.__module__ and http_status not in looks:
            looks.append(http_status)
        entry = RULES.get(f"{base.__module__}.{base.__qualname__}")
        if isinstance(entry, Category):
            otherwise = entry
            break
        if entry is not None:
            looks.append(entry)
    recipe = tuple(looks), otherwise
    with _lock:
        if len(_recipes) >= _RECIPES_AT_MOST:
            _recipes.clear()  # classes made on the fly; the common ones are back at once
        _recipes[kind] = recipe
    return recipe


def _chain(exc: BaseException) -> Iterator[BaseException]:
    link = exc
    for _ in range(_DEPTH):
        reason = getattr(link, "reason", None)  # where urllib and urllib3 keep the cause
        if isinstance(reason, BaseException):
            link = reason
        elif link.__cause__ is not None:
            link = link.__cause__
        elif link.__context__ is not None and not link.__suppress_context__:
            link = link.__context__
        else:
            return
        yield link


def rooted(otherwise: Category | Look) -> Look:
    """A look for wrappers: the first operating system error among the causes, else `otherwise`."""

    def look(exc: BaseException) -> Category | None:
        for link in _chain(exc):
            if isinstance(link, FileNotFoundError):
                return Category.UNAVAILABLE  # the unix socket of a server that is not running
            if isinstance(link, OSError) and type(link).__module__ in ("builtins", "socket", "ssl"):
                found = known(link)
                if found is not Category.UNKNOWN:
                    return found
        return otherwise if isinstance(otherwise, Category) else otherwise(exc)

    return look


def message(phrases: Mapping[str, Category], otherwise: Category | Look) -> Look:
    """A look at the lower-cased text, for errors of which many share one type."""

    def look(exc: BaseException) -> Category | None:
        said = str(exc).lower()
        for phrase, category in phrases.items():
            if phrase in said:
                return category
        return otherwise if isinstance(otherwise, Category) else otherwise(exc)

    return look


def driver(otherwise: Category) -> Look:
    """A look for SQLAlchemy: what the driver raised, then what SQLAlchemy made of it."""

    def look(exc: Any) -> Category:
        found = Category.UNKNOWN
        inner = getattr(exc, "orig", None)
        for _ in range(_DEPTH):
            if not isinstance(inner, BaseException):
                break
            found = known(inner)
            if found is not Category.UNKNOWN:
                break
            inner = inner.__cause__
        if getattr(exc, "connection_invalidated", False) and found in (
            Category.UNKNOWN,
            Category.PERMANENT,  # misuse of a connection that is gone is a gone connection
        ):
            return Category.TRANSIENT
        return otherwise if found is Category.UNKNOWN else found

    return look


def group(exc: BaseExceptionGroup[BaseException]) -> Category:
    """A group means the gravest of its members, and is retried only if each of them would be.

    Cancelled members say nothing. Where nobody is there (`UNAVAILABLE`), that is the news. A
    permanent or unknown member next to others makes `UNKNOWN`: it counts, retrying will not mend
    it.
    """
    found: set[Category] = set()
    stack: list[BaseException] = list(exc.exceptions)
    for _ in range(_MEMBERS):
        if not stack:
            break
        member = stack.pop()
        if isinstance(member, BaseExceptionGroup):
            stack.extend(cast("BaseExceptionGroup[BaseException]", member).exceptions)
        else:
            found.add(known(member))
    found.discard(Category.CANCELLED)
    if len(found) <= 1:
        return found.pop() if found else Category.CANCELLED
    if Category.UNAVAILABLE in found:
        return Category.UNAVAILABLE
    if found & {Category.PERMANENT, Category.UNKNOWN}:
        return Category.UNKNOWN
    return Category.OVERLOAD if Category.OVERLOAD in found else Category.TIMEOUT


def http_status(exc: Any) -> Category | None:
    """By an HTTP error status on the exception or on its ``response``."""
    for holder in (exc, getattr(exc, "response", None)):
        for name in ("status_code", "status"):
            status = getattr(holder, name, None)
            if isinstance(status, int) and 400 <= status <= 599:
                return codes.classify_status(status)
    return None


def os_errno(exc: OSError) -> Category | None:
    # asyncio gives up on several addresses with one OSError that has no number of its own.
    if exc.errno is None and str(exc).startswith("Multiple exceptions: "):
        return Category.UNAVAILABLE
    return codes.ERRNO.get(exc.errno or 0)


def name_resolution(exc: OSError) -> Category:
    return codes.GAI.get(exc.errno or 0, Category.UNAVAILABLE)


def tls(exc: Any) -> Category:
    # Two ends that disagree will disagree again, but a cut or garbled stream is a hiccup.
    reason = str(getattr(exc, "reason", None) or "")
    hiccup = "UNEXPECTED_EOF" in reason or "BAD_RECORD_MAC" in reason
    return Category.TRANSIENT if hiccup else Category.PERMANENT


def smtp(exc: Any) -> Category:
    return Category.TRANSIENT if 400 <= exc.smtp_code <= 499 else Category.PERMANENT


def sqlite(exc: Any) -> Category | None:
    code = getattr(exc, "sqlite_errorcode", None)
    if isinstance(code, int):
        return codes.SQLITE.get(code & 0xFF)
    return Category.TRANSIENT if "locked" in str(exc) else None


def sqlstate(exc: Any) -> Category | None:
    state = getattr(exc, "sqlstate", None) or getattr(exc, "pgcode", None)
    if not isinstance(state, str):
        return None
    return codes.SQLSTATE.get(state) or codes.SQLSTATE.get(state[:2])


def aws(exc: Any) -> Category:
    answer = exc.response
    return codes.AWS.get(answer.get("Error", {}).get("Code", "")) or codes.classify_status(
        answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    )


def grpc_code(exc: Any) -> Category | None:
    name = exc.code().name
    if name == "UNAVAILABLE":
        # gRPC says the same for "nobody there" and "the connection broke"; only the text differs.
        said = str(exc.details()).lower()
        if any(sign in said for sign in ("socket closed", "reset", "goaway", "broken pipe")):
            return Category.TRANSIENT
    return codes.GRPC.get(name)
