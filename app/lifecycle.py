"""How runs end, whoever ends them: the job itself, the worker that sees its job die, or the sweep."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.clients import Clients
from app.ledger import AssetFilter, Guard
from app.models.asset import Asset
from app.models.manifest import LAKE_BUCKET
from app.models.page import Page
from app.models.run import Progress, Run, RunError, RunStatus


async def registered_asset(run: Run, clients: Clients) -> Asset | None:
    """What the run has committed, in whichever attempt: past that point its version stands and the run is a success."""
    found = await clients.ledger.list_assets(AssetFilter(run_id=run.run_id), Page(limit=1))
    return found.items[0] if found.items else None


def success_changes(run: Run, asset: Asset) -> dict[str, Any]:
    """The changes that make the run a success with this asset: its own, or the one that it found unchanged."""
    counts = asset.statistics["counts"]
    rows = counts.get("rows_in", 0)
    progress = Progress(rows_done=rows, rows_total=rows)
    return {
        "status": RunStatus.SUCCESS,
        "lease": None,
        "counts": counts,
        "progress": progress,
        "engine": asset.statistics["engine"],
        "unchanged_version": None if asset.run_id == run.run_id else asset.version,
    }


async def attempt_died(run: Run, reason: str, clients: Clients, max_attempts: int, now: datetime) -> Run | None:
    """The attempt is over without a word: give the run its next one, or end it when they are used up.

    A run that had committed before its attempt died is a success; one that was being canceled is canceled. None when
    somebody else has moved the run on.
    """
    guard = Guard(frozenset({run.status}), attempt=run.attempt)
    registered = await registered_asset(run, clients)
    changes: dict[str, Any]
    if registered is not None:
        changes = {**success_changes(run, registered), "completed_at": now}
    elif run.status is RunStatus.CANCELING:
        changes = {"status": RunStatus.CANCELED, "lease": None, "completed_at": now}
    elif run.attempt < max_attempts:
        changes = {"status": RunStatus.QUEUED, "lease": None, "step": None}
    else:
        error = RunError(
            code="attempts_used_up",
            detail=f"Attempt {run.attempt} of {max_attempts} died: {reason}.",
            fix="Look at the run's events and the worker's log; often a file is too large for the memory limit.",
            step=run.step,
        )
        changes = {"status": RunStatus.FAILURE, "lease": None, "error": error, "completed_at": now}
    changed = await clients.ledger.change_run(run.run_id, guard, **changes)
    if changed is None:
        return None
    message = f"Attempt {run.attempt} died: {reason}. The run is {changed.status.value}."
    await clients.ledger.add_event(run.run_id, level="warning", code="attempt.died", step=run.step, message=message)
    if changed.status.is_final:
        await remove_unregistered(changed, clients)
    return changed


async def remove_unregistered(run: Run, clients: Clients) -> None:
    """Remove what attempts of the run uploaded under its reserved version and the ledger does not know."""
    if run.reserved_version is None:
        return
    listing = await clients.objects.list_objects(LAKE_BUCKET, f"{run.partition_key}/v{run.reserved_version}/")
    registered = await clients.ledger.get_asset(run.partition_key, run.reserved_version)
    keep = registered.object_keys if registered else frozenset()
    for info in listing.objects:
        if info.key not in keep:
            await clients.objects.delete(LAKE_BUCKET, info.key)
