"""PostgreSQL with PostGIS as the place where runs compute: connections, their errors, and the schemas of runs.

asyncpg stops here: everybody above sees bytes and domain errors. No message carries the URL, which holds a password.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import asyncpg
from anyio import sleep
from pydantic import SecretStr

from app.errors import EngineUnavailable, TimeLimitExceeded

Connection: TypeAlias = asyncpg.Connection

CONNECT_SECONDS = 10.0
_RETRY_SECONDS = 0.5
# The time limit of statements is kept by who runs them, see `end_backends`; the server's own is for when that is gone.
BACKSTOP_SECONDS = 60
_SCHEMA: Final = re.compile(r"proc_([0-9a-f]{32})_([1-9][0-9]{0,8})")

# What a session of ours needs of its server; names that a version does not know are left out.
_SESSION: Final = {
    "jit": "off",  # the statements are short and expensive functions make the planner think otherwise
    "max_parallel_workers_per_gather": "0",  # runs are parallel over their connections
    "client_min_messages": "error",  # PostGIS tells every invalid geometry as a notice
    "client_connection_check_interval": "2s",  # a statement whose job was killed stops
    "synchronous_commit": "off",
    "lock_timeout": "10s",  # of a DROP while a session is still busy with its last geometry
    "work_mem": "64MB",
}


class StatementFailed(Exception):
    """The server refused to carry a statement through: its own words and its SQLSTATE."""

    def __init__(self, text: str, state: str) -> None:
        super().__init__(text)
        self.state = state


@dataclass(frozen=True, slots=True, order=True)
class RunSchema:
    """The schema of one attempt: never shared with the next one, which may start while this one still works."""

    run_id: str
    attempt: int

    @property
    def name(self) -> str:
        return f"proc_{self.run_id}_{self.attempt}"

    @property
    def application(self) -> str:
        """application_name of its connections; at most 63 bytes, or PostgreSQL cuts it."""
        return f"spatial-etl {self.run_id}.{self.attempt}"

    @classmethod
    def parse(cls, name: str) -> RunSchema | None:
        """None for a schema of somebody else's."""
        found = _SCHEMA.fullmatch(name)
        return cls(found[1], int(found[2])) if found else None


@dataclass(frozen=True, slots=True)
class Postgis:
    """A server, as settings name it. Opens nothing by itself.

    patience_seconds: how long a run waits for a server that is just being started again.
    """

    url: SecretStr
    statement_seconds: int
    patience_seconds: float = 15.0

    @asynccontextmanager
    async def connect(self, application: str) -> AsyncIterator[Connection]:
        """A connection of the caller's own, for a short while. Raises EngineUnavailable."""
        connection = await self.open(application)
        try:
            with translated():
                yield connection
        finally:
            connection.terminate()

    async def open(self, application: str) -> Connection:
        """A connection that the caller closes. Raises EngineUnavailable."""
        url = self.url.get_secret_value()
        _check_url(url)
        with translated():
            connection = await asyncpg.connect(
                url,
                timeout=CONNECT_SECONDS,
                statement_cache_size=0,
                server_settings={"application_name": application},
            )
            try:
                names, values = list(_SESSION), list(_SESSION.values())
                await connection.execute(
                    "SELECT set_config(s.name, wanted.value, false) FROM unnest($1::text[], $2::text[]) "
                    "AS wanted(name, value) JOIN pg_settings AS s USING (name)",
                    [*names, "statement_timeout"],
                    [*values, f"{self.statement_seconds + BACKSTOP_SECONDS}s"],
                )
            except BaseException:
                connection.terminate()
                raise
        return connection

    async def open_patiently(self, application: str) -> Connection:
        """As `open`, tried again for a while: attempts of a run would be used up within a restart of the server."""
        deadline = time.monotonic() + self.patience_seconds
        while True:
            try:
                return await self.open(application)
            except EngineUnavailable as err:
                if err.fix is not _LOOK or time.monotonic() > deadline:  # no patience with settings that are wrong
                    raise
            await sleep(_RETRY_SECONDS)

    async def versions(self, application: str) -> dict[str, str]:
        """Versions of the server's parts. Raises EngineUnavailable."""
        connection = await self.open_patiently(application)
        try:
            versions, _ = await look(connection)
        finally:
            connection.terminate()
        return versions

    async def ping(self) -> dict[str, str]:
        """Versions for health checks. Raises EngineUnavailable, also for a user who may not make the runs' schemas."""
        async with self.connect("spatial-etl ping") as connection:
            versions, _ = await look(connection)
            if not await connection.fetchval("SELECT has_database_privilege(current_database(), 'CREATE')"):
                user, database = await connection.fetchrow("SELECT current_user, current_database()") or ("?", "?")
                detail = f"The user {user} may not make schemas in the PostGIS database {database}."
                raise EngineUnavailable(detail, f'GRANT CREATE ON DATABASE "{database}" TO "{user}" there.')
        return versions

    async def list_schemas(self) -> tuple[RunSchema, ...]:
        """The schemas of runs, whoever's they are."""
        async with self.connect("spatial-etl sweep") as connection:
            rows = await connection.fetch(r"SELECT nspname FROM pg_namespace WHERE nspname LIKE 'proc\_%'")
        found = (RunSchema.parse(row["nspname"]) for row in rows)
        return tuple(sorted(schema for schema in found if schema is not None))

    async def drop(self, schema: RunSchema, *, unless_used: bool = False) -> bool:
        """Remove the schema and end what still works in it; with `unless_used`, only where nobody does."""
        async with self.connect("spatial-etl sweep") as connection:
            return await drop_schema(connection, schema, unless_used=unless_used)


async def look(connection: Connection) -> tuple[dict[str, str], str]:
    """(versions of the server's parts, search path that finds PostGIS)."""
    with translated():
        home = await connection.fetchval(
            "SELECT quote_ident(n.nspname) FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace "
            "WHERE e.extname = 'postgis'"
        )
        if home is None:
            raise EngineUnavailable(
                "The database of SPATIAL_ETL_ENGINE__POSTGIS_URL lacks PostGIS.", "Run CREATE EXTENSION postgis there."
            )
        row = await connection.fetchrow(
            f"SELECT {home}.postgis_lib_version() AS postgis, {home}.postgis_geos_version() AS geos, "
            f"{home}.postgis_proj_version() AS proj, current_setting('server_version') AS postgresql"
        )
    found = dict(row or {})
    versions = {name: _version(str(text)) for name, text in found.items()}
    return versions, f"pg_catalog, {home}"


def _version(text: str) -> str:
    """`3.11.1-CAPI-1.17.1` as 3.11.1, `15.18 (Debian …)` as 15.18."""
    return text.partition(" ")[0].partition("-")[0]


async def drop_schema(connection: Connection, schema: RunSchema, *, unless_used: bool = False) -> bool:
    """As Postgis.drop, over a connection that is there."""
    others = "FROM pg_stat_activity WHERE application_name = $1 AND pid <> pg_backend_pid()"
    if unless_used and await connection.fetchval(f"SELECT count(*) {others}", schema.application):
        return False
    pids = [row["pid"] for row in await connection.fetch(f"SELECT pid {others}", schema.application)]
    await end_backends(connection, pids)
    await connection.execute(f"DROP SCHEMA IF EXISTS {quoted(schema.name)} CASCADE")
    return True


async def end_backends(connection: Connection, pids: list[int]) -> None:
    """End these sessions, and wait a while until they are gone."""
    # Never canceled: PostGIS 3.3 hands a cancel request on to GEOS, and its ST_MakeValid then may crash the whole
    # server. A terminated session ends after the geometry at hand.
    await connection.execute("SELECT pg_terminate_backend(pid, 5000) FROM unnest($1::int[]) AS pid", pids)


def quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


_LOST: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
_LOOK = "Look whether it runs and has room; runs are tried again while attempts are left."


def statement_too_long() -> TimeLimitExceeded:
    return TimeLimitExceeded(
        "A statement of the PostGIS engine ran longer than SPATIAL_ETL_ENGINE__STATEMENT_SECONDS.",
        "Raise that setting, or split the largest geometries of the file.",
    )


@contextmanager
def translated() -> Iterator[None]:
    """asyncpg's errors as ours: EngineUnavailable for a server that is away, full or not set up, TimeLimitExceeded for
    the statement time-out, StatementFailed for everything else."""
    try:
        yield
    except asyncpg.QueryCanceledError as err:
        if "statement timeout" in str(err):
            raise statement_too_long() from None
        raise EngineUnavailable("PostGIS: somebody canceled the statement.", _LOOK) from None
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as err:
        raise EngineUnavailable(
            f"PostGIS refused the connection ({type(err).__name__}).",
            "Check user, password and database in SPATIAL_ETL_ENGINE__POSTGIS_URL.",
        ) from None
    except asyncpg.InsufficientPrivilegeError as err:
        raise EngineUnavailable(
            f"PostGIS: {err}.", "Give the user of SPATIAL_ETL_ENGINE__POSTGIS_URL CREATE on its database."
        ) from None
    except _LOST as err:
        text = str(err) if isinstance(err, asyncpg.PostgresError) else type(err).__name__
        raise EngineUnavailable(f"PostGIS does not answer, or gave up: {text}.", _LOOK) from None
    except asyncpg.PostgresError as err:
        raise StatementFailed(str(err), err.sqlstate or "") from None


def _check_url(url: str) -> None:
    """asyncpg would quote parts of a URL that it cannot read, the password among them."""
    fix = "Write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with special characters percent-encoded."
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 # raises for a port that is no number
    except ValueError:
        raise EngineUnavailable("SPATIAL_ETL_ENGINE__POSTGIS_URL is not a URL.", fix) from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise EngineUnavailable("SPATIAL_ETL_ENGINE__POSTGIS_URL is not a postgresql:// URL.", fix)
