"""Submit manifests, read them, run them again and withdraw them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query, Request, Response

from app.deps import CallerDep, ClientsDep, PageDep, SettingsDep
from app.errors import NotFound
from app.http.examples import EXAMPLE_BATCH, MANIFEST_EXAMPLES
from app.http.manifest_body import ManifestRoute
from app.http.problems import responses
from app.http.times import Moment
from app.http.views import (
    ManifestSummaryView,
    ManifestWithRuns,
    PageOf,
    RunView,
    manifest_view,
    page_of,
    run_view,
    run_views,
    summary_view,
)
from app.ledger import ManifestFilter, RunFilter
from app.models.manifests.manifest import Manifest, ManifestStatus
from app.models.page import Page
from app.routers.rerunning import RUN_HEADERS, Rerun, TraceParent, accepted_view, rerun_responses
from app.services.intake import submit as intake
from app.services.runs import control as runs_control

router = APIRouter(prefix="/manifests", tags=["manifests"], route_class=ManifestRoute)

Term = Annotated[str | None, Query(max_length=200)]


@router.post(
    "",
    status_code=202,
    summary="Submit a manifest",
    responses={
        200: {
            "model": RunView,
            "description": "The same manifest was accepted before. The body is its run.",
            "headers": RUN_HEADERS,
        },
        202: {"description": "Accepted. The body is its run.", "headers": RUN_HEADERS},
        **responses(400, 409, 413, 422, 429),
    },
)
async def post_manifest(
    manifest: Annotated[Manifest, Body(openapi_examples=MANIFEST_EXAMPLES)],
    clients: ClientsDep,
    settings: SettingsDep,
    caller: CallerDep,
    response: Response,
    traceparent: TraceParent,
) -> RunView:
    """Validate a manifest and queue its run. Every fault is reported at once.

    Posting the same manifest again is safe: the answer is 200 with the existing run. 429 (`queue_full`): too many runs
    are queued or running; nothing was accepted.
    """
    origin = intake.Origin(caller=caller, traceparent=traceparent)
    lanes, recipes = settings.enabled_lanes, settings.recipes
    accepted = await intake.submit(manifest, clients, enabled_lanes=lanes, recipes=recipes, origin=origin)
    response.status_code = 202 if accepted.created else 200
    return await accepted_view(accepted.run, clients, response)


@router.get("", summary="List manifests", responses=responses(422))
async def list_manifests(
    clients: ClientsDep,
    page: PageDep,
    request: Request,
    response: Response,
    status: Annotated[tuple[ManifestStatus, ...], Query(description="Repeatable: any of them.")] = (),
    intent: Term = None,
    uploader: Term = None,
    project: Term = None,
    testing: Annotated[bool | None, Query(description="Only test runs, or only others.")] = None,
    since: Annotated[
        Moment | None,
        Query(
            description="Ingested at or after this time, with its zone: 2026-11-22T10:00:00Z.",
        ),
    ] = None,
    object_key: Annotated[
        str | None,
        Query(
            max_length=1024,
            description="Key of the landing-zone object that the manifest was dropped as: `manifests/….json`.",
        ),
    ] = None,
) -> PageOf[ManifestSummaryView]:
    """Newest first, without the documents and with the first faults: GET /manifests/{batch_id} has all of one.

    `status=rejected` lists invalid manifests that were dropped into the landing zone.
    """
    where = ManifestFilter(status or None, intent, uploader, project, testing, since, object_key)
    found = await clients.ledger.list_manifest_summaries(where, page)
    return page_of([summary_view(each) for each in found.items], found, request, response)


@router.get("/{batch_id}", summary="Read a manifest with its runs", responses=responses(404, 410, 422))
async def get_manifest(
    batch_id: Annotated[str, EXAMPLE_BATCH],
    clients: ClientsDep,
) -> ManifestWithRuns:
    """The manifest as accepted, its status and its runs, newest first; for a rejected one its faults."""
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
    responses=rerun_responses(404, 409, 410, 422, 429),
)
async def rerun(batch_id: Annotated[str, EXAMPLE_BATCH], again: Rerun) -> RunView:
    """Create a run, with the newest run of the batch in `retry_of`.

    409: that run is not over (`run_not_over`), or the manifest was rejected (`manifest_rejected`).
    """
    return await again(batch_id=batch_id)


@router.delete("/{batch_id}", summary="Withdraw a queued manifest", responses=responses(404, 409, 410, 422))
async def withdraw(batch_id: Annotated[str, EXAMPLE_BATCH], clients: ClientsDep, caller: CallerDep) -> RunView:
    """Cancel its run before it starts. The manifest stays readable, and its batch_id stays taken.

    409: the run has started (`run_not_over`: cancel it instead), is over (`run_over`), or the manifest was rejected and
    has no run (`manifest_rejected`).
    """
    return await run_view(await runs_control.withdraw(batch_id, clients, caller=caller), clients)
