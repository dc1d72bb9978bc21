"""A limit on request bodies whose excess is answered with a problem (the framework's own limit answers in plain text)."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """ASGI middleware: reading more than `max_bytes` raises 413. Streamed uploads below `exempt` have their own limit."""

    def __init__(self, app: ASGIApp, max_bytes: int, exempt: str) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._exempt = exempt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(self._exempt):
            await self._app(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._max_bytes:
                raise HTTPException(413, f"The body has more than {self._max_bytes} bytes.")
            return message

        await self._app(scope, counted, send)
