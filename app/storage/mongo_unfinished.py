"""What is half done in MongoDB: the marks of `app.storage.mongo_pairs`, looked at and left alone."""

from __future__ import annotations

from typing import Final, Literal

from app.ledger_unfinished import Unfinished
from app.storage.mongo_database import MongoDatabase

_MARKS: Final[tuple[tuple[str, str, Literal["accept", "commit", "mirror"]], ...]] = (
    ("manifests", "pending_run.run_id", "accept"),
    ("runs", "pending_commit.s3_key", "commit"),
    ("runs", "mirror_due", "mirror"),
)


class MongoUnfinished:
    """`app.ledger_unfinished.UnfinishedLedger`."""

    _db: MongoDatabase

    async def list_unfinished(self, limit: int) -> tuple[Unfinished, ...]:
        found: list[Unfinished] = []
        for collection, mark, kind in _MARKS:
            marked = await self._db.collection(collection).many({mark: {"$exists": True}}, limit=limit)
            found += [Unfinished(kind, each["_id"]) for each in marked]
        return tuple(found[:limit])
