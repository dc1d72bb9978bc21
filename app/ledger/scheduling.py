"""Which run may begin: one writer per dataset, lanes with limits, and the claim by which a worker takes a run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from app.ledger.outbox import NOTHING, Outbox
from app.models.runs.lane import LaneLimit, LaneState, WaitingFor
from app.models.runs.run import Lease, Progress, Run, RunStatus


@dataclass(frozen=True, slots=True)
class Claim:
    """What `claim_run` did.

    Attributes:
        run: as claimed, or None.
        waiting_for: why a queued run cannot begin yet. None without a run: another worker claimed this attempt, or
            the run is over.
    """

    run: Run | None = None
    waiting_for: WaitingFor | None = None


class SchedulingLedger(Protocol):
    """Decides which queued run may begin.

    Of the unfinished runs of a dataset one is the writer, and the others are `blocked`. `accept` and `add_run` make a
    run the writer when the dataset has none. When the writer ends, the oldest queued run by (created_at, run_id)
    becomes the writer: in the same transaction in SQL, right after it and safe against crashes in MongoDB. A writer
    keeps the dataset until it ends, so a run that is not blocked never becomes blocked.
    """

    async def claim_run(self, run_id: str, attempt: int, lease: Lease, *, at: datetime, limit: int | None) -> Claim:
        """Change a run from queued to running, as attempt + 1, if nothing holds it back.

        However many workers claim at once, one gets the run, a dataset has one run under way, and a lane has at most
        as many as its limit.

        Args:
            run_id: of the run.
            attempt: the number of its last attempt, as the caller knows it.
            lease: of the worker.
            at: the present time; a run in its back-off waits.
            limit: of the lane, unless the ledger has a limit for it. None: no limit.
        """
        ...

    async def list_ready_runs(self, lane: str, at: datetime, limit: int) -> tuple[Run, ...]:
        """List queued runs of a lane that are neither blocked nor in their back-off, oldest first.

        By (created_at, run_id). Whether the lane is paused or full is not checked.
        """
        ...

    async def get_writer(self, dataset_id: str) -> Run | None:
        """Return the run that is the writer of the dataset; None when all its runs are over."""
        ...

    async def count_by_lane(self, statuses: Collection[RunStatus]) -> Mapping[str, int]:
        """Count the runs in these statuses by lane; lanes without any are left out."""
        ...

    async def list_lanes(self) -> tuple[LaneState, ...]:
        """List the lanes that have settings in the ledger, by name."""
        ...

    async def change_lane(
        self, lane: str, outbox: Outbox = NOTHING, *, paused: bool | None = None, limit: LaneLimit | None = None
    ) -> LaneState:
        """Pause or resume a lane, or change its limit.

        Args:
            lane: its name.
            outbox: audit entries; a lane has no log.
            paused: None leaves it as it is.
            limit: None leaves it as it is; `default` returns to the limit of the settings.

        Raises:
            ValueError: the limit is below 1.
        """
        ...


def claim_changes(attempt: int, lease: Lease, at: datetime) -> dict[str, Any]:
    """Return the fields that a claim sets: the new attempt begins without results of the one before."""
    return {
        "status": RunStatus.RUNNING,
        "attempt": attempt + 1,
        "lease": lease,
        "started_at": at,
        "not_before": None,
        "step": None,
        "progress": Progress(),
        "counts": {},
        "warnings": (),
        "error": None,
        "unchanged_version": None,
    }


def changed_lane(old: LaneState, paused: bool | None, limit: LaneLimit | None) -> LaneState:
    """Return the lane with these changes; see `SchedulingLedger.change_lane`.

    Raises:
        ValueError: the limit is below 1.
    """
    changes: dict[str, Any] = {} if paused is None else {"paused": paused}
    if isinstance(limit, int):
        if limit < 1:
            raise ValueError(f"The limit of a lane is at least 1, not {limit}. Pause the lane instead.")
        changes |= {"limit": limit, "limit_is_set": True}
    elif limit is not None:
        changes |= {"limit": None, "limit_is_set": limit == "unlimited"}
    return old.model_copy(update=changes)
