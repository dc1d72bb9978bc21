"""Clean-up over HTTP, for administrators only, because it removes things."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.deps import CallerDep, ClientsDep
from app.errors import Forbidden
from app.http.problems import responses
from app.messages.request import TESTING_NOT_TRUE
from app.models.json_values import shown
from app.models.problem_text import wrong
from app.services.retention.cleanup_tests import clean_up_tests

router = APIRouter(prefix="/maintenance", tags=["maintenance"])


def _is_true(value: object) -> object:
    """Only true itself, because 1 equals it in Python."""
    if value is not True:
        raise wrong(TESTING_NOT_TRUE, value=shown(value))
    return value


StrictTrue = BeforeValidator(_is_true)


class CleanupRequest(BaseModel):
    """What to remove."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"testing": True, "dry_run": True}]}
    )

    testing: Annotated[Literal[True], StrictTrue] = Field(
        description="Manifests with `metadata.tags.testing: true`, and everything that they made."
    )
    older_than_seconds: float = Field(3600, ge=0, le=10 * 366 * 86_400, description="Younger manifests are kept.")
    landing_files: bool = Field(
        False, description="Also remove the files in the landing zone that these manifests name."
    )
    dry_run: bool = Field(False, description="Only report what would be removed.")


class CleanupResult(BaseModel):
    """removed: numbers by kind. items: the first thousand things; kept: what was not removed, and why."""

    dry_run: bool
    removed: dict[str, int]
    items: list[str]
    kept: list[str]


@router.post("/cleanup", summary="Remove test runs and everything that they made", responses=responses(400, 403, 422))
async def cleanup(wanted: CleanupRequest, clients: ClientsDep, caller: CallerDep) -> CleanupResult:
    """Removes runs, versions with their objects, and archived manifests. Their batch ids stay taken.

    Runs that are not over stay, and so do versions that are inputs of a version that is not a test. Safe to repeat.
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
