"""Totals of finished runs and living versions in MongoDB; `run_writes` explains why there are no transactions.

One document has all totals. Every run and version says whether it is in them (`counted`): `not_yet`, then `yes`, then
`no_longer`, and never back. A run is due when it is over, a version while it lives; a version that was deleted is due
to be taken out, and so is a run that is going to be removed. What is due is found by an index, so no writer has to say
so, and none can forget it.

To count what is due: one write of the document adds the amounts, and names what they are of and what `counted` becomes
(`batch`). This compare-and-set decides. To finish: write `counted` into each of them, then remove `batch`. The next
process does so after a crash. There is no second batch before that. A process that was suspended finds `counted`
farther than what its batch says, and changes nothing. So each run and version is added once and taken out once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from app.models.runs.run import RunStatus
from app.storage.mongo.database import MongoDatabase
from app.storage.mongo.documents import Document, without
from app.storage.shared.deletion_rules import DELETED, LIVING, REMOVED
from app.storage.shared.totals import of_run, of_versions

NOT_YET, YES, NO_LONGER = "not_yet", "yes", "no_longer"
_ORDER = (NOT_YET, YES, NO_LONGER)
_KEY = "totals"
_OVER = [status.value for status in RunStatus if status.is_final]
_PER_BATCH = 100


@dataclass(frozen=True, slots=True)
class _Due:
    """A document that is due. collection: its name; counted: what becomes of its field."""

    collection: str
    document: Document
    counted: str

    @property
    def amounts(self) -> Counter[str]:
        """What it adds to the totals, or takes from them."""
        sign = int(self.counted == YES) - int(self.document["counted"] == YES)
        found = self.document
        if self.collection == "runs":
            return of_run(found["lane"], found["status"], sign * found["attempt"], sign)
        return of_versions(found["kind"], sign * found["size"], sign)


class TotalsWriter:
    """Keeps the document of the totals; see the module."""

    def __init__(self, database: MongoDatabase) -> None:
        self.totals = database.collection("totals")
        self.runs, self.assets = database.collection("runs"), database.collection("assets")

    async def read(self) -> Mapping[str, int]:
        """Return the totals by name, after everything that is due was counted."""
        return _amounts(await self.count_due())

    async def count_due(self) -> Document:
        """Count everything that is due now, and return the document."""
        while True:
            totals = await self._settled()
            due = await self._due()
            if not due:
                return totals
            await self._count(totals, due)

    async def take_out(self, run_ids: list[str]) -> None:
        """Take runs that are over out of the totals, for good: they are going to be removed."""
        while True:
            totals = await self._settled()
            query = {"_id": {"$in": run_ids}, "counted": {"$in": [NOT_YET, YES]}}
            runs = await self.runs.many(query, limit=_PER_BATCH)
            if not runs:
                return
            await self._count(totals, [_Due("runs", run, NO_LONGER) for run in runs])

    async def _settled(self) -> Document:
        """The document, when the batch that was in it is finished."""
        while True:
            totals = await self.totals.one({"_id": _KEY})
            if totals is None:
                await self.totals.add({"_id": _KEY, "writes": 1, "amounts": []})
            elif "batch" in totals:
                await self._finish(totals)
            else:
                return totals

    async def _due(self) -> list[_Due]:
        over = await self.runs.many({"counted": NOT_YET, "status": {"$in": _OVER}}, limit=_PER_BATCH)
        living = await self.assets.many({"counted": NOT_YET, "state": LIVING}, limit=_PER_BATCH)
        gone = await self.assets.many({"counted": YES, "state": {"$in": [DELETED, REMOVED]}}, limit=_PER_BATCH)
        found = [_Due("runs", run, YES) for run in over]
        found += [_Due("assets", asset, YES) for asset in living]
        return found + [_Due("assets", asset, NO_LONGER) for asset in gone]

    async def _count(self, totals: Document, due: list[_Due]) -> None:
        """Count them, unless the document was written since it was read, before them."""
        amounts = Counter(_amounts(totals))
        for each in due:
            amounts.update(each.amounts)
        batch = [{"collection": each.collection, "key": each.document["_id"], "counted": each.counted} for each in due]
        new = {"amounts": [{"name": name, "value": value} for name, value in sorted(amounts.items()) if value]}

        def counted(document: Document) -> Document | None:
            return document | new | {"batch": batch} if document["writes"] == totals["writes"] else None

        begun = await self.totals.change(_KEY, counted)
        if begun is not None:
            await self._finish(begun)

    async def _finish(self, totals: Document) -> None:
        collections = {"runs": self.runs, "assets": self.assets}
        for each in totals["batch"]:
            await collections[each["collection"]].change(each["key"], partial(_set, each["counted"]))

        def done(document: Document) -> Document | None:
            return without(document, "batch") if document["writes"] == totals["writes"] else None

        await self.totals.change(_KEY, done)


def _set(counted: str, document: Document) -> Document | None:
    is_farther = _ORDER.index(document["counted"]) >= _ORDER.index(counted)
    return None if is_farther else document | {"counted": counted}


def _amounts(totals: Document) -> dict[str, int]:
    return {each["name"]: each["value"] for each in totals["amounts"]}
