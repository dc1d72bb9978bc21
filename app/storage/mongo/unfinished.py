"""Interrupted writes in MongoDB: documents that have a mark. Lists them only; `list_due_runs` finishes them."""

from __future__ import annotations

from typing import Final

from app.ledger.unfinished import Kind, Unfinished
from app.storage.mongo.base import MongoBase

_MARKS: Final[tuple[tuple[str, str, Kind], ...]] = (
    ("manifests", "pending_run.run_id", "accept"),
    ("runs", "pending_commit.s3_key", "commit"),
    ("runs", "mirror_due", "mirror"),
    ("runs", "turn_due", "turn"),
    ("manifests", "pending_told.told_id", "outbox"),
    ("runs", "pending_told.told_id", "outbox"),
    ("lanes", "pending_told.told_id", "outbox"),
    ("assets", "pending_deletion.deletion_id", "deletion"),
    ("assets", "untold", "deletion"),
    ("manifests", "removing.run_ids", "removal"),
)


class MongoUnfinished(MongoBase):
    """`app.ledger.unfinished.UnfinishedLedger` in MongoDB."""

    async def list_unfinished(self, limit: int) -> tuple[Unfinished, ...]:
        found: list[Unfinished] = []
        for collection, mark, kind in _MARKS:
            marked = await self._db.collection(collection).many({mark: {"$exists": True}}, limit=limit)
            found += [Unfinished(kind, each["_id"]) for each in marked]
        return tuple(found[:limit])
