"""The workspace of one attempt in PostGIS: a schema, and one connection with an unlogged table per thread.

The threads of the engine call `Workspace.run`; the connections live on an event loop of the workspace.
"""

from __future__ import annotations

import logging
from asyncio import get_running_loop
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue

from anyio import CancelScope, move_on_after
from anyio.from_thread import BlockingPortal, start_blocking_portal

from app.errors import EngineUnavailable
from app.storage.postgis.server import (
    Connection,
    Postgis,
    RunSchema,
    StatementFailed,
    drop_schema,
    end_backends,
    find_postgis,
    quoted,
    statement_too_long,
    translated,
)

logger = logging.getLogger(__name__)

_CHUNK_BYTES = 1024 * 1024
_CLEANUP_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class _Session:
    """One connection and the table that only it uses."""

    connection: Connection
    pid: int
    schema: str
    table: str
    seconds: int


@dataclass
class Workspace:
    """Runs statements over batches of rows on the PostGIS server.

    Thread-safe: as many statements run at once as there are connections; further calls wait for a free one. The
    workspace is temporary: its schema is removed when `open_workspace` ends.

    Attributes:
        versions: of PostGIS, GEOS, PROJ and PostgreSQL.
    """

    versions: Mapping[str, str]
    _portal: BlockingPortal
    _control: Connection
    _sessions: list[_Session]
    _free: SimpleQueue[_Session] = field(default_factory=SimpleQueue)
    _interrupted: bool = False

    def __post_init__(self) -> None:
        for session in self._sessions:
            self._free.put(session)

    def run(self, rows: bytes, statement: str) -> bytes:
        """Copy rows into a table, run a query over it, and return the rows of its result.

        Args:
            rows: for the columns n (integer) and geom (geometry), in the binary format of COPY.
            statement: a query with `{table}` for the table.

        Returns:
            The result in the binary format of COPY.

        Raises:
            EngineUnavailable: the server does not answer, or the workspace was interrupted.
            TimeLimitExceeded: the statement ran longer than its time limit.
            StatementFailed: the server refused the statement.
        """
        session = self._free.get()
        try:
            if self._interrupted:
                raise EngineUnavailable("PostGIS: the run is over.")
            return self._portal.call(_run, session, rows, statement)
        finally:
            self._free.put(session)

    def interrupt(self) -> None:
        """End the statements that run now, and refuse later ones."""
        self._interrupted = True
        self._portal.call(self._interrupt)

    async def _interrupt(self) -> None:
        try:
            with move_on_after(_CLEANUP_SECONDS), translated():
                pids = [session.pid for session in self._sessions]
                await end_backends(self._control, pids)
        except (EngineUnavailable, StatementFailed) as err:
            logger.warning("statements were not ended at the server: %s", err)
        for session in self._sessions:
            session.connection.terminate()


@contextmanager
def open_workspace(server: Postgis, schema: RunSchema, connections: int) -> Iterator[Workspace]:
    """Open a workspace in a new schema, and remove both at the end, also after an error.

    A schema that cannot be removed because the server does not answer is left to the sweep. Schemas of earlier attempts
    of the run are removed first, with their connections: these attempts cannot publish any more.

    Args:
        server: the PostGIS server.
        schema: of the attempt.
        connections: how many statements run at once.

    Raises:
        EngineUnavailable: the server cannot be used.
    """
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(_opened(server, schema, connections, portal)) as workspace,
    ):
        yield workspace


@asynccontextmanager
async def _opened(
    server: Postgis, schema: RunSchema, connections: int, portal: BlockingPortal
) -> AsyncIterator[Workspace]:
    async with AsyncExitStack() as stack:
        control = await server.open_with_retry(schema.application)
        stack.callback(control.terminate)
        with _as_unavailable():
            versions, path = await find_postgis(control)
            await _remove_earlier(control, schema)
            await control.execute(f"CREATE SCHEMA {quoted(schema.name)}")
            stack.push_async_callback(_remove, server, schema, control)
            sessions = []
            for number in range(connections):
                connection = await server.open(schema.application)
                stack.callback(connection.terminate)
                await connection.execute("SELECT set_config('search_path', $1, false)", path)
                pid = connection.get_server_pid()
                sessions.append(_Session(connection, pid, schema.name, f"batch_{number}", server.statement_seconds))
                await _create_table(sessions[-1])
        yield Workspace(versions, portal, control, sessions)


async def _run(session: _Session, rows: bytes, statement: str) -> bytes:
    out = bytearray()

    async def pieces() -> AsyncIterator[memoryview]:
        view = memoryview(rows)
        for start in range(0, len(view), _CHUNK_BYTES):
            yield view[start : start + _CHUNK_BYTES]

    async def take(data: bytes) -> None:
        out.extend(data)

    # Terminated rather than canceled: asyncpg would send a cancel request, see `end_backends`.
    expired = False

    def expire() -> None:
        nonlocal expired
        expired = True
        session.connection.terminate()

    timer = get_running_loop().call_later(session.seconds, expire)
    table = f"{quoted(session.schema)}.{quoted(session.table)}"
    try:
        with translated():
            async with session.connection.transaction():
                await session.connection.execute(f"TRUNCATE {table}")
                await session.connection.copy_to_table(
                    session.table, source=pieces(), schema_name=session.schema, columns=("n", "geom"), format="binary"
                )
                await session.connection.copy_from_query(
                    statement.replace("{table}", table), output=take, format="binary"
                )
    except EngineUnavailable:
        if expired:
            raise statement_too_long() from None
        raise
    finally:
        timer.cancel()
    return bytes(out)


async def _create_table(session: _Session) -> None:
    table = f"{quoted(session.schema)}.{quoted(session.table)}"
    with translated():
        await session.connection.execute(
            f"CREATE UNLOGGED TABLE {table} (n integer, geom geometry) WITH (autovacuum_enabled = false)"
        )
        # Each geometry is read once: compressing large ones would cost more than it saves.
        await session.connection.execute(f"ALTER TABLE {table} ALTER COLUMN geom SET STORAGE EXTERNAL")


async def _remove_earlier(control: Connection, schema: RunSchema) -> None:
    rows = await control.fetch(
        "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, $1)", f"proc_{schema.run_id}_"
    )
    for row in rows:
        found = RunSchema.parse(row["nspname"])
        if found is not None and found.attempt < schema.attempt:
            await drop_schema(control, found)


async def _remove(server: Postgis, schema: RunSchema, control: Connection) -> None:
    """Remove the schema over the open connection, or over a new one if that was lost."""
    with CancelScope(shield=True), move_on_after(_CLEANUP_SECONDS):
        try:
            try:
                with translated():
                    await drop_schema(control, schema)
            except EngineUnavailable:
                await server.drop(schema)
            return
        except (EngineUnavailable, StatementFailed) as err:
            logger.warning("schema %s is left to the sweep: %s", schema.name, err)


@contextmanager
def _as_unavailable() -> Iterator[None]:
    """Raise StatementFailed as EngineUnavailable, because a server without workspace cannot be used."""
    try:
        with translated():
            yield
    except StatementFailed as err:
        raise EngineUnavailable(
            f"PostGIS cannot be used: {err}.", "Check the database and the rights of its user."
        ) from None
