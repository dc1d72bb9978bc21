"""Databases for SQL ledgers on the PostgreSQL of `tests.servers.postgres`.

Migrated ledgers share one database for each test process, emptied in between: making one takes longer than most tests.
"""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg

from app.storage.sql.ledger import open_sql_ledger
from tests.servers.postgres import postgres_url

_migrated: list[str] = []
_KEPT = ("alembic_version", "schema_migrations")


@asynccontextmanager
async def fresh_database(*, migrated: bool) -> AsyncIterator[str]:
    """URL of a database without entries; nobody is connected to it."""
    if migrated:
        yield await _emptied()
        return
    name = await _create()
    try:
        yield _url(name)
    finally:
        await _drop(name)


async def _emptied() -> str:
    if not _migrated:
        name = await _create()
        atexit.register(lambda: asyncio.run(_drop(name)))
        async with open_sql_ledger(_url(name)) as ledger:
            await ledger.migrate()
        _migrated.append(_url(name))
    connection = await asyncpg.connect(_migrated[0])
    try:
        # What a test left running must not write into the next one.
        await connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        names = {str(row["tablename"]) for row in rows} - set(_KEPT)
        # In any order: the foreign keys are not looked at.
        deletes = "".join(f'DELETE FROM "{name}";' for name in sorted(names))  # noqa: S608 # the server's own names
        await connection.execute(f"SET session_replication_role = replica; {deletes}")
    finally:
        await connection.close()
    return _migrated[0]


async def _create() -> str:
    name = f"test_{uuid4().hex[:12]}"
    await _execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
    return name


async def _drop(name: str) -> None:
    await _execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


async def _execute(statement: str) -> None:
    connection = await asyncpg.connect(postgres_url())
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _url(name: str) -> str:
    return urlunsplit(urlsplit(postgres_url())._replace(path=f"/{name}"))
