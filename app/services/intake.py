"""Intake: a manifest becomes a run in the ledger. Every door (REST, webhook, sweep) goes through here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import NAMESPACE_URL, uuid5

from app.clients import Clients
from app.dispatch import offer
from app.errors import BatchConflict, Fault, InvalidManifest, LaneClosed, QueueFull
from app.ledger import Accepted
from app.ledger.told import Told
from app.models.activity import done_by
from app.models.base import utcnow
from app.models.caller import ANYBODY, Caller
from app.models.formats import find_format
from app.models.manifest import Manifest, ManifestRecord
from app.models.run import Run
from app.models.trace import new_traceparent
from app.services.access import check_files

# Of the batch ids that rejected manifests are kept under: nobody else may take one.
REJECTED_PREFIX = "rejected."


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a manifest came from, and in whose name. object_key, object_etag: of the object, where it came in one."""

    source: Literal["api", "webhook", "sweep"] = "api"
    caller: Caller = ANYBODY
    traceparent: str | None = None
    object_key: str | None = None
    object_etag: str | None = None


_POSTED = Origin()


def run_id_for(batch_id: str, number: int = 1) -> str:
    """The id of a batch's nth run: 32 hex digits, derived, so that two doors can't make two runs of one batch."""
    return uuid5(NAMESPACE_URL, f"spatial-etl:{batch_id}/{number}").hex


async def submit(
    manifest: Manifest,
    clients: Clients,
    *,
    enabled_lanes: frozenset[str],
    origin: Origin = _POSTED,
) -> Accepted:
    """Accept a manifest: write it and its run to the ledger, then hand the run id to the queue.

    The same batch with the same content gives what is there (created False). Raises BatchConflict for other content,
    InvalidManifest and LaneClosed for what this service can't run, Forbidden for files that are not the caller's,
    QueueFull while there is no room for a further run, LedgerUnavailable when nothing could be accepted.
    A queue that is away is no error: the run waits in the ledger.
    """
    check_files(origin.caller, manifest)
    check_available(manifest, enabled_lanes)
    intent, now = manifest.intent_row, utcnow()
    record = ManifestRecord(
        batch_id=manifest.batch_id,
        manifest=manifest.model_dump(mode="json"),
        content_hash=manifest.content_hash,
        source=origin.source,
        object_key=origin.object_key,
        object_etag=origin.object_etag,
        ingested_at=now,
    )
    run = Run(
        run_id=run_id_for(manifest.batch_id),
        batch_id=manifest.batch_id,
        job_name=intent.job_name,
        lane=intent.lane,
        partition_key=manifest.dataset_id,
        traceparent=origin.traceparent or new_traceparent(),
        created_at=now,
    )
    said = {"intent": manifest.intent, "source": origin.source, "uploader": manifest.uploader}
    entry = done_by(origin.caller, "manifest.accepted", manifest.batch_id, now, run_id=run.run_id, **said)
    try:
        await clients.lanes.check_room()
    except QueueFull:
        # A repeat asks for no room.
        if await clients.ledger.get_manifest(manifest.batch_id) is None:
            raise
    accepted = await clients.ledger.accept(record, run, Told(entries=(entry,)))
    if accepted.manifest.content_hash != record.content_hash:
        raise batch_conflict(accepted.manifest)
    if accepted.created:
        clients.lanes.accepted()
        await offer(accepted.run, clients)
    return accepted


def batch_conflict(record: ManifestRecord) -> BatchConflict:
    """The refusal of a batch id that was used for other content."""
    return BatchConflict(
        f"The batch {record.batch_id!r} was accepted before, with other content (at {record.ingested_at.isoformat()}).",
        "Choose a new batch_id, or post exactly what was posted then.",
    )


def check_available(manifest: Manifest, enabled_lanes: frozenset[str]) -> None:
    """Raises InvalidManifest and LaneClosed for what this service can't run."""
    intent = manifest.intent_row
    faults = []
    if manifest.batch_id.startswith(REJECTED_PREFIX):
        detail = f"Batch ids that begin with {REJECTED_PREFIX!r} belong to rejected manifests."
        faults.append(Fault("/batch_id", "batch_id_reserved", detail, "Choose another."))
    if intent.pipeline is None:
        faults.append(
            Fault(
                "/intent", "intent_not_available", f"{intent.name} is not part of this release.", "Use another intent."
            )
        )
    for index, file in enumerate(manifest.files):
        fmt = find_format(file.format)
        if intent.pipeline is not None and (fmt is None or not fmt.available):
            detail = f"This release reads no {file.format} files."
            fix = "Send another format."
            faults.append(Fault(f"/files/{index}/format", "format_not_available", detail, fix))
    if faults:
        raise InvalidManifest("The manifest asks for what this release does not do.", faults=tuple(faults))
    if intent.lane not in enabled_lanes:
        open_lanes = ", ".join(sorted(enabled_lanes)) or "none"
        raise LaneClosed(
            f"The lane {intent.lane!r} of {intent.name} is closed (open: {open_lanes}).",
            "Open it with MANIFEST_ROUTER_ENABLED_LANES, or use an intent of an open lane.",
        )
