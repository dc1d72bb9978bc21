"""What S3 says about objects, in our words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from app.errors import InvalidKey
from app.objects import ObjectInfo, check_key

# Names of our own, so that what another program has written is not taken for a hash of the content.
SHA256_KEY = "spatial-etl-sha256"
TOKEN_KEY = "spatial-etl-upload"  # noqa: S105 # names one upload, for which it is no secret
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NO_KEY = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def describe(key: str, head: Mapping[str, Any]) -> ObjectInfo:
    """From an answer to HeadObject."""
    digest = head.get("Metadata", {}).get(SHA256_KEY, "")
    known = digest if _SHA256.fullmatch(digest) else None
    return ObjectInfo(key, head["ContentLength"], etag_of(head), to_seconds(head["LastModified"]), known)


def etag_of(answer: Mapping[str, Any]) -> str:
    return str(answer.get("ETag", "")).strip('"')


def to_seconds(when: datetime) -> datetime:
    """Listings are more precise than heads: both are cut to the second, so that they agree."""
    return when.astimezone(UTC).replace(microsecond=0)


def clean(text: str) -> str:
    """The text up to its first character that no key has, and that some servers choke on."""
    return _NO_KEY.split(text, maxsplit=1)[0]


def is_key(text: str) -> bool:
    try:
        return bool(check_key(text))
    except InvalidKey:
        return False
