"""Polling a run, reading its log, and what it made."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.service import POINTS, Service, manifest


@pytest.fixture(scope="module")
def asset(service: Service) -> dict[str, Any]:
    service.put("runs/points.geojson", POINTS)
    run = service.ingest(manifest("runs-one", ("runs/points.geojson", "GeoJSON")))
    assert run["status"] == "success", run
    found: dict[str, Any] = service.http.get(run["links"]["asset"]).json()
    return found


def test_a_poller_is_spared_what_did_not_change(service: Service, asset: dict[str, Any]) -> None:
    first = service.http.get(f"/runs/{asset['run_id']}")
    assert "retry-after" not in first.headers, "the run is over"
    again = service.http.get(f"/runs/{asset['run_id']}", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = service.http.get(f"/runs/{asset['run_id']}", headers={"If-None-Match": '"0"'})
    assert other.status_code == 200


def test_the_log_tells_the_way_of_the_run(service: Service, asset: dict[str, Any]) -> None:
    events = service.http.get(f"/runs/{asset['run_id']}/events").json()
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    codes = [event["code"] for event in events]
    assert codes[0] == "attempt.started"
    assert codes[-1] == "run.success"
    assert [e["step"] for e in events if e["code"] == "step.finished"] == ["load", "transform", "export"]
    rest = service.http.get(f"/runs/{asset['run_id']}/events", params={"after": 2, "limit": 1}).json()
    assert [event["seq"] for event in rest] == [3]


def test_the_asset_says_what_is_in_the_file(service: Service, asset: dict[str, Any]) -> None:
    body = service.http.get(asset["links"]["download"]).content
    assert asset["content_hash"] == "sha256:" + hashlib.sha256(body).hexdigest()
    assert asset["size"] == len(body)
    table = pq.read_table(io.BytesIO(body))
    assert table.num_rows == asset["statistics"]["counts"]["rows_out"] == 10
    assert list(asset["metadata"]["column_schema"]) == table.column_names
    assert (asset["crs"], asset["metadata"]["geometry_type"]) == ("EPSG:4326", "Point")
    assert asset["bounds"] == {"minx": 0, "miny": 0, "maxx": 9, "maxy": 4.5}
    (source,) = asset["inputs"]
    assert source["sha256"] == hashlib.sha256(POINTS).hexdigest()
    assert source["s3_key"] == "landing-zone/runs/points.geojson"


def test_downloads_come_in_ranges(service: Service, asset: dict[str, Any]) -> None:
    url = asset["links"]["download"]
    body = service.http.get(url).content
    part = service.http.get(url, headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, body[4:8])
    assert part.headers["content-range"] == f"bytes 4-7/{len(body)}"
    assert service.http.get(url, headers={"Range": "bytes=-4"}).content == b"PAR1"
    assert service.http.get(url, headers={"Range": f"bytes={len(body)}-"}).status_code == 416
    etag = service.http.get(url).headers["etag"]
    assert service.http.get(url, headers={"If-None-Match": etag}).status_code == 304


def test_lineage_leads_from_the_version_to_its_source(service: Service, asset: dict[str, Any]) -> None:
    graph = service.http.get(asset["links"]["lineage"]).json()
    assert graph["root"] == "asset:runs-one/v1"
    kinds = {node["id"]: node["type"] for node in graph["nodes"]}
    assert sorted(kinds.values()) == ["asset", "run", "source"]
    run = f"run:{asset['run_id']}"
    source = next(node for node, kind in kinds.items() if kind == "source")
    assert {(edge["source"], edge["target"]) for edge in graph["edges"]} == {(source, run), (run, "asset:runs-one/v1")}
    assert not graph["truncated"]


def test_datasets_are_listed_by_their_newest_version(service: Service, asset: dict[str, Any]) -> None:
    service.put("runs/points.geojson", POINTS)
    service.ingest(manifest("runs-two", ("runs/points.geojson", "GeoJSON"), tags={"dataset_id": "runs-one"},
                            new_version="always"))  # fmt: skip
    listed = [
        a for a in service.http.get("/assets", params={"limit": 1000}).json()["items"] if a["dataset_id"] == "runs-one"
    ]
    assert [a["version"] for a in listed] == [2]
    assert service.versions("runs-one") == [2, 1]
    missing = service.http.get("/assets/runs-one/v9")
    assert missing.status_code == 404
    assert "newest is 2" in missing.json()["detail"]


def test_a_missing_file_fails_the_run_and_says_so(service: Service) -> None:
    run = service.ingest(manifest("runs-missing", ("runs/nowhere.geojson", "GeoJSON")))
    assert run["status"] == "failure"
    assert (run["error"]["code"], run["error"]["step"], run["error"]["file"]) == (
        "file_missing",
        "load",
        "runs/nowhere.geojson",
    )
    assert service.versions("runs-missing") == []
    record = service.http.get("/manifests/runs-missing").json()
    assert record["status"] == "failure"
    assert "runs/nowhere.geojson" in record["error_message"]


def test_the_audit_trail_knows_who_and_what(service: Service, asset: dict[str, Any]) -> None:
    entries = service.http.get("/activity", params={"limit": 1000}).json()["items"]
    actions = {(entry["action"], entry["resource_id"]) for entry in entries}
    assert ("object.uploaded", "landing-zone/runs/points.geojson") in actions
    assert ("manifest.accepted", "runs-one") in actions
    assert ("run.success", asset["run_id"]) in actions
