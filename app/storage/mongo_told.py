"""What a change of a MongoDB document tells, without transactions.

The change leaves it in the document (`pending_told`), in the same write. Whoever comes next writes it where it belongs:
the caller, the next change that tells something, or the sweep. An entry of the audit trail has its number from the
start, so a second finisher meets it. A line has a mark of its own, and nobody gives it a number in the log before
having seen that no line up to that number has the mark; the number's unique key decides between two that do so at once.
"""

from __future__ import annotations

from app.ledger.told import Told
from app.models.base import new_id
from app.storage.mongo_database import Collection, MongoDatabase
from app.storage.mongo_documents import Document, activity_document, event_document

PENDING = "pending_told"


class Telling:
    """events, activity: the collections that it ends up in."""

    def __init__(self, database: MongoDatabase, events: Collection, activity: Collection) -> None:
        self._db, self._events, self._activity = database, events, activity

    async def mark(self, told: Told, run_id: str = "") -> Document:
        """What to put into the changed document. Numbers of a change that is not made are left out."""
        if not told:
            return {}
        mark = new_id()
        lines = [line.event(run_id, 1) for line in told.lines]
        entries = [activity_document(entry, await self._db.next_number("activity_logs")) for entry in told.entries]
        return {
            PENDING: {
                "told_id": mark,
                "lines": [event_document(line) | {"told": f"{mark}.{n}"} for n, line in enumerate(lines)],
                "entries": [entry | {"told": f"{mark}.{n}"} for n, entry in enumerate(entries)],
            }
        }

    async def finish(self, collection: Collection, document: Document) -> None:
        pending = document.get(PENDING)
        if pending is None:
            return
        for line in pending["lines"]:
            await self._add_line(line)
        for entry in pending["entries"]:
            await self._add_entry(entry)

        def done(now: Document) -> Document | None:
            there = now.get(PENDING)
            if there is None or there["told_id"] != pending["told_id"]:
                return None
            return {name: value for name, value in now.items() if name != PENDING}

        await collection.change(document["_id"], done)

    async def _add_line(self, line: Document) -> None:
        while True:
            last = await self._events.one({"run_id": line["run_id"]}, sort=(("seq", -1),))
            if await self._events.one({"run_id": line["run_id"], "told": line["told"]}) is not None:
                return
            seq = last["seq"] + 1 if last is not None else 1
            if await self._events.add(line | {"_id": f"{line['run_id']}:{seq}", "seq": seq}):
                return

    async def _add_entry(self, entry: Document) -> None:
        while not await self._activity.add(entry):
            there = await self._activity.one({"_id": entry["_id"]})
            if there is not None and there.get("told") == entry["told"]:
                return
            # A counter that was restored from an older backup than the entries gives numbers that are taken.
            number = await self._db.next_number("activity_logs")
            entry = entry | {"_id": f"{number:020d}", "number": number}

    async def settle(self, *collections: Collection) -> None:
        for collection in collections:
            for document in await collection.many({f"{PENDING}.told_id": {"$exists": True}}):
                await self.finish(collection, document)
