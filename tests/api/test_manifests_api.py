"""POST /manifests and what follows, over HTTP against a real service."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.service import POINTS, Service, manifest


def test_the_run_is_readable_the_moment_the_post_answers(service: Service) -> None:
    service.put("api/points.geojson", POINTS)
    response = service.post(manifest("api-first", ("api/points.geojson", "GeoJSON")))
    assert response.status_code == 202
    assert response.headers["location"] == f"/runs/{response.json()['run_id']}"
    assert service.http.get(response.headers["location"]).status_code == 200
    run = service.finished(response.json()["run_id"])
    assert run["status"] == "success", run
    assert (run["counts"]["rows_in"], run["counts"]["rows_out"]) == (10, 10)
    record = service.http.get("/manifests/api-first").json()
    assert (record["status"], len(record["runs"])) == ("success", 1)
    assert record["completed_at"] == run["completed_at"]


def test_posting_again_gives_the_run_there_is_and_other_content_a_conflict(service: Service) -> None:
    service.put("api/points.geojson", POINTS)
    document = manifest("api-again", ("api/points.geojson", "GeoJSON"))
    first = service.ingest(document)
    second = service.post(document)
    assert second.status_code == 200
    assert second.json() == first
    document["uploader"] = "somebody else"
    conflict = service.post(document)
    assert conflict.status_code == 409
    assert conflict.json()["code"] == "batch_conflict"
    assert service.versions("api-again") == [1]


def test_one_manifest_posted_fifty_times_at_once_is_one_run(service: Service) -> None:
    service.put("api/points.geojson", POINTS)
    document = manifest("api-fifty", ("api/points.geojson", "GeoJSON"))
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: service.post(document), range(50)))
    assert sorted(answer.status_code for answer in answers) == [200] * 49 + [202]
    (run_id,) = {answer.json()["run_id"] for answer in answers}
    assert service.finished(run_id)["status"] == "success"
    assert service.http.get("/runs", params={"batch_id": "api-fifty"}).json()["items"] == [service.run(run_id)]
    assert service.versions("api-fifty") == [1]


def test_fifty_manifests_for_one_dataset_at_once_are_fifty_versions(service: Service) -> None:
    service.put("api/points.geojson", POINTS)
    documents = [
        manifest(
            f"api-v{n}", ("api/points.geojson", "GeoJSON"), tags={"dataset_id": "api-versions"}, new_version="always"
        )
        for n in range(50)
    ]
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(service.post, documents))
    assert {answer.status_code for answer in answers} == {202}
    runs = [service.finished(answer.json()["run_id"]) for answer in answers]
    assert {run["status"] for run in runs} == {"success"}
    assert sorted(run["reserved_version"] for run in runs) == list(range(1, 51))
    assert service.versions("api-versions") == list(range(50, 0, -1))


def test_a_bad_manifest_is_answered_with_every_fault(service: Service) -> None:
    document = manifest("api bad", ("x", "GeoJSn"), tags={})
    document["extra"] = 1
    response = service.post(document)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (problem["code"], problem["status"], problem["instance"]) == ("manifest_invalid", 422, "/manifests")
    assert {error["pointer"] for error in problem["errors"]} == {"/batch_id", "/files/0/format", "/extra"}
    assert service.http.get("/manifests/api bad").status_code == 404


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000, b'"text"', b"null"])
def test_what_is_not_a_json_object_is_a_problem(service: Service, body: bytes) -> None:
    response = service.http.post("/manifests", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422), response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert "Traceback" not in response.text


def test_a_lone_surrogate_is_a_fault_with_its_place(service: Service) -> None:
    text = json.dumps(manifest("api-surrogate", ("x.gpkg", "GPKG"))).replace('"title": "T"', '"title": "\\ud800"')
    response = service.http.post("/manifests", content=text, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert [(e["pointer"], e["code"]) for e in response.json()["errors"]] == [("/metadata/title", "text_invalid")]


@pytest.mark.parametrize(
    "since", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00%2B14:00", "2026-01-01T00:00:00", "0.5"]
)
def test_times_that_no_ledger_keeps_are_refused(service: Service, since: str) -> None:
    assert service.http.get(f"/manifests?since={since}").status_code == 422


def test_json_under_another_media_type_says_so(service: Service) -> None:
    response = service.http.post(
        "/manifests", content=json.dumps(manifest("x")), headers={"Content-Type": "text/plain"}
    )
    assert response.status_code == 422
    assert "application/json" in response.json()["errors"][0]["fix"]


def test_a_huge_body_is_refused(service: Service) -> None:
    response = service.http.post(
        "/manifests", content=b" " * (2 * 1024 * 1024), headers={"Content-Type": "application/json"}
    )
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


def test_an_unknown_ingest_intent_runs_with_a_warning(service: Service) -> None:
    service.put("api/points.geojson", POINTS)
    run = service.ingest(manifest("api-trees", ("api/points.geojson", "GeoJSON"), intent="ingest_trees"))
    assert (run["status"], run["job_name"], run["lane"]) == ("success", "ingest_job", "ingest")
    (warning,) = [w for w in run["warnings"] if w["code"] == "intent_unknown"]
    assert "ingest_vector" in warning["message"]


def test_lists_are_filtered_and_paged_with_links(service: Service) -> None:
    service.put("api/points.geojson", POINTS)
    for n in range(5):
        tags: dict[str, Any] = {"dataset_id": "api-paged", "testing": True}
        document = manifest(f"api-page-{n}", ("api/points.geojson", "GeoJSON"), uploader="pager", tags=tags)
        assert service.ingest(document)["status"] == "success"
    seen: list[str] = []
    url = "/manifests?uploader=pager&testing=true&status=success&intent=ingest_vector&limit=2"
    while url:
        page = service.http.get(url)
        assert page.status_code == 200, page.text
        seen += [item["batch_id"] for item in page.json()["items"]]
        url = page.links["next"]["url"] if "next" in page.links else ""
        assert page.json()["next"] == (url or None)
    assert seen == [f"api-page-{n}" for n in (4, 3, 2, 1, 0)]
    assert service.http.get("/manifests?uploader=pager&testing=false").json()["items"] == []
    assert service.http.get("/manifests?since=2099-01-01T00:00:00Z").json()["items"] == []
    bad = service.http.get("/manifests?cursor=@@@")
    assert (bad.status_code, bad.json()["code"]) == (422, "request_invalid")


def test_unknown_things_are_problems_that_say_where_to_look(service: Service) -> None:
    for path in ("/manifests/none", "/runs/none", "/runs/none/events", "/assets/none", "/assets/none/v1",
                 "/assets/none/v1/download", "/assets/none/v1/lineage", "/landing/none", "/nothing"):  # fmt: skip
        response = service.http.get(path)
        assert (response.status_code, response.json()["code"]) == (404, "not_found"), path
        assert response.json()["fix"], path
    assert service.http.delete("/landing/none").status_code == 404
    assert service.http.patch("/manifests").json()["code"] == "method_not_allowed"


def test_a_closed_lane_refuses(data_dir: Any) -> None:
    from tests.service import running_service

    with running_service(
        data_dir, MANIFEST_ROUTER_ENABLED_LANES="tabular, join", SPATIAL_ETL_WORKER__PROCESSES="0"
    ) as closed:
        response = closed.post(manifest("closed", ("x.gpkg", "GPKG")))
        assert (response.status_code, response.json()["code"]) == (422, "lane_closed")
        assert "MANIFEST_ROUTER_ENABLED_LANES" in response.json()["fix"]


def test_a_refused_method_is_answered_with_all_that_there_are(service: Service) -> None:
    allowed = {
        path: service.http.patch(path).headers["allow"] for path in ("/manifests", "/manifests/plan", "/landing/a/b")
    }
    assert allowed == {"/manifests": "GET, POST", "/manifests/plan": "POST", "/landing/a/b": "DELETE, GET, PUT"}
