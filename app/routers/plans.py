"""POST /manifests/plan: what a manifest would do."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body

from app.deps import CallerDep, ClientsDep, SettingsDep
from app.http.examples import MANIFEST_EXAMPLES
from app.http.manifest_body import ManifestRoute
from app.http.problems import responses
from app.models.manifests.manifest import Manifest
from app.models.plan import Plan
from app.services.intake import plans

router = APIRouter(prefix="/manifests", tags=["manifests"], route_class=ManifestRoute)


@router.post(
    "/plan", summary="Plan a manifest without running it", responses=responses(400, 409, 413, 422, 429, 502, 504)
)
async def plan_manifest(
    manifest: Annotated[Manifest, Body(openapi_examples=MANIFEST_EXAMPLES)],
    clients: ClientsDep,
    settings: SettingsDep,
    caller: CallerDep,
) -> Plan:
    """Validate a manifest as POST /manifests does, then have a worker look at its sources, and say what would happen.

    Nothing is written and no version is reserved. A plan says `be refused` with the refusals of the run, for all files
    at once, `change nothing` where the newest version holds the same already, else `succeed`; `not_looked_at` names
    what only a run finds out. Tables are read as a whole, because all rows decide about types; of vector files and
    rasters the descriptions are read. `files[].editable` can be put into the manifest's `files[]` as it stands.
    """
    timeouts = plans.PlanTimeouts(
        settings.plan.wait_seconds, settings.plan.time_limit_seconds, settings.run.heartbeat_seconds
    )
    lanes, recipes = settings.enabled_lanes, settings.recipes
    return await plans.plan(manifest, clients, enabled_lanes=lanes, recipes=recipes, timeouts=timeouts, caller=caller)
