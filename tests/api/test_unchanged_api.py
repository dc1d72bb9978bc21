"""A dataset gets a new version only where something would be new in it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.service import POINTS, Service, geojson, manifest, point

DATASET = "api-unchanged"


def ingest(service: Service, batch: str, key: str = "u/points.geojson", **changes: Any) -> dict[str, Any]:
    document = manifest(batch, (key, "GeoJSON"), tags={"dataset_id": DATASET}, **changes)
    run = service.ingest(document)
    assert run["status"] == "success", run
    return run


def asset(service: Service, version: int) -> dict[str, Any]:
    found: dict[str, Any] = service.http.get(f"/assets/{DATASET}/v{version}").json()
    return found


def test_the_same_again_is_the_version_that_is_there(service: Service) -> None:
    service.put("u/points.geojson", POINTS)
    service.put("u/other-name.geojson", POINTS)
    first = ingest(service, "u-1")
    assert (first["reserved_version"], first["unchanged_version"]) == (1, None)
    for batch, key in (("u-2", "u/points.geojson"), ("u-3", "u/other-name.geojson")):
        again = ingest(service, batch, key)
        assert (again["reserved_version"], again["unchanged_version"]) == (None, 1)
        assert again["links"]["asset"] == first["links"]["asset"]
        assert again["counts"] == first["counts"]
        events = service.http.get(f"/runs/{again['run_id']}/events").json()["items"]
        assert "asset.unchanged" in {event["code"] for event in events}
    assert service.versions(DATASET) == [1]


def test_what_would_be_new_is_a_new_version(service: Service) -> None:
    service.put("u/points.geojson", POINTS)
    assert service.post(manifest("u-1", ("u/points.geojson", "GeoJSON"), tags={"dataset_id": DATASET})).status_code in (
        200,
        202,
    )
    document = manifest("u-4", ("u/points.geojson", "GeoJSON"), tags={"dataset_id": DATASET})
    document["metadata"]["title"] = "Another title"
    assert service.ingest(document)["reserved_version"] == 2
    service.put("u/changed.geojson", geojson((point(1, 2), {"n": 1, "name": "p"})))
    assert ingest(service, "u-5", "u/changed.geojson")["reserved_version"] == 3
    # What was there two versions ago is new again.
    assert ingest(service, "u-6")["reserved_version"] == 4


def test_a_new_version_can_be_asked_for_and_has_the_same_bytes(service: Service) -> None:
    service.put("u/points.geojson", POINTS)
    newest = ingest(service, "u-7")
    forced = ingest(service, "u-8", new_version="always")
    before = newest["reserved_version"] or newest["unchanged_version"]
    assert forced["reserved_version"] == before + 1
    assert forced["unchanged_version"] is None
    assert asset(service, before)["content_hash"] == asset(service, before + 1)["content_hash"]


@pytest.mark.parametrize("value", ["never", 1, None])
def test_another_word_is_refused(service: Service, value: object) -> None:
    response: httpx.Response = service.post(manifest("u-9", ("u/p.geojson", "GeoJSON"), new_version=value))
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == ["/new_version"]
