"""POST /manifests/plan: what it says is what the run then does, and nothing is changed by asking."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from app.system.processes import process_name
from tests.faults.test_hostile_files import CASES, Uploads, two_layers
from tests.faults.test_hostile_rasters import CASES as RASTER_CASES
from tests.pipelines.tables import DATE, cell, row, workbook
from tests.servers.postgres import fresh_database
from tests.service import POINTS, Service, geojson, manifest, point, raster_manifest, running_service, wait_for

BOOK = workbook(
    {
        "S": row(
            1,
            *(cell(f"{place}1", name) for place, name in zip("ABCDE", ("n", "code", "when", "t", "yes"), strict=True)),
        )
        + row(2, cell("A2", 1), cell("B2", "007"), cell("C2", 45000, DATE), cell("D2", "x"), cell("E2", True))
        + row(3, cell("A3", 2.5), cell("B3", "8"), cell("C3", 45001, DATE), cell("D3", "y"), cell("E3", False)),
        "Other": row(1, cell("A1", "z")),
    }
)
SAMPLES = Path(__file__).parents[2] / "samples"
# What no description of a file tells: a plan says `succeed`, and names rows and pixels as not looked at.
BEHIND_THE_DESCRIPTION = {"infinite", "nowhere-on-earth"}
# GDAL has other words for the last pixel than for all of them.
IN_OTHER_WORDS = {"truncated"}


def plan(service: Service, document: Any) -> dict[str, Any]:
    response = service.http.post("/manifests/plan", json=document)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def problem(service: Service, document: Any, status: int) -> dict[str, Any]:
    response = service.http.post("/manifests/plan", json=document)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert ("Retry-After" in response.headers) == (status == 503)
    found: dict[str, Any] = response.json()
    assert found["detail"]
    assert found["fix"]
    return found


def table(batch: str, key: str, fmt: str = "CSV", **options: Any) -> dict[str, Any]:
    document = manifest(batch, (key, fmt), intent="ingest_tabular")
    document["files"][0] |= {"type": "tabular"} | ({"options": options} if options else {})
    return document


def pasted(document: dict[str, Any], made: dict[str, Any], batch: str) -> dict[str, Any]:
    """The manifest with the plan's answers in it, as another batch and another dataset."""
    files = [entry | found["editable"] for entry, found in zip(document["files"], made["files"], strict=True)]
    tags = {"dataset_id": batch}
    return document | {"batch_id": batch, "files": files, "metadata": document["metadata"] | {"tags": tags}}


def state(service: Service) -> Any:
    """All that a plan could have changed."""
    paths = ("/manifests", "/runs", "/assets", "/activity", "/landing")
    return [service.http.get(path).json() for path in paths], service.lake()


# What it says


def test_a_plan_of_vector_files_is_what_the_run_does(service: Service) -> None:
    service.put("plan/p.geojson", POINTS)
    service.put("plan/q.geojson", geojson((point(7, 8), {"n": 1, "name": "q"})))
    document = manifest("plan-vector", ("plan/p.geojson", "GeoJSON"), ("plan/q.geojson", "GeoJSON"))
    before = state(service)
    made = plan(service, document)
    assert state(service) == before
    assert made["would"] == "succeed"
    assert made["refusals"] == []
    assert (made["next_version"], made["unchanged_version"]) == (1, None)
    assert made["keys"] == ["plan-vector/v1/data-{sha256}.parquet"]
    assert made["steps"][0] == "reproject to EPSG:4326 (x,y)"
    assert made["not_looked_at"]
    first, second = made["files"]
    assert (first["file"], first["driver"], first["rows"], second["rows"]) == ("plan/p.geojson", "GeoJSON", 10, 1)
    assert first["crs"] == {"found": "OGC:CRS84", "declared": None, "used": "OGC:CRS84"}

    run = service.ingest(document)
    asset = service.http.get("/assets/plan-vector/v1").json()
    assert run["status"] == "success"
    assert made["counts"] == {name: run["counts"][name] for name in ("rows_in", "rows_out")}
    assert made["engine"] == run["engine"]
    schema = asset["metadata"]["column_schema"]
    assert [column["name"] for column in made["columns"]] == list(schema)
    for column in made["columns"]:
        told = {name: column[name] for name in ("title", "type_name", "logical_type")}
        assert told == {name: schema[column["name"]][name] for name in told}

    again = plan(service, document | {"batch_id": "plan-vector-2"})
    assert (again["would"], again["unchanged_version"], again["next_version"]) == ("change nothing", 1, 2)
    assert again["keys"] == []
    assert service.ingest(document | {"batch_id": "plan-vector-2"})["unchanged_version"] == 1
    forced = plan(service, document | {"batch_id": "plan-vector-3", "new_version": "always"})
    assert (forced["would"], forced["unchanged_version"], forced["next_version"]) == ("succeed", None, 2)
    known = plan(service, document)
    assert known["warnings"][0]["code"] == "batch_known"


def test_a_table_tells_the_reason_of_each_type(service: Service) -> None:
    rows = "id;code;when;price;free;odd;flag\n1;007;2026-01-01;1.50;;4;true\n2;8;2026-01-02;2.25;;x;false\n"
    service.put("plan/t.csv", rows.encode())
    document = table("plan-table", "plan/t.csv")
    made = plan(service, document)
    found = {column["title"]: (column["type_name"], column["reason"]) for column in made["columns"]}
    assert found == {
        "id": ("int64", "every value is a whole number of 64 bits"),
        "code": ("string", "'007' would lose its leading zeros as a number"),
        "when": ("date32[day]", "every value is an ISO date"),
        "price": ("decimal128(18, 2)", "every value is a number, and float64 would lose digits of some"),
        "free": ("string", "the column has no values"),
        "odd": ("string", "'x' is not a number, date, time or boolean in a recognized form"),
        "flag": ("bool", "every value is true or false"),
    }
    (file,) = made["files"]
    assert (file["delimiter"], file["quote"], file["header"], file["rows"]) == (";", '"', True, 2)
    assert (file["encoding"], file["encoding_assumed"]) == ("utf-8", False)
    assert service.ingest(document)["status"] == "success"
    schema = service.http.get("/assets/plan-table/v1").json()["metadata"]["column_schema"]
    assert {column["name"]: column["type_name"] for column in made["columns"]} == {
        name: column["type_name"] for name, column in schema.items()
    }
    asked = plan(service, table("plan-asked", "plan/t.csv", types={"id": "text"}))
    assert asked["columns"][0]["type_name"] == "string"
    assert asked["columns"][0]["reason"] == "declared in files[].options.types"


def test_a_mixture_of_types_names_the_value_that_made_it_text(service: Service) -> None:
    body = "a,b\n" + "1,2026-01-01\n" * 100_000 + "2026-01-01,7\n" + "1,1\n" * 10
    service.put("plan/mixed.csv", body.encode())
    made = plan(service, table("plan-mixed", "plan/mixed.csv"))
    assert [column["reason"] for column in made["columns"]] == [
        "'2026-01-01' is date, values before it are int64",
        "'7' is int64, values before it are date",
    ]


def test_the_sample_with_traps_warns_as_its_run_does(service: Service) -> None:
    service.put("plan/population.csv", (SAMPLES / "tabular" / "population.csv").read_bytes())
    document = table("plan-population", "plan/population.csv")
    made = plan(service, document)
    run = service.ingest(document)
    assert made["warnings"] == run["warnings"]
    assert {warning["code"] for warning in made["warnings"]} == {"encoding_assumed", "rows_quarantined"}
    assert made["counts"] == run["counts"]
    assert len(made["keys"]) == len([key for key in service.lake() if key.startswith("plan-population/")]) == 2


def test_a_raster_is_described_and_its_options_are_checked(service: Service) -> None:
    service.put("plan/terrain.tif", (SAMPLES / "raster" / "terrain.tif").read_bytes())
    document = raster_manifest("plan-raster", "plan/terrain.tif")
    made = plan(service, document)
    (file,) = made["files"]
    assert made["would"] == "succeed"
    assert (file["driver"], file["width"], file["height"], file["dtype"]) == ("GTiff", 600, 480, "int16")
    assert file["crs"]["found"] == "EPSG:25832"
    assert [(band["name"], band["unit"], band["scale"]) for band in file["bands"]] == [("height", "m", 0.1)]
    assert made["keys"] == ["plan-raster/v1/data-{sha256}.tif", "plan-raster/v1/preview-{sha256}.png"]
    run = service.ingest(document)
    assert made["engine"] == run["engine"]
    assert made["counts"] == {name: run["counts"][name] for name in made["counts"]}
    warped = plan(service, raster_manifest("plan-warp", "plan/terrain.tif", options={"warp": "EPSG:4326"}))
    assert warped["steps"][0] == "reproject to EPSG:4326 (x,y)"
    other = plan(service, raster_manifest("plan-any", "plan/terrain.tif", intent="ingest_heights"))
    assert [warning["code"] for warning in other["warnings"]] == ["intent_unknown"]


def test_a_join_is_counted_and_unknown_datasets_are_named_together(service: Service) -> None:
    service.put("plan/places.geojson", geojson(*((point(i, i), {"id": i, "name": f"p{i}"}) for i in range(3))))
    service.put("plan/facts.csv", b"id,people\n0,5\n1,6\n9,7\n")
    assert service.ingest(manifest("plan-places", ("plan/places.geojson", "GeoJSON")))["status"] == "success"
    assert service.ingest(table("plan-facts", "plan/facts.csv"))["status"] == "success"
    document = manifest("plan-join", intent="join_datasets")
    config = {"spatial_dataset_id": "plan-places", "tabular_dataset_id": "plan-facts", "left_key": "id"}
    document["metadata"]["join_config"] = {**config, "spatial_columns": ["name"]}
    made = plan(service, document)
    assert (made["would"], made["counts"]["rows_out"]) == ("succeed", 3)
    assert [(each["role"], each["version"], each["rows"]) for each in made["parents"]] == [
        ("tabular", 1, 3), ("spatial", 1, 3),
    ]  # fmt: skip
    run = service.ingest(document)
    assert run["status"] == "success", run["error"]
    assert made["counts"]["rows_out"] == run["counts"]["rows_out"]
    assert made["warnings"] == run["warnings"]
    schema = service.http.get("/assets/plan-join/v1").json()["metadata"]["column_schema"]
    assert [(column["name"], column["type_name"]) for column in made["columns"]] == [
        (name, column["type_name"]) for name, column in schema.items()
    ]
    unknown = manifest("plan-join-unknown", intent="join_datasets")
    unknown["metadata"]["join_config"] = config | {"spatial_dataset_id": "plan-plaecs", "tabular_dataset_id": "nowhere"}
    refused = plan(service, unknown)
    assert refused["would"] == "be refused"
    assert [each["reason"] for each in refused["refusals"]] == ["dataset_unknown", "dataset_unknown"]
    assert "Did you mean 'plan-places'?" in refused["refusals"][1]["fix"]
    error = service.ingest(unknown)["error"]
    assert {name: refused["refusals"][0][name] for name in ("detail", "fix")} == {
        name: error[name] for name in ("detail", "fix")
    }
    wrong = document | {"batch_id": "plan-join-wrong"}
    wrong["metadata"] = document["metadata"] | {"join_config": config | {"left_key": "identity"}}
    assert [each["reason"] for each in plan(service, wrong)["refusals"]] == ["column_unknown"]


# Answers that can be put into the manifest


@pytest.mark.parametrize(
    ("name", "body", "fmt", "more"),
    [
        ("t.csv", "sep=;\nä;ä;b c;x;t\n01;1;2026-01-01 10:00;1.50;a\n02;2;2026-01-02 11:30;2.25;\n", "CSV", {}),
        ("cp.csv", "Ort;n\nZürich;1\nKöln;2\n".encode("cp1252"), "CSV", {}),
        ("z.csv", "a,when\n1,2026-01-01T10:00:00.123456789Z\n2,2026-01-01T10:00:01Z\n", "CSV", {}),
        ("one.csv", "only\n1\n2\n", "CSV", {}),
        ("twice.csv", "a,a,a_1,,b\n1,x,2,3,4\n5,y,6,7,8\n", "CSV", {}),
        ("book.xlsx", BOOK, "XLSX", {"sheet": "S"}),
        ("bare.csv", "1,x\n2,y\n", "CSV", {"header": False, "nulls": ["y"]}),
        ("t.tsv", "a\tb\n1\tTRUE\n2\tfalse\n", "TSV", {}),
        (
            "german.csv",
            'Bericht "2026"\n\nNr;Betrag;Stand;Text\n01;1.234,50;31.12.2026; a\n02;-7,25;1.1.26\n03;1;x;y;z\n',
            "CSV",
            {
                "header_row": 3,
                "decimal": ",",
                "thousands": ".",
                "date_format": "dmy",
                "trim": True,
                "short_rows": "null_fill",
                "quarantine_share": 0.5,
            },
        ),
        ("l.jsonl", '{"a": 1, "b": {"c": [1]}, "d": "x"}\n{"a": 2.5, "d": null}\n', "JSONL", {}),
    ],
)
def test_the_answers_pasted_give_the_same_plan_and_the_same_bytes(
    service: Service, name: str, body: str | bytes, fmt: str, more: dict[str, Any]
) -> None:
    service.put(f"plan/paste/{name}", body if isinstance(body, bytes) else body.encode())
    batch = f"paste-{name}"
    document = table(batch, f"plan/paste/{name}", fmt, **more)
    first = plan(service, document)
    assert first["would"] == "succeed", first["refusals"]
    second_document = pasted(document, first, f"{batch}-2")
    second = plan(service, second_document)
    for part in ("would", "counts", "engine", "steps"):
        assert second[part] == first[part], part
    assert {w["code"] for w in second["warnings"]} == {w["code"] for w in first["warnings"]} - {"encoding_assumed"}
    # What was found is now what was asked for.
    aside = ("reason",)
    assert [{k: v for k, v in column.items() if k not in aside} for column in second["columns"]] == [
        {k: v for k, v in column.items() if k not in aside} for column in first["columns"]
    ]
    assert second["files"][0]["editable"] == first["files"][0]["editable"]
    for each in (document, second_document):
        assert service.ingest(each)["status"] == "success"
    one, two = (service.http.get(f"/assets/{dataset}/v1").json() for dataset in (batch, f"{batch}-2"))
    assert one["content_hash"] == two["content_hash"]


def test_all_layers_of_a_file_are_named(service: Service, tmp_path: Path) -> None:
    for key, body in two_layers(tmp_path).items():
        service.put(f"plan/two/{key}", body)
    document = manifest("plan-two", ("plan/two/x.gpkg", "GPKG"))
    document["files"][0]["layer"] = "rivers"
    (file,) = plan(service, document)["files"]
    assert (file["layer"], file["layers"]) == ("rivers", ["roads", "rivers"])


def test_layer_and_crs_pasted_give_the_same_plan_and_the_same_bytes(service: Service, tmp_path: Path) -> None:
    import numpy as np
    import pyarrow as pa
    import pyogrio
    import shapely

    points = shapely.to_wkb(shapely.points(np.array([[500_000, 5_500_000], [500_100, 5_500_100]])))
    rows = pa.table({"name": ["Zürich", "b"], "geometry": points})
    about = {"geometry_name": "geometry", "geometry_type": "Point", "crs": "EPSG:25832"}
    for suffix, driver in ((".gpkg", "GPKG"), (".shp", "ESRI Shapefile"), (".fgb", "FlatGeobuf")):
        pyogrio.write_arrow(rows, tmp_path / f"s{suffix}", driver=driver, **about)
    for path in tmp_path.iterdir():
        service.put(f"plan/layers/{path.name}", path.read_bytes())
    service.put("plan/bare/s.shp", (tmp_path / "s.shp").read_bytes())
    for suffix in (".shx", ".dbf", ".cpg"):
        service.put(f"plan/bare/s{suffix}", (tmp_path / f"s{suffix}").read_bytes())
    cases = [("layers/s.gpkg", "GPKG", {}), ("layers/s.shp", "SHP", {}), ("layers/s.fgb", "FlatGeobuf", {}),
             ("bare/s.shp", "SHP", {"crs": "EPSG:25832"})]  # fmt: skip
    for number, (key, fmt, more) in enumerate(cases):
        document = manifest(f"paste-vector-{number}", (f"plan/{key}", fmt))
        document["files"][0] |= more
        first = plan(service, document)
        assert first["would"] == "succeed", first["refusals"]
        found = "EPSG:25832" if not more else None
        assert first["files"][0]["crs"] == {"found": found, "declared": more.get("crs"), "used": "EPSG:25832"}
        assert first["files"][0]["editable"]["crs"] == "EPSG:25832"
        again = pasted(document, first, f"paste-vector-{number}-2")
        second = plan(service, again)
        for part in ("would", "counts", "engine", "steps", "columns", "warnings"):
            assert second[part] == first[part], (key, part)
        hashes = set()
        for each in (document, again):
            assert service.ingest(each)["status"] == "success"
            hashes.add(service.http.get(f"/assets/{each['batch_id']}/v1").json()["content_hash"])
        assert len(hashes) == 1, key


# What it refuses


@pytest.mark.parametrize(("name", "make", "fmt", "code"), CASES, ids=[case[0] for case in CASES])
def test_hostile_files_are_refused_as_their_run_refuses_them(
    service: Service, tmp_path: Path, name: str, make: Callable[[Path], Uploads], fmt: str, code: str
) -> None:
    uploads = make(tmp_path)
    for key, body in uploads.items():
        service.put(f"plan-hostile/{name}/{key}", body)
    key = next((key for key in uploads if key.endswith(".shp")), next(iter(uploads)))
    refused_alike(service, manifest(f"plan-hostile-{name}", (f"plan-hostile/{name}/{key}", fmt)), name, code)


@pytest.mark.parametrize(("name", "make", "fmt", "code"), RASTER_CASES, ids=[case[0] for case in RASTER_CASES])
def test_hostile_rasters_are_refused_as_their_run_refuses_them(
    service: Service, name: str, make: Callable[[], bytes], fmt: str, code: str
) -> None:
    key = f"plan-hostile-rasters/{name}/x"
    service.put(key, make())
    refused_alike(service, raster_manifest(f"plan-hostile-raster-{name}", key, fmt), name, code)


TABLES: list[tuple[str, str, bytes, str]] = [
    ("nothing-but-header", "CSV", b"a,b\n", "no_rows"),
    ("which-delimiter", "CSV", b"a,b;c\n1,2;3\n", "delimiter_ambiguous"),
    ("ragged", "CSV", b"a,b\n" + b"1,2\n" * 5 + b"1,2,3\n" * 4, "rows_quarantined"),
    ("zeros", "CSV", b"a,b\n1,\x00\n", "nul_bytes"),
    ("vrt", "CSV", b"<?xml version='1.0'?><OGRVRTDataSource/>", "content_mismatch"),
    ("truncated-parquet", "Parquet", b"PAR1" + b"\x00" * 200, "file_truncated"),
    ("no-workbook", "XLSX", b"hello", "content_mismatch"),
    ("broken-json", "JSONL", b'{"a": 1}\n{"a": 2}\n{"a": \n', "rows_quarantined"),
]


@pytest.mark.parametrize(("name", "fmt", "body", "code"), TABLES, ids=[case[0] for case in TABLES])
def test_hostile_tables_are_refused_as_their_run_refuses_them(
    service: Service, name: str, fmt: str, body: bytes, code: str
) -> None:
    service.put(f"plan-hostile-tables/{name}", body)
    refused_alike(service, table(f"plan-hostile-table-{name}", f"plan-hostile-tables/{name}", fmt), name, code)


def refused_alike(service: Service, document: dict[str, Any], name: str, code: str) -> None:
    made = plan(service, document)
    wait_for(lambda: service.scratch() == [], "scratch to be empty")
    error = service.ingest(document)["error"]
    assert error["code"] == code
    if name in BEHIND_THE_DESCRIPTION:
        assert made["would"] == "succeed"
        assert made["not_looked_at"]
        return
    assert made["would"] == "be refused"
    first = made["refusals"][0]
    assert (first["reason"], first["file"]) == (code, error["file"])
    assert first["fix"] == error["fix"]
    assert first["detail"] == error["detail"] or name in IN_OTHER_WORDS
    assert str(service.data_dir) not in str(made)
    assert made["keys"] == []


def test_what_is_wrong_with_several_files_is_said_at_once(service: Service) -> None:
    service.put("plan/cut.geojson", POINTS[:-20])
    service.put("plan/whole.geojson", POINTS)
    service.put("plan/text.gpkg", b"hello")
    files = [("plan/cut.geojson", "GeoJSON"), ("plan/whole.geojson", "GeoJSON"), ("plan/text.gpkg", "GPKG")]
    made = plan(service, manifest("plan-several", *files))
    assert [(each["file"], each["reason"]) for each in made["refusals"]] == [
        ("plan/cut.geojson", "file_truncated"), ("plan/text.gpkg", "content_mismatch"),
    ]  # fmt: skip
    assert [file["file"] for file in made["files"]] == ["plan/whole.geojson"]
    service.put("plan/other.geojson", geojson((point(0, 0), {"n": "text", "name": 5})))
    differ = plan(
        service, manifest("plan-differ", ("plan/whole.geojson", "GeoJSON"), ("plan/other.geojson", "GeoJSON"))
    )
    assert [each["reason"] for each in differ["refusals"]] == ["schema_mismatch"]
    assert len(differ["files"]) == 2


def test_the_manifest_itself_is_judged_as_it_is_when_posted(service: Service) -> None:
    wrong = {"batch_id": "my batch", "intent": "ingest_vektor!", "files": [{"path": "s3://elsewhere/x"}]}
    planned, posted = (service.http.post(path, json=wrong) for path in ("/manifests/plan", "/manifests"))
    assert (planned.status_code, posted.status_code) == (422, 422)
    assert planned.json()["errors"] == posted.json()["errors"]
    assert planned.json()["code"] == "manifest_invalid"
    twice = '{"batch_id": "a", "batch_id": "b"}'
    for path in ("/manifests/plan", "/manifests"):
        response = service.http.post(path, content=twice, headers={"Content-Type": "application/json"})
        assert response.status_code == 422
    service.put("plan/p.geojson", POINTS)
    document = manifest("plan-conflict", ("plan/p.geojson", "GeoJSON"))
    service.ingest(document)
    assert problem(service, document | {"uploader": "another"}, 409)["code"] == "batch_conflict"


# What may go wrong meanwhile


def alone(data_dir: Path, **environment: str) -> Any:
    """A service of the test's own, which waits for a worker as long as one takes to start."""
    return running_service(data_dir, **{"SPATIAL_ETL_PLAN__WAIT_SECONDS": "20", **environment})


def test_no_worker_and_closed_lanes(data_dir: Path) -> None:
    impatient = {"SPATIAL_ETL_PLAN__WAIT_SECONDS": "1", "MANIFEST_ROUTER_ENABLED_LANES": "spatial,tabular"}
    with alone(data_dir, SPATIAL_ETL_WORKER__PROCESSES="0", **impatient) as service:
        join = manifest("x", intent="join_datasets")
        join["metadata"]["join_config"] = {"spatial_dataset_id": "a", "tabular_dataset_id": "b", "left_key": "k"}
        assert problem(service, join, 422)["code"] == "lane_closed"
        service.put("p.geojson", POINTS)
        document = manifest("nobody", ("p.geojson", "GeoJSON"))
        found = problem(service, document, 503)
        assert found["code"] == "workers_busy"
        assert "no worker is running" in found["detail"]
        (redis,) = [child for child in service.processes() if "redis-server" in child.name()]
        redis.suspend()
        try:
            assert problem(service, document, 503)["code"] == "queue_unavailable"
        finally:
            redis.resume()


HEAVY_ROWS = 3_000_000


@pytest.fixture(scope="module")
def heavy() -> bytes:
    """A table that takes some seconds: its last row takes back the types of all others."""
    return b"a,b,c,d\n" + b"1,2.5,2026-01-01,10:00:00\n" * HEAVY_ROWS + b"x,x,x,x\n"


def in_background(service: Service, document: dict[str, Any]) -> Any:
    """A plan that is under way: its process is there, and has its scratch directory."""
    pool = ThreadPoolExecutor(1)
    answer = pool.submit(service.http.post, "/manifests/plan", json=document)
    wait_for(lambda: [name for name in service.scratch() if name.startswith("plan-")], "the plan to begin")
    pool.shutdown(wait=False)
    return answer


def test_a_plan_that_is_killed_or_takes_too_long_is_answered(data_dir: Path, heavy: bytes) -> None:
    with alone(data_dir, SPATIAL_ETL_WORKER__PROCESSES="1", SPATIAL_ETL_PLAN__WAIT_SECONDS="0.5") as service:
        service.put("heavy.csv", heavy)
        service.put("p.geojson", POINTS)
        document = table("heavy", "heavy.csv")
        light = manifest("light", ("p.geojson", "GeoJSON"))
        before = state(service)
        wait_for(lambda: plan_when_free(service, light), "a worker")

        answer = in_background(service, document)
        job = service.job()
        job.kill()
        killed = answer.result(20).json()
        assert (killed["status"], killed["code"]) == (502, "plan_failed")
        assert "signal 9" in killed["detail"]
        wait_for(lambda: service.scratch() == [], "scratch to be empty")
        assert plan(service, light)["would"] == "succeed"

        answer = in_background(service, document)
        job = service.job()
        job.suspend()  # so it takes longer than any wait
        assert problem(service, light, 503)["detail"].endswith("all 1 workers are busy.")
        (worker,) = service.workers()
        os.kill(worker.pid, signal.SIGKILL)
        lost = answer.result(30).json()
        assert (lost["status"], lost["code"]) == (502, "plan_failed")
        wait_for(lambda: service.scratch() == [], "scratch to be empty")
        assert state(service) == before
        wait_for(lambda: plan_when_free(service, light), "another worker")


def plan_when_free(service: Service, document: dict[str, Any]) -> bool:
    return service.http.post("/manifests/plan", json=document).status_code == 200


def test_the_time_limit_is_a_clear_answer(data_dir: Path, heavy: bytes) -> None:
    with alone(data_dir, SPATIAL_ETL_PLAN__TIME_LIMIT_SECONDS="1") as service:
        service.put("heavy.csv", heavy)
        began = time.monotonic()
        found = problem(service, table("heavy", "heavy.csv"), 504)
        assert time.monotonic() - began < 20
        assert found["code"] == "plan_timeout"
        assert "SPATIAL_ETL_PLAN__TIME_LIMIT_SECONDS" in found["fix"]
        wait_for(lambda: service.scratch() == [], "scratch to be empty")

        answer = in_background(service, table("heavy", "heavy.csv"))
        job = service.job()
        job.suspend()  # as deaf to the alarm as a long call into a library
        deaf = answer.result(20).json()
        assert (deaf["status"], deaf["code"]) == (504, "plan_timeout")
        wait_for(lambda: not service.jobs() and service.scratch() == [], "the process and its scratch to go")
        assert service.ingest(table("heavy", "heavy.csv"))["status"] == "success"


def test_plans_at_once_are_all_answered(service: Service) -> None:
    service.put("plan/many.geojson", POINTS)
    documents = [manifest(f"plan-many-{i}", ("plan/many.geojson", "GeoJSON")) for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda document: plan(service, document), documents))
    assert [answer["batch_id"] for answer in answers] == [document["batch_id"] for document in documents]
    assert {answer["would"] for answer in answers} == {"succeed"}


def test_with_postgis_the_plan_has_the_sql_and_leaves_no_schema(data_dir: Path) -> None:
    with fresh_database() as url:
        postgis = {"SPATIAL_ETL_ENGINE__NAME": "postgis", "SPATIAL_ETL_ENGINE__POSTGIS_URL": url}
        with alone(data_dir, **postgis) as service:
            service.put("p.geojson", POINTS)
            document = manifest("sql", ("p.geojson", "GeoJSON"))
            made = plan(service, document)
            assert made["engine"]["engine"] == "postgis"
            assert "ST_MakeValid" in "".join(made["sql"])
            assert schemas(url) == []
            assert made["engine"] == service.ingest(document)["engine"]
            unchanged = plan(service, document | {"batch_id": "sql-2"})
            assert (unchanged["would"], unchanged["unchanged_version"]) == ("change nothing", 1)
    with alone(data_dir, **postgis, SPATIAL_ETL_RUN__HEARTBEAT_SECONDS="10") as service:
        found = problem(service, document | {"batch_id": "sql-3"}, 503)
        assert found["code"] == "engine_unavailable"


def schemas(url: str) -> list[str]:
    async def look() -> list[str]:
        connection = await asyncpg.connect(url)
        try:
            rows = await connection.fetch("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'proc%'")
            return [row[0] for row in rows]
        finally:
            await connection.close()

    return asyncio.run(look())


def test_memory_is_that_of_a_run_and_orphaned_scratch_goes(data_dir: Path) -> None:
    orphan = data_dir / "scratch" / "plan-0123456789abcdef0123456789abcdef"
    elsewhere = data_dir / "scratch" / "plan-fedcba9876543210fedcba9876543210"
    # A process of this host that is no more, and one of another host, of which nobody here can tell.
    for directory, owner in ((orphan, process_name().rpartition("/")[0] + "/1"), (elsewhere, "elsewhere/x/1/1")):
        directory.mkdir(parents=True)
        (directory / ".owner").write_text(owner)
    with alone(data_dir, SPATIAL_ETL_RUN__MEMORY_LIMIT_BYTES=str(256 * 2**20)) as service:
        wait_for(lambda: service.scratch() == [elsewhere.name], "the orphan to go")
        text = "x" * 400_000
        features = geojson(*((point(0, 0), {f"c{i}_{j}": text for j in range(10)}) for i in range(40)))
        service.put("wide.geojson", features)
        response: httpx.Response = service.http.post(
            "/manifests/plan", json=manifest("wide", ("wide.geojson", "GeoJSON"))
        )
        found = response.json()
        assert (response.status_code, found["code"]) == (502, "plan_failed"), found
        assert "SPATIAL_ETL_RUN__MEMORY_LIMIT_BYTES" in found["fix"]
