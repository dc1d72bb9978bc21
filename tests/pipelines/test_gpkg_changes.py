"""A GeoPackage that a program has open: its last changes are in a file beside it. The oracle is SQLite on a copy."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio.from_thread
import geopandas
import pytest
import shapely

from app.clients import open_clients
from app.models.manifests.manifest import LANDING_BUCKET, ManifestFile
from app.pipelines.contract.fetch_source import fetch_with_sidecars
from app.settings import Limits, Settings
from tests.pipelines.conftest import Bench


@pytest.fixture
def opened(bench: Bench, tmp_path: Path) -> Iterator[tuple[Path, sqlite3.Connection]]:
    """A GeoPackage in WAL mode, with the connection of the program that has it open."""
    path = tmp_path / "t.gpkg"
    names = [f"place {row}" for row in range(500)]
    frame = geopandas.GeoDataFrame({"name": names}, geometry=[shapely.Point(9, 48)] * 500, crs=4326)
    frame.to_file(path, layer="places")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f'DROP TRIGGER "{name}"')
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        yield path, db


def put(bench: Bench, path: Path, name: str = "t.gpkg") -> str:
    """Copy the files of a GeoPackage as they are now, without asking SQLite."""
    for beside in path.parent.glob("t.gpkg*"):
        if not beside.name.endswith("-shm"):
            shutil.copy(beside, bench.landing / beside.name.replace("t.gpkg", name))
    return name


def names(path: Path) -> list[Any]:
    """By SQLite, on a copy of the files."""
    scratch = path.parent / "copy"
    scratch.mkdir(exist_ok=True)
    for beside in path.parent.glob("t.gpkg*"):
        shutil.copy(beside, scratch)
    with closing(sqlite3.connect(scratch / "t.gpkg")) as db:
        return [row[0] for row in db.execute("SELECT name FROM places ORDER BY fid")]


def change(db: sqlite3.Connection) -> None:
    db.execute("BEGIN")
    db.execute("UPDATE places SET name = 'changed' WHERE fid % 7 = 0")
    db.execute("DELETE FROM places WHERE fid > 400")
    db.execute("COMMIT")


@pytest.mark.parametrize("zipped", [False, True])
def test_changes_in_the_log_are_part_of_the_data(
    bench: Bench, opened: tuple[Path, sqlite3.Connection], zipped: bool
) -> None:
    path, db = opened
    change(db)
    name = put(bench, path)
    before = {each.name: each.read_bytes() for each in bench.landing.iterdir()}
    if zipped:
        name = bench.zip("z.zip", before)
    result = bench.one(name, "GPKG")
    wanted = names(path)
    assert len(wanted) == 400
    assert wanted[6] == "changed"
    assert result.frame["name"].tolist() == wanted
    message = result.watch.warnings["gpkg_wal"][0]
    assert "with the changes in t.gpkg-wal" in message
    assert {each.name: each.read_bytes() for each in bench.landing.iterdir() if each.name != "z.zip"} == before


def test_changes_beside_a_table_of_another_program(bench: Bench, opened: tuple[Path, sqlite3.Connection]) -> None:
    path, db = opened
    db.execute("PRAGMA writable_schema = ON")
    sql = "CREATE VIRTUAL TABLE v USING VirtualShape(x)"
    db.execute("INSERT INTO sqlite_master VALUES ('table', 'v', 'v', 0, ?)", (sql,))
    change(db)
    for is_checkpointed in (False, True):
        if is_checkpointed:  # in the file itself, which stays in WAL mode
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        result = bench.one(put(bench, path), "GPKG")
        assert result.frame["name"].tolist() == names(path)
        assert {"gpkg_wal", "layers_ignored"} <= set(result.watch.warnings)


def test_the_whole_layer_may_be_in_the_log(bench: Bench, opened: tuple[Path, sqlite3.Connection]) -> None:
    """The file itself is shorter than it will be."""
    path, db = opened
    size = path.stat().st_size
    for _ in range(4):
        db.execute("INSERT INTO places (geom, name) SELECT geom, name FROM places")
    assert path.stat().st_size == size < path.with_name("t.gpkg-wal").stat().st_size
    assert bench.one(put(bench, path), "GPKG").counts["rows_out"] == 8_000


def test_what_was_not_finished_is_left_out_as_sqlite_does(
    bench: Bench, opened: tuple[Path, sqlite3.Connection]
) -> None:
    path, db = opened
    change(db)
    wal = path.with_name("t.gpkg-wal")
    whole = wal.read_bytes()
    db.execute("UPDATE places SET name = name || ' again and again'")
    wal.write_bytes(wal.read_bytes()[: len(whole) + 4_096 + 24])  # one page of the second transaction
    result = bench.one(put(bench, path), "GPKG")
    assert result.frame["name"].tolist() == names(path)
    assert "changed" in names(path)
    assert "left out 1 page of changes in t.gpkg-wal" in result.watch.warnings["gpkg_wal"][0]


def test_a_log_that_was_written_for_another_file(bench: Bench, opened: tuple[Path, sqlite3.Connection]) -> None:
    """SQLite takes it as it is, and the pages of two files become one."""
    path, db = opened
    for _ in range(4):
        db.execute("INSERT INTO places (geom, name) SELECT geom, name FROM places")
    name = put(bench, path)
    (bench.landing / name).unlink()
    other = geopandas.GeoDataFrame({"n": [1]}, geometry=[shapely.Point(9, 48)], crs=4326)
    other.to_file(bench.landing / "o.gpkg", layer="places")
    shutil.move(bench.landing / "o.gpkg", bench.landing / name)
    error = bench.refused(name, "GPKG")
    assert error.reason == "file_damaged"
    assert "the changes in t.gpkg-wal do not fit it" in error.detail


def test_a_log_that_is_missing_is_warned_of(bench: Bench, opened: tuple[Path, sqlite3.Connection]) -> None:
    path, db = opened
    change(db)
    name = put(bench, path)
    (bench.landing / "t.gpkg-wal").unlink()
    assert "no t.gpkg-wal is beside it" in bench.one(name, "GPKG").watch.warnings["gpkg_wal"][0]
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.execute("PRAGMA journal_mode = DELETE")
    result = bench.one(put(bench, path), "GPKG")
    assert result.frame["name"].tolist() == names(path)
    assert "gpkg_wal" not in result.watch.warnings


def test_a_file_in_the_middle_of_a_change_is_refused(bench: Bench, opened: tuple[Path, sqlite3.Connection]) -> None:
    path, db = opened
    db.execute("PRAGMA journal_mode = DELETE")
    db.execute("PRAGMA cache_size = 1")
    db.execute("BEGIN")
    db.execute("UPDATE places SET name = name || ' and more of it, so that pages are written'")
    assert path.with_name("t.gpkg-journal").read_bytes()[:8] == bytes.fromhex("d9d505f920a163d7")
    error = bench.refused(put(bench, path), "GPKG")
    assert error.reason == "gpkg_journal"
    assert "t.gpkg-journal" in error.detail
    db.execute("ROLLBACK")
    db.execute("PRAGMA journal_mode = PERSIST")
    change(db)
    assert path.with_name("t.gpkg-journal").stat().st_size  # finished: its head is zeros
    assert bench.one(put(bench, path), "GPKG").frame["name"].tolist() == names(path)


NAMES = [("t.gpkg", "t.gpkg-wal"), ("T.GPKG", "T.GPKG-wal"), ("T.GPKG", "T.GPKG-WAL")]


@pytest.mark.parametrize(("name", "log"), NAMES)
@pytest.mark.parametrize("body", [b"log", b""])
def test_the_log_is_fetched_with_its_file(tmp_path: Path, name: str, log: str, body: bytes) -> None:
    """SQLite leaves empty logs behind."""
    entry = {"path": f"s3://{LANDING_BUCKET}/in/{name}", "type": "vector", "format": "GPKG"}
    declared = ManifestFile.model_validate(entry)
    (tmp_path / "fetched").mkdir()
    with anyio.from_thread.start_blocking_portal() as portal:
        opened = portal.wrap_async_context_manager(open_clients(Settings(data_dir=tmp_path / "data")))
        with opened as clients:
            for key, content in ((name, b"file"), (log, body), (f"{name}-journal", b"")):
                (tmp_path / key).write_bytes(content)
                portal.call(clients.objects.put_file, LANDING_BUCKET, f"in/{key}", tmp_path / key)
            found = fetch_with_sidecars(declared, tmp_path / "fetched", clients.objects, portal.call, Limits())
    keys = [f"{LANDING_BUCKET}/in/{name}"] + ([f"{LANDING_BUCKET}/in/{log}"] if body else [])
    assert [each.s3_key for each in found.inputs] == keys
    beside = found.path.with_suffix(".gpkg-wal")
    assert beside.read_bytes() == body if body else not beside.exists()
