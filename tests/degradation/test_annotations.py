"""A fixed answer against the annotation of the function whose place it takes."""

from __future__ import annotations

import functools
import gc
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Optional, Protocol, TypedDict, Union

import pytest

from holdfast.degradation.annotations import _known, check_static
from holdfast.errors import ConfigurationError

if TYPE_CHECKING:
    from nowhere import Nothing  # type: ignore[import-not-found]


class User: ...


class Admin(User): ...


class Named(Protocol):
    name: str


class Row(TypedDict):
    name: str


async def a_user() -> User: ...  # type: ignore[empty-body]
def perhaps_a_user() -> User | None: ...
def either() -> Union[int, str]: ...  # type: ignore[empty-body]  # noqa: UP007
def optional() -> Optional[User]: ...  # noqa: UP045
def a_float() -> float: ...  # type: ignore[empty-body]
def nothing() -> None: ...
def anything() -> Any: ...
def unknown() -> Nothing: ...
def beside_unknown(argument: Nothing) -> User: ...  # type: ignore[empty-body]
def generic() -> dict[str, int]: ...  # type: ignore[empty-body]
def half_generic() -> list[int] | None: ...
def protocol() -> Named: ...  # type: ignore[empty-body]
def typed_dict() -> Row: ...  # type: ignore[empty-body]
def awaitable() -> Awaitable[User]: ...  # type: ignore[empty-body]
def bare(): ...  # type: ignore[no-untyped-def]


class Service:
    def method(self) -> User:
        return User()

    def __call__(self) -> User:
        return User()


CASES: list[tuple[Callable[..., Any], object, str | None]] = [
    (a_user, User(), None),
    (a_user, Admin(), None),
    (a_user, {}, "User"),
    (a_user, None, "User"),
    (perhaps_a_user, None, None),
    (perhaps_a_user, 1, "User or NoneType"),
    (either, 1, None),
    (either, b"", "int or str"),
    (optional, None, None),
    (optional, 1, "User or NoneType"),
    (a_float, 1, None),
    (a_float, 1.5, None),
    (a_float, "1", "float or int"),
    (nothing, 0, None),
    (anything, object(), None),
    (unknown, object(), None),
    (beside_unknown, 1, "User"),
    (generic, 1, None),
    (half_generic, 1, None),
    (protocol, 1, None),
    (typed_dict, 1, None),
    (awaitable, User(), None),
    (bare, 1, None),
    (lambda: 1, "", None),
    (functools.partial(beside_unknown, 1), 1, "User"),
    (Service().method, 1, "User"),
    (Service(), 1, "User"),
    (Service(), User(), None),
    (len, "", None),
    (User, 1, None),
]


@pytest.mark.parametrize(("function", "value", "wanted"), CASES)
def test_what_fits(function: Callable[..., Any], value: object, wanted: str | None) -> None:
    for _ in range(2):  # the second time from memory
        if wanted is None:
            check_static("fallback_data", value, function)
            continue
        with pytest.raises(ConfigurationError) as caught:
            check_static("fallback_data", value, function)
        assert f"fallback_data must be of type {wanted}, as " in str(caught.value)
        assert str(caught.value).endswith(f"not {type(value).__qualname__}")


def test_no_function_no_judgement() -> None:
    check_static("fallback_data", 1, None)


def test_what_is_known_of_a_function_goes_with_it() -> None:
    def short_lived() -> User:
        return User()

    gc.collect()
    before = len(_known)
    check_static("fallback_data", User(), short_lived)
    assert len(_known) == before + 1
    del short_lived
    gc.collect()
    assert len(_known) == before
