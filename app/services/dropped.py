"""Manifests dropped into the landing zone as objects: taken in, or kept as rejected, and moved to the archive.

Every step may be repeated: a batch is accepted once, a rejected record has an id made of object and content, an object
is archived under a name made of its content, and deleted only while it still has that content. So whoever comes after
a crash finishes what was begun, and two that come at once do it once.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from anyio import to_thread

from app.clients import Clients
from app.errors import (
    BatchConflict,
    BodyTooLarge,
    DomainError,
    Fault,
    InvalidKey,
    InvalidManifest,
    LaneClosed,
    NotFound,
    ObjectExists,
    StoreUnavailable,
)
from app.ledger import ManifestFilter
from app.ledger.told import Told
from app.models.activity import done_by
from app.models.base import utcnow
from app.models.caller import Caller
from app.models.manifest import LANDING_BUCKET, ManifestFault, ManifestRecord, ManifestStatus
from app.models.page import Page
from app.objects import check_key
from app.services.documents import NOT_JSON, kept_document, read_manifest
from app.services.intake import REJECTED_PREFIX, Origin, submit
from app.services.notifications import MANIFESTS

logger = logging.getLogger(__name__)

_POINTERS = {LaneClosed.code: "/intent", BatchConflict.code: "/batch_id"}
_HEAD_BYTES = 4096
_FAULTS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Door:
    """What taking in a dropped manifest needs to know. bucket: the landing zone's name as the store's events say it."""

    clients: Clients
    enabled_lanes: frozenset[str]
    max_bytes: int
    bucket: str = LANDING_BUCKET


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one object. etag: of the content that was looked at. stays: the object was left where it is."""

    result: Literal["accepted", "known", "rejected", "gone"]
    batch_id: str | None = None
    detail: str = ""
    etag: str = ""
    stays: bool = False


@dataclass(frozen=True, slots=True)
class _Content:
    """raw: the whole content; only its head when it is too large for a manifest."""

    key: str
    etag: str
    size: int
    raw: bytes
    too_large: bool = False


def is_manifest_key(key: str) -> bool:
    """Names that begin with a dot are left alone: copy under such a name and rename, and nobody sees half a file."""
    name = key.rpartition("/")[2]
    return key.startswith(MANIFESTS) and name.lower().endswith(".json") and not name.startswith(".")


async def take_in(
    key: str, door: Door, *, source: Literal["webhook", "sweep"], ip: str | None = None, settled: bool = True
) -> Taken | None:
    """Submit the manifest in that object, or keep it as rejected; then archive the object.

    settled: nobody is writing it any more. Otherwise None for what is no JSON: it may be half of a file.
    Raises StoreUnavailable, LedgerUnavailable.
    """
    content = await _fetch(key, door)
    if content is None:
        return Taken("gone", detail="There is no such object any more.")
    accepted = await find_record(key, content.etag, door, accepted_only=True)
    if accepted is not None:
        taken = Taken("known", accepted.batch_id, etag=content.etag)
    else:
        origin = Origin(source, Caller(source, ip), object_key=key, object_etag=content.etag)
        try:
            taken = await _submit(content, door, origin)
        except (InvalidManifest, LaneClosed, BatchConflict) as err:
            if not settled and any(fault.code == NOT_JSON for fault in err.faults):
                return None
            taken = await _reject(content, err, door, origin)
    if not taken.stays:
        await _archive(content, door)
    return taken


async def find_record(key: str, etag: str, door: Door, *, accepted_only: bool = False) -> ManifestRecord | None:
    """The manifest that came in that object with that content."""
    page = Page(limit=1000)
    while True:
        found = await door.clients.ledger.list_manifests(ManifestFilter(object_key=key), page)
        for record in found.items:
            if record.object_etag == etag and not (accepted_only and record.status is ManifestStatus.REJECTED):
                return record
        if found.next_cursor is None:
            return None
        page = Page(page.limit, found.next_cursor)


async def _fetch(key: str, door: Door) -> _Content | None:
    """One content of the object with the etag of that content; None: there is no such object."""
    objects = door.clients.objects
    with tempfile.TemporaryDirectory(prefix="spatial-etl-manifest-") as folder:
        path = Path(folder) / "manifest"
        try:
            info = await objects.fetch(LANDING_BUCKET, key, path, max_bytes=door.max_bytes)
        except NotFound:
            return None
        except BodyTooLarge:
            return await _fetch_head(key, door)
        return _Content(key, info.etag, info.size, await to_thread.run_sync(path.read_bytes))


async def _fetch_head(key: str, door: Door) -> _Content | None:
    info = await door.clients.objects.stat(LANDING_BUCKET, key)
    if info is None:
        return None
    try:
        head = [part async for part in door.clients.objects.read(LANDING_BUCKET, key, end=_HEAD_BYTES)]
    except NotFound:
        return None
    return _Content(key, info.etag, info.size, b"".join(head), too_large=True)


async def _submit(content: _Content, door: Door, origin: Origin) -> Taken:
    if content.too_large:
        detail = f"{content.key} has {content.size} bytes; a manifest has {door.max_bytes} at most."
        fix = f"If it is data, move it out of {MANIFESTS}; else raise SPATIAL_ETL_API__MAX_MANIFEST_BYTES."
        fault = Fault("", "manifest_too_large", detail, fix)
        raise InvalidManifest("The object is too large for a manifest.", faults=(fault,))
    manifest = read_manifest(content.raw)
    accepted = await submit(manifest, door.clients, enabled_lanes=door.enabled_lanes, origin=origin)
    return Taken("accepted" if accepted.created else "known", manifest.batch_id, etag=content.etag)


async def _reject(content: _Content, err: DomainError, door: Door, origin: Origin) -> Taken:
    """Keep what was dropped and every reason against it, under an id of its own."""
    faults = tuple(err.faults) or (Fault(_POINTERS[err.code], err.code, err.detail, err.fix),)
    digest = hashlib.sha256(f"{content.key}\n{content.etag}".encode()).hexdigest()
    now = utcnow()
    document = {"raw": content.raw.decode("utf-8", "replace")} if content.too_large else kept_document(content.raw)
    record = ManifestRecord(
        batch_id=REJECTED_PREFIX + digest[:16],
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
        "uploader": uploader if isinstance(uploader, str) else None,
    }
    entry = done_by(origin.caller, "manifest.rejected", record.batch_id, now, **details)
    kept = await door.clients.ledger.reject_manifest(record, Told(entries=(entry,)))
    is_new = kept.ingested_at == now
    return Taken(
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


async def _archive(content: _Content, door: Door) -> None:
    """Move the object out of the way. Where that fails, the sweep finds it again and finishes."""

    async def body() -> AsyncIterator[bytes]:
        yield content.raw

    objects, key = door.clients.objects, archive_key(content.key, content.etag)
    try:
        # It exists when an attempt died after this step: its name says that the content is the same.
        with suppress(ObjectExists):
            await objects.put(LANDING_BUCKET, key, body(), create_only=True)
        await objects.delete(LANDING_BUCKET, content.key, etag=content.etag)
    except (StoreUnavailable, InvalidKey) as err:
        logger.warning("%s was taken in but not archived: %s", content.key, err)


def archive_key(key: str, etag: str) -> str:
    """`archive/` + the key, with a mark of the content before the suffix: `archive/manifests/a.1f3870be274f.json`."""
    stem, _, suffix = key.rpartition(".")
    mark = hashlib.sha256(etag.encode()).hexdigest()[:12]
    try:
        return check_key(f"archive/{stem}.{mark}.{suffix}")
    except InvalidKey:
        # Too long by now.
        return f"archive/{MANIFESTS}{hashlib.sha256(key.encode()).hexdigest()[:32]}.{mark}.json"
