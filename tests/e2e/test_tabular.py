"""Tables through the real service: posted, read back with readers that had no part in writing them."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from tests.service import Service, manifest, running_service, wait_for

SAMPLE = Path(__file__).parents[2] / "samples" / "tabular"


def table(batch_id: str, key: str, fmt: str, **options: Any) -> dict[str, Any]:
    document = manifest(batch_id, (key, fmt), intent="ingest_tabular")
    document["files"][0] |= {"type": "tabular"} | ({"options": options} if options else {})
    return document


def test_the_sample_with_traps(service: Service, tmp_path: Path) -> None:
    body = (SAMPLE / "population.csv").read_bytes()
    service.put("demo/population.csv", body)
    run = service.ingest(json.loads((SAMPLE / "population.json").read_text()))
    assert run["status"] == "success", run["error"]
    records = list(csv.reader(io.StringIO(body.decode("cp1252"), newline=""), delimiter=";"))[1:]
    good = [record for record in records if len(record) == 6]
    assert len(records) - len(good) == 1
    counts = run["counts"]
    assert (counts["rows_in"], counts["rows_out"], counts["rows_quarantined"]) == (len(records), len(good), 1)
    assert {warning["code"] for warning in run["warnings"]} == {"encoding_assumed", "rows_quarantined", "check_warned"}

    asset = service.http.get("/assets/population/v1").json()
    assert (asset["kind"], asset["format"], asset["crs"], asset["bounds"]) == ("tabular", "parquet", None, None)
    columns = ["iso_code", "landername", "kenn_nr", "einwohner_mio", "geschatzt_am", "bemerkung"]
    assert list(asset["metadata"]["column_schema"]) == columns
    assert asset["metadata"]["header_mapping"]["Ländername"] == "landername"
    assert asset["statistics"]["columns"]["einwohner_mio"]["nulls"] == 1
    (companion,) = asset["metadata"]["companions"]
    lake = service.data_dir / "objects" / "data-lake"
    aside = pq.read_table(lake / companion["s3_key"]).to_pylist()
    assert [(each["line"], each["reason"]) for each in aside] == [
        (body[: body.index(b"FLK")].count(b"\n") + 1, "7 fields instead of 6")
    ]
    assert body[aside[0]["byte_offset"] :].startswith(b"FLK;")

    path = tmp_path / "population.parquet"
    path.write_bytes(service.http.get("/assets/population/v1/download").content)
    found = duckdb.read_parquet(str(path)).fetchall()
    for row, record in zip(found, good, strict=True):
        assert row[:3] == tuple(record[:3])
        assert row[3] == (Decimal(record[3]) if record[3] else None)
        assert row[4].isoformat() == record[4]
        assert (row[5] or "") == record[5]
    assert "„Österreich“\r\nohne" in next(row[5] for row in found if row[0] == "AUT")


@pytest.mark.parametrize(
    ("name", "body", "fmt", "options", "code"),
    [
        ("no-rows", b"a,b\n", "CSV", {}, "no_rows"),
        ("nul", b"a,b\n1,\x00\n", "CSV", {}, "nul_bytes"),
        ("pdf", b"%PDF-1.7\n", "CSV", {}, "content_mismatch"),
        ("ambiguous", b"a,b;c\n1,2;3\n", "CSV", {}, "delimiter_ambiguous"),
        ("ragged", b"a,b\n1\n2\n", "CSV", {"delimiter": ","}, "rows_quarantined"),
        ("no-such-column", b"a,b\n1,2\n", "CSV", {"types": {"c": "text"}}, "column_unknown"),
        ("wrong-encoding", "a,b\nü,1\n".encode("utf-16"), "CSV", {"encoding": "CP1252"}, "encoding_wrong"),
        ("truncated-gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03abc", "CSV", {}, "archive_invalid"),
        ("array", b"[1,2]", "JSONL", {}, "content_mismatch"),
        ("text-as-xlsx", b"a,b\n", "XLSX", {}, "content_mismatch"),
        ("text-as-parquet", b"a,b\n", "Parquet", {}, "content_mismatch"),
    ],
)
def test_tables_that_are_refused(
    service: Service, name: str, body: bytes, fmt: str, options: dict[str, Any], code: str
) -> None:
    before = service.lake()
    service.put(f"tables/{name}", body)
    run = service.ingest(table(f"table-{name}", f"tables/{name}", fmt, **options))
    assert (run["status"], run["error"]["code"]) == ("failure", code), run
    assert run["error"]["file"] == f"tables/{name}"
    assert run["error"]["fix"]
    assert str(service.data_dir) not in json.dumps(run["error"])
    assert service.lake() == before
    wait_for(lambda: service.scratch() == [], "scratch to be empty")


@pytest.mark.parametrize(
    ("options", "pointer", "code"),
    [
        ({"types": {"a": "varchar2"}}, "/files/0/options/types/a", "type_unknown"),
        ({"delimiter": "x"}, "/files/0/options/delimiter", "delimiter_invalid"),
        ({"sheet": "S"}, "/files/0/options/sheet", "option_not_of_format"),
    ],
)
def test_options_are_checked_at_the_door(service: Service, options: Any, pointer: str, code: str) -> None:
    response = service.post(table("bad-options", "t.csv", "CSV", **options))
    assert response.status_code == 422
    assert [(fault["pointer"], fault["code"]) for fault in response.json()["errors"]] == [(pointer, code)]


def test_a_table_with_coordinates_is_read_by_a_reader(service: Service) -> None:
    service.put("tables/points.csv", b"n,lon,lat\n1,11.5,48.1\n2,x,48\n")
    options = {"geometry": {"x": "lon", "y": "lat", "crs": "EPSG:4326"}, "quarantine_share": 0.5}
    run = service.ingest(table("points", "tables/points.csv", "CSV", **options) | {"intent": "ingest_vector"})
    assert run["status"] == "success", run["error"]
    assert (run["counts"]["rows_out"], run["counts"]["rows_quarantined"]) == (1, 1)
    version = service.http.get(run["links"]["asset"]).json()
    assert (version["kind"], version["bounds"]["minx"]) == ("spatial", 11.5)
    files = service.http.get(f"{run['links']['asset']}/files").json()["items"]
    assert [each["name"] for each in files] == ["data.parquet", "quarantine.parquet"]
    events = service.http.get(version["links"]["lineage"], headers={"Accept": "application/vnd.openlineage+json"})
    assert "coordinates become geometries" in events.text


def test_a_share_of_bad_rows_that_is_allowed_by_the_settings(tmp_path: Path) -> None:
    with running_service(tmp_path / "data", SPATIAL_ETL_LIMITS__QUARANTINE_SHARE="0.5") as tolerant:
        tolerant.put("t.csv", b"a,b\n1,2\n3\n4,5\n")
        run = tolerant.ingest(table("tolerated", "t.csv", "CSV"))
        assert run["status"] == "success", run["error"]
        assert run["counts"]["rows_quarantined"] == 1
        assert len(tolerant.lake()) == 2
