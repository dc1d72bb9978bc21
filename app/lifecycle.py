"""How runs end, whoever ends them: the job itself, the worker that sees its job die, or the sweep."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from app.clients import Clients
from app.dispatch import moved_on
from app.errors import LedgerUnavailable, StoreUnavailable
from app.ledger import AssetFilter, Guard, Ledger
from app.ledger.told import Line, Told
from app.models.activity import Activity
from app.models.asset import Asset
from app.models.attempt import AttemptEnd
from app.models.attempt_rules import ended, last_error, pause_ends
from app.models.counts import ROWS, RUN_SECONDS, counter, observed
from app.models.manifest import LAKE_BUCKET
from app.models.page import Page
from app.models.run import Progress, Retries, Run, RunStatus, Warning_

logger = logging.getLogger(__name__)

_CARRIED = frozenset({RunStatus.RUNNING, RunStatus.CANCELING})


async def registered_asset(run: Run, clients: Clients) -> Asset | None:
    """What the run has committed, in whichever attempt: past that point its version stands and the run is a success."""
    found = await clients.ledger.list_assets(AssetFilter(run_id=run.run_id, deleted=True), Page(limit=1))
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


async def attempt_died(run: Run, end: AttemptEnd, clients: Clients, retries: Retries, now: datetime) -> Run | None:
    """The attempt is over without an outcome of its run: give the run its next one, or end it when it gets none.

    A run that had committed before its attempt died is a success; one that was being canceled is canceled. None when
    somebody else has moved the run on.
    """
    if run.status not in _CARRIED:
        # Two may notice the same death: its job, which cannot go on, and the sweep, which was faster.
        return None
    guard = Guard(frozenset({run.status}), attempt=run.attempt)
    registered = await registered_asset(run, clients)
    changes: dict[str, Any]
    if registered is not None:
        changes = {**success_changes(run, registered), "completed_at": now}
        if run.status is RunStatus.CANCELING:
            changes["warnings"] = (*run.warnings, cancel_came_too_late(registered))
    elif run.status is RunStatus.CANCELING:
        changes = {"status": RunStatus.CANCELED, "lease": None, "completed_at": now}
    elif (error := last_error(run, end, retries.max_attempts)) is None:
        not_before = pause_ends(run, end, retries, now)
        changes = {"status": RunStatus.QUEUED, "lease": None, "step": None, "not_before": not_before}
    else:
        changes = {"status": RunStatus.FAILURE, "lease": None, "error": error, "completed_at": now}
    changes["attempts"] = ended(run, end, now)
    status, step = changes["status"], end.step or run.step
    message = f"Attempt {run.attempt} died: {end.detail.rstrip('.')}. The run is {status.value}."
    if (begins := changes.get("not_before")) is not None:
        message += f" Its next attempt may begin at {begins.isoformat(timespec='seconds')}."
    data = {"attempt": run.attempt, "outcome": end.outcome.value}
    told = Told((Line("attempt.died", message, "warning", step, data),))
    if status.is_final:
        told = await told_of_end(run, changes, clients.ledger, lines=told.lines)
    changed = await clients.ledger.change_run(run.run_id, guard, told, **changes)
    if changed is None:
        return None
    await moved_on(changed, clients)
    if changed.status.is_final:
        await remove_unregistered(changed, clients)
        await count_end(changed, clients.ledger)
    return changed


async def told_of_end(
    run: Run,
    changes: Mapping[str, Any],
    ledger: Ledger,
    *,
    step: str | None = None,
    lines: tuple[Line, ...] = (),
    entries: tuple[Activity, ...] = (),
) -> Told:
    """The last lines of a run's log, and its entry in the audit trail. lines, entries: what goes before them."""
    status, warnings = changes["status"], changes.get("warnings", run.warnings)
    late = tuple(Line(w.code, w.message, "warning") for w in warnings if w.code == "cancel_too_late")
    last = Line(f"run.{status}", f"The run ended in {status}.", step=step)
    record = await ledger.get_manifest(run.batch_id)
    entry = Activity(
        timestamp=changes["completed_at"],
        user=str(record.manifest["uploader"]) if record else "",
        action=f"run.{status}",
        resource_type="run",
        resource_id=run.run_id,
        details={"batch_id": run.batch_id, "dataset_id": run.partition_key},
    )
    return Told((*lines, *late, last), (*entries, entry))


async def count_end(run: Run, ledger: Ledger, counts: Mapping[str, int] | None = None) -> None:
    """What the metrics count of a run that is over. counts: more of that."""
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
