"""Runs that wait for a worker: how long they may."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import timedelta

from anyio import to_thread

from app.clients import Clients
from app.errors import QueueUnavailable
from app.ledger import Guard
from app.lifecycle import registered_asset, remove_unregistered, tell_end
from app.models.base import utcnow
from app.models.run import Run, RunError, RunStatus

logger = logging.getLogger(__name__)


async def end_overdue(queued: Iterable[Run], clients: Clients, seconds: float) -> list[Run]:
    """Those that are older than that end in failure; which ones. The others stay as they are.

    By the clock of this host: seconds is so large that an hour more or less does not matter.
    """
    before = utcnow() - timedelta(seconds=seconds)
    overdue = [run for run in queued if run.created_at < before]
    return [ended for run in overdue if (ended := await _end(run, clients, seconds)) is not None]


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
    ended = await clients.ledger.change_run(
        run.run_id, guard, status=RunStatus.FAILURE, error=error, completed_at=utcnow()
    )
    if ended is None:
        return None
    try:
        await to_thread.run_sync(clients.queue.remove, run.run_id)
    except QueueUnavailable as err:
        # A worker that gets it sees in the ledger that there is nothing to do.
        logger.warning("run %s is over, but still in the queue: %s", run.run_id, err.detail)
    await clients.ledger.add_event(run.run_id, code=error.code, message=f"{error.detail} {error.fix}", level="error")
    await remove_unregistered(ended, clients)
    await tell_end(ended, clients.ledger)
    return ended
