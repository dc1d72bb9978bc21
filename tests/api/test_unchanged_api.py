"""A dataset gets a new version only where something would be new in it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.service import POINTS, Service, geojson, manifest, point

KEY = "unchanged/points.geojson"


def document(batch: str, dataset: str, key: str = KEY, **changes: Any) -> dict[str, Any]:
    return manifest(batch, (key, "GeoJSON"), tags={"dataset_id": dataset}, **changes)


def ingest(service: Service, batch: str, dataset: str, key: str = KEY, **changes: Any) -> dict[str, Any]:
    service.put(key, POINTS)
    run = service.ingest(document(batch, dataset, key, **changes))
    assert run["status"] == "success", run
    return run


def test_the_same_again_is_the_version_that_is_there(service: Service) -> None:
    first = ingest(service, "same-1", "same")
    assert (first["reserved_version"], first["unchanged_version"]) == (1, None)
    for batch, key in (("same-2", KEY), ("same-3", "unchanged/other-name.geojson")):
        again = ingest(service, batch, "same", key)
        assert (again["reserved_version"], again["unchanged_version"]) == (None, 1)
        assert again["links"]["asset"] == first["links"]["asset"]
        assert again["counts"] == first["counts"]
        events = service.http.get(f"/runs/{again['run_id']}/events").json()
        assert "asset.unchanged" in {event["code"] for event in events}
    assert service.versions("same") == [1]


def test_what_would_be_new_is_a_new_version(service: Service) -> None:
    assert ingest(service, "new-1", "new")["reserved_version"] == 1
    retitled = document("new-2", "new")
    retitled["metadata"]["title"] = "Another title"
    assert service.ingest(retitled)["reserved_version"] == 2
    service.put("unchanged/changed.geojson", geojson((point(1, 2), {"n": 1, "name": "p"})))
    assert service.ingest(document("new-3", "new", "unchanged/changed.geojson"))["reserved_version"] == 3
    # What was there two versions ago is new again.
    assert ingest(service, "new-4", "new")["reserved_version"] == 4


def test_a_new_version_can_be_asked_for_and_has_the_same_bytes(service: Service) -> None:
    ingest(service, "forced-1", "forced")
    again = ingest(service, "forced-2", "forced", new_version="always")
    assert (again["reserved_version"], again["unchanged_version"]) == (2, None)
    first, second = (service.http.get(f"/assets/forced/v{version}").json() for version in (1, 2))
    assert first["content_hash"] == second["content_hash"]


@pytest.mark.parametrize("value", ["never", 1, None])
def test_another_word_is_refused(service: Service, value: object) -> None:
    response = service.post(document("refused", "refused", new_version=value))
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == ["/new_version"]
