"""What every request passes through: limits of bodies in size and in time, and headers for browsers."""

from __future__ import annotations

import asyncio

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


class SecureHeaders:
    """What a browser may do with an answer: nothing, unless it is a page of the documentation.

    Those may load from this service only (ReDoc asks for a logo from elsewhere). What users uploaded is never shown in
    this origin: it comes as an attachment (see `streaming`), and would be sandboxed if it were opened.
    """

    _DOCS = (
        "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; worker-src blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    )
    _REST = "default-src 'none'; frame-ancestors 'none'; sandbox"

    def __init__(self, app: ASGIApp, pages: frozenset[str], files: str) -> None:
        self._app = app
        self._pages = pages
        self._files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        is_page, is_file = path in self._pages, path.startswith(self._files)

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = self._DOCS if is_page else self._REST
                headers["X-Content-Type-Options"] = "nosniff"
                headers["X-Frame-Options"] = "DENY"
                headers["Referrer-Policy"] = "no-referrer"
                headers["Cross-Origin-Resource-Policy"] = "same-origin"
                if not is_file and "cache-control" not in headers:
                    # With an ETag it may be kept by whoever got it, and asked for again; nobody else may keep it.
                    headers["Cache-Control"] = "private, no-cache" if "etag" in headers else "no-store"
            await send(message)

        await self._app(scope, receive, secured)


class Patience:
    """A body in which nothing comes for `seconds` ends the request, instead of holding it open for ever."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        more = True

        async def impatient() -> Message:
            nonlocal more
            if not more:
                # Only the end of the connection can come now, and for that one may wait for long.
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self._seconds)
            except TimeoutError:
                more = False
                raise HTTPException(
                    408, f"Nothing came of the body for {self._seconds:g} s.", {"Connection": "close"}
                ) from None
            more = bool(message.get("more_body"))
            return message

        await self._app(scope, impatient, send)
