"""Runs that wait for a worker: how long they may."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from datetime import timedelta

from anyio import to_thread

from app.clients import Clients
from app.dispatch import moved_on
from app.errors import QueueUnavailable
from app.ledger import Guard
from app.ledger.told import Line
from app.lifecycle import count_end, registered_asset, remove_unregistered, told_of_end
from app.models.base import utcnow
from app.models.run import Run, RunError, RunStatus
from app.services.silence import Silence

logger = logging.getLogger(__name__)

_GRACE_SECONDS = 600.0


class OverdueRuns:
    """Runs that a worker could have begun with for too long; keeps in memory since when each was seen as such.

    What waits in a paused lane, or for another run of its dataset, is not among them, and has some minutes when it may
    begin, however long that took.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._ready = Silence(_GRACE_SECONDS / 10, clock)

    async def end(self, ready: Iterable[Run], clients: Clients) -> list[Run]:
        """Those that are older than that end in failure; which ones. The others stay as they are.

        By the clock of this host: seconds is so large that an hour more or less does not matter.
        """
        runs = list(ready)
        self._ready.look({run.run_id: run.attempt for run in runs})
        before = utcnow() - timedelta(seconds=self._seconds)
        overdue = [run for run in runs if run.created_at < before and self._ready.seconds(run.run_id) >= _GRACE_SECONDS]
        return [ended for run in overdue if (ended := await _end(run, clients, self._seconds)) is not None]


async def _end(run: Run, clients: Clients, seconds: float) -> Run | None:
    if await registered_asset(run, clients) is not None:
        # Its next attempt, which only writes down the success, may still come.
        return None
    tried = f"after its attempt {run.attempt} " if run.attempt else ""
    error = RunError(
        code="not_begun",
        detail=f"No worker took the run {tried}for {seconds / 86_400:g} days.",
        fix=f"Start workers that listen to the queue, then POST /runs/{run.run_id}/rerun.",
    )
    guard = Guard(frozenset({RunStatus.QUEUED}), attempt=run.attempt)
    changes = {"status": RunStatus.FAILURE, "error": error, "completed_at": utcnow()}
    line = Line(error.code, f"{error.detail} {error.fix}", "error")
    told = await told_of_end(run, changes, clients.ledger, lines=(line,))
    ended = await clients.ledger.change_run(run.run_id, guard, told, **changes)
    if ended is None:
        return None
    await moved_on(ended, clients)
    try:
        await to_thread.run_sync(clients.queue.remove, run.run_id)
    except QueueUnavailable as err:
        # A worker that gets it sees in the ledger that there is nothing to do.
        logger.warning("run %s is over, but still in the queue: %s", run.run_id, err.detail)
    await remove_unregistered(ended, clients)
    await count_end(ended, clients.ledger)
    return ended
