"""The user of the PostGIS engine that docker-compose.yml makes: it can do the work, and not leave its database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.servers.postgres import execute, fresh_database, limited_user
from tests.service import POINTS, Json, manifest, running_service


@pytest.fixture(scope="module")
def urls() -> Iterator[tuple[str, str]]:
    """Of the superuser, and of the service's user."""
    with fresh_database() as url:
        yield url, limited_user(url)


def settings_for(url: str) -> dict[str, str]:
    return {"SPATIAL_ETL_ENGINE__NAME": "postgis", "SPATIAL_ETL_ENGINE__POSTGIS_URL": url}


def test_the_engine_works_with_it(data_dir: Path, urls: tuple[str, str]) -> None:
    with running_service(data_dir, SPATIAL_ETL_WORKER__PROCESSES="1", **settings_for(urls[1])) as service:
        service.put("p.geojson", POINTS)
        run = service.ingest(manifest("limited", ("p.geojson", "GeoJSON")))
        assert run["status"] == "success", run
        assert run["engine"]["engine"] == "postgis"
    assert execute(urls[0], r"SELECT nspname FROM pg_namespace WHERE nspname LIKE 'proc\_%'") == []


@pytest.mark.parametrize("statement", [
    "COPY (SELECT 1) TO PROGRAM 'touch {canary}'", "COPY (SELECT 1) TO '{canary}'", "SELECT pg_read_file('PG_VERSION')",
    "SELECT lo_import('/etc/hostname')", "CREATE EXTENSION file_fdw", "CREATE LANGUAGE c", "CREATE ROLE other",
    "CREATE DATABASE other", "ALTER SYSTEM SET port = 1", "ALTER ROLE \"spatial-etl\" SUPERUSER",
    "SET ROLE pg_execute_server_program", "CREATE TABLE public.other (a int)", "CREATE TEMPORARY TABLE other (a int)",
])  # fmt: skip
def test_it_cannot_leave_its_database(urls: tuple[str, str], tmp_path: Path, statement: str) -> None:
    canary = tmp_path / "canary"
    with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.FeatureNotSupportedError)):
        execute(urls[1], statement.replace("{canary}", str(canary)))
    assert not canary.exists()


def doctor(data_dir: Path, url: str) -> Json:
    environment = {**os.environ, **settings_for(url), "SPATIAL_ETL_DATA_DIR": str(data_dir)}
    words = (sys.executable, "-m", "app", "doctor", "--json")
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment)
    (found,) = [check for check in json.loads(done.stdout) if check["name"] == "postgis"]
    check: Json = found
    assert check["ok"], check
    return check


def test_doctor_warns_of_a_user_with_more_rights(data_dir: Path, urls: tuple[str, str]) -> None:
    superuser, limited = urls
    assert doctor(data_dir, limited)["warning"] is None
    assert "(superuser)" in doctor(data_dir, superuser)["warning"]
    execute(superuser, 'GRANT pg_execute_server_program TO "spatial-etl"')
    try:
        assert "(pg_execute_server_program)" in doctor(data_dir, limited)["warning"]
    finally:
        execute(superuser, 'REVOKE pg_execute_server_program FROM "spatial-etl"')
