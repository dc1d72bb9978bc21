"""Runs that no worker took for too long: they end in failure, with the code `not_begun`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import timedelta

from app.clients import Clients
from app.ledger.outbox import LogLine, Outbox
from app.models.base import utcnow
from app.models.runs.run import Run, RunError, RunStatus
from app.runs.ending import end_run, registered_asset
from app.services.sweep.idle_timer import IdleTimer

_GRACE_SECONDS = 600.0


class OverdueRuns:
    """Finds queued runs that are older than `seconds`, and that a worker could have started for ten minutes.

    Runs in a paused lane, or behind another run of their dataset, are not ready, so they are never overdue.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._ready = IdleTimer(_GRACE_SECONDS / 10, clock)

    async def end(self, ready: Iterable[Run], clients: Clients) -> list[Run]:
        """End the runs that waited for too long in failure, and return them.

        By the clock of this host: the limit is so long that an hour more or less does not matter.
        """
        runs = list(ready)
        self._ready.look({run.run_id: run.attempt for run in runs})
        before = utcnow() - timedelta(seconds=self._seconds)
        overdue = [run for run in runs if run.created_at < before and self._ready.seconds(run.run_id) >= _GRACE_SECONDS]
        return [ended for run in overdue if (ended := await _end(run, clients, self._seconds)) is not None]


async def _end(run: Run, clients: Clients, seconds: float) -> Run | None:
    if await registered_asset(run, clients) is not None:
        # Its next attempt, which only records the success, may still come.
        return None
    tried = f"after its attempt {run.attempt} " if run.attempt else ""
    error = RunError(
        code="not_begun",
        detail=f"No worker took the run {tried}for {seconds / 86_400:g} days.",
        fix=f"Start workers that listen to the queue, then POST /runs/{run.run_id}/rerun.",
    )
    line = LogLine(error.code, f"{error.detail} {error.fix}", "error")
    return await end_run(run, RunStatus.FAILURE, clients, before=Outbox((line,)), error=error)
