"""The ledger in MongoDB, on a replica set or a single server.

Every write changes one document, most of them by compare-and-set. What takes two documents is in `run_writes`,
`asset_writes`, `dataset_queue`, `deletion`, `retention` and `outbox`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from app.ledger import BackendInfo
from app.storage.mongo.api_keys import MongoApiKeys
from app.storage.mongo.assets import MongoAssets
from app.storage.mongo.database import open_database
from app.storage.mongo.deliveries import MongoDeliveries
from app.storage.mongo.election import MongoElection
from app.storage.mongo.log_and_audit import MongoLogAndAudit
from app.storage.mongo.metrics import MongoMetrics
from app.storage.mongo.migrate import known_versions, upgrade
from app.storage.mongo.runs import MongoRuns
from app.storage.mongo.server_check import try_out
from app.storage.mongo.unfinished import MongoUnfinished


@asynccontextmanager
async def open_mongo_ledger(url: str) -> AsyncIterator[MongoLedger]:
    """Open the ledger behind this URL, and close its connections at the end. The first operation connects.

    Raises:
        LedgerUnavailable: the URL is not one of MongoDB, or names no database.
    """
    async with open_database(url, known_versions) as database:
        yield MongoLedger(database)


class MongoLedger(
    MongoRuns,
    MongoAssets,
    MongoLogAndAudit,
    MongoDeliveries,
    MongoMetrics,
    MongoElection,
    MongoUnfinished,
    MongoApiKeys,
):
    """`app.ledger.Ledger` in MongoDB. The protocol says what each method does and guarantees."""

    async def migrate(self) -> tuple[str, ...]:
        async with self._db.naming_commands() as database:
            return await upgrade(database)

    async def ping(self) -> BackendInfo:
        version = await self._db.server_version()
        await self._db.check_migrated(again=True)
        details = {"schema": known_versions()[-1], "location": self._db.location}
        return BackendInfo(name="MongoDB", version=version, details=details)

    async def try_server(self) -> Mapping[str, str]:
        async with self._db.naming_commands() as database:
            return await try_out(database)
