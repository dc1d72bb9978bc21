"""What a plan says of tables with coordinates, and of tables whose columns look like coordinates."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from app.errors import RunRefused
from app.models.plan import Plan
from tests.pipelines.conftest import Bench
from tests.pipelines.points import LON_LAT, WRITERS, table


@pytest.mark.parametrize("fmt", WRITERS)
def test_a_plan_foresees_the_run(bench: Bench, fmt: str) -> None:
    bench.write("t", WRITERS[fmt]({"Plätze": ["a", "b"], "lon": [1.5, None], "lat": [2.5, 3.5]}))
    plan, found = bench.plan(table("t", fmt)), bench.run(table("t", fmt))
    assert plan.would == "succeed"
    assert plan.steps[:2] == (
        "read all rows, type each column by all of its values",
        "make points of the columns 'lon' and 'lat' in EPSG:4326",
    )
    assert {(each.name, each.title, each.type_name) for each in plan.columns} == {
        (name, each.title, each.type_name) for name, each in found.product.column_schema.items()
    }
    assert (plan.counts["rows_in"], plan.counts["rows_out"]) == (found.counts["rows_in"], found.counts["rows_out"])
    (file,) = plan.files
    assert (file.format, file.geometry_type, file.rows) == (fmt, "Point", 2)
    assert file.crs is not None
    assert (file.crs.found, file.crs.declared, file.crs.used) == (None, "EPSG:4326", "EPSG:4326")
    assert [each.name for each in file.columns] == ["platze", "lon", "lat"]
    pasted = {**table("t", fmt), "options": file.editable.model_dump(mode="json", exclude_none=True)["options"]}
    assert pasted["options"]["geometry"] == LON_LAT
    assert bench.run(pasted).frame.equals(found.frame)


def test_a_plan_names_the_quarantine(bench: Bench) -> None:
    bench.write("t", "n,g\n1,POINT (500000 5400000)\n2,x\n")
    plan = bench.plan(table("t", geometry={"wkt": "g", "crs": "EPSG:25832"}, quarantine_share=1))
    assert [key.rpartition("/")[2] for key in plan.keys] == ["data-{sha256}.parquet", "quarantine-{sha256}.parquet"]
    assert (plan.counts["rows_in"], plan.counts["rows_out"], plan.counts["rows_quarantined"]) == (2, 1, 1)
    assert "make geometries of the column 'g' in EPSG:25832" in plan.steps
    (file,) = plan.files
    assert [each.reason for each in file.columns if each.name == "g"] == [
        "geometries, as files[].options.geometry says"
    ]
    assert [each.name for each in plan.columns] == ["n", "geom", "bbox"]


def test_a_plan_names_the_faults_of_all_files(bench: Bench) -> None:
    for name in ("a", "b", "c"):
        bench.write(name, "lon,lat\n1,2\n" if name == "b" else "x,y\n1,2\n")
    plan = bench.plan(*map(table, "abc"))
    assert [(each.file, each.reason) for each in plan.refusals] == [("a", "column_unknown"), ("c", "column_unknown")]


def proposed(plan: Plan) -> Any:
    (warning,) = [each for each in plan.warnings if each.code == "coordinates_found"]
    text = warning.message
    return json.loads(text[text.index("{") : text.rindex("}") + 1])["geometry"]


LOOK_LIKE_COORDINATES: list[tuple[dict[str, list[Any]], dict[str, str]]] = [
    ({"lon": [1.5], "lat": [2.5]}, LON_LAT),
    ({"Long": [1], "Lat": [2]}, {"x": "Long", "y": "Lat", "crs": "EPSG:4326"}),
    ({"lat": [1], "lng": [2], "x": [3], "y": [4]}, {"x": "lng", "y": "lat", "crs": "EPSG:4326"}),
    ({"Longitude": ["1,5"], "Latitude": ["2,5"]}, {"x": "Longitude", "y": "Latitude", "crs": "EPSG:4326"}),
    ({"X": [1], "Y": [2]}, {"x": "X", "y": "Y", "crs": "EPSG:4326"}),
    ({"X": [691608], "Y": [5334760]}, {"x": "X", "y": "Y", "crs": "EPSG:CODE"}),
    ({"easting": [1], "northing": [5e6]}, {"x": "easting", "y": "northing", "crs": "EPSG:CODE"}),
    ({"Rechtswert": [4470000], "Hochwert": [5330000.5]}, {"x": "Rechtswert", "y": "Hochwert", "crs": "EPSG:31468"}),
    (
        {"Rechtswert": [4470000, 3500000], "Hochwert": [1, 5e6]},
        {"x": "Rechtswert", "y": "Hochwert", "crs": "EPSG:CODE"},
    ),
    ({"WKT": [None, "POLYGON ((0 0, 1 1, 1 0, 0 0))"]}, {"wkt": "WKT", "crs": "EPSG:CODE"}),
    ({"the_geom": ["SRID=25832;POINT (1 2)"], "lon": [1], "lat": [2]}, {"wkt": "the_geom", "crs": "EPSG:25832"}),
    ({"geom": ["0101000000000000000000F03F0000000000000040"]}, {"wkb": "geom", "crs": "EPSG:CODE"}),
]


@pytest.mark.parametrize(
    ("columns", "wanted"), LOOK_LIKE_COORDINATES, ids=[str([*c]) for c, _ in LOOK_LIKE_COORDINATES]
)
def test_a_plan_proposes_the_option(bench: Bench, columns: dict[str, list[Any]], wanted: dict[str, str]) -> None:
    entry = {"type": "tabular", "path": "t", "format": "JSONL"}
    bench.write("t", WRITERS["JSONL"](columns))
    plan = bench.plan(entry, intent="ingest_tabular")
    assert "coordinates_found" in [each.code for each in plan.warnings]
    assert proposed(plan) == wanted


def test_a_plan_proposes_bytes_as_wkb(bench: Bench) -> None:
    bench.write("t", WRITERS["Parquet"]({"geometry": pa.array([b"\x01"])}))
    plan = bench.plan({"type": "tabular", "path": "t", "format": "Parquet"}, intent="ingest_tabular")
    assert proposed(plan) == {"wkb": "geometry", "crs": "EPSG:CODE"}
    assert "in the place of CODE" in plan.warnings[-1].message


@pytest.mark.parametrize(
    "columns",
    [
        {"lon": [1]},
        {"lon": [True], "lat": [1]},
        {"geom": ["a wall"]},
        {"geometry": [None], "a": [1]},
        {"a": [1], "b": [2]},
    ],
    ids=str,
)
def test_a_plan_proposes_nothing_for_other_columns(bench: Bench, columns: dict[str, list[Any]]) -> None:
    bench.write("t", WRITERS["JSONL"](columns))
    plan = bench.plan({"type": "tabular", "path": "t", "format": "JSONL"}, intent="ingest_tabular")
    assert plan.would == "succeed"
    assert not [each for each in plan.warnings if each.code == "coordinates_found"]


def _unreachable(bench: Bench) -> dict[str, Any]:
    """A quarter of the globe from its meridian, a point has no place in UTM."""
    bench.write("t", "lon,lat\n9,50\n99,0\n10,51\n99,0\n11,52\n12,53\n")
    return {"recipe": {"crs": "EPSG:25832"}}


def _inside_out(bench: Bench) -> dict[str, Any]:
    """Switzerland's projection gives two places on Earth the same coordinates."""
    bench.write("t", "lon,lat\n8,47\n120,10\n160,-35\n")
    return {"recipe": {"crs": "EPSG:2056"}}


def _far(bench: Bench) -> dict[str, Any]:
    bench.write("t", "lon,lat\n1,2\n150,-30\n160,-35\n")
    return {"recipe": {"crs": "EPSG:25832"}}


def _beside(bench: Bench) -> dict[str, Any]:
    bench.write("t", "lon,lat\n10,50\n9,49\n19,55\n185,55\n")
    return {"recipe": {"crs": "EPSG:4326"}}


def _filtered(bench: Bench) -> dict[str, Any]:
    bench.write("t", "lon,lat\n9,50\n99,0\n10,51\n")
    return {"recipe": {"crs": "EPSG:25832", "where": "lat > 10"}}


@pytest.mark.parametrize("made", [_unreachable, _inside_out, _far, _beside, _filtered])
def test_a_plan_looks_at_every_place(bench: Bench, made: Any) -> None:
    more = made(bench)
    plan, refused, run = bench.plan(table("t", geometry=LON_LAT), **more), None, None
    try:
        run = bench.run(table("t", geometry=LON_LAT), **more)
    except RunRefused as err:
        refused = (err.reason, err.detail, err.fix)
    assert [(each.reason, each.detail, each.fix) for each in plan.refusals] == ([refused] if refused else [])
    assert (refused is not None) is (made in (_unreachable, _inside_out))
    if run is not None:
        warned = {each.code: (each.message, each.count, each.samples) for each in plan.warnings}
        assert warned == run.watch.warnings
        assert bool(warned) is (made in (_far, _beside))


def test_a_plan_looks_at_the_places_of_text(bench: Bench) -> None:
    bench.write("t", "n,g\n1,POINT (9 48)\n2,POINT (10 49)\n")
    file = table("t", geometry={"wkt": "g", "crs": "EPSG:25832"})
    with pytest.raises(RunRefused) as caught:
        bench.run(file)
    assert caught.value.reason == "outside_area_of_use"
    assert [(each.reason, each.detail) for each in bench.plan(file).refusals] == [
        ("outside_area_of_use", caught.value.detail)
    ]
