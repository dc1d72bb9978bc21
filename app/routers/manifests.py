"""Submit manifests, read them, run them again and withdraw them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query, Request, Response

from app.deps import CallerDep, ClientsDep, PageDep, SettingsDep
from app.errors import NotFound
from app.ledger import ManifestFilter, RunFilter
from app.models.manifest import Manifest, ManifestStatus
from app.models.page import Page
from app.routers.examples import EXAMPLE_BATCH, MANIFEST_EXAMPLES
from app.routers.problems import responses
from app.routers.rerunning import RERUN, RUN_HEADERS, NewVersion, TraceParent, accepted_view
from app.routers.times import Moment
from app.routers.views import (
    ManifestView,
    ManifestWithRuns,
    PageOf,
    RunView,
    manifest_view,
    page_of,
    run_view,
    run_views,
)
from app.services import intake, runs_control
from app.services.documents import read_json

router = APIRouter(prefix="/manifests", tags=["manifests"])


@router.post(
    "",
    status_code=202,
    summary="Submit a manifest",
    responses={
        200: {
            "model": RunView,
            "description": "The same manifest was accepted before: its run.",
            "headers": RUN_HEADERS,
        },
        202: {"description": "Accepted: the run that will carry it, readable at once.", "headers": RUN_HEADERS},
        **responses(400, 409, 413, 422, 429),
    },
)
async def post_manifest(
    manifest: Annotated[Manifest, Body(openapi_examples=MANIFEST_EXAMPLES)],
    clients: ClientsDep,
    settings: SettingsDep,
    caller: CallerDep,
    request: Request,
    response: Response,
    traceparent: TraceParent,
) -> RunView:
    """Validate a manifest and queue its run. Every fault is reported at once.

    Posting the same manifest again is safe: the answer is 200 with the run that there is. 429 (`queue_full`): too many
    runs are not over; nothing was accepted.
    """
    # FastAPI takes the last of two equal names without a word.
    read_json(await request.body())
    origin = intake.Origin(caller=caller, traceparent=traceparent)
    accepted = await intake.submit(manifest, clients, enabled_lanes=settings.enabled_lanes, origin=origin)
    response.status_code = 202 if accepted.created else 200
    return await accepted_view(accepted.run, clients, response)


@router.get("", summary="List manifests", responses=responses(422))
async def list_manifests(
    clients: ClientsDep,
    page: PageDep,
    request: Request,
    response: Response,
    status: ManifestStatus | None = None,
    intent: str | None = None,
    uploader: str | None = None,
    project: str | None = None,
    testing: Annotated[bool | None, Query(description="Only test runs, or only others.")] = None,
    since: Annotated[
        Moment | None,
        Query(
            description="Ingested at or after this time, with its zone: 2026-11-22T10:00:00Z.",
        ),
    ] = None,
    object_key: Annotated[
        str | None, Query(description="Key of the landing-zone object that it came in: `manifests/….json`.")
    ] = None,
) -> PageOf[ManifestView]:
    """Newest first. `status=rejected` lists what was dropped into the landing zone and could not be accepted."""
    where = ManifestFilter(status, intent, uploader, project, testing, since, object_key)
    found = await clients.ledger.list_manifests(where, page)
    return page_of([manifest_view(record) for record in found.items], found, request, response)


@router.get("/{batch_id}", summary="Read a manifest with its runs", responses=responses(404, 410, 422))
async def get_manifest(
    batch_id: Annotated[str, EXAMPLE_BATCH],
    clients: ClientsDep,
) -> ManifestWithRuns:
    """The manifest as it was accepted, where it stands, and its runs, newest first; of a rejected one its faults."""
    record = await clients.ledger.get_manifest(batch_id)
    if record is None:
        raise NotFound(f"There is no manifest with batch_id {batch_id!r}.", "GET /manifests lists them.")
    if record.status is ManifestStatus.REMOVED:
        raise runs_control.manifest_removed(batch_id)
    runs = await clients.ledger.list_runs(RunFilter(batch_id=batch_id), Page(limit=1000))
    return ManifestWithRuns(**dict(manifest_view(record)), runs=await run_views(runs.items, clients))


@router.post(
    "/{batch_id}/rerun",
    status_code=202,
    summary="Run a manifest again",
    responses={202: {"description": RERUN, "headers": RUN_HEADERS}, **responses(404, 409, 410, 422, 429)},
)
async def rerun(
    batch_id: Annotated[str, EXAMPLE_BATCH],
    clients: ClientsDep,
    settings: SettingsDep,
    caller: CallerDep,
    response: Response,
    traceparent: TraceParent,
    new_version: NewVersion = None,
) -> RunView:
    """A further run, which names the newest one in `retry_of`.

    409: that one is not over (`run_not_over`), or the manifest was rejected (`manifest_rejected`).
    """
    run = await runs_control.rerun_batch(
        batch_id,
        clients,
        enabled_lanes=settings.enabled_lanes,
        new_version=new_version,
        traceparent=traceparent,
        caller=caller,
    )
    return await accepted_view(run, clients, response)


@router.delete("/{batch_id}", summary="Withdraw a manifest that waits", responses=responses(404, 409, 410, 422))
async def withdraw(batch_id: Annotated[str, EXAMPLE_BATCH], clients: ClientsDep, caller: CallerDep) -> RunView:
    """Cancel its run, which has not begun. The manifest stays readable, and its batch_id taken.

    409: the run has begun (`run_not_over`: cancel it), is over (`run_over`), or there is none (`manifest_rejected`).
    """
    return await run_view(await runs_control.withdraw(batch_id, clients, caller=caller), clients)
