"""What kind of failure is this? One answer for retries, breakers, statistics and logs.

`classify` sorts any exception into a `Category`. It knows the standard library, Holdfast's own
errors and the usual clients (httpx, aiohttp, requests, urllib3, redis, asyncpg, psycopg,
SQLAlchemy, botocore, grpc, Celery) without importing any of them; an error of an unknown library
that carries an HTTP status is sorted by it; the rest is `UNKNOWN`. `@classifier` puts one's own
rule in front:

    @classifier
    def quota(exc: BaseException) -> Category | None:
        return Category.OVERLOAD if isinstance(exc, QuotaError) else None

`retry_after` reads how long the other side asked us to stay away.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock
from typing import TypeVar

from holdfast._classify_codes import classify_status
from holdfast._classify_rules import known
from holdfast._core.validate import refuse
from holdfast._retry_after import parse_retry_after, retry_after
from holdfast.errors import Category

__all__ = ["classifier", "classify", "classify_status", "parse_retry_after", "retry_after"]

Rule = Callable[[BaseException], Category | None]
R = TypeVar("R", bound=Rule)


class _Classifiers:
    """The rules of the application, newest first; called as a decorator it adds one.

    A rule gets the exception and returns a `Category`, or None to pass. It sees `Exception`s only:
    cancellation and exit are nobody's to reinterpret. A rule that raises or returns something else
    is skipped for that error, counted in `failures`, and logged the first time.

    Thread safe. Rules are held until `forget` is called.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._complained: frozenset[int] = frozenset()
        self.rules: tuple[Rule, ...] = ()
        self.failures = 0

    def __call__(self, rule: R) -> R:
        """Ask `rule` before all others from now on; returns it, so this works as a decorator.

        Raises:
            ConfigurationError: `rule` cannot be called.
        """
        if not callable(rule):
            raise refuse("rule", rule, "a callable that takes an exception")
        with self._lock:
            self.rules = (rule, *(other for other in self.rules if other is not rule))
        return rule

    def forget(self, rule: Rule) -> None:
        """Do not ask `rule` any more; nothing happens if it was not registered."""
        with self._lock:
            self.rules = tuple(other for other in self.rules if other is not rule)
            self._complained -= {id(rule)}

    def ask(self, exc: Exception) -> Category | None:
        for rule in self.rules:
            try:
                found = rule(exc)
            except Exception as failure:
                self._complain(rule, f"raised {type(failure).__name__}")
                continue
            if isinstance(found, Category):
                return found
            if found is not None:
                self._complain(rule, f"returned a {type(found).__name__}, not a Category or None")
        return None

    def _complain(self, rule: Rule, what: str) -> None:
        with self._lock:
            self.failures += 1
            if id(rule) in self._complained or rule not in self.rules:
                return
            self._complained |= {id(rule)}
        name = getattr(rule, "__qualname__", type(rule).__qualname__)
        # Neither error's text is logged: it may hold what the caller sent.
        logging.getLogger("holdfast").warning(
            "classifier %s %s; it is skipped, and further failures are only counted", name, what
        )


classifier = _Classifiers()


def classify(exc: BaseException) -> Category:
    """The category of `exc`: the first answer of a `@classifier`, else the built-in rules'.

    Rules of thumb: nobody answered the door is `UNAVAILABLE`, the connection broke `TRANSIENT`, no
    answer in time `TIMEOUT`, a full pool or a request to slow down `OVERLOAD`, the caller's own
    mistake `PERMANENT`. Whatever is no `Exception` is `CANCELLED`. For HTTP see `classify_status`;
    an exception group is retryable only if each of its members is.

    Never raises. Thread safe. Well under a microsecond for a type seen before.
    """
    if classifier.rules and isinstance(exc, Exception):
        found = classifier.ask(exc)
        if found is not None:
            return found
    return known(exc)
