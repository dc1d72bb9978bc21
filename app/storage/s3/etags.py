"""What an ETag of 32 hex digits says: the MD5 of the content on most servers, and nothing of it on others."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from botocore.exceptions import ClientError

from app.storage.s3.errors import Location
from app.storage.s3.metadata import etag_of

_MD5 = re.compile(r"[0-9a-f]{32}")


def may_be_md5(etag: str) -> bool:
    """Return whether the ETag has the form of an MD5, as that of an upload in one request has."""
    return _MD5.fullmatch(etag) is not None


def is_encrypted(headers: Mapping[str, Any]) -> bool:
    """Return whether an answer to GetObject says that the object is encrypted so that its ETag is no MD5."""
    encryption = str(headers.get("ServerSideEncryption", ""))
    return encryption.startswith("aws:") or "SSECustomerAlgorithm" in headers


async def bucket_has_md5s(client: Any, location: Location) -> bool:
    """Store and delete a small object, and return whether its ETag is its MD5. False too if that is not allowed."""
    body = uuid4().hex.encode()
    place = {"Bucket": location.bucket, "Key": f".probe/{uuid4().hex}"}
    try:
        answer = await client.put_object(**place, Body=body)
        await client.delete_object(**place)
    except ClientError:
        return False
    return etag_of(answer) == hashlib.md5(body, usedforsecurity=False).hexdigest()
