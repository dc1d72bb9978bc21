"""The private Redis of `serve`, whose files were damaged: the queue starts empty, and every run is carried."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.service import POINTS, Service, manifest, running_service, wait_for


def overwrite(directory: Path) -> None:
    """Commands in the middle of the file that are none."""
    for file in files(directory, ".incr.aof", "appendonly.aof"):
        file.write_bytes(b"*1\r\ngarbage\r\n" * 40)


def remove_a_half(directory: Path) -> None:
    """Redis 7 keeps several files and a list of them; of the one file of Redis 6, damage the half."""
    for file in files(directory, ".incr.aof"):
        file.unlink()
    for file in files(directory, "appendonly.aof"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] + b"half" * 40)


def empty_the_list(directory: Path) -> None:
    for file in files(directory, ".manifest"):
        file.write_bytes(b"")
    overwrite(directory)


def files(directory: Path, *endings: str) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file() and path.name.endswith(endings)]


def set_aside(data_dir: Path) -> list[Path]:
    return sorted((data_dir / "redis").glob("broken-*"))


@pytest.mark.parametrize("damage", [overwrite, remove_a_half, empty_the_list])
def test_files_that_redis_cannot_read_are_set_aside_at_the_start(
    data_dir: Path, damage: Callable[[Path], None]
) -> None:
    service = Service(data_dir, SPATIAL_ETL_WORKER__PROCESSES="0")
    service.start()
    service.put("p.geojson", POINTS)
    run_id = service.post(manifest("waiting", ("p.geojson", "GeoJSON"))).json()["run_id"]
    assert service.stop() == 0
    damage(data_dir / "redis")
    with running_service(data_dir, SPATIAL_ETL_WORKER__PROCESSES="1") as again:
        assert again.finished(run_id)["status"] == "success"
        (folder,) = set_aside(data_dir)
        assert any(path.is_file() for path in folder.rglob("*")), "what was there is kept"
        assert again.log.read_text().count(f"moved them to {folder}; it starts empty") == 1


def test_files_that_broke_while_the_service_runs_do_not_end_it(data_dir: Path) -> None:
    """Twice: of what was set aside one is kept, so that a bad disk is not filled."""
    with running_service(data_dir, SPATIAL_ETL_WORKER__PROCESSES="1") as service:
        service.put("p.geojson", POINTS)
        before: list[Path] = []
        for n in range(2):
            (redis,) = [child for child in service.processes() if "redis-server" in child.name()]
            redis.suspend()
            overwrite(data_dir / "redis")
            redis.kill()
            wait_for(lambda before=before: set_aside(data_dir) not in ([], before), "its files to be set aside")
            assert service.ingest(manifest(f"after-{n}", ("p.geojson", "GeoJSON")))["status"] == "success"
            before = set_aside(data_dir)
            assert len(before) == 1


def test_a_redis_that_was_only_killed_keeps_its_files(data_dir: Path) -> None:
    with running_service(data_dir, SPATIAL_ETL_WORKER__PROCESSES="1") as service:
        service.put("p.geojson", POINTS)
        assert service.ingest(manifest("before", ("p.geojson", "GeoJSON")))["status"] == "success"
        (redis,) = [child for child in service.processes() if "redis-server" in child.name()]
        redis.kill()
        wait_for(lambda: "ended with -9" in service.log.read_text(), "the service to see it")
        assert service.ingest(manifest("after", ("p.geojson", "GeoJSON")))["status"] == "success"
        assert set_aside(data_dir) == []


def test_the_folder_of_the_socket_is_made_again(tmp_path: Path) -> None:
    """For a long data directory it lies in the temporary folder, which others tidy up."""
    temporary = Path(f"/tmp/etl-{os.getpid()}")  # noqa: S108 # a short name: sockets allow 107 characters
    temporary.mkdir()
    data_dir = tmp_path / ("long-" * 20) / "data"
    data_dir.parent.mkdir()
    try:
        with running_service(data_dir, SPATIAL_ETL_WORKER__PROCESSES="1", TMPDIR=str(temporary)) as service:
            service.put("p.geojson", POINTS)
            (socket,) = temporary.rglob("redis.sock")
            (redis,) = [child for child in service.processes() if "redis-server" in child.name()]
            redis.suspend()
            socket.unlink()
            socket.parent.rmdir()
            redis.kill()
            assert service.ingest(manifest("after", ("p.geojson", "GeoJSON")))["status"] == "success"
    finally:
        for path in sorted(temporary.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        temporary.rmdir()
