"""Which end of an attempt an error of its pipeline stands for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.errors import (
    DomainError,
    EngineUnavailable,
    LedgerUnavailable,
    LedgerUnsupported,
    RunRefused,
    ScratchLimitExceeded,
    StoreUnavailable,
    TimeLimitExceeded,
)
from app.models.base import new_id
from app.models.runs.attempt import AttemptEnd, AttemptOutcome
from app.pipelines.job.full_disks import full_disk
from app.system.memory import is_lack_of_memory

logger = logging.getLogger(__name__)


class ReaderDied(Exception):
    """The reader's process ended without a result.

    Attributes:
        end: how its attempt ends.
    """

    def __init__(self, end: AttemptEnd) -> None:
        super().__init__(end.detail)
        self.end = end


@dataclass(frozen=True, slots=True)
class FailureContext:
    """What the job was doing.

    Attributes:
        job: run and attempt, for the log.
        step: the step of the pipeline.
        file: the source that was being read.
        memory_limit: of the process, in bytes.
        directories: see `full_disk`.
    """

    job: str
    step: str | None
    file: str | None
    memory_limit: int
    directories: Mapping[str, Path]


def end_of(err: Exception, context: FailureContext) -> AttemptEnd:
    """How the attempt ends that raised this error."""
    found = full_disk(err, context.directories) or _end_of(err, context.file, context.memory_limit)
    if found is None:
        detail, fix = defect(err, context.job)
        found = AttemptEnd(outcome=AttemptOutcome.FAILED, detail=detail, fix=fix)
    return found.model_copy(update={"step": context.step})


def _end_of(err: Exception, file: str | None, memory_limit: int) -> AttemptEnd | None:
    match err:
        case RunRefused():
            outcome = AttemptOutcome.MEMORY_LIMIT if err.reason == "memory_limit" else AttemptOutcome.REFUSED
            found = AttemptEnd(outcome=outcome, detail=err.detail, fix=err.fix, code=err.reason, file=err.file)
        case ReaderDied():
            found = err.end
        case TimeLimitExceeded():
            found = AttemptEnd(outcome=AttemptOutcome.TIME_LIMIT, detail=err.detail, fix=err.fix, file=file)
        case ScratchLimitExceeded():
            found = AttemptEnd(outcome=AttemptOutcome.SCRATCH_LIMIT, detail=err.detail, fix=err.fix, file=file)
        case StoreUnavailable():
            detail = f"the object store failed: {err.detail}"
            found = AttemptEnd(outcome=AttemptOutcome.SERVER_AWAY, detail=detail, fix=err.fix)
        case LedgerUnsupported():
            found = AttemptEnd(outcome=AttemptOutcome.FAILED, detail=err.detail, fix=err.fix, code=err.code)
        case EngineUnavailable() | LedgerUnavailable():
            found = AttemptEnd(outcome=AttemptOutcome.SERVER_AWAY, detail=err.detail, fix=err.fix)
        case DomainError():
            found = AttemptEnd(outcome=AttemptOutcome.FAILED, detail=err.detail, fix=err.fix, code=err.code)
        case _ if is_lack_of_memory(err):
            detail = f"The job needed more than {memory_limit // 2**20} MiB of memory."
            found = AttemptEnd(outcome=AttemptOutcome.MEMORY_LIMIT, detail=detail, file=file)
        case _:
            return None
    return found


def defect(err: Exception, job: str) -> tuple[str, str]:
    """(detail, fix) of an error that no rule knows. It is logged with a correlation id, which the detail names."""
    correlation = new_id()
    logger.error("%s failed, correlation %s", job, correlation, exc_info=err)
    fix = "This is a defect of the service. Report it with the lines of the worker's log that have the correlation id."
    return f"Internal error (correlation id {correlation}).", fix
