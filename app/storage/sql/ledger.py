"""The ledger in a SQL database: SQLite in the embedded profile, PostgreSQL by its URL.

Each method is one statement, or one transaction whose first statement takes the lock that it depends on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from sqlalchemy import Connection

from app.errors import LedgerUnavailable
from app.ledger import BackendInfo
from app.storage.sql.api_keys import SqlApiKeys
from app.storage.sql.assets import SqlAssets
from app.storage.sql.deliveries import SqlDeliveries
from app.storage.sql.election import SqlElection
from app.storage.sql.engine import Database, reads
from app.storage.sql.log_and_audit import SqlLogAndAudit
from app.storage.sql.metrics import SqlMetrics
from app.storage.sql.migrate import applied_versions, known_versions, upgrade
from app.storage.sql.retention import SqlRetention
from app.storage.sql.runs import SqlRuns
from app.storage.sql.scheduling import SqlScheduling
from app.storage.sql.unfinished import SqlUnfinished

_PRODUCTS = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


@asynccontextmanager
async def open_sql_ledger(url: str) -> AsyncIterator[SqlLedger]:
    """Open the ledger behind this URL, and close its connections at the end. Nothing is opened before the first query.

    Raises:
        LedgerUnavailable: the URL is not that of a SQL ledger.
    """
    database = Database(url)
    try:
        yield SqlLedger(database)
    finally:
        await database.close()


class SqlLedger(
    SqlRuns,
    SqlAssets,
    SqlLogAndAudit,
    SqlDeliveries,
    SqlMetrics,
    SqlElection,
    SqlScheduling,
    SqlRetention,
    SqlUnfinished,
    SqlApiKeys,
):
    """`app.ledger.Ledger` in SQL. The protocol says what each method does and guarantees."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def migrate(self) -> tuple[str, ...]:
        return await self._db.migrate(upgrade)

    @reads
    def ping(self, connection: Connection) -> BackendInfo:
        applied = applied_versions(connection)
        version = ".".join(str(part) for part in connection.dialect.server_version_info or ())
        if missing := sorted(set(known_versions()) - set(applied)):
            detail = f"The ledger ({self._db.location}) lacks the migrations {', '.join(missing)}."
            raise LedgerUnavailable(detail, "Run `spatial-etl migrate`.")
        details = {"schema": applied[-1], "location": self._db.location}
        return BackendInfo(name=_PRODUCTS[self._db.dialect], version=version, details=details)

    async def try_server(self) -> Mapping[str, str]:
        return {}
