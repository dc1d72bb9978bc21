"""The collections of the ledger, and the parts that several of its methods share."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from app.storage.mongo.asset_writes import AssetWrites
from app.storage.mongo.database import MongoDatabase
from app.storage.mongo.dataset_queue import DatasetQueue
from app.storage.mongo.documents import Document
from app.storage.mongo.newest import NewestMarks
from app.storage.mongo.outbox import OutboxWriter
from app.storage.mongo.run_writes import RunWrites
from app.storage.mongo.totals import TotalsWriter
from app.storage.shared.ledger_rules import plain_text


class MongoBase(ABC):
    """Base of the parts of the MongoDB ledger.

    Writes over two documents are in `RunWrites`, `AssetWrites` and `DatasetQueue`; log lines and audit entries that
    belong to a change are in `OutboxWriter`.
    """

    def __init__(self, database: MongoDatabase) -> None:
        self._db = database
        self._manifests, self._runs = database.collection("manifests"), database.collection("runs")
        self._assets, self._lanes = database.collection("assets"), database.collection("lanes")
        self._events, self._activity = database.collection("run_events"), database.collection("activity_logs")
        self._deliveries, self._metrics = database.collection("webhook_deliveries"), database.collection("metrics")
        self._dataset_queue = DatasetQueue(database)
        self._run_writes = RunWrites(database, self._dataset_queue)
        self._asset_writes = AssetWrites(database, self._finish_deletion)
        self._newest_marks, self._totals = NewestMarks(database), TotalsWriter(database)
        self._outbox = OutboxWriter(database, self._events, self._activity)
        # Tasks of one process wait for each other instead of competing for the next number of a log.
        self._log_lock = asyncio.Lock()

    @abstractmethod
    async def _finish_deletion(self, asset: Document) -> object:
        """Finish the deletion of a version that has its mark; see `deletion`."""


def equal(wanted: Mapping[str, Any]) -> Document:
    """Return a query with a condition for each field whose wanted value is not None; of a tuple, any."""
    return {
        name: {"$in": [plain_text(item) for item in value]} if isinstance(value, tuple) else _plain(value)
        for name, value in wanted.items()
        if value is not None
    }


def _plain(value: Any) -> Any:
    return plain_text(value) if isinstance(value, str) else value
