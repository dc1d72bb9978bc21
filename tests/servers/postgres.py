"""A private PostgreSQL with PostGIS, started at most once per test process, or the one that a variable names.

Durability is off: a test that kills it means the service's behaviour, not PostgreSQL's.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest

from tests.servers import require_servers
from tests.servers.ports import free_port

VARIABLE = "SPATIAL_ETL_TEST_POSTGIS_URL"
_PACKAGE = "postgresql-15-postgis-3"
_OPTIONS = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "listen_addresses=127.0.0.1")


@dataclass
class PostgresServer:
    """A cluster of our own, in a directory that goes with it."""

    bin: Path
    directory: Path
    port: int
    settings: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = (*_OPTIONS, f"unix_socket_directories={self.directory}", *self.settings)
        command = [self.bin / "postgres", "-D", self.directory / "data", "-p", str(self.port)]
        log = (self.directory / "log").open("ab")
        self.process = subprocess.Popen(
            [*command, *(word for option in options for word in ("-c", option))],
            stdout=log,
            stderr=log,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 # only sets a signal; no threads run before it is needed
            **_as_postgres(),
        )
        log.close()
        deadline = time.monotonic() + 30
        ready = [self.bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {(self.directory / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self, *, at_once: bool = True) -> None:
        """Stop it; `at_once` without the checkpoint of a good stop, as in a crash. It can be started again."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
            self.process.wait(30)
        self.process = None


def start_server(*settings: str) -> PostgresServer:
    """A new cluster, for a test that stops its server. Skips the test where PostgreSQL cannot be had."""
    require_servers()
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    if not binaries:
        pytest.skip(f"no PostgreSQL here: install Debian's {_PACKAGE}, or set {VARIABLE} to the URL of a PostGIS")
    binary = binaries[-1].parent
    control = Path("/usr/share/postgresql") / binary.parent.name / "extension/postgis.control"
    if not control.exists():
        pytest.skip(f"PostgreSQL lacks PostGIS ({control}): install Debian's {_PACKAGE}, or set {VARIABLE}")
    directory = Path(tempfile.mkdtemp(prefix="spatial-etl-pg-"))
    user = _as_postgres().get("user")
    if user is not None:
        os.chown(directory, user, _as_postgres()["group"])
    server = PostgresServer(binary, directory, free_port(), settings)
    atexit.register(_remove, server)
    initdb = [binary / "initdb", "--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8"]
    made = subprocess.run([*initdb, "-D", directory / "data"], check=False, capture_output=True, **_as_postgres())
    if made.returncode != 0:
        raise RuntimeError(f"initdb failed: {made.stderr.decode(errors='replace')}")
    server.start()
    return server


_shared: list[PostgresServer] = []


def postgres_url() -> str:
    """URL of a superuser on a server with PostGIS to be created; the same one for every test of this process."""
    if url := os.environ.get(VARIABLE):
        return url
    if not _shared:
        _shared.append(start_server())
    return _shared[0].url


@contextmanager
def fresh_database(*, postgis: bool = True) -> Iterator[str]:
    """URL of a database of the test's own, removed at the end with whatever is still connected to it."""
    server = postgres_url()
    name = f"test_{uuid4().hex[:12]}"
    execute(server, f'CREATE DATABASE "{name}" TEMPLATE template0')
    url = urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    try:
        if postgis:
            execute(url, "CREATE EXTENSION postgis")
        yield url
    finally:
        execute(server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


LIMITED_USER = "spatial-etl"
_CREATE_USER = Path(__file__).parents[2] / "deploy" / "postgis" / "create-user.sh"


def limited_user(url: str) -> str:
    """URL of the user that docker-compose.yml gives the service, in a database that a superuser's URL names.

    The first time on a server, its script makes the user; users belong to the whole server.
    """
    parts = urlsplit(url)
    name = parts.path[1:]
    if (LIMITED_USER,) in execute(url, "SELECT rolname FROM pg_roles"):
        for statement in (
            f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC',
            f'GRANT CONNECT, CREATE ON DATABASE "{name}" TO "{LIMITED_USER}"',
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        ):
            execute(url, statement)
    else:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/psql"), key=lambda path: int(path.parts[4]))
        environment = {
            "PATH": f"{found[-1].parent}:/usr/bin:/bin" if found else os.environ["PATH"],
            "PGHOST": str(parts.hostname),
            "PGPORT": str(parts.port or 5432),
            "PGPASSWORD": parts.password or "",
            "POSTGRES_USER": str(parts.username),
            "POSTGRES_DB": name,
            "POSTGIS_PASSWORD": "limited's",
        }
        subprocess.run(["sh", _CREATE_USER], check=True, env=environment)
    return urlunsplit(parts._replace(netloc=f"{LIMITED_USER}:limited%27s@{parts.hostname}:{parts.port or 5432}"))


def execute(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Run one statement over a connection of its own: for tests that look from outside."""
    import asyncio

    import asyncpg

    async def run() -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(url)
        try:
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    # A loop of its own: asyncio.run() would take the current one away from pytest's plugins.
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(run())
    finally:
        loop.close()


def _as_postgres() -> dict[str, Any]:
    """PostgreSQL refuses root: its own account then, or nobody's."""
    if os.getuid() != 0:
        return {"cwd": "/"}
    for name in ("postgres", "nobody"):
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": [], "cwd": "/"}
    pytest.skip("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)  # PR_SET_PDEATHSIG


def _remove(server: PostgresServer) -> None:
    server.stop()
    shutil.rmtree(server.directory, ignore_errors=True)
