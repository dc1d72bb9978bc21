"""The PostGIS engine through the real service: what is left when jobs and servers die."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.clients import open_clients, open_ledger
from app.ledger import Guard
from app.models.base import new_id
from app.models.runs.run import RunStatus
from app.services.sweep.orphan_schemas import drop_orphans
from app.settings import Settings
from app.storage.postgis.server import Postgis, RunSchema
from tests.contract.ledgers import put_running
from tests.faults.test_kill import big_source, one_version_and_nothing_left, started  # noqa: F401 # a fixture
from tests.servers.postgres import PostgresServer, execute, fresh_database, start_server
from tests.service import Service, manifest, running_service, wait_for

PASSWORD = "s3cret-w0rd"  # noqa: S105 # of a server that lives for a test


@pytest.fixture
def database() -> Iterator[str]:
    with fresh_database() as url:
        yield url


def settings_for(url: str, **more: str) -> dict[str, str]:
    with_password = url.replace("postgres@", f"postgres:{PASSWORD}@")  # trusted here, so any will do
    return {"SPATIAL_ETL_ENGINE__NAME": "postgis", "SPATIAL_ETL_ENGINE__POSTGIS_URL": with_password, **more}


def sessions(url: str) -> list[str]:
    rows = execute(url, "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'spatial-etl %.%'")
    return [name for (name,) in rows]


def schemas(url: str) -> list[str]:
    return [name for (name,) in execute(url, r"SELECT nspname FROM pg_namespace WHERE nspname LIKE 'proc\_%'")]


def at_work(service: Service, url: str, batch: str, source: bytes) -> str:
    run_id = started(service, batch, source)
    wait_for(lambda: schemas(url), "the schema of the run")
    return run_id


def test_a_killed_job_leaves_nothing_in_postgis(
    data_dir: Path,
    database: str,
    big_source: bytes,  # noqa: F811 # the fixture
) -> None:
    with running_service(data_dir, **settings_for(database)) as service:
        run_id = at_work(service, database, "pg-killed", big_source)
        assert schemas(database) == [f"proc_{run_id}_1"]
        assert f"spatial-etl {run_id}.1" in sessions(database)
        job = service.job()
        job.kill()
        run = service.finished(run_id)
        one_version_and_nothing_left(service, run, "pg-killed")
        assert run["attempt"] == 2
        assert run["engine"]["engine"] == "postgis"
        assert run["engine"]["postgis"]
        assert schemas(database) == []
        wait_for(lambda: not sessions(database), "the sessions to end")
        events = service.http.get(f"/runs/{run_id}/events").text
    assert PASSWORD not in events + service.log.read_text()


async def ask_to_cancel(data_dir: Path, run_id: str) -> None:
    async with open_ledger(Settings(data_dir=data_dir)) as ledger:
        assert await ledger.change_run(run_id, Guard(frozenset({RunStatus.RUNNING})), status=RunStatus.CANCELING)


def test_a_canceled_run_leaves_nothing_in_postgis(
    data_dir: Path,
    database: str,
    big_source: bytes,  # noqa: F811 # the fixture
) -> None:
    with running_service(data_dir, **settings_for(database)) as service:
        run_id = at_work(service, database, "pg-canceled", big_source)
        asyncio.run(ask_to_cancel(data_dir, run_id))
        assert service.finished(run_id)["status"] == "canceled"
        wait_for(lambda: not schemas(database) and not sessions(database), "schema and sessions to go")
        assert service.versions("pg-canceled") == []


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    own = start_server()
    execute(own.url, "CREATE EXTENSION postgis")
    yield own
    own.stop()


def test_a_restart_of_the_server_costs_one_attempt(
    data_dir: Path,
    server: PostgresServer,
    big_source: bytes,  # noqa: F811 # the fixture
) -> None:
    with running_service(data_dir, **settings_for(server.url)) as service:
        run_id = at_work(service, server.url, "pg-restarted", big_source)
        server.stop()
        time.sleep(1)
        server.start()
        run = service.finished(run_id)
        one_version_and_nothing_left(service, run, "pg-restarted")
        assert run["attempt"] == 2
        (died,) = [
            event for event in service.http.get(f"/runs/{run_id}/events").json() if event["code"] == "attempt.died"
        ]
        assert "PostGIS" in died["message"]
        wait_for(lambda: schemas(server.url) == [], "the sweep to drop what the server kept", 30)


def test_without_its_server_a_run_fails_saying_so(data_dir: Path, server: PostgresServer) -> None:
    server.stop()
    with running_service(data_dir, **settings_for(server.url, SPATIAL_ETL_RUN__MAX_ATTEMPTS="1")) as service:
        service.put("p.geojson", b'{"type":"Point","coordinates":[1,2]}')
        run = service.ingest(manifest("pg-away", ("p.geojson", "GeoJSON")))
    assert run["status"] == "failure"
    assert "PostGIS does not answer" in run["error"]["detail"]
    assert PASSWORD not in service.log.read_text()


@pytest.mark.anyio
async def test_only_orphans_are_dropped(tmp_path: Path, database: str) -> None:
    settings = Settings(data_dir=tmp_path, engine={"name": "postgis", "postgis_url": database})  # type: ignore[arg-type] # as from the environment
    async with open_clients(settings) as clients:
        await clients.ledger.migrate()
        run = await put_running(clients.ledger)
        server = clients.postgis
        assert isinstance(server, Postgis)
        alive, stale = RunSchema(run.run_id, run.attempt), RunSchema(run.run_id, run.attempt + 1)
        unknown, foreign = RunSchema(new_id(), 1), RunSchema(new_id(), 1)
        async with server.connect(foreign.application), server.connect("test") as connection:
            for name in (alive.name, stale.name, unknown.name, foreign.name, "proc_house", "proc_1_1"):
                await connection.execute(f'CREATE SCHEMA "{name}" CREATE TABLE t (i integer)')
            assert set(await drop_orphans(clients)) == {stale, unknown}
            assert set(await server.list_schemas()) == {alive, foreign}
            guard = Guard(frozenset({RunStatus.RUNNING}))
            changed = await clients.ledger.change_run(run.run_id, guard, status=RunStatus.CANCELING)
            assert changed is not None
            assert await drop_orphans(clients) == ()
            guard = Guard(frozenset({RunStatus.CANCELING}))
            assert await clients.ledger.change_run(run.run_id, guard, status=RunStatus.CANCELED, lease=None)
            assert await drop_orphans(clients) == (alive,)
        assert await drop_orphans(clients) == (foreign,)
        rows = await _names(server)
        assert {"proc_house", "proc_1_1"} <= rows


async def _names(server: Postgis) -> set[str]:
    async with server.connect("test") as connection:
        return {row["nspname"] for row in await connection.fetch("SELECT nspname FROM pg_namespace")}
