"""Cancel through the real service: at every moment of a run, and when its job, its worker or the queue do not help."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faults.test_kill import big_source, started  # noqa: F401 # a fixture
from tests.faults.test_postgis_faults import at_work, schemas, sessions, settings_for
from tests.servers.postgres import fresh_database
from tests.service import POINTS, Service, manifest, running_service, wait_for


def cancel(service: Service, run_id: str) -> dict[str, Any]:
    response = service.http.post(f"/runs/{run_id}/cancel")
    assert response.status_code == 202, response.text
    found: dict[str, Any] = response.json()
    return found


def codes(service: Service, run_id: str) -> list[str]:
    return [event["code"] for event in service.http.get(f"/runs/{run_id}/events?limit=1000").json()]


def activity(service: Service, resource_id: str) -> list[str]:
    entries = service.http.get("/activity", params={"limit": 1000}).json()["items"]
    return [entry["action"] for entry in reversed(entries) if entry["resource_id"] == resource_id]


def nothing_left(service: Service, dataset: str) -> None:
    assert service.versions(dataset) == []
    wait_for(lambda: service.lake() == [], "the lake to be empty")
    wait_for(lambda: service.scratch() == [], "scratch to be empty")


def waiting_jobs(service: Service, run_id: str) -> bool:
    from app.queue.connection import redis_url
    from app.queue.run_queue import RunQueue
    from app.settings import Settings

    queue = RunQueue(redis_url(Settings(data_dir=service.data_dir)), "spatial-etl", 60)
    try:
        return run_id in queue.waiting_runs()
    finally:
        queue.close()


def test_a_running_run_is_stopped_between_two_batches(data_dir: Path, big_source: bytes) -> None:  # noqa: F811
    with running_service(data_dir) as service:
        run_id = started(service, "stopped", big_source)
        began = time.monotonic()
        assert cancel(service, run_id)["status"] == "canceling"
        again = service.http.post(f"/runs/{run_id}/cancel")
        assert again.status_code in (202, 409), "the second one may come too late"
        run = service.finished(run_id)
        assert time.monotonic() - began < 5, "prompt: long before its deadline of ten seconds"
        assert (run["status"], run["error"], run["lease"]) == ("canceled", None, None)
        assert run["completed_at"]
        nothing_left(service, "stopped")
        wait_for(lambda: codes(service, run_id)[-1] == "run.canceled", "the last line of the log")
        assert "run.canceling" in codes(service, run_id)
        assert activity(service, run_id) == ["run.cancel_asked", "run.canceled"]
        assert service.http.get("/manifests/stopped").json()["status"] == "canceled"
        late = service.http.post(f"/runs/{run_id}/cancel")
        assert (late.status_code, late.json()["code"]) == (409, "run_over")
        assert "canceled" in late.json()["detail"]


def test_a_queued_run_is_canceled_at_once_and_leaves_the_queue(data_dir: Path) -> None:
    with running_service(data_dir, SPATIAL_ETL_WORKER__PROCESSES="0") as service:
        service.put("p.geojson", POINTS)
        run_id = service.post(manifest("waiting", ("p.geojson", "GeoJSON"))).json()["run_id"]
        other = service.post(manifest("other", ("p.geojson", "GeoJSON"))).json()["run_id"]
        assert waiting_jobs(service, run_id)
        run = cancel(service, run_id)
        assert (run["status"], run["attempt"]) == ("canceled", 0)
        assert not waiting_jobs(service, run_id)
        assert waiting_jobs(service, other)
        assert codes(service, run_id) == ["run.canceled"]
        assert activity(service, run_id) == ["run.canceled_while_queued", "run.canceled"]
        time.sleep(1)
        assert not waiting_jobs(service, run_id), "the sweep leaves it out"


def test_a_queued_run_is_canceled_although_the_queue_is_away(data_dir: Path) -> None:
    with running_service(data_dir, SPATIAL_ETL_WORKER__PROCESSES="1") as service:
        service.put("p.geojson", POINTS)
        (worker,) = wait_for(service.workers, "the worker")
        worker.suspend()
        run_id = service.post(manifest("away", ("p.geojson", "GeoJSON"))).json()["run_id"]
        (redis,) = [child for child in service.processes() if "redis-server" in child.name()]
        redis.suspend()
        try:
            assert cancel(service, run_id)["status"] == "canceled"
        finally:
            redis.resume()
            worker.resume()
        # Its worker finds it in the queue and in the ledger that there is nothing to do.
        assert service.ingest(manifest("after", ("p.geojson", "GeoJSON")))["status"] == "success"
        assert service.run(run_id)["status"] == "canceled"
        assert service.versions("away") == []


def test_a_job_that_does_not_end_by_itself_is_killed_by_its_worker(
    data_dir: Path,
    big_source: bytes,  # noqa: F811 # the fixture
) -> None:
    with running_service(data_dir, SPATIAL_ETL_RUN__CANCEL_SECONDS="1.5") as service:
        run_id = started(service, "stuck", big_source)
        job = service.job()
        # As one that is in a long call into a library.
        job.suspend()
        began = time.monotonic()
        assert cancel(service, run_id)["status"] == "canceling"
        run = service.finished(run_id)
        assert 1.4 < time.monotonic() - began < 6, "its worker does it, before the sweep would"
        assert (run["status"], run["attempt"]) == ("canceled", 1)
        assert not job.is_running() or job.status() == psutil.STATUS_ZOMBIE
        nothing_left(service, "stuck")
        wait_for(lambda: codes(service, run_id)[-1] == "run.canceled", "the last line of the log")
        assert "is killed" in service.log.read_text()
        assert service.ingest(manifest("next", ("big.fgb", "FlatGeobuf")))["status"] == "success"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_canceling_run_whose_worker_is_gone_or_silent_is_ended_by_the_sweep(
    data_dir: Path,
    big_source: bytes,  # noqa: F811 # the fixture
    how: signal.Signals,
) -> None:
    with running_service(data_dir, SPATIAL_ETL_RUN__CANCEL_SECONDS="1") as service:
        run_id = started(service, "gone", big_source)
        job = service.job()
        (worker,) = [worker for worker in service.workers() if job in worker.children()]
        job.suspend()
        if how is signal.SIGSTOP:
            worker.suspend()
        assert cancel(service, run_id)["status"] == "canceling"
        if how is signal.SIGKILL:
            worker.kill()
        run = service.finished(run_id, 20)
        assert run["status"] == "canceled"
        if how is signal.SIGSTOP:
            # Awake again, they can do no harm, and the worker is told to kill the job.
            job.resume()
            worker.resume()
            psutil.wait_procs([job], timeout=20)
            assert not job.is_running()
        assert service.run(run_id) == run
        nothing_left(service, "gone")


@pytest.fixture
def database() -> Iterator[str]:
    with fresh_database() as url:
        yield url


def test_a_run_that_is_canceled_in_postgis_leaves_nothing_there(
    data_dir: Path,
    database: str,
    big_source: bytes,  # noqa: F811 # the fixture
) -> None:
    with running_service(data_dir, **settings_for(database), SPATIAL_ETL_RUN__CANCEL_SECONDS="1") as service:
        run_id = at_work(service, database, "pg-stuck", big_source)
        job = service.job()
        job.suspend()
        cancel(service, run_id)
        assert service.finished(run_id)["status"] == "canceled"
        wait_for(lambda: not schemas(database) and not sessions(database), "schema and sessions to go")
        nothing_left(service, "pg-stuck")
