"""PostgreSQL, by SQLAlchemy's asyncio engine over asyncpg."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from app.storage.shared.migration_wait import MigrationWait
from app.storage.sql import driver

T = TypeVar("T")

# Any number, the same in every process of the service, and in earlier releases.
_MIGRATION_LOCK = 7_319_046_212


class PostgresDriver:
    """Functions run on the event loop, over a pool of asyncpg connections."""

    def __init__(self, url: URL, command_timeout: float | None = driver.LOCK_WAIT_SECONDS) -> None:
        self._url = url
        waits = {"timeout": 10, "command_timeout": command_timeout}
        # Connections are opened on demand and kept: opening one takes longer than most queries.
        pool = {"pool_size": 10, "max_overflow": 5}
        self._engine = create_async_engine(url, connect_args=waits, **pool, **driver.engine_options())
        self.engine = self._engine.sync_engine
        self._unfinished: set[asyncio.Task[Any]] = set()

    async def read(self, body: driver.Body[T]) -> T:
        return await self._shielded(self._read(body))

    async def _read(self, body: driver.Body[T]) -> T:
        async def once() -> T:
            async with self._engine.connect() as connection:
                return await connection.run_sync(body)

        return await self._retry_on_dead_connection(once, lambda: True)

    async def write(self, body: driver.Body[T]) -> T:
        return await self._shielded(self._write(body))

    async def _write(self, body: driver.Body[T]) -> T:
        may_be_committed = False

        async def once() -> T:
            nonlocal may_be_committed
            async with self._engine.begin() as connection:
                result = await connection.run_sync(body)
                may_be_committed = True
                return result

        return await self._retry_on_dead_connection(once, lambda: not may_be_committed)

    async def _retry_on_dead_connection(
        self, once: Callable[[], Coroutine[Any, Any, T]], may_repeat: Callable[[], bool]
    ) -> T:
        """Run `once`, and run it again if its connection was dead and nothing can have been committed.

        A restart of the server leaves dead connections in the pool. Testing each connection before its transaction
        would cost one more round trip to the server.
        """
        try:
            return await once()
        except DBAPIError as err:
            # By now the pool has discarded all connections of that time.
            if not err.connection_invalidated or not may_repeat():
                raise
        return await once()

    async def migrate(self, body: driver.Body[T], location: str) -> T:
        """See `Driver`. The lock belongs to the transaction: that of a dead process is free."""
        patient = PostgresDriver(self._url, None)
        waiting = MigrationWait(location)

        def locked(connection: Connection) -> tuple[T] | None:
            take = f"SELECT pg_try_advisory_xact_lock({_MIGRATION_LOCK})"
            return (body(connection),) if connection.exec_driver_sql(take).scalar_one() else None

        try:
            while (done := await patient.write(locked)) is None:
                await waiting.pause()
            return done[0]
        finally:
            await patient.close()

    async def _shielded(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work`, which runs to its end even when the caller is canceled.

        Otherwise the connection would be lost, and the server would decide how the transaction ends.
        """
        task = asyncio.create_task(work)
        self._unfinished.add(task)
        task.add_done_callback(self._discard)
        return await asyncio.shield(task)

    def _discard(self, task: asyncio.Task[Any]) -> None:
        self._unfinished.discard(task)
        if not task.cancelled():
            task.exception()  # retrieve it, so that asyncio does not report it when the caller was canceled

    async def close(self) -> None:
        if self._unfinished:
            await asyncio.wait(self._unfinished)
        await self._engine.dispose()
