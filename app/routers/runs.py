"""Read runs, wait for them, stop them and run them again. Their logs: `app.routers.events`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from app.deps import CallerDep, ClientDep, ClientsDep, PageDep, RunWatchDep, SettingsDep, WaitingRoomDep
from app.http.examples import EXAMPLE_RUN
from app.http.lake_files import FILE_RESPONSES, EtagHeader, RangeHeader, lake_file
from app.http.problems import responses
from app.http.streaming import etag_matches
from app.http.views import PageOf, RunView, page_of, retry_after, run_view, run_views
from app.ledger import RunFilter
from app.models.products import PRODUCT_TYPES
from app.models.runs.run import Run, RunStatus
from app.routers.rerunning import Rerun, rerun_responses
from app.services.runs import control as runs_control
from app.services.runs.read import MAX_WAIT_SECONDS, RunWatch
from app.services.runs.rejected import rejected_product

router = APIRouter(prefix="/runs", tags=["runs"])

Wait = Annotated[
    float,
    Query(
        ge=0,
        le=MAX_WAIT_SECONDS,
        allow_inf_nan=False,
        description="Seconds that the answer may wait for news. With If-None-Match: until the run is another than that "
        "ETag's (304 when the time is over, and at once for a run that is over). Without: until the run is over, or as "
        "it is when the time is over.",
    ),
]


@router.get("", summary="List runs", responses=responses(422))
async def list_runs(
    clients: ClientsDep,
    page: PageDep,
    request: Request,
    response: Response,
    status: Annotated[tuple[RunStatus, ...], Query(description="Repeatable: any of them.")] = (),
    batch_id: str | None = None,
    dataset_id: str | None = None,
    lane: str | None = None,
) -> PageOf[RunView]:
    """Newest first."""
    found = await clients.ledger.list_runs(RunFilter(status or None, batch_id, dataset_id, lane), page)
    return page_of(await run_views(found.items, clients), found, request, response)


@router.get(
    "/{run_id}",
    summary="Read a run, or wait for news of it",
    response_model=RunView,
    responses={304: {"description": "Nothing changed since the ETag in If-None-Match."}, **responses(404, 422, 429)},
)
async def get_run(
    run_id: Annotated[str, EXAMPLE_RUN],
    clients: ClientsDep,
    watch: RunWatchDep,
    room: WaitingRoomDep,
    client: ClientDep,
    request: Request,
    response: Response,
    if_none_match: Annotated[str | None, Header()] = None,
    wait: Wait = 0,
) -> RunView | Response:
    """Status, step, progress, counts, warnings and error.

    Ask again with If-None-Match and `wait`, or as often as Retry-After says.
    """
    run = await watch.reader.get(run_id)
    view = await run_view(run, clients)
    known = if_none_match is not None and etag_matches(if_none_match, _etag(view))

    def enough(found: Run) -> bool:
        return found.status.is_final or (if_none_match is not None and (not known or found.revision > run.revision))

    if wait and not enough(run):
        with room.waiting(client):
            view = await run_view(await _while_connected(request, watch, run, enough, wait), clients)
    headers = {"ETag": _etag(view), "Cache-Control": "no-cache"}
    if not view.status.is_final:
        headers["Retry-After"] = retry_after(view)
    if etag_matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return view


@router.get(
    "/{run_id}/rejected",
    summary="Download the product that failed its checks",
    response_class=Response,
    responses=FILE_RESPONSES,
)
async def download_rejected(
    run_id: Annotated[str, EXAMPLE_RUN],
    clients: ClientsDep,
    range_: RangeHeader = None,
    if_none_match: EtagHeader = None,
) -> Response:
    """Its bytes, or a redirect to them. It is no version of the dataset, and is kept for a day by default."""
    key = await rejected_product(run_id, clients)
    name = key.rpartition("/")[2]
    return await lake_file(
        clients,
        key,
        etag=f'"{name.partition(".")[0]}"',
        media_type=PRODUCT_TYPES["parquet"].media_type,
        file_name=f"rejected_{run_id}.parquet",
        range_header=range_,
        if_none_match=if_none_match,
    )


@router.post(
    "/{run_id}/cancel",
    status_code=202,
    summary="Cancel a run",
    responses=responses(404, 409, 422),
)
async def cancel_run(
    run_id: Annotated[str, EXAMPLE_RUN],
    clients: ClientsDep,
    settings: SettingsDep,
    caller: CallerDep,
    response: Response,
) -> RunView:
    """A queued run is canceled at once. A running one is `canceling` until it has stopped, and then leaves nothing.

    Asking again is safe. A run whose version was in the catalogue already ends in success, with the warning
    `cancel_too_late`. 409 (`run_over`): the run was over.
    """
    run = await runs_control.cancel(run_id, clients, seconds=settings.run.cancel_seconds, caller=caller)
    if not run.status.is_final:
        response.headers["Retry-After"] = retry_after(run)
    return await run_view(run, clients)


@router.post(
    "/{run_id}/rerun",
    status_code=202,
    summary="Run it again",
    responses=rerun_responses(404, 409, 422, 429),
)
async def rerun(run_id: Annotated[str, EXAMPLE_RUN], again: Rerun) -> RunView:
    """A further run of the same manifest, which names this one in `retry_of`.

    Its warning `inputs_changed` names the files that are not what they were. 409 (`run_not_over`): the batch has a run
    that is not over.
    """
    return await again(run_id=run_id)


def _etag(view: RunView) -> str:
    """With what a queued run waits for, which changes without a new revision."""
    return f'"{view.revision}"' if view.waiting_for is None else f'"{view.revision}.{view.waiting_for}"'


async def _while_connected(
    request: Request, watch: RunWatch, run: Run, enough: Callable[[Run], bool], seconds: float
) -> Run:
    """The run once it is `enough` or the time is over; unchanged when the client has disconnected."""
    waiting = asyncio.create_task(watch.wait_for(run, enough, seconds))
    disconnected = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({waiting, disconnected}, return_when=asyncio.FIRST_COMPLETED)
        return waiting.result() if waiting.done() else run
    finally:
        waiting.cancel()
        disconnected.cancel()
        await asyncio.gather(waiting, disconnected, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
