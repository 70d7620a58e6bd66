"""Which exceptions a policy acts on: types, categories, a mixture of them, or a predicate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias, cast

from holdfast._core.validate import refuse
from holdfast.classify import classify
from holdfast.errors import Category

Which: TypeAlias = (
    type[BaseException]
    | Category
    | Iterable[type[BaseException] | Category]
    | Callable[[Exception], bool]
)
"""How the options of the policies name exceptions."""

Matcher: TypeAlias = Callable[[Exception], bool]


def matcher(name: str, which: Which) -> Matcher:
    """The predicate that `which` describes; `name` is the option, for the error message.

    Raises:
        ConfigurationError: `which` is none of the four forms.
    """
    allowed = (
        "an exception type, a Category, several of them, or a function that takes the exception"
    )
    if isinstance(which, type) and issubclass(which, BaseException):
        return lambda error: isinstance(error, which)
    if isinstance(which, type):
        raise refuse(name, cast(object, which), allowed)
    if isinstance(which, Category):
        return lambda error: classify(error) is which
    if callable(which):
        return which
    if not isinstance(which, Iterable) or isinstance(which, (str, bytes)):
        raise refuse(name, which, allowed)
    types: list[type[BaseException]] = []
    categories: set[Category] = set()
    for item in which:
        if isinstance(item, Category):
            categories.add(item)
        elif isinstance(item, type) and issubclass(item, BaseException):
            types.append(item)
        else:
            raise refuse(name, which, allowed)
    if not types and not categories:
        raise refuse(name, which, allowed)
    kinds = tuple(types)

    def matches(error: Exception) -> bool:
        return isinstance(error, kinds) or (bool(categories) and classify(error) in categories)

    return matches
