"""Metadata of S3 objects as `ObjectInfo`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from app.objects import ObjectInfo

# Own names, so that metadata of other programs is not mistaken for a hash of the content.
SHA256_KEY = "spatial-etl-sha256"
TOKEN_KEY = "spatial-etl-upload"  # noqa: S105 # names one upload, for which it is no secret
_SHA256 = re.compile(r"[0-9a-f]{64}")


def describe(key: str, head: Mapping[str, Any]) -> ObjectInfo:
    """Return the info of an answer to HeadObject."""
    digest = head.get("Metadata", {}).get(SHA256_KEY, "")
    known = digest if _SHA256.fullmatch(digest) else None
    return ObjectInfo(key, head["ContentLength"], etag_of(head), to_seconds(head["LastModified"]), known)


def etag_of(answer: Mapping[str, Any]) -> str:
    """Return the ETag of an answer without quotes; empty when it has none."""
    return str(answer.get("ETag", "")).strip('"')


def to_seconds(when: datetime) -> datetime:
    """Return the time cut to the second, because listings are more precise than HeadObject."""
    return when.astimezone(UTC).replace(microsecond=0)
