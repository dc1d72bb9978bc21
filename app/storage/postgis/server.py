"""The PostGIS server on which runs compute: connections, their errors, and the schemas of runs.

Other modules see bytes and domain errors, not asyncpg. No message contains the URL, which may have a password.
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
# The caller ends statements that run too long, see `end_backends`. The server's own limit is for a caller that died.
BACKSTOP_SECONDS = 60
_SCHEMA: Final = re.compile(r"proc_([0-9a-f]{32})_([1-9][0-9]{0,8})")

# Members run programs on the server, or read and write its files.
_SERVER_ROLES: Final = ("pg_execute_server_program", "pg_read_server_files", "pg_write_server_files")

# Settings of a session. Names that a version of the server does not know are left out.
_SESSION: Final = {
    "jit": "off",  # the cost of PostGIS functions would enable it, but the statements are short
    "max_parallel_workers_per_gather": "0",  # runs are parallel over their connections
    "client_min_messages": "error",  # PostGIS sends a notice for every invalid geometry
    "client_connection_check_interval": "2s",  # stops a statement whose job was killed
    "synchronous_commit": "off",
    "lock_timeout": "10s",  # for a DROP while a session still works on its last geometry
    "work_mem": "64MB",
}


class StatementFailed(Exception):
    """A statement failed at the server.

    Args:
        text: the message of the server.
        state: its SQLSTATE.
    """

    def __init__(self, text: str, state: str) -> None:
        super().__init__(text)
        self.state = state


@dataclass(frozen=True, slots=True, order=True)
class RunSchema:
    """The schema of one attempt of a run. The next attempt has another one, because the two may overlap."""

    run_id: str
    attempt: int

    @property
    def name(self) -> str:
        """Name of the schema."""
        return f"proc_{self.run_id}_{self.attempt}"

    @property
    def application(self) -> str:
        """The application_name of its connections, shorter than the 63 bytes that PostgreSQL keeps."""
        return f"spatial-etl {self.run_id}.{self.attempt}"

    @classmethod
    def parse(cls, name: str) -> RunSchema | None:
        """Return the schema of this name; None when it is not the schema of a run."""
        found = _SCHEMA.fullmatch(name)
        return cls(found[1], int(found[2])) if found else None


@dataclass(frozen=True, slots=True)
class Postgis:
    """A PostGIS server, from which runs get connections. Creating it opens no connection.

    The schema of a run is created by `open_workspace`. When its process dies, the sweep finds it with `list_schemas`
    and removes it with `drop`.

    Attributes:
        url: `postgresql://…`, never shown.
        statement_seconds: time limit of one statement.
        patience_seconds: how long a run waits for a server that restarts.
    """

    url: SecretStr
    statement_seconds: int
    patience_seconds: float = 15.0

    @asynccontextmanager
    async def connect(self, application: str) -> AsyncIterator[Connection]:
        """Open a connection for a short time.

        Args:
            application: name of the connection in pg_stat_activity.

        Raises:
            EngineUnavailable: the server cannot be used.
        """
        connection = await self.open(application)
        try:
            with translated():
                yield connection
        finally:
            connection.terminate()

    async def open(self, application: str) -> Connection:
        """Open a connection, which the caller closes. Raises EngineUnavailable."""
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

    async def open_with_retry(self, application: str) -> Connection:
        """Open a connection, and repeat that while the server restarts, so that a restart costs a run no attempts."""
        deadline = time.monotonic() + self.patience_seconds
        while True:
            try:
                return await self.open(application)
            except EngineUnavailable as err:
                if (
                    err.fix is not _CHECK_SERVER or time.monotonic() > deadline
                ):  # wrong settings do not become right by waiting
                    raise
            await sleep(_RETRY_SECONDS)

    async def versions(self, application: str) -> dict[str, str]:
        """Return the versions of PostGIS, GEOS, PROJ and PostgreSQL. Raises EngineUnavailable."""
        connection = await self.open_with_retry(application)
        try:
            versions, _ = await find_postgis(connection)
        finally:
            connection.terminate()
        return versions

    async def ping(self) -> dict[str, str]:
        """Check that runs can use the server, and return its versions.

        Raises:
            EngineUnavailable: the server does not answer, lacks PostGIS, or the user may not create schemas.
        """
        async with self.connect("spatial-etl ping") as connection:
            versions, _ = await find_postgis(connection)
            if not await connection.fetchval("SELECT has_database_privilege(current_database(), 'CREATE')"):
                user, database = await connection.fetchrow("SELECT current_user, current_database()") or ("?", "?")
                detail = f"The user {user} may not create schemas in the PostGIS database {database}."
                raise EngineUnavailable(detail, f'Run GRANT CREATE ON DATABASE "{database}" TO "{user}" there.')
        return versions

    async def excess_rights(self) -> tuple[str, ...]:
        """Return the rights of the user with which a statement could leave the database: for warnings."""
        async with self.connect("spatial-etl ping") as connection:
            row = await connection.fetchrow(
                "SELECT rolname, rolsuper, rolcreaterole FROM pg_roles WHERE rolname = current_user"
            )
            member = await connection.fetch(
                "SELECT rolname FROM pg_roles WHERE rolname = ANY($1) AND pg_has_role(current_user, oid, 'MEMBER')",
                list(_SERVER_ROLES),
            )
        if row is not None and row["rolsuper"]:
            return ("superuser",)
        creates = ("CREATEROLE",) if row is not None and row["rolcreaterole"] else ()
        return (*creates, *sorted(str(found["rolname"]) for found in member))

    async def list_schemas(self) -> tuple[RunSchema, ...]:
        """List the schemas of all runs, also of other services that use this database."""
        async with self.connect("spatial-etl sweep") as connection:
            rows = await connection.fetch(r"SELECT nspname FROM pg_namespace WHERE nspname LIKE 'proc\_%'")
        found = (RunSchema.parse(row["nspname"]) for row in rows)
        return tuple(sorted(schema for schema in found if schema is not None))

    async def drop(self, schema: RunSchema, *, unless_used: bool = False) -> bool:
        """Remove a schema, and end its connections.

        Args:
            schema: of an attempt.
            unless_used: keep it when it has connections.

        Returns:
            Whether it was removed.
        """
        async with self.connect("spatial-etl sweep") as connection:
            return await drop_schema(connection, schema, unless_used=unless_used)


async def find_postgis(connection: Connection) -> tuple[dict[str, str], str]:
    """Return the versions of the server's parts, and the search path that finds PostGIS."""
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
    """Remove a schema over an open connection; see `Postgis.drop`."""
    others = "FROM pg_stat_activity WHERE application_name = $1 AND pid <> pg_backend_pid()"
    if unless_used and await connection.fetchval(f"SELECT count(*) {others}", schema.application):
        return False
    pids = [row["pid"] for row in await connection.fetch(f"SELECT pid {others}", schema.application)]
    await end_backends(connection, pids)
    await connection.execute(f"DROP SCHEMA IF EXISTS {quoted(schema.name)} CASCADE")
    return True


async def end_backends(connection: Connection, pids: list[int]) -> None:
    """End these sessions, and wait a few seconds for their end."""
    # Never cancel: PostGIS 3.3 passes a cancel request on to GEOS, whose ST_MakeValid may then crash the whole server.
    # A terminated session ends after its current geometry.
    await connection.execute("SELECT pg_terminate_backend(pid, 5000) FROM unnest($1::int[]) AS pid", pids)


def quoted(identifier: str) -> str:
    """Return an identifier quoted for SQL."""
    return '"' + identifier.replace('"', '""') + '"'


_UNAVAILABLE: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
_CHECK_SERVER = "Check that it runs and has free space. Runs are retried while they have attempts left."


def statement_too_long() -> TimeLimitExceeded:
    """Return the error for a statement that ran too long."""
    return TimeLimitExceeded(
        "A statement of the PostGIS engine ran longer than SPATIAL_ETL_ENGINE__STATEMENT_SECONDS.",
        "Raise that setting, or split the largest geometries of the file.",
    )


@contextmanager
def translated() -> Iterator[None]:
    """Raise errors of asyncpg as domain errors.

    EngineUnavailable: the server does not answer, is full or is not set up. TimeLimitExceeded: the statement timed out.
    StatementFailed: all other errors of the server.
    """
    try:
        yield
    except asyncpg.QueryCanceledError as err:
        if "statement timeout" in str(err):
            raise statement_too_long() from None
        raise EngineUnavailable("PostGIS: the statement was canceled at the server.", _CHECK_SERVER) from None
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as err:
        raise EngineUnavailable(
            f"PostGIS refused the connection ({type(err).__name__}).",
            "Check user, password and database in SPATIAL_ETL_ENGINE__POSTGIS_URL.",
        ) from None
    except asyncpg.InsufficientPrivilegeError as err:
        raise EngineUnavailable(
            f"PostGIS: {err}.", "Give the user of SPATIAL_ETL_ENGINE__POSTGIS_URL CREATE on its database."
        ) from None
    except _UNAVAILABLE as err:
        text = str(err) if isinstance(err, asyncpg.PostgresError) else type(err).__name__
        raise EngineUnavailable(f"PostGIS does not answer or ended the connection: {text}.", _CHECK_SERVER) from None
    except asyncpg.PostgresError as err:
        raise StatementFailed(str(err), err.sqlstate or "") from None


def _check_url(url: str) -> None:
    """Check the URL here, because the errors of asyncpg quote parts of it, maybe the password."""
    fix = "Write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with special characters percent-encoded."
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 # raises for a port that is not a number
    except ValueError:
        raise EngineUnavailable("SPATIAL_ETL_ENGINE__POSTGIS_URL is not a URL.", fix) from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise EngineUnavailable("SPATIAL_ETL_ENGINE__POSTGIS_URL is not a postgresql:// URL.", fix)
