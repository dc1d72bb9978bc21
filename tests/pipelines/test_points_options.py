"""The options of tables hold for tables with coordinates: the attributes are those of the table, type by type."""

from __future__ import annotations

import gzip
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.pipelines.conftest import Bench
from tests.pipelines.points import LON_LAT, WRITERS, table
from tests.pipelines.tables import ingest, zipped

PLAIN = "name,lon,lat\nä,1.5,2.5\nb,3,4\n"
SAME = ["POINT (1.5 2.5)", "POINT (3 4)"]

# {option: (format, content, files[].options, what else is in the entry)}, all with the points SAME.
CASES: dict[str, tuple[str, bytes | str, dict[str, Any], dict[str, Any]]] = {
    "none": ("CSV", PLAIN, {}, {}),
    "encoding": ("CSV", PLAIN.encode("utf-16-le"), {"encoding": "UTF-16-LE"}, {}),
    "delimiter": ("CSV", "name*lon*lat\na*1.5*2.5\nb*3*4\n", {"delimiter": "*"}, {}),
    "quote": ("CSV", "name,lon,lat\n'a,b','1.5',2.5\nb,3,4\n", {"quote": "'"}, {}),
    "escape": ("CSV", 'name,lon,lat\n"a\\"b","1.5",2.5\nb\\,c,3,4\n', {"escape": "\\"}, {}),
    "skip_rows": ("CSV", f"A title\n\n{PLAIN}", {"skip_rows": 2}, {}),
    "header_row": ("TSV",
        "A title\nname\tlon\tlat\nm\tdeg\tdeg\na\t1.5\t2.5\nb\t3\t4\n", {"header_row": 2, "skip_rows": 3}, {}),
    "nulls": ("CSV", "name,lon,lat\na,1.5,2.5\nb,3,4\nn/a,n/a,n/a\n", {"nulls": ["n/a"]}, {}),
    "types": ("CSV", PLAIN, {"types": {"lon": "text", "lat": "decimal(5,2)"}}, {}),
    "trim": ("CSV", "name, lon ,lat\n a , 1.5 , 2.5\nb,3,4\n,  ,\n", {"trim": True}, {}),
    "decimal": ("CSV", "name;lon;lat\na;1,5;2,5\nb;3;4\n", {"decimal": ","}, {}),
    "thousands": ("JSONL",
        '{"name": 1, "lon": "1.5", "lat": "2.5"}\n{"name": 2, "lon": 3, "lat": "4"}\n', {"thousands": "'"}, {}),
    "date_format": ("TSV", "name\tlon\tlat\n1.2.2026\t1.5\t2.5\n31.12.2026\t3\t4\n", {"date_format": "dmy"}, {}),
    "short_rows": ("CSV", "lon,lat,name\n1.5,2.5\n3,4,b\n", {"short_rows": "null_fill"}, {}),
    "quarantine_share": ("CSV", f"{PLAIN}c,5\n", {"quarantine_share": 0.5}, {}),
    "sheet": ("XLSX", WRITERS["XLSX"]({"lon": [1.5, 3], "lat": ["2.5", 4]}), {"sheet": "Points"}, {}),
    "gzip": ("CSV", gzip.compress(PLAIN.encode()), {}, {}),
    "member": ("CSV", zipped({"a.csv": PLAIN, "b.csv": "a\n1\n"}), {}, {"member": "a.csv"}),
    "Parquet": ("Parquet", WRITERS["Parquet"]({"a": [{"b": 1}, None], "lon": [1.5, 3], "lat": [2.5, 4]}), {}, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_an_option_does_what_it_does_for_a_table(bench: Bench, case: str) -> None:
    fmt, body, options, entry = CASES[case]
    geometry = {**LON_LAT, "x": " lon "} if case == "trim" else LON_LAT
    as_table = ingest(bench, body, fmt, **options, **entry)
    found = bench.run({**table("t", fmt, geometry, **options), **entry})
    made = pq.read_table(found.path).drop_columns(["geom", "bbox"])
    assert made.replace_schema_metadata().equals(as_table.table.replace_schema_metadata())
    assert {field.name: str(field.type) for field in made.schema} == as_table.types
    assert [each.wkt for each in found.frame.geometry if each is not None] == SAME
    for count in ("rows_in", "rows_out", "rows_quarantined", "rows_null_filled"):
        assert found.counts.get(count, 0) == as_table.counts.get(count, 0)
    codes = {"null_geometries"} & set(found.watch.warnings)
    assert set(found.watch.warnings) - codes == set(as_table.warnings)
    for name, each in as_table.product.column_schema.items():
        mine = found.product.column_schema[name]
        assert (mine.title, mine.type_name, mine.logical_type) == (each.title, each.type_name, each.logical_type)
    assert found.product.header_mapping == as_table.product.header_mapping


def test_without_a_header_columns_have_their_cleaned_names(bench: Bench) -> None:
    bench.write("t", "a,1.5,2.5\nb,3,4\n")
    geometry = {"x": "column_2", "y": "column_3", "crs": "EPSG:4326"}
    found = bench.run(table("t", "CSV", geometry, header=False))
    assert [each.wkt for each in found.frame.geometry] == SAME
    assert found.product.header_mapping == {}
