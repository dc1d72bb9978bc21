"""What the object store keeps of what this service relies on, found out with small objects below `.probe/`.

`doctor` shows it, and so do `serve` and `migrate`, which make the buckets.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import uuid4

from app.errors import DomainError, ObjectExists, StoreUnavailable
from app.models.manifests.manifest import LAKE_BUCKET, LANDING_BUCKET
from app.objects import ObjectStore

_BODY = b"spatial-etl probe"
# More objects than keys of a page.
_OBJECTS, _PAGE = 3, 2
_RIGHTS_FIX = "Give the key of SPATIAL_ETL_OBJECTS__ACCESS_KEY the rights to list, write, read and delete there."


async def probe_store(objects: ObjectStore) -> tuple[str, ...]:
    """Write, read, list and delete a few objects in both buckets.

    Returns:
        Warnings: each says what the store does not keep, what that means, and what to do.

    Raises:
        StoreUnavailable: a step is impossible, or reads and listings do not have what was written.
    """
    warnings = list(await objects.bucket_warnings())
    for bucket in (LANDING_BUCKET, LAKE_BUCKET):
        warnings += await _probe_bucket(objects, bucket)
    return tuple(warnings)


async def _probe_bucket(objects: ObjectStore, bucket: str) -> list[str]:
    folder = f".probe/{uuid4().hex}/"
    keys = [f"{folder}{number}" for number in range(_OBJECTS)]
    step = "write"
    try:
        for key in keys:
            await objects.put(bucket, key, _body(), create_only=True)
        refused = await _is_refused(objects, bucket, keys[0])
        step = "read"
        await _check_content(objects, bucket, keys[0])
        step = "list"
        await _check_pages(objects, bucket, folder, keys)
        step = "delete"
        for key in keys:
            await objects.delete(bucket, key)
    except DomainError as err:
        for key in keys:
            with suppress(DomainError):
                await objects.delete(bucket, key)
        raise StoreUnavailable(f"Cannot {step} {bucket}/{folder}: {err.detail}", err.fix or _RIGHTS_FIX) from err
    if refused:
        return []
    return [
        f"The object store replaces objects of the bucket {bucket!r} although the request forbids it (If-None-Match: *)"
        ", so two writers of one key are not kept apart. Use a server and a bucket that honour it; of Ceph's gateway, "
        "a bucket that keeps no versions."
    ]


async def _is_refused(objects: ObjectStore, bucket: str, key: str) -> bool:
    try:
        await objects.put(bucket, key, _body(), create_only=True)
    except ObjectExists:
        return True
    return False


async def _check_content(objects: ObjectStore, bucket: str, key: str) -> None:
    read = b"".join([chunk async for chunk in objects.read(bucket, key)])
    if read != _BODY:
        detail = f"{bucket}/{key} has {len(read)} bytes that differ from the {len(_BODY)} that were written."
        raise StoreUnavailable(detail, "Check proxies between this service and its object store.")


async def _check_pages(objects: ObjectStore, bucket: str, folder: str, keys: list[str]) -> None:
    first = await objects.list_objects(bucket, folder, limit=_PAGE)
    second = await objects.list_objects(bucket, folder, first.next_after or "", _PAGE)
    # Looking for the last one, a server is asked for its next page without a key to begin after.
    last = await objects.list_objects(bucket, folder, limit=1, only=lambda key: key == keys[-1])
    listed = [info.key for page in (first, second, last) for info in page.objects]
    if listed != [*keys, keys[-1]]:
        detail = f"The pages of a listing have other objects than the {len(keys)} that were written."
        raise StoreUnavailable(detail, "Check proxies and caches before the object store, and that it lists at once.")


async def _body() -> AsyncIterator[bytes]:
    yield _BODY
