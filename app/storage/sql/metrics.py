"""Counters and totals in SQL."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, func, select

from app.ledger import RunTotal, Totals
from app.models.runs.counts import TOTAL
from app.models.runs.run import RunStatus
from app.storage.shared.ledger_rules import check_amounts
from app.storage.shared.totals import totals_from
from app.storage.sql.base import SqlBase
from app.storage.sql.engine import writes
from app.storage.sql.tables import COUNTS, RUNS
from app.storage.sql.totals import add_amounts

_UNFINISHED = tuple(status.value for status in RunStatus if not status.is_final)


class SqlMetrics(SqlBase):
    """`app.ledger.metrics.MetricsLedger` in SQL."""

    async def totals(self) -> Totals:
        run = RUNS.c
        query = select(run.status, run.lane, func.count(), func.sum(run.attempt), func.min(run.created_at))
        unfinished = query.where(run.status.in_(_UNFINISHED)).group_by(run.status, run.lane)
        runs = [
            RunTotal(RunStatus(status), lane, count, int(attempts), oldest)
            for status, lane, count, attempts, oldest in await self._rows(unfinished)
        ]
        kept = {row.name: row.value for row in await self._rows(select(COUNTS.c.name, COUNTS.c.value))}
        return totals_from(runs, kept)

    @writes
    def count(self, connection: Connection, amounts: Mapping[str, int]) -> None:
        check_amounts(amounts)
        add_amounts(connection, amounts)

    async def get_counts(self) -> Mapping[str, int]:
        rows = await self._rows(select(COUNTS.c.name, COUNTS.c.value))
        return {row.name: row.value for row in rows if not row.name.startswith(TOTAL)}
