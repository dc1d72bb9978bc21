"""How runs end, whoever ends them: the job itself, the worker that sees its job die, or the sweep."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from app.clients import Clients
from app.errors import LedgerUnavailable, StoreUnavailable
from app.ledger import AssetFilter, Guard, Ledger
from app.models.activity import Activity
from app.models.asset import Asset
from app.models.base import utcnow
from app.models.counts import ROWS, RUN_SECONDS, counter, observed
from app.models.manifest import LAKE_BUCKET
from app.models.page import Page
from app.models.run import Progress, Run, RunError, RunStatus, Warning_

logger = logging.getLogger(__name__)


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


def cancel_came_too_late(asset: Asset) -> Warning_:
    """For a run that was to be canceled when its version was registered already."""
    message = (
        f"The cancel came when {asset.dataset_id} version {asset.version} was in the catalogue: the run is a success."
    )
    return Warning_(code="cancel_too_late", message=message)


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
        if run.status is RunStatus.CANCELING:
            changes["warnings"] = (*run.warnings, cancel_came_too_late(registered))
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
        await tell_end(changed, clients.ledger)
    return changed


async def tell_end(
    run: Run, ledger: Ledger, *, step: str | None = None, counts: Mapping[str, int] | None = None
) -> None:
    """The last line of a run's log, its entry in the audit trail, and what the metrics count. counts: more of those."""
    for warning in run.warnings:
        if warning.code == "cancel_too_late":
            await ledger.add_event(run.run_id, code=warning.code, message=warning.message, level="warning")
    message = f"The run ended in {run.status}."
    await ledger.add_event(run.run_id, code=f"run.{run.status}", message=message, step=step)
    record = await ledger.get_manifest(run.batch_id)
    entry = Activity(
        timestamp=run.completed_at or utcnow(),
        user=str(record.manifest["uploader"]) if record else "",
        action=f"run.{run.status}",
        resource_type="run",
        resource_id=run.run_id,
        details={"batch_id": run.batch_id, "dataset_id": run.partition_key},
    )
    await ledger.add_activity(entry)
    await count(ledger, _counts_of(run) + Counter(counts or {}))


def _counts_of(run: Run) -> Counter[str]:
    found: Counter[str] = Counter()
    if run.completed_at is not None:
        seconds = (run.completed_at - run.created_at).total_seconds()
        found += observed(RUN_SECONDS, seconds, lane=run.lane, status=run.status.value)
    # What an earlier run made counted then.
    if run.status is RunStatus.SUCCESS and run.unchanged_version is None:
        for direction in ("in", "out"):
            found[counter(ROWS, lane=run.lane, direction=direction)] += run.counts.get(f"rows_{direction}", 0)
    return found


async def count(ledger: Ledger, amounts: Mapping[str, int]) -> None:
    """Add to the metrics. Nothing that was done is undone because they cannot be told."""
    try:
        await ledger.count(amounts)
    except LedgerUnavailable as err:
        logger.warning("the metrics miss %s: %s", ", ".join(amounts), err)


async def remove_unregistered(run: Run, clients: Clients) -> None:
    """Remove what attempts of the run uploaded under its reserved version and the ledger does not know.

    A store that is away is no error here: the run is over, and what is still to be said of it must be said.
    """
    try:
        await _remove_unregistered(run, clients)
    except StoreUnavailable as err:
        logger.warning("run %s: what it uploaded without registering it stays in the lake: %s", run.run_id, err)


async def _remove_unregistered(run: Run, clients: Clients) -> None:
    if run.reserved_version is None:
        return
    listing = await clients.objects.list_objects(LAKE_BUCKET, f"{run.partition_key}/v{run.reserved_version}/")
    registered = await clients.ledger.get_asset(run.partition_key, run.reserved_version)
    keep = registered.object_keys if registered else frozenset()
    for info in listing.objects:
        if info.key not in keep:
            await clients.objects.delete(LAKE_BUCKET, info.key)
