"""The sweep: runs that must move on although nobody carries them, and what dead attempts left behind.

One process is elected to do it (`app.services.election`). Every change is compare-and-set all the same, so that two
at once do no harm: the first one wins.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from app.clients import Clients
from app.errors import QueueUnavailable
from app.ledger import RunFilter
from app.lifecycle import attempt_died, count
from app.models.base import utcnow
from app.models.counts import REPAIRS, counter
from app.models.page import Page
from app.models.run import Run, RunStatus
from app.processes import is_gone
from app.services.carried import CarriedRuns, Patience
from app.services.orphan_schemas import OrphanSchemas

logger = logging.getLogger(__name__)

_BATCH = 1000
# Seconds between two looks for unfinished uploads, and their age from which they are nobody's.
_TIDY_EVERY = 600.0
_STALE_AFTER = 3600.0
# Seconds: more than the longest time limit that a plan can be given.
_PLAN_IS_OVER = 900.0


@dataclass(frozen=True, slots=True)
class Repair:
    """One thing the sweep did."""

    run_id: str
    action: str
    reason: str


class Sweep:
    """Looks at every run that is not over; keeps in memory only which ones looked lost the last time."""

    def __init__(
        self,
        clients: Clients,
        *,
        scratch: Path,
        max_attempts: int,
        patience: Patience | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clients = clients
        self._carried = CarriedRuns(patience or Patience(), clock)
        self._clock = clock
        self._scratch = scratch
        self._max_attempts = max_attempts
        self._suspects: frozenset[str] = frozenset()
        self._tidied_at = -_TIDY_EVERY
        self._queue_problem = ""
        self._told_to_stop: set[str] = set()
        self._orphan_schemas = OrphanSchemas(clients)

    async def once(self) -> tuple[Repair, ...]:
        """One look. Raises LedgerUnavailable; a queue that is away is tried again the next time."""
        runs = await self._clients.ledger.list_due_runs(_BATCH)
        self._carried.look(runs)
        repairs = [repair for run in runs if (repair := await self._revive(run))]
        queued = [run for run in runs if run.status is RunStatus.QUEUED]
        try:
            repairs += await self._refill(queued)
        except QueueUnavailable as err:
            # Once, not with every look for as long as it is away.
            if self._queue_problem != err.detail:
                self._queue_problem = err.detail
                logger.warning("the sweep could not look at the queue and tries again: %s", err.detail)
        else:
            self._queue_problem = ""
        await to_thread.run_sync(self._remove_scratch, {f"{run.run_id}.{run.attempt}" for run in runs})
        await self._orphan_schemas.drop()
        if self._clock() - self._tidied_at >= _TIDY_EVERY:
            self._tidied_at = self._clock()
            await self._clients.objects.remove_stale_uploads(_STALE_AFTER)
        self._told_to_stop &= {run.run_id for run in runs}
        await self._tell(repairs)
        return tuple(repairs)

    async def stand_by(self) -> tuple[Repair, ...]:
        """While another process sweeps: what can be seen on this host only, workers that are gone and their scratch.

        Raises LedgerUnavailable.
        """
        runs: list[Run] = []
        # In this order: a run that goes from one to the other in between is in both answers.
        for status in (RunStatus.RUNNING, RunStatus.CANCELING):
            runs += (await self._clients.ledger.list_runs(RunFilter(status), Page(limit=_BATCH))).items
        self._carried.look(runs)
        repairs = [repair for run in runs if run.lease and is_gone(run.lease.owner)
                   if (repair := await self._revive(run))]  # fmt: skip
        await to_thread.run_sync(self._remove_scratch, {f"{run.run_id}.{run.attempt}" for run in runs})
        await self._tell(repairs)
        return tuple(repairs)

    async def _tell(self, repairs: list[Repair]) -> None:
        await count(self._clients.ledger, Counter(counter(REPAIRS, action=repair.action) for repair in repairs))
        for repair in repairs:
            logger.info("run %s: %s (%s)", repair.run_id, repair.action, repair.reason)

    async def _revive(self, run: Run) -> Repair | None:
        verdict = self._carried.verdict(run)
        if verdict is None or (verdict.stop_first and not await self._is_stopped(run)):
            return None
        changed = await attempt_died(run, verdict.reason, self._clients, self._max_attempts, utcnow())
        if changed is None:
            return None
        if changed.status is RunStatus.QUEUED:
            await self._enqueue(changed, again=False)
        return Repair(run.run_id, changed.status.value, verdict.reason)

    async def _is_stopped(self, run: Run) -> bool:
        """Whether its worker, which had its time to kill the job's process, was then told to by the queue as well."""
        if run.run_id in self._told_to_stop:
            return True
        self._told_to_stop.add(run.run_id)
        try:
            await to_thread.run_sync(self._clients.queue.stop, run)
        except QueueUnavailable as err:
            logger.warning("run %s: nobody could be told to stop it: %s", run.run_id, err.detail)
        return False

    async def _refill(self, queued: list[Run]) -> list[Repair]:
        """Enqueue what the queue has lost: absent in two looks running, so that a job just popped is left alone."""
        if not queued:
            self._suspects = frozenset()
            return []
        waiting = await to_thread.run_sync(self._clients.queue.waiting_runs)
        absent = {run.run_id: run for run in queued if run.run_id not in waiting}
        lost = [run for run_id, run in absent.items() if run_id in self._suspects]
        for run in lost:
            await self._enqueue(run, again=True)
        self._suspects = frozenset(absent) - {run.run_id for run in lost}
        return [Repair(run.run_id, "enqueued", "the queue did not have it") for run in lost]

    async def _enqueue(self, run: Run, *, again: bool) -> None:
        try:
            await to_thread.run_sync(lambda: self._clients.queue.enqueue(run, again=again))
        except QueueUnavailable as err:
            logger.warning("run %s waits in the ledger: %s", run.run_id, err.detail)

    def _remove_scratch(self, keep: set[str]) -> None:
        """Scratch directories of attempts that no worker of this host carries on."""
        if not self._scratch.is_dir():
            return
        for directory in self._scratch.iterdir():
            owner = directory / ".owner"
            attempt_is_due = directory.name in keep
            try:
                gone = is_gone(owner.read_text())
            except OSError:
                gone = False
            # A plan is in no ledger: it is over when its process is gone, or long past any time limit.
            patience = _PLAN_IS_OVER if directory.name.startswith("plan-") and owner.exists() else 60.0
            if gone or (not attempt_is_due and _is_older(directory, patience)):
                shutil.rmtree(directory, ignore_errors=True)


def _is_older(path: Path, seconds: float) -> bool:
    try:
        return (utcnow().timestamp() - path.stat().st_mtime) > seconds
    except OSError:
        return False
