"""Models of pydantic in the cache, which never imports pydantic itself."""

from __future__ import annotations

import datetime
import decimal
import subprocess
import sys
import uuid
from typing import Any

import pydantic
import pytest

from holdfast.cache import models
from holdfast.cache.codec import Codec
from holdfast.cache.entry import Entry
from holdfast.cache.errors import CacheDecodeError, CacheEncodeError


class Address(pydantic.BaseModel):
    city: str


class Person(pydantic.BaseModel):
    """With everything that makes writing and reading differ."""

    model_config = pydantic.ConfigDict(strict=True, extra="forbid")

    id: uuid.UUID
    name: str = pydantic.Field(alias="fullName")
    nick: str = pydantic.Field(
        default="", validation_alias=pydantic.AliasChoices("n", "nn"), serialization_alias="o"
    )
    born: datetime.date
    owed: decimal.Decimal
    tags: set[str]
    homes: tuple[Address, ...]
    note: pydantic.Json[Any] = None

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def initial(self) -> str:
        return self.name[0]


class Names(pydantic.RootModel[list[str]]):
    pass


ADA = Person(
    id=uuid.UUID(int=7),
    fullName="Ada",
    n="Countess",  # type: ignore[call-arg]
    born=datetime.date(1815, 12, 10),
    owed=decimal.Decimal("1.50"),
    tags={"a", "b"},
    homes=(Address(city="London"),),
    note='{"a": 1}',
)


def back(value: object, wanted: Any, **options: Any) -> Any:
    codec = Codec(**options)
    payload, flags, raw_size = codec.encode(value, "k")
    return codec.decode(Entry(payload, flags, 1, raw_size=raw_size), wanted)


@pytest.mark.parametrize("encoding", ["msgpack", "json"])
@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (ADA, Person),
        ([ADA, ADA], list[Person]),
        ({"ada": ADA, "nobody": None}, dict[str, Person | None]),
        (Names(["a"]), Names),
    ],
)
def test_comes_back_as_it_was(encoding: str, value: object, wanted: Any) -> None:
    assert back(value, wanted, encoding=encoding) == value


def test_without_its_type_it_comes_back_as_its_fields() -> None:
    fields = back(ADA, None)
    assert fields["name"] == "Ada"
    assert fields["homes"] == [{"city": "London"}]
    assert "initial" not in fields


def test_a_field_that_does_not_fit_is_not_shown() -> None:
    with pytest.raises(CacheDecodeError) as caught:
        back({"city": {"hush": "hush"}}, Address)
    assert str(caught.value) == "the cached payload does not decode to Address: ValidationError"


def test_a_field_that_cannot_be_written_is_named() -> None:
    class Vault(pydantic.BaseModel):
        secret: pydantic.SecretStr

    with pytest.raises(CacheEncodeError) as caught:
        Codec().encode(Vault(secret=pydantic.SecretStr("hush")), "k")
    assert caught.value.offender == "SecretStr"


def test_a_model_that_fails_while_it_is_written() -> None:
    class Broken(pydantic.BaseModel):
        @pydantic.model_serializer
        def fail(self) -> dict[str, Any]:
            raise ValueError("hush")

    with pytest.raises(CacheEncodeError) as caught:
        Codec().encode(Broken(), "k")
    assert "hush" not in str(caught.value)
    assert caught.value.offender.endswith(".Broken")
    assert caught.value.reason == "raises PydanticSerializationError"


def test_the_class_itself_is_no_model() -> None:
    with pytest.raises(CacheEncodeError):
        Codec().encode(Person, "k")
    assert models.is_model(Person)
    assert not models.is_model(ADA)
    assert not models.is_model(dict)


def test_an_older_pydantic_that_reads_by_alias_only() -> None:
    class Old:
        def __init__(self, fields: object) -> None:
            self.fields = fields

        def model_dump(self, *, mode: str, round_trip: bool) -> object:
            return self.fields

        @classmethod
        def model_validate(cls, fields: object, *, strict: bool) -> Old:
            return cls(fields)

    again = back([Old({"a": 1})], list[Old])
    assert [type(old) for old in again] == [Old]
    assert again[0].fields == {"a": 1}


def test_pydantic_is_not_imported_for_it() -> None:
    program = (
        "import sys\nfrom holdfast.cache.codec import Codec\n"
        "Codec().encode({'a': 1}, 'k')\nprint('pydantic' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"
