"""Buckets: created, checked, and cleared of uploads that were never completed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from app.errors import DomainError, StoreUnavailable
from app.storage.s3.errors import Location, code_of, translated


async def check_bucket(client: Any, location: Location) -> dict[str, Any]:
    """List one key of a bucket. Raises StoreUnavailable that says whether bucket or rights are missing."""
    with translated(location):
        answer: dict[str, Any] = await client.list_objects_v2(Bucket=location.bucket, MaxKeys=1)
        return answer


async def make_bucket(client: Any, location: Location, region: str) -> bool:
    """Create a bucket. False: another process did it first. Raises StoreUnavailable."""
    constraint = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    try:
        with translated(location):
            await client.create_bucket(Bucket=location.bucket, **constraint)
    except DomainError as error:
        code = code_of(error.__cause__)
        if code == "BucketAlreadyOwnedByYou":  # another process was faster
            return False
        if code == "AccessDenied":
            fix = "Create the bucket, or give the owner of SPATIAL_ETL_OBJECTS__ACCESS_KEY s3:CreateBucket."
            detail = f"The bucket {location.bucket!r} is missing at {location.endpoint}; the service may not create it."
            raise StoreUnavailable(detail, fix) from error
        raise
    return True


async def abort_stale_uploads(client: Any, location: Location, before: datetime, *, dry_run: bool) -> int:
    """Abort uploads of a bucket that received no part since that time, or only count them; return how many.

    MinIO does not list its uploads and removes stale ones by itself.
    """
    removed = 0
    with translated(location):
        async for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=location.bucket):
            for upload in page.get("Uploads", []):
                if upload["Initiated"] < before and await _is_idle(client, location.bucket, upload, before):
                    removed += dry_run or await _abort(client, location.bucket, upload)
    return removed


async def _is_idle(client: Any, bucket: str, upload: dict[str, Any], before: datetime) -> bool:
    pages = client.get_paginator("list_parts").paginate(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    try:
        return all([part["LastModified"] < before async for page in pages for part in page.get("Parts", [])])
    except ClientError as error:
        if code_of(error) == "NoSuchUpload":  # completed meanwhile
            return False
        raise


async def _abort(client: Any, bucket: str, upload: dict[str, Any]) -> bool:
    try:
        await client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    except ClientError as error:
        if code_of(error) == "NoSuchUpload":
            return False
        raise
    return True
