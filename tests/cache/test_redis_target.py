"""Redis URLs taken apart, and what is refused before anything is connected."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast import Settings
from holdfast.cache.redis import RedisTier
from holdfast.cache.redis.dialer import Dialer
from holdfast.cache.redis.target import Target, parse
from holdfast.errors import ConfigurationError
from holdfast.settings import Secret


def parts(target: Target, *names: str) -> tuple[Any, ...]:
    return tuple(getattr(target, name) for name in names)


LOGIN_OF_SURROGATES = {"encoding_errors": "surrogateescape"}


@pytest.mark.parametrize(
    ("url", "kind", "hosts", "database"),
    [
        ("redis://here", "one", (("here", 6379),), 0),
        ("redis://here:7000/3", "one", (("here", 7000),), 3),
        ("redis://here/3?db=4", "one", (("here", 6379),), 4),
        ("redis://[::1]:7000/", "one", (("::1", 7000),), 0),
        ("rediss://[::1]", "one", (("::1", 6379),), 0),
        ("redis+sentinel://a,b:1/mine", "sentinel", (("a", 26379), ("b", 1)), 0),
        ("redis+sentinel://a/mine/5", "sentinel", (("a", 26379),), 5),
        ("redis+cluster://a:1,[::1]:2", "cluster", (("a", 1), ("::1", 2)), 0),
        ("rediss+cluster://a/0", "cluster", (("a", 6379),), 0),
    ],
)
def test_places(url: str, kind: str, hosts: tuple[Any, ...], database: int) -> None:
    target = parse(url)
    assert parts(target, "kind", "hosts", "database", "path") == (kind, hosts, database, None)
    assert target.service == ("mine" if kind == "sentinel" else "")
    assert (target.tls is not None) is url.startswith("rediss")
    assert parts(target, "login", "sentinel_login") == (LOGIN_OF_SURROGATES, LOGIN_OF_SURROGATES)


def test_a_unix_socket() -> None:
    target = parse("unix://:pw@/run/my%20redis.sock?db=2")
    assert parts(target, "kind", "hosts", "path", "database") == (
        "one",
        (),
        "/run/my redis.sock",
        2,
    )
    assert target.login == {"password": "pw", **LOGIN_OF_SURROGATES}


def test_logins_are_decoded_and_never_shown() -> None:
    target = parse(
        "redis+sentinel://me:p%40ss%2F@a/s?sentinel_username=guard&sentinel_password=wa%23tch"
    )
    assert target.login == {"username": "me", "password": "p@ss/", **LOGIN_OF_SURROGATES}
    assert target.sentinel_login == {
        "username": "guard",
        "password": "wa#tch",
        **LOGIN_OF_SURROGATES,
    }
    shown = repr(target)
    for secret in ("p@ss", "wa#tch", "guard"):
        assert secret not in shown
    assert parse("unix:///run/r.sock?password=q").login["password"] == "q"


def test_a_password_that_is_no_unicode_keeps_its_bytes() -> None:
    settings = Settings(redis_host="here", redis_password=Secret("p\udcff"))
    dsn = settings.redis_dsn()
    assert dsn is not None
    login = parse(dsn.reveal()).login
    assert login["password"].encode(errors=login["encoding_errors"]) == b"p\xff"


def test_options_for_tls_and_others() -> None:
    target = parse(
        "rediss://here?ssl_ca_certs=/ca%20file&ssl_check_hostname=False&ssl_cert_reqs=none"
        "&ssl_certfile=c&ssl_keyfile=k&ssl_password=p&ssl_ca_path=d&socket_timeout=7&client_name=me"
    )
    assert target.tls == {
        "ssl_ca_certs": "/ca file",
        "ssl_ca_path": "d",
        "ssl_certfile": "c",
        "ssl_keyfile": "k",
        "ssl_password": "p",
        "ssl_cert_reqs": "none",
        "ssl_check_hostname": False,
    }
    assert target.client_name == "me"
    assert parse("rediss://here?ssl_check_hostname=true").tls == {"ssl_check_hostname": True}
    assert parse("redis://here?ssl_cert_reqs=none").tls is None


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://me:secret@here", "url must be a URL that starts with redis://"),
        ("redis://me:sec@ret@here", "url must be well formed"),
        ("redis+sentinel://me:secret@here", "url must be a URL that names the Sentinel service"),
        ("redis://here?db=secret", "url must have a whole number as its db"),
        ("rediss://here?ssl_ca_certs=/no/such/file", "the options for TLS in the url"),
        ("rediss://here?ssl_cert_reqs=perhaps", "the options for TLS in the url"),
    ],
)
def test_what_is_no_target_is_refused_without_its_secrets(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RedisTier.from_url(url)
    assert str(caught.value).startswith(message)
    assert "sec" not in str(caught.value).replace("security", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"connect_timeout": 0}, "connect_timeout must be a finite number greater than 0, not 0"),
        ({"max_connections": 0}, "max_connections must be a whole number of at least 1"),
        ({"max_connections": 1001}, "max_connections must be a whole number of at least 1, at mo"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RedisTier.from_url("redis://here", **options)
    assert str(caught.value).startswith(message)


def test_a_tier_shows_where_it_is_and_no_more() -> None:
    tier = RedisTier.from_url(Secret("rediss://me:secret@here:1/2?ssl_cert_reqs=none"))
    assert tier.address == "rediss://***@here:1/2?***"
    assert repr(tier) == "RedisTier('rediss://***@here:1/2?***')"
    assert tier.max_connections == 4
    assert (tier.pool().open, tier.pool().limit) == (0, 4)


WITHOUT = """
import sys
sys.modules[{name!r}] = None
from holdfast.errors import ConfigurationError
try:
    import holdfast.cache.redis
except ConfigurationError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["redis", "hiredis"])
def test_what_is_not_installed_is_named(name: str, tmp_path: Path) -> None:
    # A name that is None in sys.modules cannot be imported.
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(name=name)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.stdout.strip() == (
        "a cache in Redis needs redis-py and hiredis: pip install 'holdfast[redis]'"
    ), done.stderr


def test_the_authorities_are_read_once_for_all_connections() -> None:
    dialer = Dialer(parse("rediss://here"), 0.2)
    first, second = (dialer._make("here", 1, {}) for _ in range(2))
    assert first is not second
    assert first.ssl_context is second.ssl_context
