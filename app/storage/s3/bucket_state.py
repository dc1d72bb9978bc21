"""How a bucket is configured, as far as this service is surprised by it."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from app.storage.s3.errors import Location


async def bucket_warnings(client: Any, location: Location) -> list[str]:
    """Return warnings about a bucket that keeps versions or locks objects. None about what the service may not ask."""
    found = []
    if await _keeps_versions(client, location.bucket):
        found.append(
            f"The bucket {location.bucket!r} keeps versions: what is deleted or replaced stays in it and takes room. "
            "Add a lifecycle rule that removes noncurrent versions, or suspend versioning."
        )
    if await _locks_objects(client, location.bucket):
        found.append(
            f"The bucket {location.bucket!r} has Object Lock: the store keeps what is deleted until its lock ends. "
            "Use a bucket without Object Lock if deletions must free room, or must be final."
        )
    return found


async def _keeps_versions(client: Any, bucket: str) -> bool:
    try:
        answer = await client.get_bucket_versioning(Bucket=bucket)
    except ClientError:  # no such right, or no such function
        return False
    return bool(answer.get("Status") == "Enabled")


async def _locks_objects(client: Any, bucket: str) -> bool:
    try:
        answer = await client.get_object_lock_configuration(Bucket=bucket)
    except ClientError:  # no Object Lock, no such right, or no such function
        return False
    return bool(answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled")
