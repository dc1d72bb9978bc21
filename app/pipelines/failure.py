"""What an error that ended a pipeline says about its attempt."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.errors import (
    DomainError,
    EngineUnavailable,
    LedgerUnavailable,
    RunRefused,
    ScratchLimitExceeded,
    StoreUnavailable,
    TimeLimitExceeded,
)
from app.models.attempt import AttemptEnd, Outcome
from app.models.base import new_id
from app.pipelines.full_disks import full_disk

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scene:
    """What was at hand. at: names run and attempt for the log. places: see `full_disk`."""

    at: str
    step: str | None
    file: str | None
    memory_limit: int
    places: Mapping[str, Path]


def end_of(err: Exception, scene: Scene) -> AttemptEnd:
    """How the attempt ends."""
    found = full_disk(err, scene.places) or _end_of(err, scene.file, scene.memory_limit) or _defect(err, scene.at)
    return found.model_copy(update={"step": scene.step})


def _end_of(err: Exception, file: str | None, memory_limit: int) -> AttemptEnd | None:
    match err:
        case RunRefused():
            outcome = Outcome.MEMORY_LIMIT if err.reason == "memory_limit" else Outcome.REFUSED
            found = AttemptEnd(outcome=outcome, detail=err.detail, fix=err.fix, code=err.reason, file=err.file)
        case MemoryError():
            detail = f"The job needed more than {memory_limit // 2**20} MiB of memory."
            found = AttemptEnd(outcome=Outcome.MEMORY_LIMIT, detail=detail, file=file)
        case TimeLimitExceeded():
            found = AttemptEnd(outcome=Outcome.TIME_LIMIT, detail=err.detail, fix=err.fix, file=file)
        case ScratchLimitExceeded():
            found = AttemptEnd(outcome=Outcome.SCRATCH_LIMIT, detail=err.detail, fix=err.fix, file=file)
        case StoreUnavailable():
            detail = f"the object store failed: {err.detail}"
            found = AttemptEnd(outcome=Outcome.SERVER_AWAY, detail=detail, fix=err.fix)
        case EngineUnavailable() | LedgerUnavailable():
            found = AttemptEnd(outcome=Outcome.SERVER_AWAY, detail=err.detail, fix=err.fix)
        case DomainError():
            found = AttemptEnd(outcome=Outcome.FAILED, detail=err.detail, fix=err.fix, code=err.code)
        case _:
            return None
    return found


def _defect(err: Exception, at: str) -> AttemptEnd:
    correlation = new_id()
    logger.error("%s failed, correlation %s", at, correlation, exc_info=err)
    detail = f"The pipeline failed for a reason of its own (correlation id {correlation})."
    fix = "This is a defect: look for the correlation id in the worker's log."
    return AttemptEnd(outcome=Outcome.FAILED, detail=detail, fix=fix)
