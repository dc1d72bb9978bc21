"""Manifests dropped into the landing zone as objects: accepted or recorded as rejected, then archived.

Every step is idempotent: a batch is accepted once; the id of a rejected record is derived from key and content; an
object is archived under a name derived from its content, and deleted only while it still has that content. So the next
attempt completes an interrupted one, and concurrent attempts have the effect of one.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from anyio import to_thread

from app.clients import Clients
from app.errors import (
    BatchConflict,
    BodyTooLarge,
    DomainError,
    Fault,
    InvalidKey,
    InvalidManifest,
    KeyConflict,
    LaneClosed,
    NotFound,
    ObjectExists,
    StoreUnavailable,
)
from app.ledger import ManifestFilter
from app.ledger.outbox import Outbox
from app.messages.manifest import NOT_PROCESSED, TOO_LARGE
from app.models.base import utcnow
from app.models.caller import Caller
from app.models.manifests.manifest import LANDING_BUCKET, MANIFEST_PREFIX, ManifestFault, ManifestRecord, ManifestStatus
from app.models.page import Page
from app.models.recipes.table import SHIPPED, RecipeTable
from app.models.runs.activity import done_by
from app.objects import check_key
from app.services.intake.manifest_json import NOT_JSON, kept_document, read_manifest_off_loop
from app.services.intake.submit import REJECTED_PREFIX, Origin, submit

logger = logging.getLogger(__name__)

_POINTERS = {LaneClosed.code: "/intent", BatchConflict.code: "/batch_id"}
_HEAD_BYTES = 4096
_FAULTS_SHOWN = 3
# Drops of one name that are compared with a new one.
_NEWEST = 50


@dataclass(frozen=True, slots=True)
class IntakeConfig:
    """What processing dropped manifests needs.

    bucket: the landing zone as the events of the store name it; recipes: what intents mean.
    """

    clients: Clients
    enabled_lanes: frozenset[str]
    max_bytes: int
    bucket: str = LANDING_BUCKET
    recipes: RecipeTable = SHIPPED


@dataclass(frozen=True, slots=True)
class IntakeResult:
    """The outcome of one object. etag: of the content that was read; stays: the object is not archived."""

    result: Literal["accepted", "known", "rejected", "gone"]
    batch_id: str | None = None
    detail: str = ""
    etag: str = ""
    stays: bool = False


@dataclass(frozen=True, slots=True)
class _Content:
    """An object and its content. raw: only the first bytes when it is too large for a manifest."""

    key: str
    etag: str
    size: int
    raw: bytes
    too_large: bool = False


def is_manifest_key(key: str) -> bool:
    """Whether the key is that of a manifest. Hidden names are not: copy to one and rename, for an atomic upload."""
    name = key.rpartition("/")[2]
    return key.startswith(MANIFEST_PREFIX) and name.lower().endswith(".json") and not name.startswith(".")


async def intake_object(
    key: str, config: IntakeConfig, *, source: Literal["webhook", "sweep"], ip: str | None = None, settled: bool = True
) -> IntakeResult | None:
    """Submit the manifest in that object, or record it as rejected; then archive the object.

    Args:
        settled: False if the object may be incomplete; then the result is None for one that is not JSON.

    Raises:
        StoreUnavailable, LedgerUnavailable.
    """
    content = await _fetch(key, config)
    if content is None:
        return IntakeResult("gone", detail="The object does not exist any more.")
    accepted = await find_record(key, content.etag, config, accepted_only=True)
    if accepted is not None:
        taken = IntakeResult("known", accepted.batch_id, etag=content.etag)
    else:
        origin = Origin(source, Caller(source, ip), object_key=key, object_etag=content.etag)
        try:
            taken = await _submit(content, config, origin)
        except (InvalidManifest, LaneClosed, BatchConflict) as err:
            if not settled and any(fault.code == NOT_JSON for fault in err.faults):
                return None
            taken = await _reject(content, err, config, origin)
    if not taken.stays:
        await _archive(content, config)
    return taken


async def find_record(
    key: str, etag: str, config: IntakeConfig, *, accepted_only: bool = False
) -> ManifestRecord | None:
    """The manifest that was received as that object with that content.

    However often objects of that name were dropped, only the newest are looked at: an older one that comes again is
    found by its batch_id when it is submitted.
    """
    ledger = config.clients.ledger
    rejected = None if accepted_only else await ledger.get_manifest(_rejected_id(key, etag))
    if rejected is not None and rejected.status is ManifestStatus.REJECTED:
        return rejected
    found = await ledger.list_manifest_summaries(ManifestFilter(object_key=key), Page(limit=_NEWEST))
    for summary in found.items:
        if summary.object_etag == etag and not (accepted_only and summary.status is ManifestStatus.REJECTED):
            return await ledger.get_manifest(summary.batch_id)
    return None


def _rejected_id(key: str, etag: str) -> str:
    return REJECTED_PREFIX + hashlib.sha256(f"{key}\n{etag}".encode()).hexdigest()[:16]


async def _fetch(key: str, config: IntakeConfig) -> _Content | None:
    """Content and matching etag of the object; None if it does not exist."""
    objects = config.clients.objects
    with tempfile.TemporaryDirectory(prefix="spatial-etl-manifest-") as folder:
        path = Path(folder) / "manifest"
        try:
            info = await objects.fetch(LANDING_BUCKET, key, path, max_bytes=config.max_bytes)
        except NotFound:
            return None
        except BodyTooLarge:
            return await _fetch_head(key, config)
        return _Content(key, info.etag, info.size, await to_thread.run_sync(path.read_bytes))


async def _fetch_head(key: str, config: IntakeConfig) -> _Content | None:
    info = await config.clients.objects.stat(LANDING_BUCKET, key)
    if info is None:
        return None
    try:
        head = [part async for part in config.clients.objects.read(LANDING_BUCKET, key, end=_HEAD_BYTES)]
    except NotFound:
        return None
    return _Content(key, info.etag, info.size, b"".join(head), too_large=True)


async def _submit(content: _Content, config: IntakeConfig, origin: Origin) -> IntakeResult:
    if content.too_large:
        fault = TOO_LARGE("", key=content.key, size=content.size, limit=config.max_bytes, prefix=MANIFEST_PREFIX)
        raise InvalidManifest("The object is too large for a manifest.", faults=(fault,))
    manifest = await read_manifest_off_loop(content.raw)
    lanes, recipes = config.enabled_lanes, config.recipes
    accepted = await submit(manifest, config.clients, enabled_lanes=lanes, recipes=recipes, origin=origin)
    return IntakeResult("accepted" if accepted.created else "known", manifest.batch_id, etag=content.etag)


async def _reject(content: _Content, err: DomainError, config: IntakeConfig, origin: Origin) -> IntakeResult:
    """Record the document with all its faults, under an id derived from key and content."""
    faults = tuple(err.faults) or (Fault(_POINTERS[err.code], err.code, err.detail, err.fix),)
    document = {"raw": content.raw.decode("utf-8", "replace")} if content.too_large else None
    return await _record_rejected(content, faults, document or kept_document(content.raw), config, origin)


async def give_up_object(key: str, config: IntakeConfig, *, source: Literal["webhook", "sweep"]) -> IntakeResult | None:
    """Record that the manifest in that object could not be processed, without its content; then archive the object.

    For one that fails again and again for another reason than an outage. None: it does not exist any more.
    """
    content = await _fetch(key, config)
    if content is None:
        return None
    origin = Origin(source, Caller(source), object_key=key, object_etag=content.etag)
    taken = await _record_rejected(content, (NOT_PROCESSED(""),), {}, config, origin)
    if not taken.stays:
        await _archive(content, config)
    return taken


async def _record_rejected(
    content: _Content, faults: tuple[Fault, ...], document: dict[str, Any], config: IntakeConfig, origin: Origin
) -> IntakeResult:
    now = utcnow()
    record = ManifestRecord(
        batch_id=_rejected_id(content.key, content.etag),
        manifest=document,
        content_hash=f"sha256:{hashlib.sha256(content.raw).hexdigest()}",
        source=origin.source,
        status=ManifestStatus.REJECTED,
        error_message=_summary(faults),
        faults=tuple(ManifestFault(pointer=f.pointer, code=f.code, detail=f.detail, fix=f.fix) for f in faults),
        object_key=content.key,
        object_etag=content.etag,
        ingested_at=now,
        completed_at=now,
    )
    uploader = document.get("uploader")
    details = {
        "object_key": content.key,
        "source": origin.source,
        "codes": sorted({f.code for f in faults}),
        "uploader": uploader[:200] if isinstance(uploader, str) else None,
    }
    entry = done_by(origin.caller, "manifest.rejected", record.batch_id, now, **details)
    kept = await config.clients.ledger.reject_manifest(record, Outbox(entries=(entry,)))
    is_new = kept.ingested_at == now
    return IntakeResult(
        "rejected" if is_new else "known",
        kept.batch_id,
        kept.error_message or "",
        etag=content.etag,
        stays=content.too_large,
    )


def _summary(faults: tuple[Fault, ...]) -> str:
    shown = [f"{fault.pointer}: {fault.detail}".removeprefix(": ") for fault in faults[:_FAULTS_SHOWN]]
    more = f" And {len(faults) - _FAULTS_SHOWN} more." if len(faults) > _FAULTS_SHOWN else ""
    return " ".join(shown) + more


async def _archive(content: _Content, config: IntakeConfig) -> None:
    """Move the object to `archive/`. When that fails, the sweep finds the object again and completes it."""

    async def body() -> AsyncIterator[bytes]:
        yield content.raw

    objects, key = config.clients.objects, archive_key(content.key, content.etag)
    try:
        # It exists if an attempt crashed after this step; the same name means the same content.
        with suppress(ObjectExists):
            await objects.put(LANDING_BUCKET, key, body(), create_only=True)
        await objects.delete(LANDING_BUCKET, content.key, etag=content.etag)
    except (StoreUnavailable, InvalidKey, KeyConflict) as err:
        logger.warning("%s was processed but not archived: %s", content.key, err)


def archive_key(key: str, etag: str) -> str:
    """`archive/` + the key, with a hash of the etag before the suffix: `archive/manifests/a.1f3870be274f.json`."""
    stem, _, suffix = key.rpartition(".")
    mark = hashlib.sha256(etag.encode()).hexdigest()[:12]
    try:
        return check_key(f"archive/{stem}.{mark}.{suffix}")
    except InvalidKey:
        # The key would be too long.
        return f"archive/{MANIFEST_PREFIX}{hashlib.sha256(key.encode()).hexdigest()[:32]}.{mark}.json"
