"""List, upload and delete objects in the landing zone, with audit entries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal
from urllib.parse import quote

from app.clients import Clients
from app.errors import NoPresignedUrls, NotFound
from app.models.caller import Caller
from app.models.manifests.manifest import LANDING_BUCKET
from app.models.runs.activity import done_by
from app.objects import Listing, ObjectInfo, PresignedUrl, check_key
from app.services.access.prefixes import check_key_of, prefixes_within


async def browse(clients: Clients, prefix: str, after: str, limit: int, *, caller: Caller) -> Listing:
    """Objects that the caller may see, with keys below `prefix` and after `after`, in key order."""
    found: list[ObjectInfo] = []
    wanted = prefixes_within(caller, prefix)
    for each in wanted:
        part = await clients.objects.list_objects(LANDING_BUCKET, each, after, limit - len(found))
        found += part.objects
        if part.next_after is not None:
            return Listing(tuple(found), part.next_after)
        if len(found) == limit and each != wanted[-1]:
            return Listing(tuple(found), found[-1].key)
    return Listing(tuple(found))


async def find(clients: Clients, key: str, *, caller: Caller) -> ObjectInfo:
    """The object of that key. Raises InvalidKey, Forbidden, NotFound."""
    info = await clients.objects.stat(LANDING_BUCKET, check_key_of(caller, check_key(key)))
    if info is None:
        raise _no_such(key)
    return info


async def upload(
    clients: Clients, key: str, body: AsyncIterator[bytes], *, max_bytes: int, caller: Caller
) -> tuple[ObjectInfo, bool]:
    """Stream an object into the landing zone; returns it, and whether it replaced one.

    Raises InvalidKey, Forbidden, BodyTooLarge, KeyConflict.
    """
    check_key_of(caller, check_key(key))
    before = await clients.objects.stat(LANDING_BUCKET, key)
    info = await clients.objects.put(LANDING_BUCKET, key, body, max_bytes=max_bytes)
    await _log(clients, "object.replaced" if before else "object.uploaded", key, caller, size=info.size, etag=info.etag)
    return info, before is not None


async def presign(
    clients: Clients, key: str, method: Literal["PUT", "POST"], *, max_bytes: int, caller: Caller
) -> PresignedUrl:
    """A URL for one upload directly to the object store. Raises InvalidKey, Forbidden, KeyConflict, NoPresignedUrls."""
    check_key_of(caller, check_key(key))
    if method == "POST":
        url = await clients.objects.presign_post(LANDING_BUCKET, key, max_bytes)
    else:
        url = await clients.objects.presign("PUT", LANDING_BUCKET, key)
    if url is None:
        raise NoPresignedUrls(
            "The object store of this service is a directory and has no presigned URLs.",
            f"Upload through the service: PUT /landing/{quote(key)}.",
        )
    await _log(clients, "object.presigned", key, caller, method=method, expires_at=url.expires_at.isoformat())
    return url


async def remove(clients: Clients, key: str, *, caller: Caller) -> None:
    """Delete an object. Raises InvalidKey, Forbidden, NotFound."""
    if not await clients.objects.delete(LANDING_BUCKET, check_key_of(caller, check_key(key))):
        raise _no_such(key)
    await _log(clients, "object.deleted", key, caller)


def _no_such(key: str) -> NotFound:
    return NotFound(f"There is no object {key!r} in the landing zone.", "GET /landing lists them.")


async def _log(clients: Clients, action: str, key: str, caller: Caller, **details: object) -> None:
    await clients.ledger.add_activity(done_by(caller, action, f"{LANDING_BUCKET}/{key}", **details))
