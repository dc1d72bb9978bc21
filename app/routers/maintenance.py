"""Upkeep over HTTP. It removes things, so it is for administrators only."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.deps import CallerDep, ClientsDep
from app.errors import Forbidden
from app.routers.problems import responses
from app.services.cleanup import clean_up_tests

router = APIRouter(prefix="/maintenance", tags=["maintenance"])


def _is_true(value: object) -> object:
    """1 equals True, which is all that a literal asks."""
    if value is not True:
        raise ValueError("say true")
    return value


Strictly = BeforeValidator(_is_true)


class CleanupRequest(BaseModel):
    """What is to go."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"testing": True, "dry_run": True}]}
    )

    testing: Annotated[Literal[True], Strictly] = Field(
        description="What manifests with `metadata.tags.testing: true` brought in and made."
    )
    older_than_seconds: float = Field(3600, ge=0, le=10 * 366 * 86_400, description="Younger manifests are left alone.")
    landing_files: bool = Field(False, description="Also the files in the landing zone that these manifests name.")
    dry_run: bool = Field(False, description="Say what would go, and change nothing.")


class CleanupResult(BaseModel):
    """removed: numbers by kind. items: what it was; kept: what had to stay, and why (the first thousand of each)."""

    dry_run: bool
    removed: dict[str, int]
    items: list[str]
    kept: list[str]


@router.post("/cleanup", summary="Remove test runs and all they made", responses=responses(400, 403, 422))
async def cleanup(wanted: CleanupRequest, clients: ClientsDep, caller: CallerDep) -> CleanupResult:
    """Runs, versions with their objects, archived manifests; batch ids stay taken.

    What is not over stays, and so does a version that one was made from which is no test. Safe to repeat.
    """
    if wanted.landing_files and caller.prefixes:
        raise Forbidden(
            f"The API key {caller.user!r} may remove files under {', '.join(caller.prefixes)} only.",
            "Leave landing_files out, or use a key without prefixes.",
        )
    outcome = await clean_up_tests(
        clients,
        older_than=timedelta(seconds=wanted.older_than_seconds),
        dry_run=wanted.dry_run,
        landing_files=wanted.landing_files,
        user=caller.user,
        ip=caller.ip,
    )
    return CleanupResult(dry_run=wanted.dry_run, removed=dict(outcome.removed), items=outcome.names, kept=outcome.kept)
