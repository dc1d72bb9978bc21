"""What every request passes through: a limit on bodies, and a policy that keeps the documentation pages offline."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """Reading more than `max_bytes` raises 413. What has a method and path prefix of `exempt` has a limit of its own.

    The framework's limit would answer in plain text; this one is answered with a problem.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, exempt: tuple[tuple[str, str], ...]) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._exempt = exempt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or any(
            scope["method"] == method and scope["path"].startswith(prefix) for method, prefix in self._exempt
        ):
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


class OfflineDocs:
    """The documentation pages may load from this service only (ReDoc asks for a logo from elsewhere)."""

    _POLICY = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    _REST = "img-src 'self' data: blob:; worker-src blob:"

    def __init__(self, app: ASGIApp, pages: frozenset[str]) -> None:
        self._app = app
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in self._pages:
            await self._app(scope, receive, send)
            return

        async def restricted(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = self._POLICY + self._REST
            await send(message)

        await self._app(scope, receive, restricted)
