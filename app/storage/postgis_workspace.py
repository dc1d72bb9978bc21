"""Where one attempt computes in PostGIS: a schema of its own, one unlogged table and one connection for each thread.

The engine's threads call in; the connections live on an event loop of the workspace's own.
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
from app.storage.postgis import (
    Connection,
    Postgis,
    RunSchema,
    StatementFailed,
    drop_schema,
    end_backends,
    look,
    quoted,
    statement_too_long,
    translated,
)

logger = logging.getLogger(__name__)

_PIECE = 1024 * 1024
_CLEANUP_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class _Lane:
    """One connection and the table that only it uses."""

    connection: Connection
    pid: int
    schema: str
    table: str
    seconds: int


@dataclass
class Workspace:
    """Thread-safe: as many statements run at once as there are connections."""

    versions: Mapping[str, str]
    _portal: BlockingPortal
    _control: Connection
    _lanes: list[_Lane]
    _free: SimpleQueue[_Lane] = field(default_factory=SimpleQueue)
    _interrupted: bool = False

    def __post_init__(self) -> None:
        for lane in self._lanes:
            self._free.put(lane)

    def run(self, rows: bytes, statement: str) -> bytes:
        """COPY `rows` into the table, run `statement` over them, and give back its COPY stream; both in COPY's binary
        format. `statement` is a query with `{table}` for the table (n integer, geom geometry).

        Raises EngineUnavailable, TimeLimitExceeded, StatementFailed.
        """
        lane = self._free.get()
        try:
            if self._interrupted:
                raise EngineUnavailable("PostGIS: the run is over.")
            return self._portal.call(_run, lane, rows, statement)
        finally:
            self._free.put(lane)

    def interrupt(self) -> None:
        """End the statements that run now; those that come later fail."""
        self._interrupted = True
        self._portal.call(self._interrupt)

    async def _interrupt(self) -> None:
        try:
            with move_on_after(_CLEANUP_SECONDS), translated():
                pids = [lane.pid for lane in self._lanes]
                await end_backends(self._control, pids)
        except (EngineUnavailable, StatementFailed) as err:
            logger.warning("statements were not ended at the server: %s", err)
        for lane in self._lanes:
            lane.connection.terminate()


@contextmanager
def open_workspace(server: Postgis, schema: RunSchema, connections: int) -> Iterator[Workspace]:
    """A workspace in a new schema; both are gone afterwards, whatever happened. Raises EngineUnavailable.

    What cannot be removed because the server is away is left to the sweep. Schemas of the run's earlier attempts are
    removed first, and what still works in them is ended: those attempts may publish nothing any more.
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
        control = await server.open_patiently(schema.application)
        stack.callback(control.terminate)
        with _as_unavailable():
            versions, path = await look(control)
            await _remove_earlier(control, schema)
            await control.execute(f"CREATE SCHEMA {quoted(schema.name)}")
            stack.push_async_callback(_remove, server, schema, control)
            lanes = []
            for number in range(connections):
                connection = await server.open(schema.application)
                stack.callback(connection.terminate)
                await connection.execute("SELECT set_config('search_path', $1, false)", path)
                pid = connection.get_server_pid()
                lanes.append(_Lane(connection, pid, schema.name, f"batch_{number}", server.statement_seconds))
                await _create_table(lanes[-1])
        yield Workspace(versions, portal, control, lanes)


async def _run(lane: _Lane, rows: bytes, statement: str) -> bytes:
    out = bytearray()

    async def pieces() -> AsyncIterator[memoryview]:
        view = memoryview(rows)
        for start in range(0, len(view), _PIECE):
            yield view[start : start + _PIECE]

    async def take(data: bytes) -> None:
        out.extend(data)

    # Cut off rather than canceled: asyncpg would send a cancel request, see `end_backends`.
    expired = False

    def expire() -> None:
        nonlocal expired
        expired = True
        lane.connection.terminate()

    timer = get_running_loop().call_later(lane.seconds, expire)
    table = f"{quoted(lane.schema)}.{quoted(lane.table)}"
    try:
        with translated():
            async with lane.connection.transaction():
                await lane.connection.execute(f"TRUNCATE {table}")
                await lane.connection.copy_to_table(
                    lane.table, source=pieces(), schema_name=lane.schema, columns=("n", "geom"), format="binary"
                )
                await lane.connection.copy_from_query(statement.replace("{table}", table), output=take, format="binary")
    except EngineUnavailable:
        if expired:
            raise statement_too_long() from None
        raise
    finally:
        timer.cancel()
    return bytes(out)


async def _create_table(lane: _Lane) -> None:
    table = f"{quoted(lane.schema)}.{quoted(lane.table)}"
    with translated():
        await lane.connection.execute(
            f"CREATE UNLOGGED TABLE {table} (n integer, geom geometry) WITH (autovacuum_enabled = false)"
        )
        # Read once: compressing large geometries would cost more than it saves.
        await lane.connection.execute(f"ALTER TABLE {table} ALTER COLUMN geom SET STORAGE EXTERNAL")


async def _remove_earlier(control: Connection, schema: RunSchema) -> None:
    rows = await control.fetch(
        "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, $1)", f"proc_{schema.run_id}_"
    )
    for row in rows:
        found = RunSchema.parse(row["nspname"])
        if found is not None and found.attempt < schema.attempt:
            await drop_schema(control, found)


async def _remove(server: Postgis, schema: RunSchema, control: Connection) -> None:
    """Over the connection that is there, or a new one where that was lost."""
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
    """A server on which not even the workspace can be made is not usable."""
    try:
        with translated():
            yield
    except StatementFailed as err:
        raise EngineUnavailable(
            f"PostGIS cannot be used: {err}.", "Check the database and the rights of its user."
        ) from None
