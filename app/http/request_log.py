"""One log line per request, and its request id and trace id in the response headers and in all of its log lines."""

from __future__ import annotations

import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.models.base import new_id
from app.models.runs.trace import parse_traceparent
from app.system.logs import bind

logger = logging.getLogger(__name__)

# Polled every few seconds by monitoring.
_QUIET = frozenset({"/health", "/ready", "/metrics"})


class RequestLog:
    """Sets `request.state.traceparent`, and logs method, path (without query), status and duration at INFO."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, traceparent = new_id(), parse_traceparent(Headers(scope=scope).getlist("traceparent"))
        # Never unbound: unexpected errors are logged outside of this middleware, in the same task.
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
