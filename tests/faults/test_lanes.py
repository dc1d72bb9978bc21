"""One writer for each dataset, and lanes, with several real workers that would all like to begin at once."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.faults.test_kill import big_source, started  # noqa: F401 # a fixture
from tests.service import POINTS, Service, manifest, running_service, wait_for

FOUR = {"SPATIAL_ETL_WORKER__PROCESSES": "4"}


def submit(service: Service, batch: str, dataset: str = "one", **changes: Any) -> str:
    document = manifest(batch, ("p.geojson", "GeoJSON"), tags={"dataset_id": dataset}, **changes)
    response = service.post(document | {"new_version": "always"})
    assert response.status_code == 202, response.text
    return str(response.json()["run_id"])


def one_after_the_other(runs: list[dict[str, Any]]) -> None:
    """Each began when the one before was over, in this order."""
    times = [(datetime.fromisoformat(run["started_at"]), datetime.fromisoformat(run["completed_at"])) for run in runs]
    assert all(ended <= began for (_, ended), (began, _) in pairwise(times)), times


def test_twenty_runs_of_one_dataset_and_four_workers(data_dir: Path) -> None:
    with running_service(data_dir, **FOUR) as service:
        service.put("p.geojson", POINTS)
        run_ids = [submit(service, f"batch-{n}") for n in range(20)]
        waiting = service.http.get(f"/runs/{run_ids[-1]}").json()
        assert waiting["status"] != "queued" or (waiting["blocked"], waiting["waiting_for"]) == (True, "dataset")
        runs = [service.finished(run_id) for run_id in run_ids]
        assert {run["status"] for run in runs} == {"success"}
        assert [run["reserved_version"] for run in runs] == list(range(1, 21))
        assert {run["attempt"] for run in runs} == {1}
        one_after_the_other(runs)


def test_the_others_go_on_when_the_worker_of_the_first_is_killed(data_dir: Path, big_source: bytes) -> None:  # noqa: F811
    with running_service(data_dir, **FOUR) as service:
        service.put("p.geojson", POINTS)
        first = started(service, "one", big_source)
        run_ids = [submit(service, f"batch-{n}") for n in range(3)]
        job = service.job()
        (worker,) = [worker for worker in service.workers() if job in worker.children()]
        worker.kill()
        runs = [service.finished(run_id) for run_id in (first, *run_ids)]
        assert {run["status"] for run in runs} == {"success"}
        assert [run["reserved_version"] for run in runs] == [1, 2, 3, 4]
        assert [run["attempt"] for run in runs] == [2, 1, 1, 1]
        one_after_the_other(runs)


def test_a_lane_is_limited_paused_over_a_restart_and_opened_again(data_dir: Path) -> None:
    environment = FOUR | {"SPATIAL_ETL_LANES__LIMITS": "spatial=1"}
    with running_service(data_dir, **environment) as service:
        service.put("p.geojson", POINTS)
        runs = [service.finished(run_id) for run_id in [submit(service, f"a-{n}", f"set-{n}") for n in range(6)]]
        assert {run["status"] for run in runs} == {"success"}
        one_after_the_other(sorted(runs, key=lambda run: datetime.fromisoformat(str(run["started_at"]))))
        assert service.http.post("/lanes/spatial/pause").json()["state"] == "paused"
        waiting = submit(service, "paused", "later")
        assert service.run(waiting)["waiting_for"] == "lane_paused"
        other = submit(service, "other-lane", "other", intent="ingest_anything")
        assert service.finished(other)["status"] == "success"
    with running_service(data_dir, **environment) as service:
        other = submit(service, "other-again", "other", intent="ingest_anything")
        assert service.finished(other)["status"] == "success"
        assert service.run(waiting)["waiting_for"] == "lane_paused"
        opened = service.http.post("/lanes/spatial/resume").json()
        assert (opened["state"], opened["limit"]) == ("open", 1)
        assert service.finished(waiting)["status"] == "success"
        wait_for(lambda: service.http.get("/lanes/spatial").json()["running"] == 0, "the lane to be empty")
