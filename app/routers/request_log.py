"""What names a request: its id and trace, in its answer, in the lines logged meanwhile, and in one line of its own."""

from __future__ import annotations

import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.logs import bind
from app.models.base import new_id
from app.models.trace import accepted

logger = logging.getLogger(__name__)

# Asked every few seconds by whoever watches the service.
_QUIET = frozenset({"/health", "/ready", "/metrics"})


class RequestLog:
    """`request.state.traceparent` is the trace; at INFO a line tells method, path (no query), status and duration."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, traceparent = new_id(), accepted(Headers(scope=scope).getlist("traceparent"))
        # Not taken back: the answer to an unknown error is logged outside of this, in the same task.
        bind(request_id=request_id, traceparent=traceparent)
        scope.setdefault("state", {})["traceparent"] = traceparent
        status, began = 500, time.perf_counter()

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["traceparent"], headers["x-request-id"] = traceparent, request_id
            await send(message)

        try:
            await self._app(scope, receive, named)
        finally:
            # As it came, percent-encoded: a decoded path may hold line breaks.
            path = bytes(scope.get("raw_path") or b"?").decode("ascii", "replace").partition("?")[0]
            milliseconds = round((time.perf_counter() - began) * 1000, 1)
            client = scope["client"][0] if scope.get("client") else None
            fields = {"method": scope["method"], "path": path, "status": status, "duration_ms": milliseconds}
            level = logging.DEBUG if path in _QUIET else logging.INFO
            logger.log(
                level, "%s %s %s %s ms", scope["method"], path, status, milliseconds, extra={**fields, "client": client}
            )
