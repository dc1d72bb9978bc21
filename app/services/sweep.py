"""The sweep: runs that must move on although nobody carries them, and what dead attempts left behind.

One process is elected to do it (`app.services.election`). Every change is compare-and-set all the same, so that two
at once do no harm: the first one wins.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from app.clients import Clients
from app.dispatch import ready_runs
from app.errors import NotFound, QueueUnavailable
from app.ledger import RunFilter
from app.lifecycle import attempt_died, count
from app.models.base import utcnow
from app.models.counts import REPAIRS, counter
from app.models.intents import LANES
from app.models.page import Page
from app.models.run import Retries, Run, RunStatus
from app.processes import is_gone
from app.services.carried import CarriedRuns, Patience
from app.services.orphan_schemas import OrphanSchemas
from app.services.scratch import ScratchRemains
from app.services.waiting import OverdueRuns

logger = logging.getLogger(__name__)

_BATCH = 1000
# Seconds between two looks for unfinished uploads, and their age from which they are nobody's: more than clocks differ.
_TIDY_EVERY = 600.0
STALE_UPLOAD_SECONDS = 86_400.0
# What no change of the run's status tells.
_TOLD = frozenset({"enqueued", "scratch_removed", "schema_dropped"})


@dataclass(frozen=True, slots=True)
class Repair:
    """One thing the sweep did."""

    run_id: str
    action: str
    reason: str


class Sweep:
    """Looks at every run that is carried or could be; keeps in memory only which ones looked lost the last time."""

    def __init__(
        self,
        clients: Clients,
        *,
        scratch: Path,
        retries: Retries,
        patience: Patience | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clients = clients
        self._patience = patience or Patience()
        self._carried = CarriedRuns(self._patience, clock)
        self._overdue = OverdueRuns(self._patience.queued_seconds, clock)
        self._clock = clock
        self._scratch = ScratchRemains(scratch, clock)
        self._retries = retries
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
        ready = [run for lane in LANES for run in await ready_runs(lane, self._clients, _BATCH)]
        try:
            repairs += await self._refill(ready)
        except QueueUnavailable as err:
            # Once, not with every look for as long as it is away.
            if self._queue_problem != err.detail:
                self._queue_problem = err.detail
                logger.warning("the sweep could not look at the queue and tries again: %s", err.detail)
        else:
            self._queue_problem = ""
        overdue = await self._overdue.end(ready, self._clients)
        repairs += [Repair(run.run_id, run.status.value, "no worker began it") for run in overdue]
        repairs += await self._remove_scratch(runs)
        repairs += [
            Repair(schema.run_id, "schema_dropped", f"the attempt of schema {schema.name} is over")
            for schema in await self._orphan_schemas.drop()
        ]
        if self._clock() - self._tidied_at >= _TIDY_EVERY:
            self._tidied_at = self._clock()
            uploads = await self._clients.objects.remove_stale_uploads(STALE_UPLOAD_SECONDS)
            await count(self._clients.ledger, {counter(REPAIRS, action="upload_removed"): uploads})
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
        repairs += await self._remove_scratch(runs)
        await self._tell(repairs)
        return tuple(repairs)

    async def _remove_scratch(self, runs: Iterable[Run]) -> list[Repair]:
        keep = {f"{run.run_id}.{run.attempt}" for run in runs if run.lease is not None}
        removed = await to_thread.run_sync(self._scratch.remove, keep)
        return [Repair(name.partition(".")[0], "scratch_removed", f"nobody uses scratch {name}") for name in removed]

    async def _tell(self, repairs: list[Repair]) -> None:
        """In the log of each run (where its end has not said it already), in the metrics, and in our own log."""
        for repair in repairs:
            if repair.action in _TOLD:
                # A plan has no run, and neither has a schema of another ledger.
                with suppress(NotFound):
                    message = f"The sweep: {repair.reason}."
                    await self._clients.ledger.add_event(
                        repair.run_id, code=f"sweep.{repair.action}", level="warning", message=message
                    )
        await count(self._clients.ledger, Counter(counter(REPAIRS, action=repair.action) for repair in repairs))
        for repair in repairs:
            logger.info("run %s: %s (%s)", repair.run_id, repair.action, repair.reason)

    async def _revive(self, run: Run) -> Repair | None:
        verdict = self._carried.verdict(run)
        if verdict is None or (verdict.stop_first and not await self._is_stopped(run)):
            return None
        changed = await attempt_died(run, verdict.end, self._clients, self._retries, utcnow())
        return None if changed is None else Repair(run.run_id, changed.status.value, verdict.reason)

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

    async def _refill(self, ready: list[Run]) -> list[Repair]:
        """Enqueue what the queue has lost: absent in two looks running, so that a job just popped is left alone.

        A run whose back-off is over was never enqueued for this attempt, so it need not wait for the second look.
        """
        if not ready:
            self._suspects = frozenset()
            return []
        waiting = await to_thread.run_sync(self._clients.queue.waiting_runs)
        absent = {run.run_id: run for run in ready if run.run_id not in waiting}
        lost = [run for run_id, run in absent.items() if run_id in self._suspects]
        for run in absent.values():
            if run.run_id in self._suspects or run.not_before is not None:
                await self._enqueue(run, again=run.run_id in self._suspects)
        self._suspects = frozenset(absent) - {run.run_id for run in lost}
        return [Repair(run.run_id, "enqueued", "the queue did not have it") for run in lost]

    async def _enqueue(self, run: Run, *, again: bool) -> None:
        try:
            await to_thread.run_sync(lambda: self._clients.queue.enqueue(run, again=again))
        except QueueUnavailable as err:
            logger.warning("run %s waits in the ledger: %s", run.run_id, err.detail)
