"""How attempts end: one vocabulary for the job itself, the worker that sees its job die, and the sweep."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from app.models.base import Frozen


class AttemptOutcome(StrEnum):
    """SERVER_AWAY: ledger, object store or engine. KILLED: SIGKILL from outside the service, and not for memory."""

    SUCCESS = "success"
    CANCELED = "canceled"
    REFUSED = "refused"
    FAILED = "failed"
    MEMORY_LIMIT = "memory_limit"
    TIME_LIMIT = "time_limit"
    SCRATCH_LIMIT = "scratch_limit"
    OUT_OF_MEMORY = "out_of_memory"
    SEGFAULT = "segfault"
    ABORTED = "aborted"
    KILLED = "killed"
    DISK_FULL = "disk_full"
    SERVER_AWAY = "server_away"
    WORKER_LOST = "worker_lost"
    LEASE_LOST = "lease_lost"


class AttemptRecord(Frozen):
    """One attempt that is over. worker: `host/namespace/pid/start` of who carried it."""

    number: int
    worker: str
    started_at: datetime
    ended_at: datetime
    outcome: AttemptOutcome
    reason: str = ""


class AttemptEnd(Frozen):
    """How an attempt ended, and what the run would say if it was the last. code, fix: those of the outcome if empty."""

    outcome: AttemptOutcome
    detail: str
    fix: str = ""
    code: str = ""
    step: str | None = None
    file: str | None = None
