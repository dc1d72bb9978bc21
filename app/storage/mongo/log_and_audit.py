"""Logs of runs and the audit trail in MongoDB."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from app.errors import NotFound
from app.ledger.outbox import LogLine
from app.models.page import Page, Slice
from app.models.runs.activity import Activity
from app.models.runs.run import RunEvent
from app.storage.mongo import documents
from app.storage.mongo.base import MongoBase
from app.storage.mongo.listing import Listing
from app.storage.shared.ledger_rules import MAX_INTEGER, plain_text

_RUNS_PER_QUERY, _EVENTS_PER_QUERY = 100, 1000


class MongoLogAndAudit(MongoBase):
    """`app.ledger.log_and_audit.LogAndAuditLedger` in MongoDB."""

    async def add_event(
        self,
        run_id: str,
        *,
        code: str,
        message: str,
        level: Literal["info", "warning", "error"] = "info",
        step: str | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> RunEvent:
        key = plain_text(run_id)
        if await self._runs.one({"_id": key}) is None:
            raise NotFound(f"There is no run {run_id!r}.", "Use the run_id that accepting the manifest gave.")
        line = LogLine(code, message, level, step, data or {})
        # The next number is the last one plus 1, and the unique key decides between two writers. A counter could run
        # ahead of its events, and a crash would leave a gap in the numbers.
        async with self._log_lock:
            while True:
                last = await self._events.one({"run_id": key}, sort=(("seq", -1),))
                event = line.event(key, last["seq"] + 1 if last is not None else 1)
                document = documents.event_document(event)
                if await self._events.add(document):
                    return documents.event_from(document)

    async def list_events(self, run_id: str, after: int = 0, limit: int = 100) -> tuple[RunEvent, ...]:
        query = {"run_id": plain_text(run_id), "seq": {"$gt": max(0, min(after, MAX_INTEGER))}}
        return tuple(documents.event_from(each) for each in await self._events.many(query, (("seq", 1),), limit))

    async def log_ends(self, after: Mapping[str, int]) -> Mapping[str, int]:
        wanted = list(after.items())
        found: dict[str, int] = {}
        for start in range(0, len(wanted), _RUNS_PER_QUERY):
            some = wanted[start : start + _RUNS_PER_QUERY]
            later = [{"run_id": plain_text(run_id), "seq": {"$gt": min(seq, MAX_INTEGER)}} for run_id, seq in some]
            for each in await self._events.many({"$or": later}, None, _EVENTS_PER_QUERY):
                found[each["run_id"]] = max(each["seq"], found.get(each["run_id"], 0))
        return found

    async def add_activity(self, entry: Activity) -> None:
        # After a restore, the counter may be older than the entries and give numbers that exist.
        while not await self._activity.add(
            documents.activity_document(entry, await self._db.next_number("activity_logs"))
        ):
            pass

    async def list_activity(self, page: Page) -> Slice[Activity]:
        listing = Listing("activity_logs", (("timestamp", datetime), ("number", int)), page)
        found = await self._activity.many(listing.query({}), listing.sort, listing.limit)
        return listing.slice(found, documents.activity_from)
