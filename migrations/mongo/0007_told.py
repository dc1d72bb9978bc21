"""Indexes for documents that have an outbox: log lines and audit entries that are not written yet."""

from __future__ import annotations

from typing import Any

COLLECTIONS = ("manifests", "runs")


async def upgrade(database: Any) -> None:
    """Idempotent."""
    for name in COLLECTIONS:
        await database[name].create_index([("pending_told.told_id", 1)], name="ix_pending_told_told_id", sparse=True)
