"""The SQL database under the ledger: its engine, transactions, and everything that one dialect does its own way.

Driver errors stop here: whatever the database or its driver raises becomes LedgerUnavailable.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Table, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.errors import LedgerFull, LedgerUnavailable
from app.jobs.scratch import free_bytes
from app.storage.ledger_rules import to_json

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

LOCK_WAIT_SECONDS = 30
_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}
_BEGIN_IMMEDIATE = "spatial_etl_begin_immediate"
# Any number does, as long as every process of the service takes the same one.
_POSTGRES_MIGRATION_LOCK = 7_319_046_212
_MIGRATE = "Run `spatial-etl migrate`."
_FIXES = (
    ("no such table", _MIGRATE),
    ('relation "', _MIGRATE),
    ("unable to open database file", "Check that the directory exists and that this user may write in it."),
    ("database is locked", "End the tool that keeps a transaction open on this file."),
    ("readonly", "Give this user the right to write the file and its directory."),
    ("not a database", "The file is not a SQLite database: name another one, or restore a backup."),
    ("malformed", "The database file is damaged: restore a backup."),
    ("password", "Check the user and password in SPATIAL_ETL_LEDGER__URL."),
    ('role "', "Check the user in SPATIAL_ETL_LEDGER__URL."),
    ('database "', "Create the database, or name another one in SPATIAL_ETL_LEDGER__URL."),
)
# SQLite, PostgreSQL, and the system's own words.
_FULL = ("disk is full", "could not extend file", "no space left on device", "disk quota exceeded")

T = TypeVar("T")


class Database:
    """One engine. `read` and `write` are the only ways in."""

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
            parsed = parsed.set(drivername=_DRIVERS[parsed.drivername])
        except (ArgumentError, KeyError):
            fix = "Set SPATIAL_ETL_LEDGER__URL to sqlite+aiosqlite:///PATH or postgresql+asyncpg://USER@HOST/DATABASE."
            raise LedgerUnavailable(
                "The ledger URL is not one of a SQL database that this service knows.", fix
            ) from None
        self.dialect = parsed.get_backend_name()
        if self.dialect == "sqlite" and parsed.database in (None, "", ":memory:"):
            fix = "Name a file: sqlite+aiosqlite:///PATH."
            raise LedgerUnavailable("Processes cannot share a ledger in memory.", fix)
        self._folder = Path(str(parsed.database)).parent if self.dialect == "sqlite" else None
        # Put together by hand: a password could also hide in the URL's query.
        self.shown = f"{self.dialect} {parsed.host + '/' if parsed.host else ''}{parsed.database}"
        options = _sqlite_options() if self.dialect == "sqlite" else _postgres_options()
        # hide_parameters: an error in a log must not carry a user's document.
        try:
            self._engine = create_async_engine(parsed, json_serializer=to_json, hide_parameters=True, **options)
        except ModuleNotFoundError as err:
            fix = "Install it: pip install 'spatial-etl[postgres]'."
            raise LedgerUnavailable(f"The driver of this ledger is not installed ({err.name}).", fix) from None
        self._writer = self._engine
        self._unfinished: set[asyncio.Task[Any]] = set()
        self._failed = False
        self._turn: contextlib.AbstractAsyncContextManager[Any] = contextlib.nullcontext()
        if self.dialect == "sqlite":
            event.listen(self._engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(self._engine.sync_engine, "begin", _begin_sqlite)
            self._writer = self._engine.execution_options(**{_BEGIN_IMMEDIATE: True})
            # SQLite's waiters poll and may overtake each other; the tasks of one process can queue fairly instead.
            self._turn = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """For one SELECT: on SQLite there is no transaction around it."""
        with self._errors():
            async with self._engine.connect() as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One transaction; committed unless the body raises."""
        with self._errors():
            async with self._turn, self._writer.begin() as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def migration(self) -> AsyncIterator[AsyncConnection]:
        """One transaction that no other migration shares: the second waits until the first is done."""
        if self.dialect == "sqlite":
            with self._errors():
                await _use_wal(self._engine)
        async with self.write() as connection:
            if self.dialect == "postgresql":
                await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_POSTGRES_MIGRATION_LOCK})")
            yield connection

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work`; when the caller is canceled, it goes on to its end by itself.

        The driver's thread cannot be stopped in mid-statement: a connection given up there keeps its transaction, and
        with it SQLite's write lock, until somebody collects the garbage.
        """
        task = asyncio.create_task(work)
        self._unfinished.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._unfinished.discard(task)
        if not task.cancelled():
            task.exception()  # asked for, so that asyncio does not report it where the caller has gone

    async def close(self) -> None:
        if self._unfinished:
            await asyncio.wait(self._unfinished)
        await self._engine.dispose()
        if self._failed:
            # A thread of aiosqlite that could not open the file still reports its end to the event loop: were the loop
            # closed first, a command that only says "no such directory" would print that thread's traceback too.
            await asyncio.sleep(0.05)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as err:
            if isinstance(err, StatementError) and not isinstance(err, DBAPIError):
                raise ValueError(f"A value cannot be stored: {err.orig}") from err
            if not _is_driver_error(err):
                raise
            self._failed = True
            cause = getattr(err, "orig", None) or err
            if self._is_full(str(cause).lower()):
                raise LedgerFull(f"The ledger ({self.shown}) has no room left: {cause}.", self._make_room()) from err
            known = (fix for needle, fix in _FIXES if needle in str(cause).lower())
            fix = next(known, "Check that it runs and can be reached.")
            raise LedgerUnavailable(f"The ledger ({self.shown}) does not answer: {cause}.", fix) from err

    def _is_full(self, said: str) -> bool:
        if any(needle in said for needle in _FULL):
            return True
        # SQLite calls it an I/O error where it cannot lengthen its shared memory.
        return self._folder is not None and "disk i/o error" in said and free_bytes(self._folder) == 0

    def _make_room(self) -> str:
        if self._folder is None:
            return "Free space on the disk of the database server."
        return f"Free space on the disk of {self._folder}: {free_bytes(self._folder)} bytes are free."


def _is_driver_error(err: Exception) -> bool:
    # asyncpg's own errors pass SQLAlchemy untranslated while it connects.
    return isinstance(err, DBAPIError | PoolTimeout | OSError) or type(err).__module__.partition(".")[0] == "asyncpg"


def insert_into(table: Table, dialect: str) -> sqlite.Insert | postgresql.Insert:
    """INSERT that knows ON CONFLICT, which is not in standard SQL."""
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)


def _sqlite_options() -> dict[str, Any]:
    return {"connect_args": {"timeout": LOCK_WAIT_SECONDS}}


def _postgres_options() -> dict[str, Any]:
    return {"pool_pre_ping": True, "connect_args": {"timeout": 10, "command_timeout": LOCK_WAIT_SECONDS}}


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # Transactions begin where SQLAlchemy says so, not where the sqlite3 module guesses.
    connection.isolation_level = None
    cursor = connection.cursor()
    # FULL: in WAL mode anything less may lose acknowledged commits when the power fails.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    # A transaction that reads first and asks for the write lock later fails when another wrote in between.
    if connection.get_execution_options().get(_BEGIN_IMMEDIATE):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


async def _use_wal(engine: AsyncEngine) -> None:
    """Kept in the file. SQLite does not wait for the lock that this change needs, so we do."""
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            async with engine.connect() as connection:
                await connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            return
        except DBAPIError as err:
            if "locked" not in str(err.orig) or time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
