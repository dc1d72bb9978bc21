"""What may be asked of a run after it was accepted: to stop, to be done again, or never to begin.

Canceling is a state of its own: whoever carries the run ends it between two batches, and its worker kills the job's
process when the time for that is over. The lease of a run that is being canceled is that deadline; nobody renews it.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Literal

from anyio import to_thread
from pydantic import ValidationError

from app.clients import Clients
from app.dispatch import moved_on, offer
from app.errors import ManifestRejected, ManifestRemoved, NotFound, QueueUnavailable, RunNotOver, RunOver
from app.ledger import Guard, RunFilter
from app.ledger.told import Line, Told
from app.lifecycle import count_end, registered_asset, remove_unregistered, told_of_end
from app.models.activity import Activity, done_by
from app.models.base import utcnow
from app.models.caller import ANYBODY, Caller
from app.models.faults import invalid_manifest
from app.models.manifest import Manifest, ManifestRecord
from app.models.page import Page
from app.models.run import Run, RunStatus
from app.models.trace import new_traceparent
from app.services.access import check_files
from app.services.intake import check_available, run_id_for
from app.services.runs import get_run

logger = logging.getLogger(__name__)

NewVersion = Literal["if_changed", "always"]

_QUEUED, _RUNNING = RunStatus.QUEUED, RunStatus.RUNNING
_MILLISECOND = timedelta(milliseconds=1)


async def cancel(run_id: str, clients: Clients, *, seconds: float, caller: Caller = ANYBODY) -> Run:
    """The run, canceled or being canceled. seconds: what a running one may take to end by itself.

    Nothing happens to one that is being canceled already. A run whose version is in the catalogue ends in success: its
    warning `cancel_too_late` says so. Raises NotFound, Forbidden, and RunOver for a run that is over.
    """
    while True:
        run = await get_run(clients.ledger, run_id)
        await _check_rights(caller, run.batch_id, clients)
        if run.status is RunStatus.CANCELING:
            return run
        if run.status.is_final:
            raise RunOver(
                f"Run {run_id} is over: {run.status}.",
                f"Only runs that are queued or running can be canceled. POST /runs/{run_id}/rerun runs it again.",
            )
        if run.status is _RUNNING:
            changed = await _ask_to_stop(run, clients, seconds, caller)
        elif await registered_asset(run, clients) is not None:
            # Its worker died between commit and end: the next attempt only writes down the success.
            return run
        else:
            entry = done_by(caller, "run.canceled_while_queued", run_id, batch_id=run.batch_id)
            changed = await _never_run(run, clients, entry)
        if changed is not None:
            return changed


async def _ask_to_stop(run: Run, clients: Clients, seconds: float, caller: Caller) -> Run | None:
    deadline = utcnow() + timedelta(seconds=seconds)
    lease = run.lease.model_copy(update={"expires_at": deadline}) if run.lease else None
    guard = Guard(frozenset({_RUNNING}), attempt=run.attempt)
    message = f"Somebody asked for the run to stop; it has {seconds:g} s to do so."
    line = Line("run.canceling", message, step=run.step)
    told = Told((line,), (done_by(caller, "run.cancel_asked", run.run_id, batch_id=run.batch_id),))
    return await clients.ledger.change_run(run.run_id, guard, told, status=RunStatus.CANCELING, lease=lease)


async def _never_run(run: Run, clients: Clients, entry: Activity) -> Run | None:
    """entry: what the audit trail says of whoever asked for it."""
    guard = Guard(frozenset({_QUEUED}), attempt=run.attempt)
    changes = {"status": RunStatus.CANCELED, "completed_at": utcnow()}
    told = await told_of_end(run, changes, clients.ledger, entries=(entry,))
    changed = await clients.ledger.change_run(run.run_id, guard, told, **changes)
    if changed is None:
        return None
    await moved_on(changed, clients)
    try:
        await to_thread.run_sync(clients.queue.remove, run.run_id)
    except QueueUnavailable as err:
        # A worker that gets it sees in the ledger that there is nothing to do.
        logger.warning("run %s is canceled, but still in the queue: %s", run.run_id, err.detail)
    # An earlier attempt that died may have left some.
    await remove_unregistered(changed, clients)
    await count_end(changed, clients.ledger)
    return changed


async def withdraw(batch_id: str, clients: Clients, *, caller: Caller = ANYBODY) -> Run:
    """Cancel the queued run of a batch; its id stays taken.

    Raises NotFound, Forbidden, ManifestRejected, RunOver, RunNotOver.
    """
    await _accepted(batch_id, clients)
    await _check_rights(caller, batch_id, clients)
    while True:
        newest = (await _runs_of(batch_id, clients))[0]
        if newest.status.is_final:
            raise RunOver(
                f"The batch {batch_id!r} is over: its run {newest.run_id} ended in {newest.status}.",
                "Only what waits in the queue can be withdrawn. Its batch_id stays taken.",
            )
        committed = newest.status is _QUEUED and await registered_asset(newest, clients) is not None
        if newest.status is not _QUEUED or committed:
            state = "about to end in success" if committed else str(newest.status)
            raise RunNotOver(
                f"The batch {batch_id!r} cannot be withdrawn any more: its run {newest.run_id} is {state}.",
                f"Cancel the run: POST /runs/{newest.run_id}/cancel.",
            )
        entry = done_by(caller, "manifest.withdrawn", batch_id, run_id=newest.run_id)
        changed = await _never_run(newest, clients, entry)
        if changed is not None:
            return changed


async def rerun(
    run_id: str,
    clients: Clients,
    *,
    enabled_lanes: frozenset[str],
    new_version: NewVersion | None = None,
    traceparent: str | None = None,
    caller: Caller = ANYBODY,
) -> Run:
    """A further run of the manifest of `run_id`, which it names in retry_of. Of two that ask at once both get the same.

    Raises NotFound, Forbidden, RunNotOver while the batch has a run that is not over, InvalidManifest and LaneClosed
    for what this service no longer runs, QueueFull.
    """
    earlier = await get_run(clients.ledger, run_id)
    record = await _accepted(earlier.batch_id, clients)
    manifest = _parsed(record)
    check_files(caller, manifest)
    check_available(manifest, enabled_lanes)
    intent = manifest.intent_row
    runs = await _runs_of(earlier.batch_id, clients)
    newest = runs[0]
    if not newest.status.is_final:
        raise _not_over(newest)
    await clients.lanes.check_room()
    run = Run(
        run_id=run_id_for(earlier.batch_id, len(runs) + 1),
        batch_id=earlier.batch_id,
        job_name=intent.job_name,
        lane=intent.lane,
        partition_key=earlier.partition_key,
        retry_of=earlier.run_id,
        new_version=new_version,
        traceparent=traceparent or new_traceparent(),
        # The clock of this host may be behind that of the one which accepted the run before.
        created_at=max(utcnow(), newest.created_at + _MILLISECOND),
    )
    entry = done_by(caller, "run.asked_again", run.run_id, retry_of=run_id, batch_id=earlier.batch_id)
    added = await clients.ledger.add_run(run, Told(entries=(entry,)))
    if added is None:
        # Somebody else asked for the same at this moment.
        there = await clients.ledger.get_run(run.run_id)
        if there is None or there.retry_of != run.retry_of or there.new_version != run.new_version:
            raise _not_over((await _runs_of(earlier.batch_id, clients))[0])
        return there
    clients.lanes.accepted()
    await offer(added, clients)
    return added


async def rerun_batch(
    batch_id: str,
    clients: Clients,
    *,
    enabled_lanes: frozenset[str],
    new_version: NewVersion | None = None,
    traceparent: str | None = None,
    caller: Caller = ANYBODY,
) -> Run:
    """A further run of the batch, after its newest one. Raises as `rerun`, and ManifestRejected."""
    await _accepted(batch_id, clients)
    newest = (await _runs_of(batch_id, clients))[0]
    return await rerun(
        newest.run_id,
        clients,
        enabled_lanes=enabled_lanes,
        new_version=new_version,
        traceparent=traceparent,
        caller=caller,
    )


async def _accepted(batch_id: str, clients: Clients) -> ManifestRecord:
    record = await clients.ledger.get_manifest(batch_id)
    if record is None:
        raise NotFound(f"There is no manifest with batch_id {batch_id!r}.", "GET /manifests lists them.")
    if record.status == "removed":
        raise manifest_removed(batch_id)
    if record.status == "rejected":
        raise ManifestRejected(
            f"The manifest {batch_id!r} was rejected, so it has no run.",
            f"GET /manifests/{batch_id} says what is wrong with it; submit the mended one under a batch_id of its own.",
        )
    return record


async def _check_rights(caller: Caller, batch_id: str, clients: Clients) -> None:
    """Raises Forbidden when the caller may not use the files of the batch, so that it is somebody else's."""
    if caller.prefixes:
        check_files(caller, _parsed(await _accepted(batch_id, clients)))


def manifest_removed(batch_id: str) -> ManifestRemoved:
    return ManifestRemoved(
        f"The manifest {batch_id!r} was removed, and its runs with it.",
        "Its batch_id stays taken: submit it again under another. GET /activity tells who removed it.",
    )


async def _runs_of(batch_id: str, clients: Clients) -> list[Run]:
    """All runs of an accepted batch, newest first."""
    found: list[Run] = []
    page = Page(limit=1000)
    while True:
        part = await clients.ledger.list_runs(RunFilter(batch_id=batch_id), page)
        found += part.items
        if part.next_cursor is None:
            return found
        page = Page(limit=1000, cursor=part.next_cursor)


def _parsed(record: ManifestRecord) -> Manifest:
    """Raises InvalidManifest for one that an earlier release took and this one does not."""
    try:
        return record.parsed()
    except ValidationError as err:
        raise invalid_manifest(err.errors()) from None


def _not_over(run: Run) -> RunNotOver:
    return RunNotOver(
        f"The batch {run.batch_id!r} has run {run.run_id}, which is {run.status}.",
        f"Wait until it is over (GET /runs/{run.run_id}?wait=30), or cancel it (POST /runs/{run.run_id}/cancel).",
    )
