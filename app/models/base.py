"""What every domain model shares."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """An immutable domain model; a change is a new object made with `model_copy`."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def utcnow() -> datetime:
    """Now, with zone, to the millisecond: the finest time that every ledger keeps."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def new_id() -> str:
    """32 hex digits: safe in keys, URLs and PostgreSQL identifiers."""
    return uuid4().hex
