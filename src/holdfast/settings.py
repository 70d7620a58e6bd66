"""Configuration from environment variables: read once, checked at once, secrets kept covered.

    REDIS_URL             where Redis is, in one line (wins over the four below)
    REDIS_HOST            where Redis is; REDIS_PORT (6379), REDIS_PASSWORD, REDIS_DB (0) go with it
    CB_FAILURE_THRESHOLD  failures that open a circuit (5)
    CB_RESET_TIMEOUT      milliseconds before an open circuit is tried again (300000)
    CB_MONITOR_PERIOD     milliseconds during which failures are added up (10000)

All are optional, and an empty value counts as unset. With neither REDIS_URL nor REDIS_HOST there is
no Redis: caches live in memory. A port, password or database without a host is refused, because a
program that silently forgot its Redis would look healthy.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from holdfast import _redis_url
from holdfast._core.validate import count, number, refuse
from holdfast.errors import ConfigurationError

__all__ = ["Secret", "Settings"]

_THIRTY_DAYS = 30 * 86_400
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,253}")


def _is_host(text: str) -> bool:
    if ":" not in text:
        return _NAME.fullmatch(text) is not None
    from ipaddress import AddressValueError, IPv6Address  # late, like all that is rarely needed

    try:
        return "%" not in str(IPv6Address(text))
    except AddressValueError:
        return False


class Secret:
    """A text that shows itself only to `reveal()`.

    ``repr``, ``str``, every format and ``copy`` keep it covered, and it refuses to be pickled.
    Immutable; two secrets are equal if their texts are.
    """

    __slots__ = ("_text",)
    _text: str

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            # Without the value: whoever calls this has something to hide.
            raise ConfigurationError(f"text must be a str, not a {type(text).__name__}")
        object.__setattr__(self, "_text", text)

    def reveal(self) -> str:
        """The text itself, for the client that needs it."""
        return self._text

    def __repr__(self) -> str:
        return f"Secret('{_redis_url.MASK}')"

    def __str__(self) -> str:
        return _redis_url.MASK

    def __format__(self, spec: str) -> str:
        return format(_redis_url.MASK, spec)

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Secret cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Secret cannot be changed")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the environment says, in Python's units; immutable and free of I/O.

    Args:
        redis_url: the whole address, see `holdfast._redis_url`; wins over the four others.
        redis_host: name or address; an IPv6 address without brackets.
        redis_port: 1 to 65535. Default 6379.
        redis_password: default none.
        redis_db: number of the database, at least 0. Default 0.
        failure_threshold: failures that open a circuit, at least 1. Default 5.
        reset_timeout: seconds before an open circuit is tried, above 0, at most 30 days. Default
            300.
        monitor_period: seconds in which failures are added up, above 0, at most 30 days. Default
            10.

    Raises:
        ConfigurationError: an option is out of its range.
    """

    redis_url: Secret | None = None
    redis_host: str | None = None
    redis_port: int = 6379
    redis_password: Secret | None = None
    redis_db: int = 0
    failure_threshold: int = 5
    reset_timeout: float = 300.0
    monitor_period: float = 10.0

    def __post_init__(self) -> None:
        for name, value in (("redis_url", self.redis_url), ("redis_password", self.redis_password)):
            if value is not None and not isinstance(value, Secret):
                raise ConfigurationError(f"{name} must be a Secret or None")
        if self.redis_url is not None:
            wanted = _redis_url.fault(self.redis_url.reveal())
            if wanted is not None:
                raise refuse("redis_url", self.redis_url, wanted)
        if self.redis_host is not None and not _is_host(self.redis_host):
            raise ConfigurationError("redis_host must be a host name or an IP address")
        count("redis_port", self.redis_port, at_most=65535)
        count("redis_db", self.redis_db, at_least=0)
        count("failure_threshold", self.failure_threshold)
        number("reset_timeout", self.reset_timeout, above=0, at_most=_THIRTY_DAYS)
        number("monitor_period", self.monitor_period, above=0, at_most=_THIRTY_DAYS)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from `environ`, by default the process's environment.

        Raises:
            ConfigurationError: one or more variables cannot be used; all of them are named, with
                their values (passwords and URLs masked) and what is allowed.
        """
        reader = _Reader(os.environ if environ is None else environ)
        url = reader.url("REDIS_URL")
        located = url is None and not reader.present("REDIS_URL")
        host = reader.host("REDIS_HOST") if located else None
        # A host that is set but wrong has been reported; its companions are still checked.
        placed = located and reader.present("REDIS_HOST")
        if located and not placed:
            reader.needs_host("REDIS_PORT", "REDIS_PASSWORD", "REDIS_DB")
        password = reader.secret("REDIS_PASSWORD") if placed else None
        port = reader.whole("REDIS_PORT", 6379, 1, 65535) if placed else 6379
        db = reader.whole("REDIS_DB", 0, 0, 1_000_000) if placed else 0
        threshold = reader.whole("CB_FAILURE_THRESHOLD", 5, 1, 1_000_000)
        longest = _THIRTY_DAYS * 1000
        reset = reader.whole("CB_RESET_TIMEOUT", 300_000, 1, longest, " of milliseconds")
        period = reader.whole("CB_MONITOR_PERIOD", 10_000, 1, longest, " of milliseconds")
        if reader.problems:
            raise ConfigurationError("; ".join(reader.problems))
        return cls(
            redis_url=url,
            redis_host=host,
            redis_port=port,
            redis_password=password,
            redis_db=db,
            failure_threshold=threshold,
            reset_timeout=reset / 1000,
            monitor_period=period / 1000,
        )

    def redis_dsn(self) -> Secret | None:
        """The URL to give to a client, or None when there is no Redis."""
        if self.redis_url is not None or self.redis_host is None:
            return self.redis_url
        from urllib.parse import quote  # late: it costs import time that most programs never need

        host = f"[{self.redis_host}]" if ":" in self.redis_host else self.redis_host
        user = ""
        if self.redis_password is not None:
            # A password that is no valid UTF-8 reaches Python as surrogates; its bytes are kept.
            user = f":{quote(self.redis_password.reveal(), safe='', errors='surrogateescape')}@"
        return Secret(f"redis://{user}{host}:{self.redis_port}/{self.redis_db}")

    def redis_display(self) -> str | None:
        """Where Redis is, for logs and people, with the password masked; None without Redis."""
        dsn = self.redis_dsn()
        return None if dsn is None else _redis_url.display(dsn.reveal())


class _Reader:
    """Reads variables one by one and collects what is wrong with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []

    def _raw(self, name: str) -> str | None:
        return self._environ.get(name, "").strip() or None

    def present(self, name: str) -> bool:
        return self._raw(name) is not None

    def _refuse(self, name: str, shown: str, allowed: str) -> None:
        self.problems.append(f"{name} must be {allowed}, not {shown}")

    def whole(self, name: str, default: int, low: int, high: int, unit: str = "") -> int:
        raw = self._raw(name)
        if raw is None:
            return default
        if not re.fullmatch(r"[0-9]{1,15}", raw) or not low <= int(raw) <= high:
            # A number is no secret, but a whole URL that was pasted here is one.
            shown = repr(_redis_url.MASK if "@" in raw or len(raw) > 40 else raw)
            allowed = f"a whole number{unit} from {low} to {high}"
            if raw.startswith("tcp://"):
                allowed += " (this one comes from a Kubernetes service link: switch those off)"
            self._refuse(name, shown, allowed)
            return default
        return int(raw)

    def secret(self, name: str) -> Secret | None:
        # Not stripped: white space may be part of a password.
        raw = self._environ.get(name)
        return Secret(raw) if raw else None

    def url(self, name: str) -> Secret | None:
        raw = self._raw(name)
        if raw is None:
            return None
        wanted = _redis_url.fault(raw)
        if wanted is not None:
            self._refuse(name, repr(_redis_url.display(raw)), wanted)
            return None
        return Secret(raw)

    def host(self, name: str) -> str | None:
        raw = self._raw(name)
        if raw is None:
            return None
        bare = raw[1:-1] if raw.startswith("[") and raw.endswith("]") else raw
        if _is_host(bare):
            return bare
        shown = repr(_redis_url.MASK if "@" in raw or len(raw) > 200 else raw)
        self._refuse(name, shown, "a host name or an IP address (a URL belongs in REDIS_URL)")
        return None

    def needs_host(self, *names: str) -> None:
        for name in names:
            raw = self._environ.get(name)
            # Kubernetes announces a service called "redis" to every pod as REDIS_PORT=tcp://...
            if raw and not raw.startswith("tcp://"):
                self.problems.append(f"{name} is set, but neither REDIS_HOST nor REDIS_URL is")
