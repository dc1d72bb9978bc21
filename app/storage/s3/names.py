"""Names that other objects take: S3 has no folders, so this service looks for what a folder would refuse.

The looks are made at once, and so take the time of one request: HeadObject for each folder of the key, and a listing of
two keys below it. They are no lock: of two writers at the same moment, one of `a` and one of `a/b`, both may succeed.
Both objects are whole then, and can be read and deleted by their keys; MinIO lists only `a`.
"""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from app.storage.s3.buckets import check_bucket
from app.storage.s3.errors import MISSING, Location, code_of
from app.storage.s3.transfer import gather_or_cancel
from app.storage.shared.object_names import folders_of, is_a_folder, lies_below_an_object


async def check_names(client: Any, location: Location) -> None:
    """Raise KeyConflict when a folder of the key is an object, or the key is a folder of objects."""
    folders = folders_of(location.key)
    below, *taken = await gather_or_cancel(
        _has_keys_below(client, location), *[_is_an_object(client, location, folder) for folder in folders]
    )
    for folder, is_taken in zip(folders, taken, strict=True):
        if is_taken:
            raise lies_below_an_object(location.key, folder)
    if below:
        raise is_a_folder(location.key)


async def _is_an_object(client: Any, location: Location, key: str) -> bool:
    try:
        await client.head_object(Bucket=location.bucket, Key=key)
    except ClientError as error:
        if code_of(error) in {*MISSING, "400"}:  # 400: a name that the server refuses, as the upload will say
            return False
        await check_bucket(client, location)  # an answer to HEAD has no body that says what is wrong
        raise
    return True


async def _has_keys_below(client: Any, location: Location) -> bool:
    # Of at least two keys: see `app.storage.s3.listing`.
    page = await client.list_objects_v2(Bucket=location.bucket, Prefix=f"{location.key}/", MaxKeys=2)
    return bool(page.get("Contents"))
