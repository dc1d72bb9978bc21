"""What every domain model shares."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """An immutable domain model; a change is a new object made with `model_copy`."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def utcnow() -> datetime:
    """Return the present time with zone, to the millisecond, which every ledger stores."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def new_id() -> str:
    """Return 32 random hex digits, which are safe in keys, URLs and PostgreSQL identifiers."""
    return uuid4().hex
