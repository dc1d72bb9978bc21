"""Checks of a real service: what fails is not published, can be looked at, and is forgotten after a while."""

from __future__ import annotations

import io
from typing import Any

import pyarrow.parquet as pq

from tests.service import Service, geojson, manifest, point

TABLE = b"code,count\nA1,1\nA2,\nA2,3\n"
UNIQUE = {"check": "unique", "column": "code"}
NOT_NULL = {"check": "not_null", "column": "count", "severity": "warn"}
ROWS = {"check": "rows", "min": 1, "change": 0.5}


def table(service: Service, batch: str, *checks: dict[str, Any], body: bytes = TABLE, dataset: str = "") -> Any:
    key = f"checks/{batch}.csv"
    service.put(key, body)
    asked = {"id": dataset or batch, "checks": checks}
    document = manifest(batch, (key, "CSV"), intent="ingest_tabular", tags={}, dataset=asked)
    document["files"][0]["type"] = "tabular"
    return document


def test_a_product_that_fails_is_not_published_and_can_be_looked_at(service: Service) -> None:
    run = service.ingest(table(service, "failing", UNIQUE, NOT_NULL, ROWS))
    assert (run["status"], run["error"]["code"], run["error"]["step"]) == ("failure", "checks_failed", "export")
    assert run["error"]["detail"].startswith("1 check of 3 failed. unique of 'code': 1 row (expected unique), such as ")
    assert '"values": {"code": "A2"}' in run["error"]["detail"]
    assert f"/runs/{run['run_id']}/rejected" in run["error"]["fix"]
    assert [warning["code"] for warning in run["warnings"]] == ["check_warned"]
    assert [(each["check"], each["passed"], each["found"]) for each in run["checks"]] == [
        ("unique", False, 1), ("not_null", False, 1), ("rows", True, 3),
    ]  # fmt: skip
    assert service.versions("failing") == []
    assert service.http.get("/assets/failing").status_code == 404
    answer = service.http.get(run["links"]["rejected"], follow_redirects=True)
    assert answer.status_code == 200
    assert pq.read_table(io.BytesIO(answer.content)).column("code").to_pylist() == ["A1", "A2", "A2"]
    again = service.http.get(run["links"]["rejected"], headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
    assert "failing" not in service.http.get("/assets").text


def test_a_warning_is_published_with_the_results(service: Service) -> None:
    run = service.ingest(table(service, "warned", NOT_NULL, ROWS))
    assert run["status"] == "success", run
    (warning,) = run["warnings"]
    assert (warning["code"], warning["count"]) == ("check_warned", 1)
    assert warning["samples"] == [{"row": 1, "values": {"count": None}}]
    asset = service.http.get("/assets/warned/v1").json()
    assert asset["checks"] == run["checks"]
    assert asset["checks"][0]["samples"] == warning["samples"]
    assert "rejected" not in run["links"]
    assert service.http.get(f"/runs/{run['run_id']}/rejected").status_code == 404
    (event,) = [
        each
        for each in service.http.get(
            "/assets/warned/v1/lineage", headers={"Accept": "application/vnd.openlineage+json"}
        ).json()
        if each["eventType"] == "COMPLETE"
    ]
    facet = event["outputs"][0]["facets"]["dataQualityAssertions"]
    assert [(each["assertion"], each["success"], each["severity"]) for each in facet["assertions"]] == [
        ("not_null", False, "warn"), ("rows", True, "error"),
    ]  # fmt: skip


def test_the_newest_version_counts(service: Service) -> None:
    assert service.ingest(table(service, "newest-1", ROWS, dataset="newest"))["status"] == "success"
    fewer = service.ingest(table(service, "newest-2", ROWS, body=b"code,count\nA1,1\n", dataset="newest"))
    assert fewer["error"]["code"] == "checks_failed"
    assert fewer["checks"][0]["samples"] == [{"rows": 1, "rows_before": 3}]
    # The same content with other checks is checked again, with the same ones it is the version that is there.
    assert service.ingest(table(service, "newest-3", ROWS, dataset="newest"))["unchanged_version"] == 1
    again = service.ingest(table(service, "newest-4", UNIQUE, dataset="newest"))
    assert again["error"]["code"] == "checks_failed"
    assert service.versions("newest") == [1]


def plan(service: Service, document: Any) -> Any:
    answer = service.http.post("/manifests/plan", json=document)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_plan_says_what_its_run_says(service: Service) -> None:
    document = table(service, "planned", UNIQUE, NOT_NULL, ROWS)
    made = plan(service, document)
    run = service.ingest(document)
    assert made["would"] == "be refused"
    assert made["checks"] == run["checks"]
    assert [each["reason"] for each in made["refusals"]] == [run["error"]["code"]]
    assert made["refusals"][0]["detail"] == run["error"]["detail"]
    assert made["warnings"] == run["warnings"]


def test_a_plan_names_all_that_is_wrong_with_the_checks(service: Service) -> None:
    service.put("checks/p.geojson", geojson((point(1, 2), {"name": "p", "n": 1})))
    wrong = [
        {"check": "not_null", "column": "nam"}, {"check": "between", "column": "name", "min": 1},
        {"check": "matches", "column": "name", "pattern": "("}, {"check": "custom", "sql": "n +"},
        {"check": "valid_geometry"},
    ]  # fmt: skip
    document = manifest("wrong-checks", ("checks/p.geojson", "GeoJSON"), dataset={"checks": wrong})
    made = plan(service, document)
    assert [each["reason"] for each in made["refusals"]] == [
        "check_column_unknown", "check_type", "check_pattern_invalid", "check_sql_invalid",
    ]  # fmt: skip
    assert [each["passed"] for each in made["checks"]] == [None] * 5
    run = service.ingest(document)
    assert run["error"]["code"] == "check_column_unknown"
    assert run["error"]["detail"] == " ".join(each["detail"] for each in made["refusals"])
    assert all(each["fix"] in run["error"]["fix"] for each in made["refusals"])


def test_a_plan_of_a_join_counts_its_rows(service: Service) -> None:
    service.put("checks/places.geojson", geojson((point(1, 2), {"code": "A1"})))
    assert service.ingest(manifest("checks-places", ("checks/places.geojson", "GeoJSON")))["status"] == "success"
    assert service.ingest(table(service, "checks-rows", ROWS))["status"] == "success"
    checks = [{"check": "rows", "min": 4}, {"check": "not_null", "column": "geom"}]
    document = manifest("checks-join", intent="join_datasets", dataset={"checks": checks})
    document["metadata"]["join_config"] = {
        "spatial_dataset_id": "checks-places", "tabular_dataset_id": "checks-rows", "left_key": "code",
    }  # fmt: skip
    made = plan(service, document)
    assert [(each["passed"], each["found"]) for each in made["checks"]] == [(False, 3), (None, None)]
    assert [each["reason"] for each in made["refusals"]] == ["checks_failed"]
    run = service.ingest(document)
    assert [(each["passed"], each["found"]) for each in run["checks"]] == [(False, 3), (False, 2)]
    assert run["error"]["code"] == "checks_failed"


def test_a_dataset_that_another_has_to_lie_in(service: Service) -> None:
    def square(size: float) -> dict[str, Any]:
        return {"type": "Polygon", "coordinates": [[[0, 0], [size, 0], [size, size], [0, size], [0, 0]]]}

    def areas(batch: str, size: float) -> Any:
        service.put(f"checks/{batch}.geojson", geojson((square(size), {"name": "a"})))
        return manifest(batch, (f"checks/{batch}.geojson", "GeoJSON"), tags={"dataset_id": "checks-areas"})

    def inside(batch: str, dataset: str = "checks-areas") -> Any:
        checks = [{"check": "within", "dataset": dataset}]
        asked = {"id": "checks-inside", "checks": checks}
        return manifest(batch, ("checks/inside.geojson", "GeoJSON"), tags={}, dataset=asked)

    service.put("checks/inside.geojson", geojson((point(1, 1), {"n": 1}), (point(3, 3), {"n": 2})))
    for number, dataset in enumerate(("checks-area", "checks-areas")):
        document = inside(f"checks-none-{number}", dataset)
        assert plan(service, document)["refusals"][0]["detail"] == service.ingest(document)["error"]["detail"]
    assert service.ingest(areas("checks-areas-1", 2))["status"] == "success"
    assert "Did you mean 'checks-areas'?" in service.ingest(inside("checks-near", "checks-area"))["error"]["fix"]
    made = plan(service, inside("checks-inside-1"))
    assert (made["would"], [each["role"] for each in made["parents"]]) == ("succeed", ["within"])
    run = service.ingest(inside("checks-inside-1"))
    assert (run["error"]["code"], run["checks"][0]["found"]) == ("checks_failed", 1)
    (sample,) = run["checks"][0]["samples"]
    assert (sample["row"], sample["at"], round(sample["distance"], 9)) == (1, [3.0, 3.0], round(2**0.5, 9))
    # A new version of the other dataset is another input.
    assert service.ingest(areas("checks-areas-2", 4))["status"] == "success"
    assert service.ingest(inside("checks-inside-2"))["status"] == "success"
    assert service.ingest(inside("checks-inside-3"))["unchanged_version"] == 1
    parents = [each for each in service.http.get("/assets/checks-inside/v1").json()["inputs"] if "dataset_id" in each]
    assert parents == [{"kind": "asset", "dataset_id": "checks-areas", "version": 2, "role": "within"}]
    assert service.ingest(areas("checks-areas-3", 5))["status"] == "success"
    assert service.ingest(inside("checks-inside-4"))["status"] == "success"
    assert sorted(service.versions("checks-inside")) == [1, 2]
