"""Lanes: list, pause, resume and limit them."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from app.deps import CallerDep, ClientsDep
from app.http.examples import EXAMPLE_LANE
from app.http.problems import responses
from app.messages.request import LIMIT_INVALID
from app.models.json_values import shown
from app.models.problem_text import wrong
from app.services.runs import lane_control as lanes
from app.services.runs.lane_control import State

router = APIRouter(prefix="/lanes", tags=["lanes"])

LaneName = Annotated[str, EXAMPLE_LANE]


class LaneView(BaseModel):
    """A lane. Its numbers of runs are up to a second old."""

    model_config = ConfigDict(from_attributes=True)

    lane: str
    state: State = Field(
        description="`closed`: not in MANIFEST_ROUTER_ENABLED_LANES, so that manifests for it are refused; runs that "
        "were accepted before continue. `paused`: manifests are accepted, and their runs wait."
    )
    queued: int
    running: int = Field(description="Runs that are running or being canceled.")
    limit: int | None = Field(description="Maximum number of concurrent runs; null: no limit.")


class LanesView(BaseModel):
    """All lanes."""

    items: list[LaneView]


def _limit(value: object, validate: ValidatorFunctionWrapHandler) -> object:
    """One error instead of one for each type that a limit may have."""
    try:
        return validate(value)
    except ValidationError as err:
        # The code of the type or range that the value misses.
        raise wrong(replace(LIMIT_INVALID, code=err.errors()[0]["type"]), value=shown(value)) from None


class LaneLimit(BaseModel):
    """The maximum number of concurrent runs of a lane."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[
        Annotated[int, Field(ge=1, le=1_000_000)] | Literal["unlimited", "default"] | None, WrapValidator(_limit)
    ] = Field(
        description="null means `unlimited`; `default` means the limit in SPATIAL_ETL_LANES__LIMITS.", examples=[2]
    )


@router.get("", summary="List lanes", responses=responses())
async def list_lanes(clients: ClientsDep) -> LanesView:
    """State, limit, and numbers of queued and running runs."""
    return LanesView(items=[LaneView.model_validate(lane) for lane in await lanes.list_lanes(clients)])


@router.get("/{lane}", summary="Read a lane", responses=responses(404, 422))
async def get_lane(lane: LaneName, clients: ClientsDep) -> LaneView:
    """State, limit, and numbers of queued and running runs."""
    return LaneView.model_validate(await lanes.get_lane(lane, clients))


@router.post("/{lane}/pause", summary="Pause a lane", responses=responses(404, 422))
async def pause(lane: LaneName, clients: ClientsDep, caller: CallerDep) -> LaneView:
    """No run of the lane starts until it is resumed. Current runs continue; manifests are accepted, and wait."""
    return LaneView.model_validate(await lanes.pause(lane, clients, caller=caller))


@router.post("/{lane}/resume", summary="Resume a lane", responses=responses(404, 422))
async def resume(lane: LaneName, clients: ClientsDep, caller: CallerDep) -> LaneView:
    """Runs of the lane start again, oldest first."""
    return LaneView.model_validate(await lanes.resume(lane, clients, caller=caller))


@router.put("/{lane}/limit", summary="Limit a lane", responses=responses(400, 404, 422))
async def limit(lane: LaneName, wanted: LaneLimit, clients: ClientsDep, caller: CallerDep) -> LaneView:
    """Current runs over a lower limit continue; no further one starts until the limit allows it."""
    return LaneView.model_validate(await lanes.limit(lane, wanted.limit or "unlimited", clients, caller=caller))
