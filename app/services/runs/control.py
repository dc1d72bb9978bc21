"""Cancel runs, withdraw batches that wait, and run manifests again.

`canceling` is a status: the job ends the run between two batches, and its worker kills the job's process when the time
for that is over. The lease of a run that is being canceled is that deadline, and is not renewed.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Literal

from pydantic import ValidationError

from app.clients import Clients
from app.errors import ManifestRejected, ManifestRemoved, NotFound, RunNotOver, RunOver
from app.ledger import Guard, RunFilter
from app.ledger.outbox import LogLine, Outbox
from app.models.base import utcnow
from app.models.caller import ANYBODY, Caller
from app.models.manifests.faults import invalid_manifest
from app.models.manifests.manifest import Manifest, ManifestRecord
from app.models.runs.activity import done_by
from app.models.runs.run import Run, RunStatus
from app.models.runs.trace import new_traceparent
from app.runs.dispatch import dispatch_run
from app.runs.ending import end_run, registered_asset
from app.services.access.prefixes import check_files
from app.services.intake.submit import check_available, run_id_for
from app.services.listing import all_items
from app.services.runs.read import get_run

NewVersion = Literal["if_changed", "always"]

_MILLISECOND = timedelta(milliseconds=1)


async def cancel(run_id: str, clients: Clients, *, seconds: float, caller: Caller = ANYBODY) -> Run:
    """Cancel a run. One whose version is in the catalogue ends in success, with the warning `cancel_too_late`.

    Args:
        seconds: how long a running one may take to stop before its process is killed.

    Returns:
        The run, canceled or being canceled; unchanged when it was being canceled already.

    Raises:
        NotFound, Forbidden.
        RunOver: the run is over.
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
        if run.status is RunStatus.RUNNING:
            changed = await _request_cancel(run, clients, seconds, caller)
        elif await registered_asset(run, clients) is not None:
            # Its worker died between commit and end: the next attempt only records the success.
            return run
        else:
            entry = done_by(caller, "run.canceled_while_queued", run_id, batch_id=run.batch_id)
            changed = await end_run(run, RunStatus.CANCELED, clients, before=Outbox(entries=(entry,)))
        if changed is not None:
            return changed


async def _request_cancel(run: Run, clients: Clients, seconds: float, caller: Caller) -> Run | None:
    deadline = utcnow() + timedelta(seconds=seconds)
    lease = run.lease.model_copy(update={"expires_at": deadline}) if run.lease else None
    guard = Guard(frozenset({RunStatus.RUNNING}), attempt=run.attempt)
    message = f"A cancel was requested. The run has {seconds:g} s to stop."
    line = LogLine("run.canceling", message, step=run.step)
    outbox = Outbox((line,), (done_by(caller, "run.cancel_asked", run.run_id, batch_id=run.batch_id),))
    return await clients.ledger.change_run(run.run_id, guard, outbox, status=RunStatus.CANCELING, lease=lease)


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
                "Only a batch that waits in the queue can be withdrawn. Its batch_id stays taken.",
            )
        committed = newest.status is RunStatus.QUEUED and await registered_asset(newest, clients) is not None
        if newest.status is not RunStatus.QUEUED or committed:
            state = "about to end in success" if committed else str(newest.status)
            raise RunNotOver(
                f"The batch {batch_id!r} cannot be withdrawn any more: its run {newest.run_id} is {state}.",
                f"Cancel the run: POST /runs/{newest.run_id}/cancel.",
            )
        entry = done_by(caller, "manifest.withdrawn", batch_id, run_id=newest.run_id)
        changed = await end_run(newest, RunStatus.CANCELED, clients, before=Outbox(entries=(entry,)))
        if changed is not None:
            return changed


async def rerun(
    clients: Clients,
    *,
    run_id: str | None = None,
    batch_id: str = "",
    enabled_lanes: frozenset[str],
    new_version: NewVersion | None = None,
    traceparent: str | None = None,
    caller: Caller = ANYBODY,
) -> Run:
    """Run a manifest again. Of two callers that ask at once, both get the same run.

    Args:
        run_id: the run to repeat, which the new one names in retry_of.
        batch_id: without a run_id: the batch whose newest run is to be repeated.

    Raises:
        NotFound, Forbidden, QueueFull.
        ManifestRejected, ManifestRemoved: the batch has no runs.
        RunNotOver: a run of the batch is not over.
        InvalidManifest, LaneClosed: this service no longer runs such a manifest.
    """
    earlier = await get_run(clients.ledger, run_id) if run_id is not None else None
    batch_id = earlier.batch_id if earlier is not None else batch_id
    manifest = _parsed(await _accepted(batch_id, clients))
    check_files(caller, manifest)
    check_available(manifest, enabled_lanes)
    intent = manifest.intent_row
    runs = await _runs_of(batch_id, clients)
    newest = runs[0]
    earlier = earlier or newest
    if not newest.status.is_final:
        raise _not_over(newest)
    await clients.lanes.check_room()
    run = Run(
        run_id=run_id_for(batch_id, len(runs) + 1),
        batch_id=batch_id,
        job_name=intent.job_name,
        lane=intent.lane,
        # That of its manifest: an earlier run may be of one that was superseded.
        partition_key=newest.partition_key,
        retry_of=earlier.run_id,
        new_version=new_version,
        traceparent=traceparent or new_traceparent(),
        asked_by=caller.user,
        # The clock of this host may be behind that of the one which accepted the run before.
        created_at=max(utcnow(), newest.created_at + _MILLISECOND),
    )
    entry = done_by(caller, "run.asked_again", run.run_id, retry_of=earlier.run_id, batch_id=batch_id)
    added = await clients.ledger.add_run(run, Outbox(entries=(entry,)))
    if added is None:
        # Another caller asked for the same at this moment.
        there = await clients.ledger.get_run(run.run_id)
        if there is None or there.retry_of != run.retry_of or there.new_version != run.new_version:
            raise _not_over((await _runs_of(batch_id, clients))[0])
        return there
    clients.lanes.accepted()
    await dispatch_run(added, clients)
    return added


async def _accepted(batch_id: str, clients: Clients) -> ManifestRecord:
    record = await clients.ledger.get_manifest(batch_id)
    if record is None:
        raise NotFound(f"There is no manifest with batch_id {batch_id!r}.", "GET /manifests lists them.")
    if record.status == "removed":
        raise manifest_removed(batch_id)
    if record.status == "rejected":
        raise ManifestRejected(
            f"The manifest {batch_id!r} was rejected, so it has no run.",
            f"Fix what GET /manifests/{batch_id} reports, and submit it under a new batch_id.",
        )
    return record


async def _check_rights(caller: Caller, batch_id: str, clients: Clients) -> None:
    """Raises Forbidden when the caller may not use the files of the batch."""
    if caller.prefixes:
        check_files(caller, _parsed(await _accepted(batch_id, clients)))


def manifest_removed(batch_id: str) -> ManifestRemoved:
    return ManifestRemoved(
        f"The manifest {batch_id!r} was removed, and its runs with it.",
        "Submit it under a new batch_id: the old one stays taken. GET /activity shows who removed it.",
    )


async def _runs_of(batch_id: str, clients: Clients) -> list[Run]:
    """All runs of an accepted batch, newest first."""
    return [run async for run in all_items(partial(clients.ledger.list_runs, RunFilter(batch_id=batch_id)))]


def _parsed(record: ManifestRecord) -> Manifest:
    """Raises InvalidManifest for a manifest that an earlier release accepted and this one does not."""
    try:
        return record.parsed()
    except ValidationError as err:
        raise invalid_manifest(err.errors()) from None


def _not_over(run: Run) -> RunNotOver:
    return RunNotOver(
        f"The batch {run.batch_id!r} has run {run.run_id}, which is {run.status}.",
        f"Wait until it is over (GET /runs/{run.run_id}?wait=30), or cancel it (POST /runs/{run.run_id}/cancel).",
    )
