"""What happens to a run whose attempt ended without a result. Used by whoever notices first: worker, job or sweep."""

from __future__ import annotations

from datetime import datetime

from app.clients import Clients
from app.ledger import Guard
from app.models.run import Run, RunError, RunStatus


async def attempt_died(run: Run, reason: str, clients: Clients, max_attempts: int, now: datetime) -> Run | None:
    """The attempt is over without a result: give the run its next attempt, or fail it when they are used up.

    A run that was being canceled ends canceled. None when somebody else has moved the run on.
    """
    guard = Guard(frozenset({run.status}), attempt=run.attempt)
    if run.status is RunStatus.CANCELING:
        return await clients.ledger.change_run(
            run.run_id, guard, status=RunStatus.CANCELED, lease=None, completed_at=now
        )
    if run.attempt >= max_attempts:
        error = RunError(
            code="attempts_used_up",
            detail=f"Attempt {run.attempt} of {max_attempts} died: {reason}.",
            fix="Look at the run's events and the worker's log; often a file is too large for the memory limit.",
            step=run.step,
        )
        changed = await clients.ledger.change_run(
            run.run_id, guard, status=RunStatus.FAILURE, lease=None, error=error, completed_at=now
        )
    else:
        changed = await clients.ledger.change_run(run.run_id, guard, status=RunStatus.QUEUED, lease=None, step=None)
    if changed is not None:
        message = f"Attempt {run.attempt} died: {reason}."
        await clients.ledger.add_event(run.run_id, level="warning", code="attempt.died", step=run.step, message=message)
    return changed
