"""How SQLite's transactions are carried: in one thread, together, and without a word to the file system of others."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.util import await_only

from app.errors import LedgerUnavailable
from app.storage.sql import sqlite
from app.storage.sql.driver import Body
from app.storage.sql.engine import Database
from tests.servers import postgres_ledgers

pytestmark = pytest.mark.anyio


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(f"sqlite:///{tmp_path}/numbers.sqlite")
    await opened.write(lambda connection: connection.exec_driver_sql("CREATE TABLE numbers (n INTEGER PRIMARY KEY)"))
    yield opened
    await opened.close()


def numbers(connection: Connection) -> list[int]:
    return list(connection.exec_driver_sql("SELECT n FROM numbers ORDER BY n").scalars())


def adding(number: int) -> Body[int]:
    def add(connection: Connection) -> int:
        connection.exec_driver_sql("INSERT INTO numbers VALUES (?)", (number,))
        return number

    return add


class Held:
    """While it is entered, the writer is busy with a transaction, and what is written waits behind it."""

    def __init__(self, database: Database) -> None:
        self._database, self._begun, self._let_go = database, threading.Event(), threading.Event()

    def _body(self, _connection: Connection) -> None:
        self._begun.set()
        assert self._let_go.wait(30)

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._database.write(self._body))
        await asyncio.to_thread(self._begun.wait, 30)

    async def __aexit__(self, *_: object) -> None:
        self._let_go.set()
        await self._task


async def queued(count: int) -> None:
    """Let tasks that were made run as far as the writer's queue."""
    for _ in range(count + 5):
        await asyncio.sleep(0)


async def test_what_waits_is_committed_together(database: Database) -> None:
    commits: list[object] = []
    event.listen(database.engine, "commit", commits.append)
    async with Held(database):
        tasks = [asyncio.create_task(database.write(adding(number))) for number in range(20)]
        await queued(20)
    assert await asyncio.gather(*tasks) == list(range(20))
    assert len(commits) == 2
    assert await database.read(numbers) == list(range(20))


async def test_a_group_has_an_end(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_MAX_GROUP", 8)
    commits: list[object] = []
    event.listen(database.engine, "commit", commits.append)
    async with Held(database):
        tasks = [asyncio.create_task(database.write(adding(number))) for number in range(20)]
        await queued(20)
    await asyncio.gather(*tasks)
    assert len(commits) == 4
    assert await database.read(numbers) == list(range(20))


async def test_one_that_fails_takes_none_of_the_others_along(database: Database) -> None:
    def breaks(connection: Connection) -> None:
        adding(100)(connection)
        raise KeyError("its own")

    async with Held(database):
        bodies = [adding(1), breaks, adding(2), adding(1), adding(3)]
        tasks = [asyncio.create_task(database.write(body)) for body in bodies]
        await queued(5)
    one, broken, two, twice, three = await asyncio.gather(*tasks, return_exceptions=True)
    assert (one, two, three) == (1, 2, 3)
    assert isinstance(broken, KeyError)
    assert isinstance(twice, LedgerUnavailable)
    assert "UNIQUE" in str(twice)
    assert await database.read(numbers) == [1, 2, 3]


async def test_a_caller_that_is_canceled_does_not_break_it_off(database: Database) -> None:
    async with Held(database):
        task = asyncio.create_task(database.write(adding(7)))
        await queued(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await database.write(adding(8))  # the one writer has come past it
    assert await database.read(numbers) == [7, 8]


async def test_nothing_is_put_aside_in_files(database: Database) -> None:
    assert await database.read(lambda connection: connection.exec_driver_sql("PRAGMA temp_store").scalar_one()) == 2


CONFINED = """
import asyncio, sys
from pathlib import Path
from app.jobs.sandbox import sandbox_job
from app.storage.sql.engine import Database
from tests.servers import postgres_ledgers
data = Path(sys.argv[1])
async def work():
    database = Database(f"sqlite:///{data}/ledger.sqlite")
    def change(connection):
        connection.exec_driver_sql("CREATE TABLE t (a INTEGER PRIMARY KEY, b INTEGER, CHECK (b >= 0))")
        many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
        connection.exec_driver_sql(f"{many} INSERT INTO t SELECT i, i FROM n")
        connection.exec_driver_sql("UPDATE t SET b = b + 1")
    await database.write(change)
    print(await database.read(lambda connection: connection.exec_driver_sql("SELECT sum(b) FROM t").scalar_one()))
    await database.close()
sandbox_job(data)
asyncio.run(work())
"""


def test_a_confined_job_changes_many_rows(tmp_path: Path) -> None:
    """SQLite keeps what an UPDATE may have to take back in /var/tmp, or fails where it may not write there."""
    ran = subprocess.run(
        [sys.executable, "-c", CONFINED, str(tmp_path)], check=False, capture_output=True, text=True, timeout=60
    )
    assert ran.stdout.strip() == str(20000 * 20001 // 2 + 20000), ran.stderr


END_OTHERS = """SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()"""


async def test_connections_that_the_server_ended_cost_their_callers_nothing() -> None:
    def one(connection: Connection) -> int:
        return int(connection.exec_driver_sql("SELECT 1").scalar_one())

    async with postgres_ledgers.fresh_database(migrated=False) as url:
        pooled, other = Database(url), Database(url)
        await asyncio.gather(*(pooled.write(one) for _ in range(3)))
        await other.read(lambda connection: connection.exec_driver_sql(END_OTHERS).all())
        assert await asyncio.gather(*(pooled.write(one) for _ in range(3))) == [1, 1, 1]
        await pooled.close()
        await other.close()


async def test_what_may_be_committed_is_not_done_again() -> None:
    """The connection ends while the commit is under way: nobody knows, and it is not done twice."""
    done: list[int] = []

    def add(connection: Connection) -> None:
        connection.exec_driver_sql("INSERT INTO numbers VALUES (1)")
        done.append(1)

    async with postgres_ledgers.fresh_database(migrated=False) as url:
        database, other = Database(url), Database(url)
        await database.write(lambda connection: connection.exec_driver_sql("CREATE TABLE numbers (n INTEGER)"))

        def cut(_connection: Connection) -> None:
            await_only(other.read(lambda connection: connection.exec_driver_sql(END_OTHERS).all()))

        event.listen(database.engine, "commit", cut)
        with pytest.raises(LedgerUnavailable):
            await database.write(add)
        assert done == [1]
        event.remove(database.engine, "commit", cut)
        assert await database.read(lambda connection: connection.exec_driver_sql("SELECT n FROM numbers").all()) == []
        await database.close()
        await other.close()
