"""Caps request bodies before anything reads them, whether or not they announce their length.

FastAPI's own `max_body_size` answers in plain text; this one answers with a problem. A body that announces too much is
partly drained first, because closing with unread bytes resets the connection and loses the answer.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import darkroom_error_response
from darkroom.errors import BodyTooLarge

DRAIN_BYTES = 1024 * 1024


class BodyLimit:
    """Middleware that refuses bodies of more than `max_bytes`."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._detail = f"The request body is larger than the {max_bytes} bytes that the server accepts."

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced[:20]) > self._max_bytes:
            await _drain(receive)
            await darkroom_error_response(scope, BodyTooLarge(self._detail))(scope, receive, send)
            return
        await self._app(scope, self._counted(receive), send)

    def _counted(self, receive: Receive) -> Receive:
        left = self._max_bytes

        async def counted() -> Message:
            nonlocal left
            message = await receive()
            if message["type"] == "http.request":
                left -= len(message.get("body", b""))
                if left < 0:
                    await _drain(receive, more=message.get("more_body", False))
                    raise BodyTooLarge(self._detail)
            return message

        return counted


async def _drain(receive: Receive, *, more: bool = True) -> None:
    left = DRAIN_BYTES
    while more and left > 0:
        message = await receive()
        left -= len(message.get("body", b""))
        more = message.get("more_body", False)
