"""How long the other side asked us to stay away: HTTP's ``Retry-After`` and its relatives.

RFC 9110, section 10.2.3 allows whole seconds or a date, and section 5.6.7 three forms of date, two
of them obsolete and still to be read. What a broken or hostile server sends must not park a client,
so nothing above `BELIEVED` is taken seriously: such a hint counts as none at all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

from holdfast._core.clock import AMBIENT

BELIEVED = 86_400.0
"""The longest hint that is believed, in seconds: one day."""

# Some servers send fractions, which the RFC does not foresee and which do no harm.
_SECONDS = re.compile(r"[0-9]{1,10}(\.[0-9]{1,9})?")


def parse_retry_after(value: object, wall: float) -> float | None:
    """Seconds to wait by the header value `value`, or None when it makes no sense.

    `value` is text or bytes: seconds, or an HTTP date in any of the three forms; `wall` is the Unix
    time the date is compared with. A date that has just passed gives 0. Malformed, negative or more
    than a day (either way): None. Never raises.
    """
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if not isinstance(value, str) or len(value) > 64:
        return None
    value = value.strip(" \t")
    if _SECONDS.fullmatch(value):
        return _believable(float(value))
    moment = _http_date(value)
    if moment is None or moment - wall < -BELIEVED:
        return None
    return _believable(max(0.0, moment - wall))


def retry_after(exc: BaseException, *, wall: float | None = None) -> float | None:
    """Seconds the other side asked us to stay away, from 0 to 86400, or None when it did not.

    Looks, in this order, at the attribute ``retry_after`` (a number, a text or a timedelta), the
    ``Retry-After`` header of ``exc.response`` or of the exception itself (httpx, requests, aiohttp,
    urllib, botocore) and gRPC's ``grpc-retry-pushback-ms``. `wall` is the Unix time for dates;
    default: the clock's. Malformed, negative or longer than a day: None. Never raises.
    """
    try:
        return _hint(exc, AMBIENT.wall() if wall is None else wall)
    except Exception:  # attributes of foreign errors may do anything
        return None


def _hint(exc: Any, wall: float) -> float | None:
    asked: Any = getattr(exc, "retry_after", None)
    if hasattr(asked, "total_seconds"):
        asked = asked.total_seconds()
    if isinstance(asked, (int, float)) and not isinstance(asked, bool):
        return _believable(float(asked))
    if asked is not None:
        return parse_retry_after(asked, wall)
    response = getattr(exc, "response", None)
    for headers in (getattr(response, "headers", None), getattr(exc, "headers", None)):
        value = _header(headers)
        if value is not None:
            return parse_retry_after(value, wall)
    if isinstance(response, dict):  # botocore
        metadata = cast("dict[str, Any]", response).get("ResponseMetadata", {})
        return parse_retry_after(_header(metadata.get("HTTPHeaders")), wall)
    if hasattr(exc, "trailing_metadata"):  # gRPC proposal A6; a negative value forbids a retry
        for key, value in exc.trailing_metadata() or ():
            if key == "grpc-retry-pushback-ms":
                return _believable(int(value) / 1000)
    return None


def _header(headers: Any) -> object:
    if headers is None:
        return None
    pairs: Iterable[tuple[object, object]]
    pairs = (
        cast("Mapping[object, object]", headers).items() if hasattr(headers, "items") else headers
    )
    for key, value in pairs:
        name = key.decode("latin-1") if isinstance(key, bytes) else str(key)
        if name.lower() == "retry-after":
            return value
    return None


def _believable(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) and 0 <= seconds <= BELIEVED else None


def _http_date(text: str) -> float | None:
    # Imported late: the e-mail package is slow to load, and dates are rare.
    from datetime import UTC, datetime
    from email.utils import parsedate_tz

    try:
        parts = parsedate_tz(text)
        if parts is None:
            return None
        year, month, day, hour, minute, second = parts[:6]
        # A leap second is legal in the grammar and unknown to datetime.
        moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
        return moment.timestamp() - (parts[9] or 0)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
