"""Runs: one manifest goes through load, transform, export and commit. The states of a run and their transitions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from app.messages.message import RunWarning as RunWarning  # noqa: PLC0414 # it belongs to the models of a run
from app.models.base import Frozen
from app.models.checks.kinds import CheckResult
from app.models.runs.attempt import AttemptRecord


class RunStatus(StrEnum):
    """The states of a run; `TRANSITIONS` says which may follow on which."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELING = "canceling"
    SUCCESS = "success"
    FAILURE = "failure"
    CANCELED = "canceled"

    @property
    def is_final(self) -> bool:
        return not TRANSITIONS[self]


TRANSITIONS: Mapping[RunStatus, frozenset[RunStatus]] = {
    # A queued run fails without running when it has no attempts left.
    RunStatus.QUEUED: frozenset({RunStatus.RUNNING, RunStatus.CANCELED, RunStatus.FAILURE}),
    # Back to queued: the attempt died, and there is another one.
    RunStatus.RUNNING: frozenset({RunStatus.SUCCESS, RunStatus.FAILURE, RunStatus.CANCELING, RunStatus.QUEUED}),
    # A run that had committed its version before it was canceled ends in success.
    RunStatus.CANCELING: frozenset({RunStatus.CANCELED, RunStatus.SUCCESS, RunStatus.FAILURE}),
    RunStatus.SUCCESS: frozenset(),
    RunStatus.FAILURE: frozenset(),
    RunStatus.CANCELED: frozenset(),
}


# Statuses of a run that a worker has: it has a lease, a slot of its lane, and its dataset.
UNDER_WAY = (RunStatus.RUNNING, RunStatus.CANCELING)


class Lease(Frozen):
    """The worker that has the run, and until when without a heartbeat. owner: `host:pid:start` of the worker."""

    owner: str
    expires_at: datetime


class Progress(Frozen):
    """Rows read so far. rows_total: None while it is unknown."""

    rows_done: int = 0
    rows_total: int | None = None


class RunError(Frozen):
    """Why a run failed: step, file, what was found, and the fix."""

    code: str
    detail: str
    fix: str = ""
    step: str | None = None
    file: str | None = None


class Run(Frozen):
    """One run.

    Attributes:
        attempt: counts claims, and is the fencing token: writes of an older attempt are refused.
        attempts: the finished ones, oldest first; the last twenty.
        checks: of the product, in the order of the manifest; empty until they were made.
        blocked: another run is the writer of its dataset.
        not_before: earliest start of the next attempt.
        retry_of: an earlier run of the same batch.
        unchanged_version: the version that has the same content already; then the run publishes nothing.
        new_version: overrides that of the manifest.
        asked_by: the key, or the door, through which this run was asked for. None: from before this was kept.
        revision: grows by one with every change; the ETag of the REST resource.
    """

    run_id: str
    batch_id: str
    job_name: str
    lane: str
    partition_key: str
    status: RunStatus = RunStatus.QUEUED
    attempt: int = 0
    attempts: tuple[AttemptRecord, ...] = ()
    blocked: bool = False
    not_before: datetime | None = None
    lease: Lease | None = None
    retry_of: str | None = None
    step: str | None = None
    progress: Progress = Progress()
    counts: Mapping[str, int] = {}
    warnings: tuple[RunWarning, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    error: RunError | None = None
    reserved_version: int | None = None
    unchanged_version: int | None = None
    new_version: Literal["if_changed", "always"] | None = None
    engine: Mapping[str, str] = {}
    traceparent: str | None = None
    asked_by: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    revision: int = 1


@dataclass(frozen=True, slots=True)
class Retries:
    """How many attempts a run has, and how long it waits after one that died: doubled each time, up to a limit."""

    max_attempts: int
    backoff_seconds: float = 0.0
    backoff_max_seconds: float = 0.0

    def pause_after(self, attempt: int) -> timedelta:
        """Return the back-off after this attempt."""
        doublings = min(attempt - 1, 64)  # more would overflow; the limit is reached long before
        return timedelta(seconds=min(self.backoff_seconds * 2**doublings, self.backoff_max_seconds))


class RunEvent(Frozen):
    """One line of a run's log; seq counts from 1 within the run."""

    run_id: str
    seq: int
    at: datetime
    level: Literal["info", "warning", "error"] = "info"
    step: str | None = None
    code: str
    message: str
    data: Mapping[str, Any] = {}
