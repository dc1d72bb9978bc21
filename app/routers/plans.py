"""POST /manifests/plan: what a manifest would do."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Request

from app.deps import CallerDep, ClientsDep, SettingsDep
from app.models.manifest import Manifest
from app.models.plan import Plan
from app.routers.examples import MANIFEST_EXAMPLES
from app.routers.problems import responses
from app.services import plans
from app.services.documents import read_json

router = APIRouter(prefix="/manifests", tags=["manifests"])


@router.post("/plan", summary="Plan a manifest without running it", responses=responses(400, 409, 413, 422, 502, 504))
async def plan_manifest(
    manifest: Annotated[Manifest, Body(openapi_examples=MANIFEST_EXAMPLES)],
    clients: ClientsDep,
    settings: SettingsDep,
    caller: CallerDep,
    request: Request,
) -> Plan:
    """Validate a manifest as POST /manifests does, then have a worker look at its sources, and say what would happen.

    Nothing is written and no version is reserved. A plan says `be refused` with the refusals of the run, for all files
    at once, `change nothing` where the newest version holds the same already, else `succeed`; `not_looked_at` names
    what only a run finds out. Tables are read as a whole, because all rows decide about types; of vector files and
    rasters the descriptions are read. `files[].editable` can be put into the manifest's `files[]` as it stands.
    """
    # FastAPI takes the last of two equal names without a word.
    read_json(await request.body())
    patience = plans.Patience(
        settings.plan.wait_seconds, settings.plan.time_limit_seconds, settings.run.heartbeat_seconds
    )
    return await plans.plan(manifest, clients, enabled_lanes=settings.enabled_lanes, patience=patience, caller=caller)
