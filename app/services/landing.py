"""Uploads and deletions in the landing zone, with their audit trail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal
from urllib.parse import quote

from app.clients import Clients
from app.errors import NoPresignedUrls, NotFound
from app.models.activity import Activity
from app.models.base import utcnow
from app.models.manifest import LANDING_BUCKET
from app.objects import ObjectInfo, PresignedUrl, check_key


async def upload(
    clients: Clients, key: str, body: AsyncIterator[bytes], *, max_bytes: int, ip: str | None
) -> tuple[ObjectInfo, bool]:
    """Stream an object in; the object, and whether it replaced one. Raises InvalidKey, BodyTooLarge."""
    check_key(key)
    before = await clients.objects.stat(LANDING_BUCKET, key)
    info = await clients.objects.put(LANDING_BUCKET, key, body, max_bytes=max_bytes)
    await _log(clients, "object.replaced" if before else "object.uploaded", key, ip, size=info.size, etag=info.etag)
    return info, before is not None


async def presign(
    clients: Clients, key: str, method: Literal["PUT", "POST"], *, max_bytes: int, ip: str | None
) -> PresignedUrl:
    """A URL for one upload past this service. Raises InvalidKey, NoPresignedUrls."""
    check_key(key)
    if method == "POST":
        url = await clients.objects.presign_post(LANDING_BUCKET, key, max_bytes)
    else:
        url = await clients.objects.presign("PUT", LANDING_BUCKET, key)
    if url is None:
        raise NoPresignedUrls(
            "The object store of this service is a directory, which has no presigned URLs.",
            f"Upload through the service: PUT /landing/{quote(key)}.",
        )
    await _log(clients, "object.presigned", key, ip, method=method, expires_at=url.expires_at.isoformat())
    return url


async def remove(clients: Clients, key: str, *, ip: str | None) -> None:
    """Raises NotFound."""
    if not await clients.objects.delete(LANDING_BUCKET, check_key(key)):
        raise NotFound(f"There is no object {key!r} in the landing zone.", "GET /landing lists them.")
    await _log(clients, "object.deleted", key, ip)


async def _log(clients: Clients, action: str, key: str, ip: str | None, **details: object) -> None:
    entry = Activity(
        timestamp=utcnow(),
        user="anonymous",
        action=action,
        resource_type="object",
        resource_id=f"{LANDING_BUCKET}/{key}",
        details=details,
        ip=ip,
    )
    await clients.ledger.add_activity(entry)
