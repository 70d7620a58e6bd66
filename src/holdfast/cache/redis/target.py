"""A Redis URL, taken apart.

The schemes are those of `holdfast._redis_url`. From the query of a URL the following are used, all
but the last two as in redis-py; others are left to other clients of the same URL:

    db                                        the number of the database
    ssl_ca_certs, ssl_ca_path                 who is trusted, instead of the system's authorities
    ssl_certfile, ssl_keyfile, ssl_password   our own certificate
    ssl_cert_reqs                             required (the default), optional or none
    ssl_check_hostname                        false to accept a certificate for another name
    client_name                               how the connections are called in CLIENT LIST
    sentinel_username, sentinel_password      for the Sentinels, which do not get those of the URL
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from holdfast import _redis_url
from holdfast._core.validate import refuse
from holdfast.errors import ConfigurationError

Address = tuple[str, int]

_URL = re.compile(r"([a-z+]+)://(?:([^@]*)@)?([^/?]*)([^?]*)(?:\?(.*))?", re.DOTALL)
_HOST = re.compile(r"(\[.*\]|[^:]*)(?::([0-9]+))?")
_DEFAULT_PORT = 6379
_SENTINEL_PORT = 26379
_PLAIN_TLS = (
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_password",
    "ssl_cert_reqs",
)
_FALSE = ("0", "f", "false", "n", "no")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where Redis is and how to get in; secrets are not shown.

    Attributes:
        kind: ``"one"``, ``"sentinel"`` or ``"cluster"``.
        hosts: at least one, unless there is a `path`.
        path: of a unix socket.
        service: what the Sentinels call the primary.
        login, sentinel_login: arguments for redis-py.
        tls: arguments for redis-py; None for no TLS.
    """

    kind: str
    hosts: tuple[Address, ...]
    path: str | None
    service: str
    database: int
    client_name: str | None
    login: dict[str, str] = field(repr=False)
    sentinel_login: dict[str, str] = field(repr=False)
    tls: dict[str, str | bool] | None = field(repr=False)


def parse(url: str) -> Target:
    """Take a URL apart.

    Raises:
        ConfigurationError: it is not understood; it is shown without its secrets.
    """
    wanted = _redis_url.fault(url)
    if wanted is not None:
        raise refuse("url", _redis_url.display(url), wanted)
    parts = _URL.fullmatch(url)
    assert parts is not None, "what is well formed has these parts"
    scheme, user, hosts, path, query = (part or "" for part in parts.groups())
    options = dict(parse_qsl(query, errors="surrogateescape"))
    kind = scheme.partition("+")[2] or "one"
    steps = path.strip("/").split("/")
    service = unquote(steps.pop(0)) if kind == "sentinel" else ""
    database = options.get("db", "") or (steps[0] if scheme != "unix" and steps else "") or "0"
    if not (database.isascii() and database.isdigit()):
        raise ConfigurationError("url must have a whole number as its db")
    port = _SENTINEL_PORT if kind == "sentinel" else _DEFAULT_PORT
    return Target(
        kind=kind,
        hosts=() if scheme == "unix" else tuple(_address(host, port) for host in hosts.split(",")),
        path=unquote(path) if scheme == "unix" else None,
        service=service,
        database=int(database),
        client_name=options.get("client_name") or None,
        login=_login(user, options, ""),
        sentinel_login=_login("", options, "sentinel_"),
        tls=_tls(options) if scheme.startswith("rediss") else None,
    )


def _address(host: str, default: int) -> Address:
    parts = _HOST.fullmatch(host)
    assert parts is not None
    return parts[1].strip("[]"), int(parts[2] or default)


def _login(user: str, options: dict[str, str], prefix: str) -> dict[str, str]:
    # A password that is no valid UTF-8 keeps its bytes, as surrogates (see `Settings.redis_dsn`).
    name, _, password = (unquote(part, errors="surrogateescape") for part in user.partition(":"))
    name = name or options.get(f"{prefix}username", "")
    password = password or options.get(f"{prefix}password", "")
    found = {"username": name, "password": password, "encoding_errors": "surrogateescape"}
    return {option: value for option, value in found.items() if value}


def _tls(options: dict[str, str]) -> dict[str, str | bool]:
    chosen: dict[str, str | bool] = {name: options[name] for name in _PLAIN_TLS if name in options}
    if "ssl_check_hostname" in options:
        chosen["ssl_check_hostname"] = options["ssl_check_hostname"].lower() not in _FALSE
    return chosen
