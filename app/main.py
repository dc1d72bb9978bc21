"""The API. `create_app(settings)` is the composition root; importing this module opens nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.responses import RedirectResponse

from app import __version__
from app.clients import open_clients
from app.models.leadership import SWEEP
from app.routers import activity, assets, events, health, landing, lineage, manifests, metrics, plans, runs, webhooks
from app.routers.metrics import CountRequests, HttpMetrics
from app.routers.middleware import BodyLimit, OfflineDocs
from app.routers.problems import Problem, ProblemFault, add_problem_handlers
from app.services.election import LeaderWatch
from app.services.runs import RunWatch
from app.settings import Settings

_DESCRIPTION = """
Files dropped into an object store become clean, versioned, traceable datasets.

Try it from top to bottom: upload the example of **PUT /landing/{key}**, submit the example of **POST /manifests**,
poll **GET /runs/{run_id}**, then read and download **/assets/places/v1**.
"""


def create_app(settings: Settings) -> FastAPI:
    """The API over what the settings choose. The ledger is expected to be migrated."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_clients(settings) as clients, RunWatch(clients.ledger) as run_watch:
            app.state.clients, app.state.run_watch = clients, run_watch
            yield

    app: FastAPI = FastAPIOffline(
        title="spatial-etl",
        version=__version__,
        description=_DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=lifespan,
        separate_input_output_schemas=False,
        swagger_ui_parameters={"tryItOutEnabled": True, "defaultModelsExpandDepth": 0},
    )
    app.state.settings = settings
    add_problem_handlers(app)
    exempt = (("PUT", "/landing/"), ("POST", "/webhooks/"))
    app.add_middleware(BodyLimit, max_bytes=settings.api.max_manifest_bytes, exempt=exempt)
    app.add_middleware(OfflineDocs, pages=frozenset({"/docs", "/redoc"}))
    app.state.http_metrics = HttpMetrics()
    app.state.sweep_watch = LeaderWatch(SWEEP)
    app.add_middleware(CountRequests, metrics=app.state.http_metrics)
    for module in (landing, manifests, plans, runs, events, assets, lineage, webhooks, activity, health, metrics):
        app.include_router(module.router)
    app.add_api_route("/", _to_docs, include_in_schema=False)
    _document_problems(app)
    return app


async def _to_docs() -> RedirectResponse:
    return RedirectResponse("/docs")


def _document_problems(app: FastAPI) -> None:
    """Put the problem's schema into the document; take out FastAPI's own validation error, which is never sent."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            schemas = document["components"]["schemas"]
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            reference = "#/components/schemas/{model}"
            for model in (Problem, ProblemFault):
                schema = model.model_json_schema(ref_template=reference)
                schema.pop("$defs", None)
                schemas[model.__name__] = schema
        assert app.openapi_schema is not None  # noqa: S101 # set by the generator
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way to extend the document
