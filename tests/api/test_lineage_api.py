"""Lineage over HTTP: which encoding a request gets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prov.model import ProvDocument

from app.http.negotiation import preferred
from tests.service import POINTS, Service, manifest

URL = "/assets/lineage-api/v1/lineage"


@pytest.fixture(scope="module")
def run(service: Service) -> dict[str, Any]:
    service.put("lineage/points.geojson", POINTS)
    found = service.ingest(manifest("lineage-api", ("lineage/points.geojson", "GeoJSON")))
    assert found["status"] == "success", found
    return found


GRAPH, OPENLINEAGE, PROV, MERMAID = (
    "application/json", "application/vnd.openlineage+json", "application/prov+json", "text/vnd.mermaid",
)  # fmt: skip


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, GRAPH),
        ("*/*", GRAPH),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", GRAPH),
        (OPENLINEAGE, OPENLINEAGE),
        (PROV, PROV),
        (MERMAID, MERMAID),
        ("text/plain", "text/plain"),
        ("text/*", MERMAID),
        (f"{GRAPH};q=0.5, {PROV}", PROV),
        ("Application/PROV+JSON ; q=1.0", PROV),
    ],
)
def test_the_accept_header_chooses(service: Service, run: dict[str, Any], accept: str | None, expected: str) -> None:
    request = service.http.build_request("GET", URL)
    request.headers.pop("accept")
    if accept:
        request.headers["accept"] = accept
    answer = service.http.send(request)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].partition(";")[0] == expected
    assert (answer.headers["vary"], answer.headers["lineage-truncated"]) == ("Accept", "false")


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "application/json;profile=prov", "nonsense"])
def test_what_there_is_not_is_refused_with_what_there_is(service: Service, run: dict[str, Any], accept: str) -> None:
    answer = service.http.get(URL, headers={"Accept": accept})
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
    assert answer.headers["content-type"] == "application/problem+json"
    assert all(media_type in answer.json()["fix"] for media_type in (GRAPH, OPENLINEAGE, PROV, MERMAID))


def test_the_format_parameter_goes_before_the_header(service: Service, run: dict[str, Any]) -> None:
    graph = service.http.get(URL, params={"format": "graph"}, headers={"Accept": "text/html"})
    assert graph.json() == service.http.get(URL).json()
    events = service.http.get(URL, params={"format": "openlineage"})
    assert events.headers["content-type"] == OPENLINEAGE
    assert [event["eventType"] for event in events.json()] == ["START", "COMPLETE"]
    assert events.json()[0]["run"]["runId"].replace("-", "") == run["run_id"]
    (output,) = events.json()[1]["outputs"]
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == 10
    assert set(output["facets"]["columnLineage"]["fields"]) == {"n", "name"}
    prov = service.http.get(URL, params={"format": "prov"})
    assert ProvDocument.deserialize(content=prov.text, format="json").get_record("asset:lineage-api/v1")
    mermaid = service.http.get(URL, params={"format": "mermaid"})
    assert mermaid.text.startswith("flowchart TD\n")
    assert "points.geojson" in mermaid.text
    wrong = service.http.get(URL, params={"format": "dot"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "request_invalid")


def test_a_dataset_that_is_not_there_is_a_problem_in_every_encoding(service: Service) -> None:
    for media_type in (GRAPH, OPENLINEAGE, PROV, MERMAID):
        answer = service.http.get("/assets/none/v1/lineage", headers={"Accept": media_type})
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
        assert json.loads(answer.text)["code"] == "not_found"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("a/x;q=0.2, a/y;q=0.3", "a/y"),
        ("a/*;q=0.2, a/y;q=0.1", "a/x"),
        ("*/*, a/x;q=0", "a/y"),
        ("b/z, */*;q=0.001", "a/x"),
        ("a/y;charset=utf-8", "a/y"),
        (" , a/y", "a/y"),
        ("", "a/x"),
        ("a/x;q=2, a/y", "a/y"),
    ],
)
def test_preferences(accept: str, expected: str) -> None:
    assert preferred(accept, ("a/x", "a/y")) == expected
