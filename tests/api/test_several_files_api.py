"""Manifests of several files over the REST interface, through the real processes."""

from __future__ import annotations

from tests.service import Service, geojson, manifest, point


def test_a_pattern_from_the_plan_to_the_version(service: Service) -> None:
    for number in range(3):
        service.put(f"tiles/{number}.geojson", geojson((point(number, 1), {"n": number})))
    document = manifest("pattern-1", ("tiles/*.geojson", "GeoJSON"))
    plan = service.http.post("/manifests/plan", json=document).json()
    keys = [f"tiles/{number}.geojson" for number in range(3)]
    assert [file["file"] for file in plan["files"]] == keys
    assert plan["counts"]["rows_out"] == 3
    run = service.ingest(document)
    assert (run["status"], run["counts"]["rows_out"]) == ("success", 3)
    kept = service.http.get("/manifests/pattern-1").json()
    assert kept["files_found"] == [{"path": "s3://landing-zone/tiles/*.geojson", "keys": keys}]
    service.put("tiles/3.geojson", geojson((point(3, 1), {"n": 3})))
    assert service.post(document).status_code == 200
    assert service.http.post("/manifests/plan", json=document).json()["counts"]["rows_out"] == 3
