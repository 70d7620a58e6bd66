"""Models of pydantic inside of cached values, without importing pydantic.

Whatever has `model_dump` and `model_validate` is taken for one. A model is written as the plain
dictionary of its fields, by their names, and validated when it is read.
"""

from __future__ import annotations

from typing import Any


def is_model(kind: Any) -> bool:
    """Whether a type looks like a model of pydantic."""
    return (
        isinstance(kind, type) and hasattr(kind, "model_dump") and hasattr(kind, "model_validate")
    )


def dump(model: Any) -> Any:
    """The fields of a model, without those that are computed."""
    return model.model_dump(mode="python", round_trip=True)


def load(kind: Any, fields: object) -> Any:
    """The model that was written as `fields`.

    Raises what the model's validation raises.
    """
    try:
        # Written by name, so read by name, also where an alias is what the outer world uses. Not
        # strictly: a set comes back as a list, and a UUID as text.
        return kind.model_validate(fields, by_name=True, strict=False)
    except TypeError:  # pydantic before 2.11 knows no `by_name`
        return kind.model_validate(fields, strict=False)
