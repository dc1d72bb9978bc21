"""A run: one manifest carried through load, transform, export and commit; its states and who may change them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from app.models.attempt import AttemptRecord
from app.models.base import Frozen


class RunStatus(StrEnum):
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
    # A queued run fails without running when its attempts are used up.
    RunStatus.QUEUED: frozenset({RunStatus.RUNNING, RunStatus.CANCELED, RunStatus.FAILURE}),
    # Back to queued: the attempt died and the next one may try.
    RunStatus.RUNNING: frozenset({RunStatus.SUCCESS, RunStatus.FAILURE, RunStatus.CANCELING, RunStatus.QUEUED}),
    # A run that was past its commit point when the cancel came ends in success.
    RunStatus.CANCELING: frozenset({RunStatus.CANCELED, RunStatus.SUCCESS, RunStatus.FAILURE}),
    RunStatus.SUCCESS: frozenset(),
    RunStatus.FAILURE: frozenset(),
    RunStatus.CANCELED: frozenset(),
}


class Lease(Frozen):
    """Who carries the run, and until when that counts without a heartbeat. owner: `host:pid:start` of the worker."""

    owner: str
    expires_at: datetime


class Progress(Frozen):
    """Rows read so far; total None while the source cannot say."""

    rows_done: int = 0
    rows_total: int | None = None


class Warning_(Frozen):  # noqa: N801 # `Warning` is a builtin exception
    """Something a reader should know about a run that went on."""

    code: str
    message: str
    count: int = 1
    samples: tuple[Any, ...] = ()


class RunError(Frozen):
    """Why a run failed: which step, which file, what was found, what to do."""

    code: str
    detail: str
    fix: str = ""
    step: str | None = None
    file: str | None = None


class Run(Frozen):
    """One run. `attempt` counts claims and is the fencing token: writes of an older attempt are refused.

    revision: grows by one with every change; the ETag of the REST resource. unchanged_version: the version that holds
    already what this run would have made; such a run publishes nothing. new_version: goes before the manifest's own.
    attempts: those that are over, oldest first (the newest twenty).
    blocked: another run of its dataset goes first. not_before: the next attempt begins then at the earliest.
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
    warnings: tuple[Warning_, ...] = ()
    error: RunError | None = None
    reserved_version: int | None = None
    unchanged_version: int | None = None
    new_version: Literal["if_changed", "always"] | None = None
    engine: Mapping[str, str] = {}
    traceparent: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    revision: int = 1


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a run whose attempts die is tried, and how long it waits in between: twice as long each time."""

    max_attempts: int
    backoff_seconds: float = 0.0
    backoff_max_seconds: float = 0.0

    def pause_after(self, attempt: int) -> timedelta:
        doublings = min(attempt - 1, 64)  # the cap is reached long before, and floats end somewhere
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
