"""Lanes over REST and on the command line, what a queued run says it waits for, and a queue that is full."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.service import POINTS, Service, manifest, running_service, wait_for


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service without workers: what waits goes on waiting."""
    environment = {
        "SPATIAL_ETL_WORKER__PROCESSES": "0",
        "SPATIAL_ETL_SWEEP__MANIFESTS_SECONDS": "0.5",
        "SPATIAL_ETL_QUEUE__MAX_QUEUED": "4",
        "SPATIAL_ETL_LANES__LIMITS": "join=3",
        "MANIFEST_ROUTER_ENABLED_LANES": "spatial,tabular,join",
    }
    with running_service(tmp_path_factory.mktemp("idle") / "data", **environment) as service:
        service.put("p.geojson", POINTS)
        yield service


@pytest.fixture(autouse=True)
def nothing_waits(idle: Service) -> Iterator[None]:
    yield
    for run in idle.http.get("/runs", params={"status": "queued"}).json()["items"]:
        assert idle.http.post(f"/runs/{run['run_id']}/cancel").status_code == 202
    idle.http.post("/lanes/spatial/resume")
    wait_for(lambda: idle.http.get("/lanes/spatial").json()["queued"] == 0, "the count to be fresh")


def points(batch: str, dataset: str) -> dict[str, Any]:
    return manifest(batch, ("p.geojson", "GeoJSON"), tags={"dataset_id": dataset})


def submitted(service: Service, batch: str, dataset: str) -> dict[str, Any]:
    response = service.post(points(batch, dataset))
    assert response.status_code == 202, response.text
    found: dict[str, Any] = response.json()
    return found


def lanes_command(service: Service, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app", "lanes", *words, "--url", service.url]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_every_lane_is_listed(idle: Service) -> None:
    lanes = {lane.pop("lane"): lane for lane in idle.http.get("/lanes").json()["items"]}
    assert list(lanes) == ["spatial", "tabular", "join", "ingest"]
    assert lanes["join"] == {"state": "open", "queued": 0, "running": 0, "limit": 3}
    assert lanes["ingest"]["state"] == "closed"
    missing = idle.http.post("/lanes/nowhere/pause")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert "spatial, tabular, join, ingest" in missing.json()["fix"]


def test_a_paused_lane_takes_manifests_that_say_why_they_wait(idle: Service) -> None:
    paused = idle.http.post("/lanes/spatial/pause")
    assert (paused.status_code, paused.json()["state"]) == (200, "paused")
    run = submitted(idle, "while-paused", "paused")
    assert run["waiting_for"] == "lane_paused"
    etag = idle.http.get(f"/runs/{run['run_id']}").headers["ETag"]
    known = idle.http.get(f"/runs/{run['run_id']}", headers={"If-None-Match": etag})
    assert known.status_code == 304
    resumed = idle.http.post("/lanes/spatial/resume").json()
    assert (resumed["state"], resumed["queued"]) == ("open", 1)
    news = idle.http.get(f"/runs/{run['run_id']}", headers={"If-None-Match": etag})
    assert (news.status_code, news.json()["waiting_for"]) == (200, "worker")
    entries = idle.http.get("/activity").json()["items"]
    seen = [
        entry["action"] for entry in entries if (entry["resource_type"], entry["resource_id"]) == ("lane", "spatial")
    ]
    assert seen[:2] == ["lane.resumed", "lane.paused"]
    assert 'spatial_etl_lane_state{lane="ingest",state="closed"} 1.0' in idle.http.get("/metrics").text


def test_runs_of_one_dataset_wait_for_each_other(idle: Service) -> None:
    first, second = submitted(idle, "line-1", "line"), submitted(idle, "line-2", "line")
    assert [run["waiting_for"] for run in (first, second)] == ["worker", "dataset"]
    assert [run["blocked"] for run in (first, second)] == [False, True]
    assert idle.http.post(f"/runs/{first['run_id']}/cancel").status_code == 202
    assert idle.run(second["run_id"])["waiting_for"] == "worker"
    assert [run["waiting_for"] for run in idle.http.get("/manifests/line-2").json()["runs"]] == ["worker"]


@pytest.mark.parametrize(("limit", "shown"), [(2, 2), (None, None), ("unlimited", None), ("default", 3)])
def test_a_lane_is_limited(idle: Service, limit: object, shown: int | None) -> None:
    response = idle.http.put("/lanes/join/limit", json={"limit": limit})
    assert (response.status_code, response.json()["limit"]) == (200, shown)
    assert idle.http.get("/lanes/join").json()["limit"] == shown
    idle.http.put("/lanes/join/limit", json={"limit": "default"})


@pytest.mark.parametrize("body", [{"limit": 0}, {"limit": -1}, {"limit": "some"}, {"limit": 1.5}, {}, {"runs": 1}])
def test_a_limit_that_is_none_is_refused(idle: Service, body: object) -> None:
    response = idle.http.put("/lanes/join/limit", json=body)
    assert (response.status_code, response.json()["code"]) == (422, "request_invalid")


def test_a_full_queue_answers_429_and_dropped_manifests_wait(idle: Service) -> None:
    runs = [submitted(idle, f"full-{n}", f"full-{n}") for n in range(4)]
    refused = idle.post(points("full-4", "full-4"))
    assert (refused.status_code, refused.json()["code"]) == (429, "queue_full")
    assert int(refused.headers["Retry-After"]) >= 1
    assert "SPATIAL_ETL_QUEUE__MAX_QUEUED" in refused.json()["fix"]
    assert idle.http.get("/manifests/full-4").status_code == 404
    assert idle.post(points("full-0", "full-0")).status_code == 200, "a repeat asks for no room"
    idle.put("manifests/dropped.json", json.dumps(points("dropped", "dropped")).encode())
    wait_for(lambda: "leaving manifests in the landing zone" in idle.log.read_text(), "the sweep to say so")
    assert idle.http.get("/manifests/dropped").status_code == 404
    for run in runs:
        idle.http.post(f"/runs/{run['run_id']}/cancel")
    wait_for(lambda: idle.http.get("/manifests/dropped").status_code == 200, "the dropped manifest to be taken in")
    assert idle.http.get("/manifests", params={"status": "rejected"}).json()["items"] == []
    again = wait_for(
        lambda: (
            response if (response := idle.http.post(f"/runs/{runs[0]['run_id']}/rerun")).status_code != 429 else None
        ),
        "room for a rerun",
    )
    assert again.status_code == 202


def test_lanes_on_the_command_line(idle: Service) -> None:
    done = lanes_command(idle, "pause", "tabular", "--json")
    assert json.loads(done.stdout) == {"lane": "tabular", "state": "paused", "queued": 0, "running": 0, "limit": None}
    assert json.loads(lanes_command(idle, "limit", "tabular", "2", "--json").stdout)["limit"] == 2
    assert json.loads(lanes_command(idle, "resume", "tabular", "--json").stdout)["state"] == "open"
    listed = lanes_command(idle)
    assert (listed.returncode, "tabular" in listed.stdout) == (0, True), listed
    wrong = lanes_command(idle, "pause", "nowhere")
    assert (wrong.returncode, "There is no lane" in wrong.stderr) == (2, True)


@pytest.mark.parametrize("value", ["tabular", "tabular=0", "nowhere=1", "tabular=x"])
def test_limits_that_are_none_are_refused_at_the_start(value: str) -> None:
    from pydantic import ValidationError

    from app.settings import LaneSettings

    with pytest.raises(ValidationError, match=r"lane|limit"):
        LaneSettings(limits=value)
