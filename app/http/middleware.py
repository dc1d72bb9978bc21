"""ASGI middleware: limits for the size and the duration of bodies, and security headers for browsers."""

from __future__ import annotations

import asyncio

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """Answers bodies of more than `max_bytes` with a 413 problem, except on routes in `exempt`.

    exempt: pairs of method and path prefix of the routes that apply another limit.
    large: paths of manifests. Other bodies have a few fields, and at most 64 KiB.
    """

    _SMALL = 64 * 1024

    def __init__(
        self, app: ASGIApp, max_bytes: int, exempt: tuple[tuple[str, str], ...], large: frozenset[str]
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._exempt = exempt
        self._large = large

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or any(
            scope["method"] == method and scope["path"].startswith(prefix) for method, prefix in self._exempt
        ):
            await self._app(scope, receive, send)
            return
        read = 0
        most = self._max_bytes if scope["path"] in self._large else min(self._SMALL, self._max_bytes)

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > most:
                raise HTTPException(413, f"The body has more than {most} bytes.")
            return message

        await self._app(scope, counted, send)


class SecureHeaders:
    """Security headers: responses may load nothing, and pages of the documentation only from this service.

    Uploaded files are never rendered in this origin: they are sent as attachments (see `streaming`) and sandboxed.
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
                    # Only the client may cache a response, and only one that it can revalidate by ETag.
                    headers["Cache-Control"] = "private, no-cache" if "etag" in headers else "no-store"
            await send(message)

        await self._app(scope, receive, secured)


class BodyTimeout:
    """Answers 408 when no byte of the body arrives for `seconds`."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        more = True

        async def timed() -> Message:
            nonlocal more
            if not more:
                # After the body only the disconnect can arrive, which has no time-out.
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self._seconds)
            except TimeoutError:
                more = False
                raise HTTPException(
                    408, f"No byte of the body arrived for {self._seconds:g} s.", {"Connection": "close"}
                ) from None
            more = bool(message.get("more_body"))
            return message

        await self._app(scope, timed, send)
