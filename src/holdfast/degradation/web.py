"""Say in the response how well the request was served: an ASGI middleware.

Needs no framework: FastAPI and Starlette take it with ``app.add_middleware(DegradedHeader)``, and
any other ASGI app with ``app = DegradedHeader(app)``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from holdfast.degradation.current import degradation_scope
from holdfast.errors import ConfigurationError

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]

_TOKEN: Final = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
"""What a header's name may consist of, in small letters (RFC 9110, section 5.6.2)."""


class DegradedHeader:
    """Add ``X-Degraded: cached`` (or ``static``, ``partial``) to responses that are degraded.

    Args:
        app: the ASGI application around which it stands.
        header: the name of the header. Default ``"X-Degraded"``.

    Raises:
        ConfigurationError: `header` cannot be the name of a header.

    It also makes each HTTP request one `degradation_scope`. The level is that of the moment in
    which the response starts; what a streamed body does later is not in it. A response served in
    full gets no header, and a header of that name by the application itself stays as it is.
    """

    def __init__(self, app: _App, header: str = "X-Degraded") -> None:
        if not header or not set(header.lower()) <= _TOKEN:
            raise ConfigurationError(f"header must be the name of a header, not {header!r}")
        self._app = app
        self._header = header.lower().encode("ascii")

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with degradation_scope() as request:

            async def send_and_say(message: _Message) -> None:
                if message["type"] == "http.response.start":
                    served = request.snapshot()
                    headers = list(message.get("headers", ()))
                    if served.degraded and not any(
                        bytes(name).lower() == self._header for name, _ in headers
                    ):
                        headers.append((self._header, served.level.encode("ascii")))
                        message = {**message, "headers": headers}
                await send(message)

            await self._app(scope, receive, send_and_say)
