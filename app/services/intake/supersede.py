"""A manifest that made no version may be corrected under its batch id: the corrected one names it in `supersedes`."""

from __future__ import annotations

import json
from functools import partial

from app.clients import Clients
from app.errors import BatchConflict
from app.ledger import Accepted, RunFilter
from app.ledger.outbox import Outbox
from app.models.caller import Caller
from app.models.manifests.manifest import ManifestRecord, ManifestStatus
from app.models.runs.activity import done_by
from app.models.runs.run import Run, RunStatus
from app.services.access.prefixes import check_files
from app.services.listing import all_items

# Of the manifests that one supersedes.
_MOST_EARLIER = 20
_MOST_BYTES = 4 * 1024 * 1024
_OTHER_ID = "Choose a new batch_id."


async def check_supersedes(supersedes: str, batch_id: str, clients: Clients, caller: Caller) -> list[Run]:
    """The runs of the batch, newest first, whose manifest may be superseded.

    Raises:
        BatchConflict: there is no such manifest, it is another one, a run of it succeeded or is under way, or it was
            corrected too often.
        Forbidden: it has files that are not the caller's.
    """
    known = await clients.ledger.get_manifest(batch_id)
    if known is None or known.status in (ManifestStatus.REJECTED, ManifestStatus.REMOVED):
        raise BatchConflict(f"No manifest with batch_id {batch_id!r} was accepted.", "Leave `supersedes` out.")
    check_files(caller, known.parsed())
    if known.content_hash != supersedes:
        raise BatchConflict(
            f"The manifest of the batch {batch_id!r} is not the one that `supersedes` names.",
            f"Read it (GET /manifests/{batch_id}). Its content_hash is {known.content_hash}.",
        )
    runs = [run async for run in all_items(partial(clients.ledger.list_runs, RunFilter(batch_id=batch_id)))]
    if any(run.status is RunStatus.SUCCESS for run in runs):
        raise BatchConflict(f"A run of the batch {batch_id!r} succeeded: its manifest stays.", _OTHER_ID)
    if open_run := next((run for run in runs if not run.status.is_final), None):
        raise BatchConflict(
            f"The run {open_run.run_id} of the batch {batch_id!r} is {open_run.status}.",
            f"Cancel it (POST /runs/{open_run.run_id}/cancel) or wait until it is over, and send the manifest again.",
        )
    if len(known.earlier) >= _MOST_EARLIER or _bytes_of(known) > _MOST_BYTES:
        raise BatchConflict(f"The batch {batch_id!r} was corrected too often to keep one more manifest.", _OTHER_ID)
    return runs


async def supersede(
    record: ManifestRecord, run: Run, supersedes: str, clients: Clients, caller: Caller
) -> Accepted | None:
    """Store the corrected manifest with its run. None: the batch changed meanwhile."""
    details = {"run_id": run.run_id, "superseded": supersedes}
    entry = done_by(caller, "manifest.superseded", record.batch_id, run.created_at, **details)
    return await clients.ledger.supersede(record, run, supersedes, Outbox(entries=(entry,)))


def _bytes_of(known: ManifestRecord) -> int:
    """How large the history would be."""
    document = known.model_dump(mode="json", include={"manifest", "files_found", "earlier"})
    return len(json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass"))
