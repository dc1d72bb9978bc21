"""The part of the ledger that says which run may begin: one writer for each dataset, lanes, and the claim."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from app.ledger.told import NOTHING, Told
from app.models.lane import LaneLimit, LaneState, WaitingFor
from app.models.run import Lease, Progress, Run, RunStatus


@dataclass(frozen=True, slots=True)
class Claim:
    """The run as claimed, or what a queued one waits for; neither: it is not that attempt's turn any more."""

    run: Run | None = None
    waiting_for: WaitingFor | None = None


class LaneLedger(Protocol):
    """Of the runs of a dataset that are not over one has the turn, the others are `blocked`.

    `accept` and `add_run` give it to a run that meets no other; whatever ends the run that has it gives it to the
    oldest by (created_at, run_id) of those that are queued, in the same write where the backend can. It is never taken
    from a run that is not over: so a run that is not blocked stays so.
    """

    async def claim_run(self, run_id: str, attempt: int, lease: Lease, *, at: datetime, limit: int | None) -> Claim:
        """queued → running as attempt + 1, if the run is queued after that attempt and nothing holds it back.

        limit: of its lane, where nobody has set one in the ledger. However many claim at once: of a dataset one run is
        carried, and of a lane as many as its limit says.
        """
        ...

    async def list_ready_runs(self, lane: str, at: datetime, limit: int) -> tuple[Run, ...]:
        """Queued runs of a lane that are neither blocked nor in their back-off; oldest first by (created_at, run_id).

        Whether the lane is paused or full is not asked.
        """
        ...

    async def get_writer(self, dataset_id: str) -> Run | None:
        """The run that has the dataset's turn; None when no run of it is left."""
        ...

    async def count_by_lane(self, statuses: Collection[RunStatus]) -> Mapping[str, int]:
        """Runs in one of these statuses, for each lane that has any."""
        ...

    async def list_lanes(self) -> tuple[LaneState, ...]:
        """Lanes for which anybody has set anything, by name."""
        ...

    async def change_lane(
        self, lane: str, told: Told = NOTHING, *, paused: bool | None = None, limit: LaneLimit | None = None
    ) -> LaneState:
        """Set what is not None; `default` forgets the limit that was set. Raises ValueError for a limit below 1.

        told: entries of the audit trail; a lane has no log.
        """
        ...


def claim_changes(attempt: int, lease: Lease, at: datetime) -> dict[str, Any]:
    """What a claim makes of the run: nothing is left of the attempt before."""
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
    """Raises ValueError for a limit below 1."""
    changes: dict[str, Any] = {} if paused is None else {"paused": paused}
    if isinstance(limit, int):
        if limit < 1:
            raise ValueError(f"A lane carries at least one run, not {limit}; pause it instead.")
        changes |= {"limit": limit, "limit_is_set": True}
    elif limit is not None:
        changes |= {"limit": None, "limit_is_set": limit == "unlimited"}
    return old.model_copy(update=changes)
