"""The directory in which the service is started decides about relative paths, and about nothing else."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from app.settings import Settings
from tests.service import POINTS, Service, manifest, running_service


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory of this process, and so of the processes that it starts."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_roles_import_nothing_from_where_they_were_started(here: Path, data_dir: Path) -> None:
    canary = here / "imported"
    for name in ("rasterio", "pyogrio", "uvicorn", "alembic", "setproctitle", "rq", "typer"):
        (here / f"{name}.py").write_text(f"open({str(canary)!r}, 'a').write({name!r})\nraise ImportError({name!r})\n")
    with running_service(data_dir, SPATIAL_ETL_WORKER__PROCESSES="1") as service:
        service.put("p.geojson", POINTS)
        assert service.ingest(manifest("elsewhere", ("p.geojson", "GeoJSON")))["status"] == "success"
        family = [psutil.Process(service.process.pid), *service.processes()]
        stands = {process.cwd() for process in family if "redis-server" not in process.name()}
        assert stands == {"/"}
        (worker,) = service.workers()
        assert "-P" in worker.cmdline()
    assert not canary.exists(), canary.read_text()


def test_relative_paths_are_those_of_the_caller(here: Path) -> None:
    with running_service(Path("data"), SPATIAL_ETL_LEDGER__URL="sqlite:///books.sqlite") as service:
        service.put("p.geojson", POINTS)
        assert service.ingest(manifest("relative", ("p.geojson", "GeoJSON")))["status"] == "success"
    assert (here / "data" / "objects" / "data-lake" / "relative").is_dir()
    assert (here / "books.sqlite").is_file()


def test_what_roles_write_is_for_their_user_only(data_dir: Path) -> None:
    before = os.umask(0o022)
    try:
        with running_service(data_dir, SPATIAL_ETL_WORKER__PROCESSES="1") as service:
            service.put("p.geojson", POINTS)
            assert service.ingest(manifest("private", ("p.geojson", "GeoJSON")))["status"] == "success"
            open_to_others = [
                path
                for path in (data_dir, *data_dir.rglob("*"))
                if not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) & 0o077
            ]
    finally:
        os.umask(before)
    assert open_to_others == []


def command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SPATIAL_ETL_")}
    words = (sys.executable, "-m", "app", *words)
    return subprocess.run(words, check=False, capture_output=True, text=True, env={**clean, **environment})


def test_a_file_of_settings_is_read_when_a_variable_names_it_and_reported_when_none_does(here: Path) -> None:
    (here / ".env").write_text("SPATIAL_ETL_DATA_DIR=named\nSPATIAL_ETL_WEBHOOK__TOKEN=hush\n")
    found = command("migrate", "--no-buckets")
    assert found.returncode == 2
    assert (
        f"Set SPATIAL_ETL_ENV_FILE={here / '.env'} to read it, or SPATIAL_ETL_ENV_FILE= to ignore it." in found.stderr
    )
    assert "hush" not in found.stdout + found.stderr
    assert [path.name for path in here.iterdir()] == [".env"]
    assert command("migrate", "--no-buckets", SPATIAL_ETL_ENV_FILE=".env").returncode == 0
    assert (here / "named" / "ledger.sqlite").is_file()
    assert command("migrate", "--no-buckets", SPATIAL_ETL_ENV_FILE="").returncode == 0
    assert (here / "data" / "ledger.sqlite").is_file()
    missing = command("migrate", "--no-buckets", SPATIAL_ETL_ENV_FILE="none.env")
    assert missing.returncode == 2
    assert f"SPATIAL_ETL_ENV_FILE names {here / 'none.env'}, which is not a file." in missing.stderr


def test_a_file_of_settings_of_another_program_is_no_matter(here: Path) -> None:
    (here / ".env").write_text("POSTGRES_PASSWORD=x\n")
    assert command("migrate", "--no-buckets").returncode == 0


def test_workers_have_the_settings_of_the_named_file(here: Path, data_dir: Path) -> None:
    (here / "mine.env").write_text("SPATIAL_ETL_WORKER__PROCESSES=1\nSPATIAL_ETL_LIMITS__ROWS=1\n")
    service = Service(data_dir, SPATIAL_ETL_ENV_FILE="mine.env")
    service.start()
    try:
        service.put("p.geojson", POINTS)
        assert len(service.workers()) == 1
        run = service.ingest(manifest("limited", ("p.geojson", "GeoJSON")))
        assert run["error"]["code"] == "rows_too_many"
    finally:
        assert service.stop() == 0


def test_settings_without_a_named_file_read_none(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / ".env").write_text("SPATIAL_ETL_API__PORT=1\n")
    assert Settings().api.port == 8000
    monkeypatch.setenv("SPATIAL_ETL_ENV_FILE", str(here / ".env"))
    assert Settings().api.port == 1
    monkeypatch.setenv("SPATIAL_ETL_API__PORT", "2")
    assert Settings().api.port == 2, "a variable wins"
