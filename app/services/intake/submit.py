"""Accept manifests: each becomes a run in the ledger. REST, webhook and sweep all call `submit`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from uuid import NAMESPACE_URL, uuid5

from pydantic import ValidationError

from app.clients import Clients
from app.errors import BatchConflict, Fault, InvalidManifest, LaneClosed, QueueFull
from app.ledger import Accepted
from app.ledger.outbox import Outbox
from app.messages.manifest import BATCH_ID_RESERVED, FORMAT_NOT_AVAILABLE, INTENT_NOT_AVAILABLE, TYPE_NOT_OF_INTENT
from app.models.base import utcnow
from app.models.caller import ANYBODY, Caller
from app.models.formats import find_format
from app.models.manifests.manifest import FilesFound, Manifest, ManifestRecord, ManifestStatus
from app.models.manifests.path_patterns import is_pattern
from app.models.recipes.table import SHIPPED, RecipeTable
from app.models.runs.activity import done_by
from app.models.runs.run import Run
from app.models.runs.trace import new_traceparent
from app.runs.dispatch import dispatch_run
from app.services.access.prefixes import check_files
from app.services.intake.find_files import find_files
from app.services.intake.supersede import check_supersedes, supersede

# Batch ids with this prefix are reserved for the records of rejected manifests.
REJECTED_PREFIX = "rejected."


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a manifest came from, and who sent it. object_key, object_etag: of the object that it was dropped as."""

    source: Literal["api", "webhook", "sweep"] = "api"
    caller: Caller = ANYBODY
    traceparent: str | None = None
    object_key: str | None = None
    object_etag: str | None = None


_POSTED = Origin()


def run_id_for(batch_id: str, number: int = 1) -> str:
    """The id of a batch's nth run: 32 hex digits, derived, so that a batch received twice has one run."""
    return uuid5(NAMESPACE_URL, f"spatial-etl:{batch_id}/{number}").hex


async def submit(
    manifest: Manifest,
    clients: Clients,
    *,
    enabled_lanes: frozenset[str],
    recipes: RecipeTable = SHIPPED,
    origin: Origin = _POSTED,
) -> Accepted:
    """Accept a manifest: write it and its run to the ledger, then hand the run id to the queue.

    The same batch with the same content gives what is there (created False). Raises BatchConflict for other content
    that does not supersede it,
    InvalidManifest and LaneClosed for what this service can't run, Forbidden for files that are not the caller's,
    QueueFull while there is no room for a further run, LedgerUnavailable when nothing could be accepted.
    A queue that is away is no error: the run waits in the ledger.
    """
    found = await checked_files(manifest, clients, origin.caller, enabled_lanes, recipes)
    intent, now = manifest.intent_row, utcnow()
    record = ManifestRecord(
        batch_id=manifest.batch_id,
        manifest=recipes.resolve(manifest).model_dump(mode="json"),
        content_hash=manifest.content_hash,
        files_found=found,
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
        asked_by=origin.caller.user,
        created_at=now,
    )
    details = {"intent": manifest.intent, "source": origin.source, "uploader": manifest.uploader}
    entry = done_by(origin.caller, "manifest.accepted", manifest.batch_id, now, run_id=run.run_id, **details)
    try:
        await clients.lanes.check_room()
    except QueueFull:
        # A repeated manifest adds no run.
        known = await clients.ledger.get_manifest(manifest.batch_id)
        if known is None or (manifest.supersedes is not None and not is_same(known, manifest, recipes)):
            raise
    accepted = await _supersede(manifest, record, run, clients, recipes, origin.caller)
    if accepted is None:
        accepted = await clients.ledger.accept(record, run, Outbox(entries=(entry,)))
    if not is_same(accepted.manifest, manifest, recipes):
        raise batch_conflict(accepted.manifest)
    if accepted.created:
        clients.lanes.accepted()
        await dispatch_run(accepted.run, clients)
    return accepted


async def _supersede(
    manifest: Manifest, record: ManifestRecord, run: Run, clients: Clients, recipes: RecipeTable, caller: Caller
) -> Accepted | None:
    """What is stored after a correction; None for a manifest that corrects none, or is there already."""
    known = None if manifest.supersedes is None else await clients.ledger.get_manifest(manifest.batch_id)
    if manifest.supersedes is None or (known is not None and is_same(known, manifest, recipes)):
        return None
    runs = await check_supersedes(manifest.supersedes, manifest.batch_id, clients, caller)
    further = {
        "run_id": run_id_for(manifest.batch_id, len(runs) + 1),
        "retry_of": runs[0].run_id,
        "created_at": max(run.created_at, runs[0].created_at + timedelta(milliseconds=1)),
    }
    return await supersede(record, run.model_copy(update=further), manifest.supersedes, clients, caller)


async def checked_files(
    manifest: Manifest,
    clients: Clients,
    caller: Caller,
    enabled_lanes: frozenset[str],
    recipes: RecipeTable,
) -> tuple[FilesFound, ...]:
    """What the patterns of a manifest stand for: for a known batch what they stood for when it was accepted.

    Raises InvalidManifest, LaneClosed, Forbidden, as `submit`.
    """
    check_files(caller, manifest)
    found: tuple[FilesFound, ...] = ()
    faults: list[Fault] = []
    if any(is_pattern(file.key) for file in manifest.files):
        known = await clients.ledger.get_manifest(manifest.batch_id)
        if known is None or (manifest.supersedes is not None and not is_same(known, manifest, recipes)):
            found, faults = await find_files(manifest, clients.objects)
            # Faults about objects that are not the caller's would say what there is.
            check_files(caller, manifest.with_files(found))
        else:
            found = known.files_found
    check_available(manifest, enabled_lanes, recipes, faults)
    return found


def is_same(record: ManifestRecord, manifest: Manifest, recipes: RecipeTable) -> bool:
    """Whether the manifest is the accepted one, as it was sent or as GET /manifests/{batch_id} shows it."""
    if record.content_hash == manifest.content_hash:
        return True
    if manifest.recipe is None:
        return False
    try:
        stored = Manifest.from_ledger(record.manifest)  # an earlier release stored a recipe with fewer fields
    except ValidationError:  # only the batch id is left
        return False
    return stored.model_dump() == recipes.resolve(manifest).model_dump()


def batch_conflict(record: ManifestRecord) -> BatchConflict:
    """The error for a batch id that was used for other content."""
    correct = ""
    if record.status in (ManifestStatus.FAILURE, ManifestStatus.CANCELED):
        correct = f' To correct that one, if no run of it succeeded, add "supersedes": "{record.content_hash}".'
    return BatchConflict(
        f"The batch {record.batch_id!r} was accepted before with other content, at {record.ingested_at.isoformat()}.",
        f"Choose a new batch_id, or post the same manifest as then.{correct}",
    )


def check_available(
    manifest: Manifest,
    enabled_lanes: frozenset[str],
    recipes: RecipeTable = SHIPPED,
    further: Sequence[Fault] = (),
) -> None:
    """Raises InvalidManifest and LaneClosed for what this service can't run. further: faults that were found before."""
    intent = manifest.intent_row
    faults = list(further)
    if manifest.batch_id.startswith(REJECTED_PREFIX):
        faults.append(BATCH_ID_RESERVED("/batch_id", prefix=REJECTED_PREFIX))
    if intent.pipeline is None:
        faults.append(INTENT_NOT_AVAILABLE("/intent", intent=intent.name))
    for index, file in enumerate(manifest.files):
        if file.type == "raster" and manifest.intent in recipes.by_intent:
            values = {"intent": manifest.intent, "types": "vector", "declared": "raster"}
            faults.append(TYPE_NOT_OF_INTENT(f"/files/{index}/type", **values))
        fmt = find_format(file.format)
        if intent.pipeline is not None and (fmt is None or not fmt.available):
            faults.append(FORMAT_NOT_AVAILABLE(f"/files/{index}/format", format=file.format))
    if faults:
        raise InvalidManifest("The manifest cannot be run.", faults=tuple(faults))
    if intent.lane not in enabled_lanes:
        open_lanes = ", ".join(sorted(enabled_lanes)) or "none"
        raise LaneClosed(
            f"The lane {intent.lane!r} of {intent.name} is closed (open: {open_lanes}).",
            "Add it to MANIFEST_ROUTER_ENABLED_LANES, or use an intent of an open lane.",
        )
