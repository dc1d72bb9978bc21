"""The SQL database under the ledger: its engine, transactions, and everything that one dialect does its own way.

Driver errors stop here: whatever the database or its driver raises becomes LedgerUnavailable.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import create_async_engine

from app.disks import free_bytes
from app.errors import LedgerFull, LedgerUnavailable
from app.storage.ledger_rules import to_json

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

LOCK_WAIT_SECONDS = 30
_READERS = 4
# Transactions at most that are committed together: other processes want their turn too.
_GROUP = 32
_DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    # As earlier releases wrote it.
    "sqlite+aiosqlite": "sqlite+pysqlite",
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
P = ParamSpec("P")
Body = Callable[[Connection], T]


class HasDatabase(Protocol):
    _db: Database


L = TypeVar("L", bound=HasDatabase)


def reads(body: Callable[Concatenate[L, Connection, P], T]) -> Callable[Concatenate[L, P], Coroutine[Any, Any, T]]:
    """Makes a method of one SELECT awaitable, and gives it its connection."""

    @functools.wraps(body)
    async def method(self: L, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._db.read(lambda connection: body(self, connection, *args, **kwargs))

    return method


def writes(body: Callable[Concatenate[L, Connection, P], T]) -> Callable[Concatenate[L, P], Coroutine[Any, Any, T]]:
    """Makes a method awaitable that is one transaction: committed unless it raises."""

    @functools.wraps(body)
    async def method(self: L, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._db.write(lambda connection: body(self, connection, *args, **kwargs))

    return method


class Database:
    """One engine. `read` and `write` are the only ways in.

    What is done in a transaction is a plain function of its connection, whatever the driver: SQLite's runs in a thread,
    from its first statement to its last, and asyncpg's on the event loop. Canceling the caller does not break it off.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
            parsed = parsed.set(drivername=_DRIVERS[parsed.drivername])
        except (ArgumentError, KeyError):
            fix = "Set SPATIAL_ETL_LEDGER__URL to sqlite:///PATH or postgresql+asyncpg://USER@HOST/DATABASE."
            raise LedgerUnavailable(
                "The ledger URL is not one of a SQL database that this service knows.", fix
            ) from None
        self.dialect = parsed.get_backend_name()
        if self.dialect == "sqlite" and parsed.database in (None, "", ":memory:"):
            fix = "Name a file: sqlite:///PATH."
            raise LedgerUnavailable("Processes cannot share a ledger in memory.", fix)
        self._folder = Path(str(parsed.database)).parent if self.dialect == "sqlite" else None
        # Put together by hand: a password could also hide in the URL's query.
        self.shown = f"{self.dialect} {parsed.host + '/' if parsed.host else ''}{parsed.database}"
        try:
            self._driver: _Sqlite | _Postgres = _Sqlite(parsed) if self.dialect == "sqlite" else _Postgres(parsed)
        except ModuleNotFoundError as err:
            fix = "Install it: pip install 'spatial-etl[postgres]'."
            raise LedgerUnavailable(f"The driver of this ledger is not installed ({err.name}).", fix) from None
        self.engine = self._driver.engine

    async def read(self, body: Body[T]) -> T:
        """For one SELECT: on SQLite there is no transaction around it."""
        with self._errors():
            return await self._driver.read(body)

    async def write(self, body: Body[T]) -> T:
        """One transaction; committed unless `body` raises."""
        with self._errors():
            return await self._driver.write(body)

    async def migrate(self, body: Body[T]) -> T:
        """One transaction that no other migration shares: the second waits until the first is done."""
        with self._errors():
            await self._driver.prepare_migration()

        def alone(connection: Connection) -> T:
            if self.dialect == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_POSTGRES_MIGRATION_LOCK})")
            return body(connection)

        return await self.write(alone)

    async def close(self) -> None:
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


@functools.cache
def insert_new(table: Table, dialect: str) -> Any:
    """INSERT of a row, which is given when it is executed: returns it as stored, or none if a unique key is taken.

    Made once: putting together a statement of twenty columns costs more than executing it.
    """
    return insert_into(table, dialect).on_conflict_do_nothing().returning(*table.c)


def _options() -> dict[str, Any]:
    # hide_parameters: an error in a log must not carry a user's document.
    return {"json_serializer": to_json, "hide_parameters": True}


class _Postgres:
    """SQLAlchemy's event loop engine over asyncpg."""

    def __init__(self, url: URL) -> None:
        waits = {"timeout": 10, "command_timeout": LOCK_WAIT_SECONDS}
        # Opened when they are needed, and kept: to open one takes longer than what it is opened for.
        pool = {"pool_size": 10, "max_overflow": 5}
        self._engine = create_async_engine(url, connect_args=waits, **pool, **_options())
        self.engine = self._engine.sync_engine
        self._unfinished: set[asyncio.Task[Any]] = set()

    async def read(self, body: Body[T]) -> T:
        return await self._finish(self._read(body))

    async def _read(self, body: Body[T]) -> T:
        async def once() -> T:
            async with self._engine.connect() as connection:
                return await connection.run_sync(body)

        return await self._twice(once, lambda: True)

    async def write(self, body: Body[T]) -> T:
        return await self._finish(self._write(body))

    async def _write(self, body: Body[T]) -> T:
        may_be_committed = False

        async def once() -> T:
            nonlocal may_be_committed
            async with self._engine.begin() as connection:
                result = await connection.run_sync(body)
                may_be_committed = True
                return result

        return await self._twice(once, lambda: not may_be_committed)

    async def _twice(self, once: Callable[[], Coroutine[Any, Any, T]], again: Callable[[], bool]) -> T:
        """A server that was away leaves dead connections in the pool: what met one is done again, on a new one.

        To ask each connection whether it lives, before every transaction, is one more way to the server and back.
        """
        try:
            return await once()
        except DBAPIError as err:
            # The pool has forgotten all of them by now.
            if not err.connection_invalidated or not again():
                raise
        return await once()

    async def prepare_migration(self) -> None:
        pass

    async def _finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work`; when the caller is canceled, it goes on to its end by itself.

        A connection given up in mid-statement would be thrown away, and its transaction's end left to the server.
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


class _Sqlite:
    """The standard library's driver: some threads that read, and one that writes.

    Transactions of this process that come together become one: what costs is the file system's word that a commit is on
    disk, and that is asked for once. SQLite's own waiters poll and may overtake each other; ours queue.
    """

    def __init__(self, url: URL) -> None:
        self.engine = create_engine(url, connect_args={"timeout": LOCK_WAIT_SECONDS}, **_options())
        event.listen(self.engine, "connect", _prepare_sqlite)
        event.listen(self.engine, "begin", _begin_sqlite)
        self._for_writing = self.engine.execution_options(**{_BEGIN_IMMEDIATE: True})
        self._readers = ThreadPoolExecutor(_READERS, "ledger-reader")
        self._writer = ThreadPoolExecutor(1, "ledger-writer")
        self._waiting: deque[tuple[Body[Any], Future[Any]]] = deque()

    async def read(self, body: Body[T]) -> T:
        def look() -> T:
            with self.engine.connect() as connection:
                return body(connection)

        return await asyncio.shield(asyncio.wrap_future(self._readers.submit(look)))

    async def write(self, body: Body[T]) -> T:
        done: Future[T] = Future()
        self._waiting.append((body, done))
        self._writer.submit(self._write_waiting)
        return await asyncio.shield(asyncio.wrap_future(done))

    def _write_waiting(self) -> None:
        """In the writer's thread: all that wait now, which may be none when an earlier turn took them along."""
        group: list[tuple[Body[Any], Future[Any]]] = []
        while self._waiting and len(group) < _GROUP:
            group.append(self._waiting.popleft())
        if group:
            self._write_together(group)

    def _write_together(self, group: list[tuple[Body[Any], Future[Any]]]) -> None:
        results: list[Any] = []
        begun = False
        try:
            with self._for_writing.begin() as connection:
                begun = True
                for body, _ in group:
                    results.append(body(connection))  # how far it came is asked for below
        except BaseException as err:
            if begun and len(results) < len(group) > 1:
                # One of them failed, and all were rolled back: each for itself.
                for each in group:
                    self._write_together([each])
                return
            for _, done in group:
                done.set_exception(err)
        else:
            for (_, done), result in zip(group, results, strict=True):
                done.set_result(result)

    async def prepare_migration(self) -> None:
        await asyncio.wrap_future(self._readers.submit(_use_wal, self.engine))

    async def close(self) -> None:
        for threads in (self._writer, self._readers):
            await asyncio.to_thread(threads.shutdown)
        self.engine.dispose()


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # Transactions begin where SQLAlchemy says so, not where the sqlite3 module guesses.
    connection.isolation_level = None
    cursor = connection.cursor()
    # FULL: in WAL mode anything less may lose acknowledged commits when the power fails.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    # What a statement puts aside: SQLite would choose /var/tmp, where a job may not write.
    cursor.execute("PRAGMA temp_store = MEMORY")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    # A transaction that reads first and asks for the write lock later fails when another wrote in between.
    if connection.get_execution_options().get(_BEGIN_IMMEDIATE):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _use_wal(engine: Engine) -> None:
    """Kept in the file. SQLite does not wait for the lock that this change needs, so we do."""
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            return
        except DBAPIError as err:
            if "locked" not in str(err.orig) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
