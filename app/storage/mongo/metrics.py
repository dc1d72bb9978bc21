"""Counters and totals in MongoDB."""

from __future__ import annotations

from collections.abc import Mapping

from app.ledger import RunTotal, Totals
from app.models.runs.run import RunStatus
from app.storage.mongo import documents
from app.storage.mongo.base import MongoBase
from app.storage.shared.ledger_rules import check_amounts, plain_text
from app.storage.shared.totals import totals_from

_UNFINISHED = [status.value for status in RunStatus if not status.is_final]


class MongoMetrics(MongoBase):
    """`app.ledger.metrics.MetricsLedger` in MongoDB."""

    async def totals(self) -> Totals:
        runs, fields = [], {"runs": {"$sum": 1}, "attempts": {"$sum": "$attempt"}, "oldest": {"$min": "$sort_at"}}
        unfinished = {"status": {"$in": _UNFINISHED}}
        # Grouped by one field at a time, which every server of the MongoDB protocol can do.
        for lane in sorted(each["_id"] for each in await self._runs.grouped("lane", {}, unfinished)):
            for each in await self._runs.grouped("status", fields, unfinished | {"lane": lane}):
                oldest = documents.moment(each["oldest"])
                runs.append(RunTotal(RunStatus(each["_id"]), lane, each["runs"], each["attempts"], oldest))
        return totals_from(runs, await self._totals.read())

    async def count(self, amounts: Mapping[str, int]) -> None:
        check_amounts(amounts)
        for name in sorted(amounts):
            await self._metrics.increase(plain_text(name), amounts[name])

    async def get_counts(self) -> Mapping[str, int]:
        return {each["_id"]: each["value"] for each in await self._metrics.many({})}
