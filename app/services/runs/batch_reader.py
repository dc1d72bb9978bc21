"""Reading single runs for many at once: those asked for together come from one query.

A query costs about the same for one run as for fifty. Pollers that come while one is under way share the next, which
begins after their request, so that none of them gets an older state of a run.
"""

from __future__ import annotations

import asyncio

from app.errors import NotFound
from app.ledger import Ledger
from app.models.runs.run import Run

_AT_ONCE = 500


class RunReader:
    """One for each event loop."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._wanted: dict[str, asyncio.Future[Run | None]] = {}
        self._work: asyncio.Task[None] | None = None

    async def get(self, run_id: str) -> Run:
        """Raises NotFound, LedgerUnavailable."""
        answer = self._wanted.get(run_id)
        if answer is None:
            answer = self._wanted[run_id] = asyncio.get_running_loop().create_future()
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._read())
        # One reader that gives up must not take the answer from the others.
        run = await asyncio.shield(answer)
        if run is None:
            raise not_found(run_id)
        return run

    async def _read(self) -> None:
        while self._wanted:
            batch = {run_id: self._wanted.pop(run_id) for run_id in list(self._wanted)[:_AT_ONCE]}
            try:
                found = {run.run_id: run for run in await self._ledger.get_runs(tuple(batch))}
            except BaseException as err:
                for answer in batch.values():
                    answer.set_exception(err)
                    answer.exception()  # asked for, so that asyncio does not report it where all readers have gone
                if not isinstance(err, Exception):
                    raise
            else:
                for run_id, answer in batch.items():
                    answer.set_result(found.get(run_id))


def not_found(run_id: str) -> NotFound:
    return NotFound(f"There is no run {run_id!r}.", "GET /runs lists them.")
