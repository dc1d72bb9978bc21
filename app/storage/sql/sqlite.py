"""SQLite, by the standard library's driver."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from app.storage.shared.migration_wait import MigrationWait
from app.storage.sql import driver

T = TypeVar("T")

_READERS = 4
# The most transactions that are committed together: other processes need the lock, too.
_MAX_GROUP = 32
_BEGIN_IMMEDIATE = "spatial_etl_begin_immediate"


class SqliteDriver:
    """A few threads read, and one thread writes.

    Transactions that wait at the same time are committed together, because syncing a commit to disk is what takes
    time. Writers of this process queue in order; SQLite itself would let them poll and overtake each other.
    """

    def __init__(self, url: URL) -> None:
        self.engine = create_engine(url, connect_args={"timeout": driver.LOCK_WAIT_SECONDS}, **driver.engine_options())
        event.listen(self.engine, "connect", _prepare_connection)
        event.listen(self.engine, "begin", _begin)
        self._for_writing = self.engine.execution_options(**{_BEGIN_IMMEDIATE: True})
        self._readers = ThreadPoolExecutor(_READERS, "ledger-reader")
        self._writer = ThreadPoolExecutor(1, "ledger-writer")
        self._waiting: deque[tuple[driver.Body[Any], Future[Any]]] = deque()

    async def read(self, body: driver.Body[T]) -> T:
        def select() -> T:
            with self.engine.connect() as connection:
                return body(connection)

        return await asyncio.shield(asyncio.wrap_future(self._readers.submit(select)))

    async def write(self, body: driver.Body[T]) -> T:
        done: Future[T] = Future()
        self._waiting.append((body, done))
        self._writer.submit(self._write_waiting)
        return await asyncio.shield(asyncio.wrap_future(done))

    def _write_waiting(self) -> None:
        """In the writer's thread: commit all that wait now. There may be none left after an earlier call."""
        group: list[tuple[driver.Body[Any], Future[Any]]] = []
        while self._waiting and len(group) < _MAX_GROUP:
            group.append(self._waiting.popleft())
        if group:
            self._write_group(group)

    def _write_group(self, group: list[tuple[driver.Body[Any], Future[Any]]]) -> None:
        results: list[Any] = []
        begun = False
        try:
            with self._for_writing.begin() as connection:
                begun = True
                for body, _ in group:
                    results.append(body(connection))  # its length shows below how far the group came
        except BaseException as err:
            if begun and len(results) < len(group) > 1:
                # One of them failed, and all were rolled back: run each on its own.
                for each in group:
                    self._write_group([each])
                return
            for _, done in group:
                done.set_exception(err)
        else:
            for (_, done), result in zip(group, results, strict=True):
                done.set_result(result)

    async def migrate(self, body: driver.Body[T], location: str) -> T:
        """See `Driver`. The lock is on the folder of the file, and ends with its process."""
        waiting = MigrationWait(location)
        with contextlib.ExitStack() as stack:
            # Without a folder, or on a file system without locks, SQLite itself says what is wrong, or waits.
            with contextlib.suppress(OSError):
                folder = os.open(
                    Path(str(self.engine.url.database)).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
                )
                stack.callback(os.close, folder)
                while not _lock(folder):
                    await waiting.pause()
            await asyncio.wrap_future(self._readers.submit(_use_wal, self.engine))
            return await self.write(body)

    async def close(self) -> None:
        for threads in (self._writer, self._readers):
            await asyncio.to_thread(threads.shutdown)
        self.engine.dispose()


def _lock(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _prepare_connection(connection: Any, _record: object) -> None:
    # Transactions begin where SQLAlchemy says so, not where the sqlite3 module guesses.
    connection.isolation_level = None
    cursor = connection.cursor()
    # FULL: in WAL mode anything less may lose acknowledged commits when the power fails.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    # For temporary tables SQLite would choose /var/tmp, where a job may not write.
    cursor.execute("PRAGMA temp_store = MEMORY")
    cursor.close()


def _begin(connection: Any) -> None:
    # A transaction that reads first and asks for the write lock later fails when another wrote in between.
    if connection.get_execution_options().get(_BEGIN_IMMEDIATE):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _use_wal(engine: Engine) -> None:
    """Set the journal mode, which the file keeps. SQLite does not wait for the lock that this needs, so retry."""
    deadline = time.monotonic() + driver.LOCK_WAIT_SECONDS
    while True:
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            return
        except DBAPIError as err:
            if "locked" not in str(err.orig) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
