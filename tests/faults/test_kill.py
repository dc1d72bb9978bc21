"""kill -9 of parts and of the whole, in the middle of runs, in real processes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyogrio
import pytest
import shapely

from tests.service import Service, manifest, running_service, wait_for

ROWS = 150_000


TWO_WORKERS = {"SPATIAL_ETL_WORKER__PROCESSES": "2"}


@pytest.fixture(scope="module")
def big_source(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Enough polygons that a run is still in its transform step when the test looks."""
    rng = np.random.default_rng(7)
    centres = rng.uniform([400_000, 5_500_000], [600_000, 5_700_000], (ROWS, 2))
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1) * 15
    polygons = shapely.polygons(centres[:, None, :] + ring[None])
    path = tmp_path_factory.mktemp("big") / "big.fgb"
    pyogrio.write_arrow(
        pa.table({"n": np.arange(ROWS), "geometry": shapely.to_wkb(polygons)}),
        path, driver="FlatGeobuf", geometry_name="geometry", geometry_type="Polygon", crs="EPSG:25832",
    )  # fmt: skip
    return path.read_bytes()


def started(service: Service, batch: str, source: bytes) -> str:
    """A run of the big source that is in its transform step."""
    service.put("big.fgb", source)
    response = service.post(manifest(batch, ("big.fgb", "FlatGeobuf")))
    assert response.status_code == 202
    run_id: str = response.json()["run_id"]
    wait_for(lambda: service.run(run_id)["step"] == "transform", "the transform step")
    return run_id


def one_version_and_nothing_left(service: Service, run: dict[str, Any], dataset: str) -> None:
    assert run["status"] == "success", run
    assert run["counts"]["rows_out"] == ROWS
    assert service.versions(dataset) == [1]
    assert len(service.lake()) == 1
    wait_for(lambda: service.scratch() == [], "scratch to be empty")


def test_a_killed_job_is_carried_by_the_next_attempt(data_dir: Path, big_source: bytes) -> None:
    with running_service(data_dir) as service:
        run_id = started(service, "job-killed", big_source)
        job = service.job()
        job.kill()
        run = service.finished(run_id)
        one_version_and_nothing_left(service, run, "job-killed")
        assert run["attempt"] == 2
        events = service.http.get(f"/runs/{run_id}/events").json()
        (died,) = [event for event in events if event["code"] == "attempt.died"]
        assert "signal 9" in died["message"]


def test_a_killed_worker_takes_its_job_along_and_another_carries_on(data_dir: Path, big_source: bytes) -> None:
    with running_service(data_dir, **TWO_WORKERS) as service:
        run_id = started(service, "worker-killed", big_source)
        job = service.job()
        (worker,) = [worker for worker in service.workers() if job in worker.children()]
        worker.kill()
        psutil.wait_procs([job], timeout=10)
        assert not job.is_running() or job.status() == psutil.STATUS_ZOMBIE
        one_version_and_nothing_left(service, service.finished(run_id), "worker-killed")
        wait_for(lambda: len(service.workers()) == 2, "the worker to be started again")


def test_a_job_that_is_slow_keeps_its_lease(data_dir: Path, big_source: bytes) -> None:
    """The worker renews the lease while its job does nothing that anybody could see."""
    with running_service(data_dir, SPATIAL_ETL_RUN__LEASE_SECONDS="2") as service:
        run_id = started(service, "slow-job", big_source)
        job = service.job()
        job.suspend()
        time.sleep(5)
        assert service.run(run_id)["attempt"] == 1
        job.resume()
        run = service.finished(run_id)
        assert run["attempt"] == 1
        one_version_and_nothing_left(service, run, "slow-job")


def test_an_attempt_that_comes_back_from_the_dead_changes_nothing(data_dir: Path, big_source: bytes) -> None:
    """Worker and job stand still until another has finished the run, and then go on."""
    with running_service(data_dir, SPATIAL_ETL_RUN__LEASE_SECONDS="2", **TWO_WORKERS) as service:
        run_id = started(service, "zombie", big_source)
        job = service.job()
        (worker,) = [worker for worker in service.workers() if job in worker.children()]
        worker.suspend()
        job.suspend()
        run = service.finished(run_id)
        assert (run["status"], run["attempt"]) == ("success", 2)
        job.resume()
        worker.resume()
        psutil.wait_procs([job], timeout=30)
        assert service.run(run_id) == run
        one_version_and_nothing_left(service, run, "zombie")


def test_after_kill_of_everything_the_next_start_finishes_what_was_accepted(data_dir: Path, big_source: bytes) -> None:
    service = Service(data_dir, SPATIAL_ETL_WORKER__PROCESSES="1")
    service.start()
    running = started(service, "all-killed", big_source)
    queued = [service.post(manifest(f"waiting-{n}", ("big.fgb", "FlatGeobuf"))).json()["run_id"] for n in range(2)]
    assert {service.run(run_id)["status"] for run_id in queued} == {"queued"}
    service.kill_everything()
    with running_service(data_dir) as again:
        runs = [again.finished(run_id) for run_id in (running, *queued)]
        assert {run["status"] for run in runs} == {"success"}, runs
        assert [again.versions(run["partition_key"]) for run in runs] == [[1], [1], [1]]
        assert len(again.lake()) == 3
        wait_for(lambda: again.scratch() == [], "scratch to be empty")


def test_a_queue_that_forgot_everything_is_filled_again(data_dir: Path, big_source: bytes) -> None:
    """The private Redis dies and its append-only file with it: what was accepted runs all the same."""
    with running_service(data_dir, SPATIAL_ETL_WORKER__PROCESSES="1") as service:
        first = started(service, "redis-killed", big_source)
        waiting = service.post(manifest("redis-waiting", ("big.fgb", "FlatGeobuf"))).json()["run_id"]
        (redis,) = [child for child in service.processes() if "redis-server" in child.name()]
        # Redis 6 keeps one file, Redis 7 a folder of them with a manifest.
        for file in (data_dir / "redis").rglob("*.aof*"):
            file.unlink()
        redis.kill()
        assert service.finished(first)["status"] == "success"
        assert service.finished(waiting)["status"] == "success"


def test_manifests_are_accepted_and_read_while_the_queue_is_away(data_dir: Path) -> None:
    with running_service(data_dir, SPATIAL_ETL_WORKER__PROCESSES="1") as service:
        service.put(
            "p.geojson",
            b'{"type":"FeatureCollection","features":[{"type":"Feature","properties":{},"geometry":{"type":"Point","coordinates":[1,2]}}]}',
        )
        (redis,) = [child for child in service.processes() if "redis-server" in child.name()]
        redis.suspend()
        try:
            response = service.post(manifest("queue-away", ("p.geojson", "GeoJSON")))
            assert response.status_code == 202
            assert service.run(response.json()["run_id"])["status"] == "queued"
            ready = service.http.get("/ready")
            assert ready.status_code == 200
            (check,) = [check for check in ready.json()["checks"] if check["name"] == "queue"]
            assert not check["ok"]
            assert check["fix"]
        finally:
            redis.resume()
        assert service.finished(response.json()["run_id"])["status"] == "success"


def test_sigterm_leaves_nothing_running_and_the_next_start_takes_over(data_dir: Path, big_source: bytes) -> None:
    service = Service(data_dir)
    service.start()
    run_id = started(service, "stopped", big_source)
    family = service.processes()
    assert len(family) >= 4, "redis, two workers and a job"
    assert service.stop() == 0
    assert not [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    with running_service(data_dir) as again:
        one_version_and_nothing_left(again, again.finished(run_id), "stopped")


def test_an_attempt_that_takes_too_long_ends_with_that_reason(data_dir: Path, big_source: bytes) -> None:
    with running_service(data_dir, SPATIAL_ETL_RUN__TIME_LIMIT_SECONDS="1") as service:
        # Four times the same file under four names: surely more than a second of work.
        files = []
        for n in range(4):
            service.put(f"big{n}.fgb", big_source)
            files.append((f"big{n}.fgb", "FlatGeobuf"))
        run = service.ingest(manifest("slow", *files))
        assert (run["status"], run["error"]["code"], run["attempt"]) == ("failure", "time_limit", 1)
        assert "TIME_LIMIT_SECONDS" in run["error"]["fix"]
        assert service.versions("slow") == []
        assert service.lake() == []
        wait_for(lambda: service.scratch() == [], "scratch to be empty")


def test_progress_is_seen_while_the_run_goes_on(data_dir: Path, big_source: bytes) -> None:
    with running_service(data_dir) as service:
        files = []
        for n in range(4):
            service.put(f"big{n}.fgb", big_source)
            files.append((f"big{n}.fgb", "FlatGeobuf"))
        run_id = service.post(manifest("watched", *files)).json()["run_id"]
        seen: list[int] = []

        def over() -> bool:
            response = service.http.get(f"/runs/{run_id}")
            run = response.json()
            seen.append(run["progress"]["rows_done"])
            assert ("retry-after" in response.headers) is (run["status"] not in ("success", "failure", "canceled"))
            return run["status"] == "success"

        wait_for(over, "the run")
        assert seen == sorted(seen)
        assert any(0 < rows < 4 * ROWS for rows in seen)
        assert seen[-1] == 4 * ROWS


def test_one_more_worker_joins_the_queue(data_dir: Path) -> None:
    """`spatial-etl worker` alone, against a service that has no workers of its own."""
    with running_service(data_dir, SPATIAL_ETL_WORKER__PROCESSES="0") as service:
        service.put("p.geojson", b'{"type":"Point","coordinates":[1,2]}')
        run_id = service.post(manifest("joined", ("p.geojson", "GeoJSON"))).json()["run_id"]
        time.sleep(1)
        assert service.run(run_id)["status"] == "queued"
        command = [sys.executable, "-m", "app", "worker", "--data-dir", str(data_dir)]
        worker = subprocess.Popen(command, env=service.environment)
        try:
            assert service.finished(run_id)["status"] == "success"
        finally:
            worker.terminate()
            assert worker.wait(30) == 0


def test_a_data_directory_has_one_service(data_dir: Path) -> None:
    with running_service(data_dir) as service:
        second = Service(data_dir)
        with pytest.raises(AssertionError, match=f"served by process {service.process.pid}"):
            second.start()
        assert second.process.wait(30) == 3
