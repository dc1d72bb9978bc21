"""Logs of runs and the audit trail in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from sqlalchemy import Connection, insert, select, update

from app.errors import NotFound
from app.ledger.outbox import LogLine
from app.models.page import Page, Slice
from app.models.runs.activity import Activity
from app.models.runs.run import RunEvent
from app.storage.shared.ledger_rules import MAX_INTEGER
from app.storage.sql import conversion
from app.storage.sql.base import SqlBase
from app.storage.sql.engine import writes
from app.storage.sql.tables import ACTIVITY, EVENTS, RUNS

_RUNS_PER_QUERY = 500


class SqlLogAndAudit(SqlBase):
    """`app.ledger.log_and_audit.LogAndAuditLedger` in SQL."""

    @writes
    def add_event(
        self,
        connection: Connection,
        run_id: str,
        *,
        code: str,
        message: str,
        level: Literal["info", "warning", "error"] = "info",
        step: str | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> RunEvent:
        # Counting on the run's own row makes writers wait for each other, which is what keeps seq without gaps.
        last = RUNS.c.last_seq
        count = update(RUNS).where(RUNS.c.run_id == run_id).values(last_seq=last + 1).returning(last)
        seq = connection.execute(count).scalar_one_or_none()
        if seq is None:
            raise NotFound(f"There is no run {run_id!r}.", "Use the run_id that accepting the manifest gave.")
        event = LogLine(code, message, level, step, data or {}).event(run_id, seq)
        stored = connection.execute(insert(EVENTS).returning(*EVENTS.c), conversion.event_values(event))
        return conversion.event_from(stored.mappings().one())

    async def list_events(self, run_id: str, after: int = 0, limit: int = 100) -> tuple[RunEvent, ...]:
        c = EVENTS.c
        later = c.seq > max(0, min(after, MAX_INTEGER))
        query = select(EVENTS).where(c.run_id == run_id, later).order_by(c.seq).limit(limit)
        return await self._all(query, conversion.event_from)

    async def log_ends(self, after: Mapping[str, int]) -> Mapping[str, int]:
        wanted = list(after)
        found: dict[str, int] = {}
        for start in range(0, len(wanted), _RUNS_PER_QUERY):
            some = RUNS.c.run_id.in_(wanted[start : start + _RUNS_PER_QUERY])
            rows = await self._rows(select(RUNS.c.run_id, RUNS.c.last_seq).where(some))
            found |= {run_id: seq for run_id, seq in rows if seq > after[run_id]}
        return found

    @writes
    def add_activity(self, connection: Connection, entry: Activity) -> None:
        connection.execute(insert(ACTIVITY), conversion.activity_values(entry))

    async def list_activity(self, page: Page) -> Slice[Activity]:
        return await self._page(ACTIVITY, [], (ACTIVITY.c.timestamp, ACTIVITY.c.id), conversion.activity_from, page)
