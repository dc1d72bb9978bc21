"""The API: `create_app(settings)` assembles it. Importing this module opens no connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import RedirectResponse

from app import __version__
from app.clients import open_clients
from app.http.access import OPEN_FILES, permit
from app.http.authentication import AuthMiddleware, Guesses
from app.http.document import complete_document
from app.http.documentation import serve_redoc_script
from app.http.middleware import BodyLimit, BodyTimeout, SecureHeaders
from app.http.problems import add_problem_handlers
from app.http.query import check_query
from app.http.request_log import RequestLog
from app.http.waiting import WaitingRoom
from app.models.runs.leadership import SWEEP
from app.routers import (
    activity,
    assets,
    events,
    health,
    landing,
    lanes,
    lineage,
    maintenance,
    manifests,
    metrics,
    plans,
    runs,
    webhooks,
)
from app.routers.metrics import CountRequests, HttpMetrics
from app.services.access.api_keys import KeyRing
from app.services.runs.read import RunWatch
from app.services.sweep.election import LeaderWatch
from app.settings import Settings, listed

_DESCRIPTION = """
Files dropped into an object store become clean, versioned, traceable datasets.

Try it from top to bottom: upload the example of **PUT /landing/{key}**, submit the example of **POST /manifests**,
poll **GET /runs/{run_id}**, then read and download **/assets/places/v1**.

Every code has its row in the description of a schema at the end of this page: of a problem in **Problem**, of what is
wrong with a document in **ProblemFault**, of a failed run in **RunError**, of a warning in **RunWarning**.
"""


def create_app(settings: Settings) -> FastAPI:
    """The API with the clients that the settings choose. The ledger must be migrated."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_clients(settings) as clients, RunWatch(clients.ledger) as run_watch:
            app.state.clients, app.state.run_watch = clients, run_watch
            app.state.key_ring = KeyRing(clients.ledger)
            yield

    app: FastAPI = FastAPIOffline(
        title="spatial-etl",
        version=__version__,
        description=_DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=lifespan,
        dependencies=[Depends(permit), Depends(check_query)],
        separate_input_output_schemas=False,
        swagger_ui_parameters={"tryItOutEnabled": True, "defaultModelsExpandDepth": 0},
    )
    app.state.settings = settings
    add_problem_handlers(app)
    exempt = (("PUT", "/landing/"), ("POST", "/webhooks/"))
    large = frozenset({"/manifests", "/manifests/plan"})
    app.add_middleware(BodyLimit, max_bytes=settings.api.max_manifest_bytes, exempt=exempt, large=large)
    app.add_middleware(BodyTimeout, seconds=settings.api.patience_seconds)
    app.add_middleware(AuthMiddleware, settings=settings.api)
    app.state.guesses = Guesses(settings.api.wrong_key_limit)
    app.state.waiting_room = WaitingRoom(settings.api.max_waiting)
    app.state.http_metrics = HttpMetrics()
    app.state.sweep_watch = LeaderWatch(SWEEP)
    app.add_middleware(CountRequests, metrics=app.state.http_metrics)
    app.add_middleware(RequestLog)
    _add_browser_rules(app, settings)
    for module in (
        landing,
        plans,  # before manifests: the more specific path comes first
        manifests,
        runs,
        events,
        lanes,
        assets,
        lineage,
        webhooks,
        activity,
        maintenance,
        health,
        metrics,
    ):
        app.include_router(module.router)
    app.add_api_route("/", _to_docs, include_in_schema=False)
    serve_redoc_script(app)
    complete_document(app)
    return app


def _add_browser_rules(app: FastAPI, settings: Settings) -> None:
    """Added last and so outermost, so that refusals have these headers too."""
    if origins := listed(settings.api.cors_origins):
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "If-None-Match", "Last-Event-ID", "Range", "traceparent"],
            expose_headers=["Content-Disposition", "Content-Range", "ETag", "Link", "Location", "Retry-After"],
        )
    app.add_middleware(SecureHeaders, pages=frozenset({"/docs", "/redoc"}), files=OPEN_FILES[1])


async def _to_docs() -> RedirectResponse:
    return RedirectResponse("/docs")
