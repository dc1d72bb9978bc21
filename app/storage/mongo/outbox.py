"""Log lines and audit entries that belong to a change, in MongoDB, without transactions.

The change leaves them in its document (`pending_told`), in the same write. The caller, the next change with an outbox,
or the sweep moves them to their collections. An audit entry has its number from the start, so a second writer finds it.
A log line has a unique id; it is given the next number of the log only after a check that no line has this id, and
the unique key of the number decides between two writers at once.
"""

from __future__ import annotations

from app.ledger.outbox import Outbox
from app.models.base import new_id
from app.storage.mongo.database import Collection, MongoDatabase
from app.storage.mongo.documents import Document, activity_document, event_document, removing

PENDING = "pending_told"


class OutboxWriter:
    """Writes outboxes to the collections `events` and `activity`."""

    def __init__(self, database: MongoDatabase, events: Collection, activity: Collection) -> None:
        self._db, self._events, self._activity = database, events, activity

    async def mark(self, outbox: Outbox, run_id: str = "") -> Document:
        """Return the field to add to the changed document. The numbers of a change that is not made stay unused."""
        if not outbox:
            return {}
        mark = new_id()
        lines = [line.event(run_id, 1) for line in outbox.lines]
        entries = [activity_document(entry, await self._db.next_number("activity_logs")) for entry in outbox.entries]
        return {
            PENDING: {
                "told_id": mark,
                "lines": [event_document(line) | {"told": f"{mark}.{n}"} for n, line in enumerate(lines)],
                "entries": [entry | {"told": f"{mark}.{n}"} for n, entry in enumerate(entries)],
            }
        }

    async def finish(self, collection: Collection, document: Document) -> None:
        """Write the outbox in this document of the collection, if any, then remove it from the document."""
        pending = document.get(PENDING)
        if pending is None:
            return
        for line in pending["lines"]:
            await self._add_line(line)
        for entry in pending["entries"]:
            await self._add_entry(entry)
        await collection.change(document["_id"], removing(PENDING, told_id=pending["told_id"]))

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
            stored = await self._activity.one({"_id": entry["_id"]})
            if stored is not None and stored.get("told") == entry["told"]:
                return
            # After a restore, the counter may be older than the entries and give numbers that exist.
            number = await self._db.next_number("activity_logs")
            entry = entry | {"_id": f"{number:020d}", "number": number}

    async def finish_all(self, *collections: Collection) -> None:
        """Write every outbox that is left in documents of these collections."""
        for collection in collections:
            for document in await collection.many({f"{PENDING}.told_id": {"$exists": True}}):
                await self.finish(collection, document)
