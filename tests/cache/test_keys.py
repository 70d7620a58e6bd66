"""Full keys: no two can be the same unless prefix, namespace and key are."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.cache.errors import CacheError, CacheKeyError
from holdfast.cache.keys import KeySpace
from holdfast.errors import ConfigurationError

tricky = st.text(alphabet=":%khl floré3A\n\u200b😀", max_size=12)
keys = tricky.filter(bool) | st.text(min_size=1, max_size=300)


class TestShape:
    def test_a_short_key_stands_behind_the_head(self) -> None:
        space = KeySpace("shop", "users")
        assert space.head == "shop:users:k:"
        assert space.full("user:7") == "shop:users:k:user:7"
        assert space.full("Zoë") == "shop:users:k:Zoë"

    def test_the_floor_and_leases(self) -> None:
        space = KeySpace("shop", "users")
        assert space.floor == "shop:users:floor"
        assert space.lease(space.full("7")) == "shop:users:l:k:7"
        assert space.lease(space.full("é" * 200)).startswith("shop:users:l:h:")

    def test_what_is_not_printable_ascii_is_escaped_in_names(self) -> None:
        space = KeySpace("a:b%", "é \n{x}~")
        assert space.head == "a%3Ab%25:%C3%A9 %0A{x}~:k:"

    def test_every_printable_ascii_character_but_two_stays_as_it_is(self) -> None:
        printable = "".join(map(chr, range(0x20, 0x7F)))
        kept = printable.replace("%", "").replace(":", "")
        assert KeySpace("p", kept).floor == f"p:{kept}:floor"

    def test_the_namespace_without_a_name(self) -> None:
        assert KeySpace("p", "").full("x") == "p::k:x"

    def test_keys_of_more_than_256_bytes_are_hashed(self) -> None:
        space = KeySpace("p", "n")
        assert space.full("x" * 256) == "p:n:k:" + "x" * 256
        assert space.full("é" * 128) == "p:n:k:" + "é" * 128
        # printf 'x%.0s' $(seq 257) | sha256sum
        digest = "15eb95a462ee20bd91a415ae2d4aed341288186ddaa2b37908f7d592f0c3f85f"
        assert space.full("x" * 257) == "p:n:h:" + digest
        assert space.full("é" * 129).startswith("p:n:h:")
        assert space.full("x" * 257) != space.full("x" * 258)

    def test_a_str_enum_is_a_str(self) -> None:
        class Key(StrEnum):
            USER = "user"

        assert KeySpace("p", "n").full(Key.USER) == "p:n:k:user"
        assert type(KeySpace("p", "n").full(Key.USER)) is str

    @given(st.text(alphabet=st.characters(max_codepoint=127), min_size=1, max_size=256))
    def test_the_short_way_is_the_same(self, key: str) -> None:
        space = KeySpace("p", "n")
        assert space.full(key) == space.head + key


@given(tricky.filter(bool), tricky, keys, tricky.filter(bool), tricky, keys, st.sampled_from("kfl"))
def test_nothing_collides(
    prefix: str, space: str, key: str, prefix2: str, space2: str, key2: str, other: str
) -> None:
    one, two = KeySpace(prefix, space), KeySpace(prefix2, space2)
    mine = one.full(key)
    assert mine not in (one.floor, two.floor, one.lease(mine), two.lease(two.full(key2)))
    same = (prefix, space, key) == (prefix2, space2, key2)
    assert (mine == two.full(key2)) is same
    assert (one.lease(mine) == two.lease(two.full(key2))) is same
    assert (one.floor == two.floor) is ((prefix, space) == (prefix2, space2))


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (None, "a key must be a str, not NoneType: write a str; None usually means that an id"),
        (7, "a key must be a str, not int: write str(key)"),
        (b"secret", "a key must be a str, not bytes: write key.decode(), or key.hex() if"),
        (bytearray(b"secret"), "a key must be a str, not bytearray: write key.decode()"),
        (("a", 1), "a key must be a str, not tuple: write str(key)"),
        ("", "a key must have at least 1 character"),
        ("x" * 1025, "a key has at most 1024 characters, not 1025: 'xxxxxxxxxx"),
        ("a\ud800", "a key must not hold lone surrogates: 'a\\ud800'"),
        ("x" * 300 + "\ud800", "a key must not hold lone surrogates: 'xxx"),
    ],
)
def test_keys_that_do_not_do(key: Any, message: str) -> None:
    with pytest.raises(CacheKeyError) as caught:
        KeySpace("p", "n").full(key)
    assert str(caught.value).startswith(message)
    assert "secret" not in str(caught.value)
    assert len(str(caught.value)) < 130
    assert isinstance(caught.value, CacheError)
    assert isinstance(caught.value, ValueError)


def test_at_most_forty_characters_of_a_key_are_shown() -> None:
    with pytest.raises(CacheKeyError) as caught:
        KeySpace("p", "n").full("x" * 40 + "secret" * 1000)
    assert str(caught.value).endswith("'" + "x" * 40 + "'...")


def test_the_limit_can_be_changed_in_both_directions() -> None:
    assert KeySpace("p", "n", max_key_length=3).full("abc") == "p:n:k:abc"
    with pytest.raises(CacheKeyError, match="at most 3 characters, not 4: 'abcd'"):
        KeySpace("p", "n", max_key_length=3).full("abcd")
    assert KeySpace("p", "n", max_key_length=2000).full("x" * 2000).startswith("p:n:h:")
    assert KeySpace("p", "n").full("é" * 1024).startswith("p:n:h:")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prefix": ""}, "prefix must be a str of 1 to 200 characters"),
        ({"prefix": "x" * 201}, "prefix must be a str of 1 to 200 characters"),
        ({"prefix": None}, "prefix must be a str of 1 to 200 characters"),
        ({"namespace": b"n"}, "namespace must be a str of 0 to 200 characters"),
        ({"namespace": "x" * 201}, "namespace must be a str of 0 to 200 characters"),
        ({"namespace": "\ud800"}, "namespace must be a str of 0 to 200 characters"),
        ({"max_key_length": 0}, "max_key_length must be a whole number of at least 1, not 0"),
        ({"max_key_length": True}, "max_key_length must be a whole number of at least 1"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        KeySpace(**{"prefix": "p", "namespace": "n", **options})
    assert str(caught.value).startswith(message)
