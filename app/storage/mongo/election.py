"""Elections in MongoDB: one document for each role, changed by compare-and-set."""

from __future__ import annotations

from app.models.base import utcnow
from app.models.runs.leadership import Leadership, next_leadership
from app.storage.mongo.base import MongoBase
from app.storage.mongo.documents import Document


class MongoElection(MongoBase):
    """`app.ledger.election.ElectionLedger` in MongoDB."""

    async def get_leadership(self, role: str) -> Leadership | None:
        found = await self._db.collection("leaderships").one({"_id": role})
        return None if found is None else _from(found)

    async def lead(self, role: str, owner: str | None, seconds: float, seen: Leadership | None) -> Leadership | None:
        new = next_leadership(seen, role, owner, seconds, utcnow())
        document = {"_id": role, **new.model_dump()}
        leaderships = self._db.collection("leaderships")
        if seen is None:
            return new if await leaderships.add(document | {"writes": 1}) else None
        beat = seen.beat

        def decide(old: Document) -> Document | None:
            return dict(document) if old["beat"] == beat else None

        return new if await leaderships.change(role, decide) is not None else None


def _from(document: Document) -> Leadership:
    return Leadership.model_validate({name: document[name] for name in Leadership.model_fields})
