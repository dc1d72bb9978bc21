"""Read runs and their logs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from app.deps import ClientsDep, PageDep
from app.errors import NotFound
from app.ledger import Ledger, RunFilter
from app.models.run import Run, RunEvent, RunStatus
from app.routers.examples import EXAMPLE_RUN
from app.routers.problems import responses
from app.routers.streaming import etag_matches
from app.routers.views import PageOf, RunView, page_of, run_view

router = APIRouter(prefix="/runs", tags=["runs"])

# Seconds that a poller should wait before it asks again.
_POLL_AFTER = "1"


async def _get(ledger: Ledger, run_id: str) -> Run:
    run = await ledger.get_run(run_id)
    if run is None:
        raise NotFound(f"There is no run {run_id!r}.", "GET /runs lists them.")
    return run


@router.get("", summary="List runs", responses=responses(422))
async def list_runs(
    clients: ClientsDep,
    page: PageDep,
    request: Request,
    response: Response,
    status: RunStatus | None = None,
    batch_id: str | None = None,
    dataset_id: str | None = None,
    lane: str | None = None,
) -> PageOf[RunView]:
    """Newest first."""
    found = await clients.ledger.list_runs(RunFilter(status, batch_id, dataset_id, lane), page)
    return page_of([run_view(run) for run in found.items], found, request, response)


@router.get(
    "/{run_id}",
    summary="Read a run",
    response_model=RunView,
    responses={304: {"description": "Nothing changed since the ETag in If-None-Match."}, **responses(404, 422)},
)
async def get_run(
    run_id: Annotated[str, EXAMPLE_RUN],
    clients: ClientsDep,
    response: Response,
    if_none_match: Annotated[str | None, Header()] = None,
) -> RunView | Response:
    """Status, step, progress, counts, warnings and error. Poll it with If-None-Match, as often as Retry-After says."""
    run = await _get(clients.ledger, run_id)
    headers = {"ETag": f'"{run.revision}"', "Cache-Control": "no-cache"}
    if not run.status.is_final:
        headers["Retry-After"] = _POLL_AFTER
    if etag_matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return run_view(run)


@router.get("/{run_id}/events", summary="Read a run's log", responses=responses(404, 422))
async def list_events(
    run_id: Annotated[str, EXAMPLE_RUN],
    clients: ClientsDep,
    after: Annotated[int, Query(ge=0, le=2**53, description="Only events with a greater seq.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[RunEvent]:
    """Oldest first; ask again with `after` set to the last seq seen."""
    await _get(clients.ledger, run_id)
    return list(await clients.ledger.list_events(run_id, after, limit))
