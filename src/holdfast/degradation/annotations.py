"""Does a fixed answer fit what the function is annotated to return?

A default of the wrong type is found during an outage, by users. So it is refused when it is given,
as far as the annotation can be judged by `isinstance`: a class, or a union of classes. Anything
else (a generic alias, a protocol, a name that cannot be resolved) is not judged, and neither is a
mere None: such a function has no answer of its own.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any, Final, Union, cast, get_args, get_origin, get_type_hints
from weakref import WeakKeyDictionary

from holdfast.errors import ConfigurationError

_Classes = tuple[type, ...]

_known: Final[WeakKeyDictionary[Any, _Classes]] = WeakKeyDictionary()
# Resolving an annotation is slow, and a call may ask each time. It goes with its function.

_WIDENED: Final[dict[type, _Classes]] = {float: (int,), complex: (int, float)}
"""What a type checker takes for these as well (PEP 484)."""


def check_static(name: str, value: object, function: Callable[..., Any] | None) -> None:
    """Refuse a fixed answer that `function` is annotated never to return.

    Raises:
        ConfigurationError: it has the wrong type. `name` is the parameter; the value is not shown.
    """
    classes = _returned(function)
    if not classes:
        return
    try:
        fits = isinstance(value, classes)
    except TypeError:  # a protocol, a TypedDict: classes that cannot be asked
        return
    if not fits:
        allowed = " or ".join(kind.__qualname__ for kind in classes)
        raise ConfigurationError(
            f"{name} must be of type {allowed}, as {_title(function)} is annotated to return, "
            f"not {type(value).__qualname__}"
        )


def returned_type(function: Any) -> Any:
    """What a function is annotated to return; None if it does not say, or says nothing useful."""
    function = _plain(function)
    annotations: dict[str, Any] = getattr(function, "__annotations__", {})
    if "return" not in annotations:
        return None
    found = _resolved(function, annotations["return"])
    return None if found in (Any, object, type(None)) else found


def _plain(function: Any) -> Any:
    """The function that carries the annotations."""
    while isinstance(function, functools.partial):
        function = function.func
    if not isinstance(function, (types.FunctionType, types.MethodType, type(None))):
        function = getattr(cast(Any, type(function)), "__call__", None)  # noqa: B004
    return getattr(function, "__func__", function)


def _returned(function: Any) -> _Classes:
    """The classes that a function may return an object of; none if that cannot be judged."""
    function = _plain(function)
    annotations: dict[str, Any] = getattr(function, "__annotations__", {})
    if "return" not in annotations:
        return ()
    classes = _known.get(function)
    if classes is None:
        classes = _known[function] = _classes(_resolved(function, annotations["return"]))
    return classes


def _resolved(function: Any, annotation: Any) -> Any:
    """The annotation, if it was a string what it stands for; None-able names give `Any`."""

    def alone() -> None: ...

    # The other annotations may name what cannot be resolved.
    alone.__annotations__ = {"return": annotation}
    try:
        return get_type_hints(alone, globalns=function.__globals__)["return"]
    except Exception:  # whatever evaluating somebody's annotation comes to
        return Any


def _classes(annotation: Any) -> _Classes:
    members = () if annotation is type(None) else (annotation,)
    if get_origin(annotation) in (Union, types.UnionType):
        members = get_args(annotation)
    if any(get_origin(member) is not None or not isinstance(member, type) for member in members):
        return ()
    return tuple(
        dict.fromkeys(kind for each in members for kind in (each, *_WIDENED.get(each, ())))
    )


def _title(function: Any) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)
