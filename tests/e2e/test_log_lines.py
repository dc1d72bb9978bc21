"""The logs of a whole service, as a machine reads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.service import POINTS, manifest, running_service

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def json_logs() -> dict[str, str]:
    return {"SPATIAL_ETL_LOG__FORMAT": "json", "SPATIAL_ETL_LOG__LEVEL": "info"}


def test_every_line_is_json_and_those_of_a_run_name_it(data_dir: Path, json_logs: dict[str, str]) -> None:
    with running_service(data_dir, SPATIAL_ETL_WORKER__PROCESSES="1", **json_logs) as service:
        service.put("p.geojson", POINTS)
        document = manifest("logged", ("p.geojson", "GeoJSON"))
        posted = service.http.post("/manifests", json=document, headers={"traceparent": TRACE})
        run = service.finished(posted.json()["run_id"])
        assert run["status"] == "success"
        events = service.http.get(f"/runs/{run['run_id']}/events").json()
        (started,) = [event for event in events if event["code"] == "attempt.started"]
        assert started["data"]["traceparent"] == TRACE
    text = service.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert all({"time", "level", "logger", "role", "pid", "message"} <= set(line) for line in lines)
    of_run = [line for line in lines if line.get("event")]
    # Others than the job write some: the sweep, and whoever ends the run.
    own = {event["code"] for event in events if not event["code"].startswith(("run.", "sweep."))}
    assert {line["event"] for line in of_run} == own
    context = {"run_id": run["run_id"], "attempt": 1, "lane": "spatial", "dataset_id": "logged", "traceparent": TRACE}
    for line in of_run:
        assert line["role"] == "worker"
        assert {name: line[name] for name in context} == context
    (request,) = [line for line in lines if line.get("method") == "POST"]
    assert (request["role"], request["path"], request["status"]) == ("serve", "/manifests", 202)
    assert request["traceparent"] == TRACE
    assert request["request_id"] == posted.headers["x-request-id"]
    assert {line["logger"].partition(".")[0] for line in lines} >= {"app", "rq", "uvicorn"}
