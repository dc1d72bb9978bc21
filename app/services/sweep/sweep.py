"""The sweep: recovers runs whose worker is gone or that the queue lost, and removes what dead attempts left behind.

One process is elected to do it (`app.services.sweep.election`). Every change is compare-and-set all the same, so that
two sweeps at once do no harm. The functions that find what is wrong only read, and `sweep --dry-run` uses them too.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from anyio import to_thread

from app.clients import Clients
from app.errors import NotFound, QueueUnavailable
from app.ledger import RunFilter
from app.models.base import utcnow
from app.models.intents import LANES
from app.models.runs.counts import REPAIRS, counter
from app.models.runs.run import UNDER_WAY, Retries, Run
from app.runs.dispatch import ready_runs
from app.runs.ending import attempt_died, count
from app.services.listing import all_items
from app.services.sweep.dead_attempts import DeadAttemptDetector, LeaseTimeouts
from app.services.sweep.orphan_schemas import OrphanSchemas
from app.services.sweep.orphan_scratch import OrphanScratch
from app.services.sweep.overdue_runs import OverdueRuns
from app.system.processes import is_gone

logger = logging.getLogger(__name__)

_BATCH = 1000
# Seconds between two searches for unfinished uploads, and the age of abandoned ones: more than clocks differ.
_UPLOADS_EVERY = 600.0
STALE_UPLOAD_SECONDS = 86_400.0
# Repairs that are no change of the run's status, so that its log needs a line of the sweep.
_LOGGED = frozenset({"enqueued", "scratch_removed", "schema_dropped"})


@dataclass(frozen=True, slots=True)
class Repair:
    """One thing that the sweep did."""

    run_id: str
    action: str
    reason: str


class Sweep:
    """Call `once` every few seconds in the elected process, `stand_by` in the others."""

    def __init__(
        self,
        clients: Clients,
        *,
        scratch: Path,
        retries: Retries,
        timeouts: LeaseTimeouts | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clients = clients
        self._timeouts = timeouts or LeaseTimeouts()
        self._dead_attempts = DeadAttemptDetector(self._timeouts, clock)
        self._overdue = OverdueRuns(self._timeouts.queued_seconds, clock)
        self._clock = clock
        self._scratch = OrphanScratch(scratch, clock)
        self._retries = retries
        self._missing_before: frozenset[str] = frozenset()
        self._uploads_checked_at = -_UPLOADS_EVERY
        self._queue_problem = ""
        self._asked_to_stop: set[str] = set()
        self._orphan_schemas = OrphanSchemas(clients)

    async def once(self) -> tuple[Repair, ...]:
        """One pass over everything. Raises LedgerUnavailable; a queue that is away is tried again in the next pass."""
        runs = await self._clients.ledger.list_due_runs(_BATCH)
        self._dead_attempts.look(runs)
        repairs = [repair for run in runs if (repair := await self._end_if_dead(run))]
        ready = await all_ready_runs(self._clients)
        try:
            repairs += await self._refill(ready)
        except QueueUnavailable as err:
            # Log it once, not in every pass for as long as it is away.
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
        if self._clock() - self._uploads_checked_at >= _UPLOADS_EVERY:
            self._uploads_checked_at = self._clock()
            uploads = await self._clients.objects.remove_stale_uploads(STALE_UPLOAD_SECONDS)
            await count(self._clients.ledger, {counter(REPAIRS, action="upload_removed"): uploads})
        self._asked_to_stop &= {run.run_id for run in runs}
        await self._report(repairs)
        return tuple(repairs)

    async def stand_by(self) -> tuple[Repair, ...]:
        """While another process sweeps: repair what only this host can see, dead workers and their scratch.

        Raises LedgerUnavailable.
        """
        runs = await runs_under_way(self._clients)
        self._dead_attempts.look(runs)
        repairs = [repair for run in runs if run.lease and is_gone(run.lease.owner)
                   if (repair := await self._end_if_dead(run))]  # fmt: skip
        repairs += await self._remove_scratch(runs)
        await self._report(repairs)
        return tuple(repairs)

    async def _remove_scratch(self, runs: Iterable[Run]) -> list[Repair]:
        removed = await to_thread.run_sync(self._scratch.remove, scratch_in_use(runs))
        return [Repair(name.partition(".")[0], "scratch_removed", f"scratch {name} is not in use") for name in removed]

    async def _report(self, repairs: list[Repair]) -> None:
        """Write the repairs to the log of each run (unless its end did so already), to the metrics and to our log."""
        for repair in repairs:
            if repair.action in _LOGGED:
                # A plan has no run, and neither has a schema of another ledger.
                with suppress(NotFound):
                    message = f"The sweep: {repair.reason}."
                    await self._clients.ledger.add_event(
                        repair.run_id, code=f"sweep.{repair.action}", level="warning", message=message
                    )
        await count(self._clients.ledger, Counter(counter(REPAIRS, action=repair.action) for repair in repairs))
        for repair in repairs:
            logger.info("run %s: %s (%s)", repair.run_id, repair.action, repair.reason)

    async def _end_if_dead(self, run: Run) -> Repair | None:
        dead = self._dead_attempts.find(run)
        if dead is None or (dead.stop_first and not await self._stop_was_asked(run)):
            return None
        changed = await attempt_died(run, dead.end, self._clients, self._retries, utcnow())
        return None if changed is None else Repair(run.run_id, changed.status.value, dead.reason)

    async def _stop_was_asked(self, run: Run) -> bool:
        """Whether its worker was asked to stop it in an earlier pass; if not, ask now through the queue."""
        if run.run_id in self._asked_to_stop:
            return True
        self._asked_to_stop.add(run.run_id)
        try:
            await to_thread.run_sync(self._clients.queue.stop, run)
        except QueueUnavailable as err:
            logger.warning("run %s: its worker could not be asked to stop it: %s", run.run_id, err.detail)
        return False

    async def _refill(self, ready: list[Run]) -> list[Repair]:
        """Enqueue runs that were missing from the queue in two passes: a worker may have popped them in between.

        A run whose back-off is over was never enqueued for this attempt, so it does not wait for the second pass.
        """
        absent = {run.run_id: run for run in await missing_from_queue(ready, self._clients)}
        lost = [run for run_id, run in absent.items() if run_id in self._missing_before]
        for run in absent.values():
            if run.run_id in self._missing_before or run.not_before is not None:
                await self._enqueue(run, again=run.run_id in self._missing_before)
        self._missing_before = frozenset(absent) - {run.run_id for run in lost}
        return [Repair(run.run_id, "enqueued", "the queue did not have it") for run in lost]

    async def _enqueue(self, run: Run, *, again: bool) -> None:
        try:
            await to_thread.run_sync(lambda: self._clients.queue.enqueue(run, again=again))
        except QueueUnavailable as err:
            logger.warning("run %s waits in the ledger: %s", run.run_id, err.detail)


async def runs_under_way(clients: Clients) -> list[Run]:
    """All runs that a worker has. Unlike `list_due_runs`, this never completes a half-done write."""
    runs: list[Run] = []
    # In this order: a run that starts to be canceled in between is in both answers.
    for status in UNDER_WAY:
        runs += [run async for run in all_items(partial(clients.ledger.list_runs, RunFilter(status)), _BATCH)]
    return runs


async def all_ready_runs(clients: Clients) -> list[Run]:
    """The runs of all lanes that a worker could start now."""
    return [run for lane in LANES for run in await ready_runs(lane, clients, _BATCH)]


async def missing_from_queue(ready: list[Run], clients: Clients) -> list[Run]:
    """Those of the ready runs that the queue does not have. Raises QueueUnavailable."""
    if not ready:
        return []
    waiting = await to_thread.run_sync(clients.queue.waiting_runs)
    return [run for run in ready if run.run_id not in waiting]


def scratch_in_use(runs: Iterable[Run]) -> frozenset[str]:
    """The names of the scratch directories of these runs' attempts."""
    return frozenset(f"{run.run_id}.{run.attempt}" for run in runs if run.lease is not None)
