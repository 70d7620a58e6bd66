"""Which Redis URLs are understood, and how one is shown without its secrets.

    redis://[user:password@]host[:port][/db]                     one server
    rediss://...                                                 the same over TLS
    unix://[user:password@]/path/to/redis.sock[?db=0]            a unix socket
    redis+sentinel://[user:password@]host[:port],.../service[/db]   Sentinel; several hosts
    redis+cluster://[user:password@]host[:port],...              Cluster; several hosts
    rediss+sentinel://..., rediss+cluster://...                  those two over TLS

User and password are percent-encoded; a raw ``@``, ``/``, ``?`` or ``#`` in a password is the usual
mistake and is refused. IPv6 hosts stand in brackets.
"""

from __future__ import annotations

import re

SCHEMES = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
MASK = "***"

_PARTS = re.compile(
    r"(?P<scheme>[a-z+]+)://(?:(?P<user>[^@/?#]*)@)?(?P<hosts>[^@/?#]*)(?P<path>[^?#@]*)"
    r"(?:\?(?P<query>[^#@]*))?"
)
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::(?P<port>[0-9]{1,5}))?")


def fault(url: str) -> str | None:
    """What is wrong with `url`, without quoting any of it; None when it can be used."""
    parts = _PARTS.fullmatch(url)
    if parts is None or not url.isprintable() or " " in url:
        if url.partition("://")[0] in SCHEMES:
            return "well formed, with special characters in user and password percent-encoded"
        return "a URL that starts with " + ", ".join(f"{scheme}://" for scheme in SCHEMES)
    scheme, hosts, path = parts["scheme"], parts["hosts"], parts["path"].strip("/")
    if scheme not in SCHEMES:
        return "a URL that starts with " + ", ".join(f"{scheme}://" for scheme in SCHEMES)
    if scheme == "unix":
        return None if path and not hosts else "unix:// and the absolute path of a socket"
    kind = scheme.partition("+")[2]
    listed = hosts.split(",")
    if len(listed) > 1 and not kind:
        return "a URL with one host, or of the scheme redis+sentinel or redis+cluster"
    for host in listed:
        found = _HOST.fullmatch(host)
        if found is None or (found["port"] and not 1 <= int(found["port"]) <= 65535):
            return "a URL whose hosts are names or addresses with ports from 1 to 65535"
    steps = path.split("/") if path else []
    if kind == "sentinel" and not steps:
        return "a URL that names the Sentinel service after the hosts: .../service"
    if kind == "cluster" and steps not in ([], ["0"]):
        return "a URL without a database number, because a cluster has only number 0"
    database = steps[1:] if kind == "sentinel" else steps
    if len(database) > 1 or not all(step.isascii() and step.isdigit() for step in database):
        return "a URL whose database, after the last slash, is a whole number"
    return None


def display(url: str) -> str:
    """`url` for people: user, password and the values of the query are masked.

    A URL that is not understood shows its scheme at most.
    """
    parts = _PARTS.fullmatch(url)
    if parts is None or fault(url) is not None:
        scheme = url.partition("://")[0]
        return f"{scheme}://{MASK}" if scheme in SCHEMES else MASK
    user = "" if parts["user"] is None else f"{MASK}@"
    query = "" if parts["query"] is None else f"?{MASK}"
    return f"{parts['scheme']}://{user}{parts['hosts']}{parts['path']}{query}"
