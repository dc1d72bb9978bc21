"""Liveness and readiness."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel

from app import __version__
from app.deps import ClientsDep, SweepWatchDep
from app.services.health import Readiness, readiness

router = APIRouter(tags=["health"])


class Health(BaseModel):
    status: str = "ok"
    version: str = __version__


@router.get("/health", summary="Is the process alive")
async def health() -> Health:
    return Health()


@router.get(
    "/ready",
    summary="Is everything that it needs there",
    responses={
        503: {"model": Readiness, "description": "Something that is required is missing; its check says what to do."}
    },
)
async def ready(clients: ClientsDep, sweep: SweepWatchDep, response: Response) -> Readiness:
    """Every dependency with its version and latency.

    A queue or a sweep that is away is shown but does not make it unready.
    """
    found = await readiness(clients, sweep=sweep)
    if not found.ready:
        response.status_code = 503
        response.headers["Retry-After"] = "5"
    return found
