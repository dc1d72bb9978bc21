"""How runs end: `end_run` is the only way, for the job, its worker, the API and the sweep alike.

`attempt_died` decides what becomes of a run whose attempt is over without an outcome.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from anyio import to_thread

from app.clients import Clients
from app.errors import LedgerUnavailable, QueueUnavailable, StoreUnavailable
from app.ledger import AssetFilter, Guard, Ledger
from app.ledger.outbox import NOTHING, LogLine, Outbox
from app.messages.job import CANCEL_TOO_LATE
from app.models.asset import Asset
from app.models.base import utcnow
from app.models.manifests.manifest import LAKE_BUCKET
from app.models.page import Page
from app.models.runs.activity import Activity
from app.models.runs.attempt import AttemptEnd
from app.models.runs.attempt_rules import backoff_end, final_error, with_ended_attempt
from app.models.runs.counts import ROWS, RUN_SECONDS, counter, observed
from app.models.runs.run import UNDER_WAY, Progress, Retries, Run, RunStatus, RunWarning
from app.runs.dispatch import dispatch_waiting

logger = logging.getLogger(__name__)


async def registered_asset(run: Run, clients: Clients) -> Asset | None:
    """The version that the run has registered, in any attempt. A run that has one is a success."""
    found = await clients.ledger.list_assets(AssetFilter(run_id=run.run_id, deleted=True), Page(limit=1))
    return found.items[0] if found.items else None


def success_changes(run: Run, asset: Asset) -> dict[str, Any]:
    """The changes that record a success with this asset: a version of the run itself, or an unchanged earlier one."""
    counts = asset.statistics["counts"]
    rows = counts.get("rows_in", 0)
    return {
        "counts": counts,
        "progress": Progress(rows_done=rows, rows_total=rows),
        "engine": asset.statistics["engine"],
        "checks": asset.checks,
        "unchanged_version": None if asset.run_id == run.run_id else asset.version,
    }


def status_after(run: Run, end: AttemptEnd, max_attempts: int, *, committed: bool) -> RunStatus:
    """The status of a run whose attempt died. committed: the run has registered a version, in any attempt."""
    if committed:
        return RunStatus.SUCCESS
    if run.status is RunStatus.CANCELING:
        return RunStatus.CANCELED
    return RunStatus.QUEUED if final_error(run, end, max_attempts) is None else RunStatus.FAILURE


async def attempt_died(run: Run, end: AttemptEnd, clients: Clients, retries: Retries, now: datetime) -> Run | None:
    """Move a run on whose attempt died: queue it for the next attempt, or end it.

    Returns:
        The run as it is now; None when it was not under way any more, or another process moved it on first.
    """
    if run.status not in UNDER_WAY:
        # The job and the sweep may both notice the same death.
        return None
    registered = await registered_asset(run, clients)
    status = status_after(run, end, retries.max_attempts, committed=registered is not None)
    changes: dict[str, Any] = {"attempts": with_ended_attempt(run, end, now)}
    message = f"Attempt {run.attempt} died: {end.detail.rstrip('.')}. The run is {status.value}."
    if registered is not None:
        changes |= success_changes(run, registered)
        if run.status is RunStatus.CANCELING:
            changes["warnings"] = (*run.warnings, cancel_too_late(registered))
    elif status is RunStatus.FAILURE:
        changes["error"] = final_error(run, end, retries.max_attempts)
    elif status is RunStatus.QUEUED:
        begins = backoff_end(run, end, retries, now)
        changes |= {"step": None, "not_before": begins}
        if begins is not None:
            message += f" Its next attempt may begin at {begins.isoformat(timespec='seconds')}."
    data = {"attempt": run.attempt, "outcome": end.outcome.value}
    outbox = Outbox((LogLine("attempt.died", message, "warning", end.step or run.step, data),))
    if status.is_final:
        return await end_run(run, status, clients, before=outbox, completed_at=now, **changes)
    guard = Guard(frozenset({run.status}), attempt=run.attempt)
    queued = await clients.ledger.change_run(run.run_id, guard, outbox, status=status, lease=None, **changes)
    if queued is not None:
        await dispatch_waiting(queued, clients)
    return queued


async def end_run(
    run: Run,
    status: RunStatus,
    clients: Clients,
    *,
    from_statuses: Collection[RunStatus] = (),
    step: str | None = None,
    before: Outbox = NOTHING,
    metrics: Mapping[str, int] | None = None,
    **changes: Any,
) -> Run | None:
    """End a run. Every end of every run goes through here.

    The change, the last log lines and the audit entry are one compare-and-set on the run's status and attempt. Only
    the process that made it goes on: it dispatches the runs that waited for this one, takes the run out of the queue,
    removes what was uploaded without being registered, and adds to the metrics.

    Args:
        run: as the caller last read it.
        status: a final one.
        clients: the ledger, queue and object store.
        from_statuses: the statuses that the run may have in the ledger; default: the one of `run`.
        step: the step that the last log line names.
        before: log lines and audit entries that are written before those of the end.
        metrics: further amounts to count.
        changes: further fields of the run; completed_at is now by default.

    Returns:
        The run as it ended; None when it no longer has one of those statuses, or has another attempt.
    """
    changes = {"completed_at": utcnow(), **changes, "status": status, "lease": None}
    guard = Guard(frozenset(from_statuses or {run.status}), attempt=run.attempt)
    outbox = await _outbox_of_end(run, changes, clients.ledger, step, before)
    ended = await clients.ledger.change_run(run.run_id, guard, outbox, **changes)
    if ended is None:
        return None
    await dispatch_waiting(ended, clients)
    if run.status is RunStatus.QUEUED:
        try:
            await to_thread.run_sync(clients.queue.remove, run)
        except QueueUnavailable as err:
            # A worker that gets it finds in the ledger that it is over.
            logger.warning("run %s is over, but still in the queue: %s", run.run_id, err.detail)
    # A success at the first attempt has registered everything that it uploaded.
    if ended.attempt > 1 or status is not RunStatus.SUCCESS:
        await remove_unregistered(ended, clients)
    await count(clients.ledger, _counts_of(ended) + Counter(metrics or {}))
    return ended


def cancel_too_late(asset: Asset) -> RunWarning:
    """The warning of a run that was canceled when its version was registered already."""
    return CANCEL_TOO_LATE(dataset=asset.dataset_id, version=asset.version)


async def _outbox_of_end(
    run: Run, changes: Mapping[str, Any], ledger: Ledger, step: str | None, before: Outbox
) -> Outbox:
    """`before`, then the last log lines of the run and its audit entry."""
    status, warnings = changes["status"], changes.get("warnings", run.warnings)
    late = tuple(LogLine(w.code, w.message, "warning") for w in warnings if w.code == CANCEL_TOO_LATE.code)
    last = LogLine(f"run.{status}", f"The run ended in {status}.", step=step)
    record = await ledger.get_manifest(run.batch_id)
    uploader = str(record.manifest["uploader"]) if record else ""
    entry = Activity(
        timestamp=changes["completed_at"],
        user=uploader if run.asked_by is None else run.asked_by,
        action=f"run.{status}",
        resource_type="run",
        resource_id=run.run_id,
        details={"batch_id": run.batch_id, "dataset_id": run.partition_key, "uploader": uploader},
    )
    return Outbox((*before.lines, *late, last), (*before.entries, entry))


def _counts_of(run: Run) -> Counter[str]:
    found: Counter[str] = Counter()
    if run.completed_at is not None:
        seconds = (run.completed_at - run.created_at).total_seconds()
        found += observed(RUN_SECONDS, seconds, lane=run.lane, status=run.status.value)
    # The rows of an unchanged version were counted by the run that made it.
    if run.status is RunStatus.SUCCESS and run.unchanged_version is None:
        for direction in ("in", "out"):
            found[counter(ROWS, lane=run.lane, direction=direction)] += run.counts.get(f"rows_{direction}", 0)
    return found


async def count(ledger: Ledger, amounts: Mapping[str, int]) -> None:
    """Add to the metrics. A ledger that is away is logged: metrics never undo what was done."""
    try:
        await ledger.count(amounts)
    except LedgerUnavailable as err:
        logger.warning("the metrics miss %s: %s", ", ".join(amounts), err)


async def remove_unregistered(run: Run, clients: Clients) -> None:
    """Remove objects that attempts of the run uploaded for its reserved version and did not register.

    A store that is away is logged and no error, because the run is over already.
    """
    try:
        await _remove_unregistered(run, clients)
    except StoreUnavailable as err:
        logger.warning("run %s: unregistered objects stay in the lake: %s", run.run_id, err)


async def _remove_unregistered(run: Run, clients: Clients) -> None:
    if run.reserved_version is None:
        return
    listing = await clients.objects.list_objects(LAKE_BUCKET, f"{run.partition_key}/v{run.reserved_version}/")
    registered = await clients.ledger.get_asset(run.partition_key, run.reserved_version)
    keep = registered.object_keys if registered else frozenset()
    for info in listing.objects:
        if info.key not in keep:
            await clients.objects.delete(LAKE_BUCKET, info.key)
