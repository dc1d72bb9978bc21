"""Lanes: see what waits in them, hold them back, let them go on, limit them."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app.deps import CallerDep, ClientsDep
from app.routers.examples import EXAMPLE_LANE
from app.routers.problems import responses
from app.services import lanes
from app.services.lanes import State

router = APIRouter(prefix="/lanes", tags=["lanes"])

LaneName = Annotated[str, EXAMPLE_LANE]


class LaneView(BaseModel):
    """A lane. What it says of runs is up to a second old."""

    model_config = ConfigDict(from_attributes=True)

    lane: str
    state: State = Field(
        description="`closed`: MANIFEST_ROUTER_ENABLED_LANES leaves it out, so that manifests for it are refused; runs "
        "that were accepted before go on. `paused`: manifests are accepted, and their runs wait."
    )
    queued: int
    running: int = Field(description="Runs that are carried, those that are being canceled too.")
    limit: int | None = Field(description="Runs that may be carried at once; null: any number.")


class LanesView(BaseModel):
    """All lanes."""

    items: list[LaneView]


class LaneLimit(BaseModel):
    """How many runs of a lane may be carried at once."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=1_000_000)] | Literal["unlimited", "default"] | None = Field(
        description="null is `unlimited`; `default` is what SPATIAL_ETL_LANES__LIMITS says.", examples=[2]
    )


@router.get("", summary="List lanes", responses=responses())
async def list_lanes(clients: ClientsDep) -> LanesView:
    """State, limit, and how many runs wait and are carried."""
    return LanesView(items=[LaneView.model_validate(lane) for lane in await lanes.list_lanes(clients)])


@router.get("/{lane}", summary="Read a lane", responses=responses(404, 422))
async def get_lane(lane: LaneName, clients: ClientsDep) -> LaneView:
    """State, limit, and how many runs wait and are carried."""
    return LaneView.model_validate(await lanes.get_lane(lane, clients))


@router.post("/{lane}/pause", summary="Pause a lane", responses=responses(404, 422))
async def pause(lane: LaneName, clients: ClientsDep, caller: CallerDep) -> LaneView:
    """No run of it begins until it is resumed; those under way go on. Manifests are accepted, and wait."""
    return LaneView.model_validate(await lanes.pause(lane, clients, caller=caller))


@router.post("/{lane}/resume", summary="Resume a lane", responses=responses(404, 422))
async def resume(lane: LaneName, clients: ClientsDep, caller: CallerDep) -> LaneView:
    """Its runs begin again, oldest first."""
    return LaneView.model_validate(await lanes.resume(lane, clients, caller=caller))


@router.put("/{lane}/limit", summary="Limit a lane", responses=responses(400, 404, 422))
async def limit(lane: LaneName, wanted: LaneLimit, clients: ClientsDep, caller: CallerDep) -> LaneView:
    """Runs over a lower limit go on; no further one begins until there is room."""
    return LaneView.model_validate(await lanes.limit(lane, wanted.limit or "unlimited", clients, caller=caller))
