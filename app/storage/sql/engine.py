"""The SQL database under the ledger: transactions, errors, and INSERT … ON CONFLICT of both dialects.

Errors of the database and its driver leave as LedgerUnavailable or LedgerFull.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection, Table, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.errors import LedgerFull, LedgerUnavailable
from app.storage.sql.driver import Body, Driver
from app.storage.sql.postgres import PostgresDriver
from app.storage.sql.sqlite import SqliteDriver
from app.system.disks import free_bytes

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

_DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    # The name in earlier releases.
    "sqlite+aiosqlite": "sqlite+pysqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}
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
# How SQLite, PostgreSQL and the operating system report a full disk.
_DISK_FULL = ("disk is full", "could not extend file", "no space left on device", "disk quota exceeded")

T = TypeVar("T")
P = ParamSpec("P")


class HasDatabase(Protocol):
    """A part of the ledger: it has a database."""

    _db: Database


L = TypeVar("L", bound=HasDatabase)


def reads(body: Callable[Concatenate[L, Connection, P], T]) -> Callable[Concatenate[L, P], Coroutine[Any, Any, T]]:
    """Decorate a method that makes one SELECT: it becomes awaitable, and is given its connection."""

    @functools.wraps(body)
    async def method(self: L, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._db.read(lambda connection: body(self, connection, *args, **kwargs))

    return method


def writes(body: Callable[Concatenate[L, Connection, P], T]) -> Callable[Concatenate[L, P], Coroutine[Any, Any, T]]:
    """Decorate a method that is one transaction, committed unless it raises: it becomes awaitable, as for `reads`."""

    @functools.wraps(body)
    async def method(self: L, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._db.write(lambda connection: body(self, connection, *args, **kwargs))

    return method


class Database:
    """A SQLite or PostgreSQL database, used through `read`, `write` and `migrate` only.

    A transaction is a plain function of its connection. With SQLite it runs in a thread, with asyncpg on the event
    loop. Canceling the caller does not interrupt it.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
            parsed = parsed.set(drivername=_DRIVERS[parsed.drivername])
        except (ArgumentError, KeyError):
            fix = "Set SPATIAL_ETL_LEDGER__URL to sqlite:///PATH or postgresql+asyncpg://USER@HOST/DATABASE."
            raise LedgerUnavailable("The ledger URL is not that of SQLite or PostgreSQL.", fix) from None
        self.dialect = parsed.get_backend_name()
        if self.dialect == "sqlite" and parsed.database in (None, "", ":memory:"):
            fix = "Name a file: sqlite:///PATH."
            raise LedgerUnavailable("Processes cannot share a ledger in memory.", fix)
        self._folder = Path(str(parsed.database)).parent if self.dialect == "sqlite" else None
        # Without user, password and query, each of which may contain a password.
        self.location = f"{self.dialect} {parsed.host + '/' if parsed.host else ''}{parsed.database}"
        try:
            self._driver: Driver = SqliteDriver(parsed) if self.dialect == "sqlite" else PostgresDriver(parsed)
        except ModuleNotFoundError as err:
            fix = "Install it: pip install 'spatial-etl[postgres]'."
            raise LedgerUnavailable(f"The driver of this ledger is not installed ({err.name}).", fix) from None
        self.engine = self._driver.engine

    async def read(self, body: Body[T]) -> T:
        """Run a function that makes one SELECT. On SQLite there is no transaction around it."""
        with self._errors():
            return await self._driver.read(body)

    async def write(self, body: Body[T]) -> T:
        """Run a function as one transaction, committed unless it raises."""
        with self._errors():
            return await self._driver.write(body)

    async def migrate(self, body: Body[T]) -> T:
        """Run a function as one transaction. Of two migrations at once, the second waits for the first."""
        with self._errors():
            return await self._driver.migrate(body, self.location)

    async def close(self) -> None:
        """Wait for transactions that still run, then close all connections."""
        await self._driver.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as err:
            if isinstance(err, StatementError) and not isinstance(err, DBAPIError):
                raise ValueError(f"A value cannot be stored: {err.orig}") from err
            if not _is_driver_error(err):
                raise
            cause = getattr(err, "orig", None) or err
            if self._is_full(str(cause).lower()):
                raise LedgerFull(f"The ledger ({self.location}) has no room left: {cause}.", self._make_room()) from err
            known = (fix for needle, fix in _FIXES if needle in str(cause).lower())
            fix = next(known, "Check that it runs and can be reached.")
            raise LedgerUnavailable(f"The ledger ({self.location}) does not answer: {cause}.", fix) from err

    def _is_full(self, cause: str) -> bool:
        if any(needle in cause for needle in _DISK_FULL):
            return True
        # SQLite reports an I/O error when it cannot enlarge its shared memory file.
        return self._folder is not None and "disk i/o error" in cause and free_bytes(self._folder) == 0

    def _make_room(self) -> str:
        if self._folder is None:
            return "Free space on the disk of the database server."
        return f"Free space on the disk of {self._folder}: {free_bytes(self._folder)} bytes are free."


def _is_driver_error(err: Exception) -> bool:
    # While connecting, SQLAlchemy does not wrap the errors of asyncpg.
    return isinstance(err, DBAPIError | PoolTimeout | OSError) or type(err).__module__.partition(".")[0] == "asyncpg"


def insert_into(table: Table, dialect: str) -> sqlite.Insert | postgresql.Insert:
    """Return an INSERT of this dialect that has ON CONFLICT, which is not in standard SQL."""
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)


@functools.cache
def insert_new(table: Table, dialect: str) -> Any:
    """Return an INSERT that returns the row as stored, or no row when a unique key exists.

    The values are given when it is executed. Cached: building a statement of twenty columns costs more than running it.
    """
    return insert_into(table, dialect).on_conflict_do_nothing().returning(*table.c)
