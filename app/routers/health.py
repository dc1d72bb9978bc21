"""Liveness and readiness."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel

from app import __version__
from app.deps import CallerDep, ClientsDep, SweepWatchDep
from app.http.problems import responses
from app.services.health import Readiness, ReadinessResults, readiness

router = APIRouter(tags=["health"])


class Health(BaseModel):
    status: str = "ok"
    version: str = __version__


@router.get("/health", summary="Check that the process is alive")
async def health() -> Health:
    return Health()


@router.get(
    "/ready",
    summary="Check the dependencies",
    responses={
        **responses(401, 403, 422, 429),
        503: {
            "model": Readiness | ReadinessResults,
            "description": "A required dependency is not available; its check says how to fix it.",
        },
    },
    openapi_extra={"security": [{}, {"ApiKey": ["read"]}]},
)
async def ready(
    clients: ClientsDep, sweep: SweepWatchDep, caller: CallerDep, response: Response
) -> Readiness | ReadinessResults:
    """Every dependency with its version, latency, warning, problem and fix.

    Where keys are required, a request without one gets names and `ok` only: enough for a load balancer. An unavailable
    queue or sweep is shown, but the service stays ready.
    """
    found = await readiness(clients, sweep=sweep)
    if not found.ready:
        response.status_code = 503
        response.headers["Retry-After"] = "5"
    return found.results() if caller.without_key else found
