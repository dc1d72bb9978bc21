"""Metrics for Prometheus: those of `app.services.metrics`, and the requests of this process."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from prometheus_client import CollectorRegistry, Counter, Histogram, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.deps import ClientsDep, SweepWatchDep
from app.services import metrics

router = APIRouter(tags=["health"])

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
_BUCKETS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0)
_EXAMPLE = 'spatial_etl_up{dependency="ledger"} 1.0\nspatial_etl_runs{lane="spatial",status="queued"} 0.0\n'


class HttpMetrics:
    """Counts requests by route template. Their paths would make an unbounded number of series."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        labels = ("method", "route")
        self._requests = Counter(
            "spatial_etl_http_requests", "Requests answered.", (*labels, "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "spatial_etl_http_request_seconds",
            "Time until the response was sent, including waits and streams.",
            labels,
            buckets=_BUCKETS,
            registry=self.registry,
        )

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = str(getattr(scope.get("route"), "path", None) or "unmatched")
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)


class CountRequests:
    """ASGI middleware that counts each request in `metrics`."""

    def __init__(self, app: ASGIApp, metrics: HttpMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Without a response, an exception was raised: the framework then answers 500 outside of this middleware.
        status, began = 500, time.perf_counter()

        async def seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, seen)
        finally:
            self._metrics.observe(scope, status, time.perf_counter() - began)


class _All(Collector):
    def __init__(self, parts: Sequence[Iterable[Metric]]) -> None:
        self._parts = parts

    def collect(self) -> Iterable[Metric]:
        for part in self._parts:
            yield from part


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        200: {
            "description": "In the text format that Prometheus reads, or OpenMetrics where Accept asks for it.",
            "content": {"text/plain": {"schema": {"type": "string"}, "example": _EXAMPLE}},
        }
    },
)
async def get_metrics(
    request: Request,
    clients: ClientsDep,
    sweep: SweepWatchDep,
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """Metrics of ledger and queue (the same from every process), and of the requests of this process.

    While a server is unavailable, its `spatial_etl_up` is 0 and its other metrics are left out.
    """
    http: HttpMetrics = request.app.state.http_metrics
    encode, media_type = choose_encoder(accept or "")
    body = encode(_All((await metrics.collect(clients, sweep), http.registry.collect())))
    return Response(body, headers={"Content-Type": media_type, "Cache-Control": "no-store"})
