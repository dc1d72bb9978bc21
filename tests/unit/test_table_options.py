"""The options of tables in a manifest: every fault at once, at its pointer, with what to do."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.errors import Fault
from app.models.formats import FORMATS, OPTION_NAMES
from app.models.manifests.faults import invalid_manifest
from app.models.manifests.manifest import Manifest
from app.models.recipes.table import SHIPPED
from app.models.recipes.vector import VectorRecipe
from tests.service import manifest


def document(fmt: str, options: dict[str, Any], **more: Any) -> dict[str, Any]:
    """intent=…, recipe=… go into the manifest, all else into the entry of the file."""
    made = manifest("b-1", ("t", fmt))
    made["intent"] = more.pop("intent", "ingest_tabular")
    if "recipe" in more:
        made["recipe"] = more.pop("recipe")
    made["files"][0] |= {"type": "tabular", "options": options, **more}
    return made


def faults(fmt: str, options: dict[str, Any], **more: Any) -> tuple[Fault, ...]:
    try:
        Manifest.model_validate(document(fmt, options, **more))
    except ValidationError as err:
        listed = invalid_manifest(err.errors()).faults
        assert all(fault.detail and fault.fix for fault in listed)
        return listed
    return ()


def found(fmt: str, options: dict[str, Any], **more: Any) -> set[tuple[str, str]]:
    """{(pointer below the file, code)}"""
    return {(fault.pointer.removeprefix("/files/0/"), fault.code) for fault in faults(fmt, options, **more)}


# (format, options, {option: code of its fault})
FAULTS: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    ("CSV", {"short_rows": "null_fill", "quarantine_share": 1}, {}),
    ("CSV", {"short_rows": "pad"}, {"short_rows": "literal_error"}),
    ("CSV", {"quarantine_share": 1.5}, {"quarantine_share": "less_than_equal"}),
    ("CSV", {"quarantine_share": "0.5"}, {"quarantine_share": "float_type"}),
    ("CSV", {"quarantine_share": True}, {"quarantine_share": "float_type"}),
    ("XLSX", {"short_rows": "null_fill"}, {"short_rows": "option_not_of_format"}),
    ("XLSX", {"skip_rows": 0, "header_row": 1}, {}),
    (
        "TSV",
        {"skip_rows": -1, "header_row": 0},
        {"skip_rows": "greater_than_equal", "header_row": "greater_than_equal"},
    ),
    ("CSV", {"skip_rows": 1_000_001, "header_row": 1.0}, {"skip_rows": "less_than_equal", "header_row": "int_type"}),
    (
        "CSV",
        {"header": False, "header_row": 2, "quarantine_share": 2},
        {"header_row": "options_contradict", "quarantine_share": "less_than_equal"},
    ),
    ("JSONL", {"decimal": ",", "thousands": ".", "date_format": "%d. %B %Y", "trim": True}, {}),
    ("CSV", {"decimal": ",", "thousands": ","}, {"thousands": "options_contradict"}),
    ("CSV", {"thousands": "."}, {"thousands": "options_contradict"}),
    ("TSV", {"escape": "\\", "quote": "none"}, {}),
    ("CSV", {"escape": "/"}, {"escape": "literal_error"}),
    ("CSV", {"escape": "\\", "delimiter": "\\"}, {"escape": "options_contradict"}),
    ("JSONL", {"escape": "\\"}, {"escape": "option_not_of_format"}),
    ("CSV", {"decimal": ";", "thousands": "x"}, {"decimal": "literal_error", "thousands": "literal_error"}),
    ("CSV", {"date_format": "%d.%m"}, {"date_format": "date_format_invalid"}),
    ("CSV", {"date_format": "%d.%m.%Y %M"}, {"date_format": "date_format_invalid"}),
    ("CSV", {"date_format": "%d.%m.%Y %y"}, {"date_format": "date_format_invalid"}),
    ("CSV", {"date_format": "%x"}, {"date_format": "date_format_invalid"}),
    ("CSV", {"date_format": "%d.%m.%Y%"}, {"date_format": "date_format_invalid"}),
    ("CSV", {"date_format": ""}, {"date_format": "date_format_invalid"}),
    ("CSV", {"date_format": "%d.%m.%Y" * 20}, {"date_format": "string_too_long"}),
    (
        "Parquet",
        {"date_format": "dmy", "decimal": ","},
        dict.fromkeys(("date_format", "decimal"), "option_not_of_format"),
    ),
    ("JSONL", {"skip_rows": 1}, {"skip_rows": "option_not_of_format"}),
    ("Parquet", {"area_of_use": "ignore"}, {"area_of_use": "option_not_of_intent"}),
]

_XY = {"x": "lon", "y": "lat", "crs": "EPSG:4326"}
# (files[].options.geometry, {(pointer below files[0], code)}) under an intent for vector files.
GEOMETRY_FAULTS: list[tuple[Any, set[tuple[str, str]]]] = [
    (_XY, set()),
    ({"wkt": "g", "crs": "epsg:25832"}, set()),
    ({"wkb": "g", "crs": 'GEOGCS["x"]'}, set()),
    ({"wkb": "g", "crs": "+proj=longlat"}, set()),
    ({"wkb": "g", "crs": " ESRI:102100 "}, set()),
    ({"wkb": "g", "crs": "OTHER:1"}, set()),
    ({"x": "a", "y": "b"}, {("options/geometry/crs", "field_missing")}),
    ({**_XY, "crs": ""}, {("options/geometry/crs", "geometry_crs_unknown")}),
    ({**_XY, "crs": "WGS 84"}, {("options/geometry/crs", "geometry_crs_unknown")}),
    ({**_XY, "crs": "source"}, {("options/geometry/crs", "geometry_crs_unknown")}),
    ({**_XY, "crs": "EPSG:99999"}, {("options/geometry/crs", "geometry_crs_unknown")}),
    ({**_XY, "crs": "EPSG:5783"}, {("options/geometry/crs", "geometry_crs_unknown")}),  # heights
    ({**_XY, "crs": 4326}, {("options/geometry/crs", "string_type")}),
    ({"x": "a", "crs": "EPSG:4326"}, {("options/geometry", "geometry_columns_unclear")}),
    ({"crs": "EPSG:4326"}, {("options/geometry", "geometry_columns_unclear")}),
    ({**_XY, "wkt": "g"}, {("options/geometry", "geometry_columns_unclear")}),
    ({**_XY, "y": "lon"}, {("options/geometry", "geometry_columns_unclear")}),
    ({**_XY, "x": ""}, {("options/geometry/x", "string_too_short")}),
    ({**_XY, "z": "h"}, {("options/geometry/z", "field_unknown")}),
    (
        {"x": 1, "lat": "b"},
        {
            ("options/geometry/x", "string_type"),
            ("options/geometry/lat", "field_unknown"),
            ("options/geometry/crs", "field_missing"),
            ("options/geometry", "geometry_columns_unclear"),
        },
    ),
    ("lon,lat", {("options/geometry", "model_type")}),
]


@pytest.mark.parametrize(("fmt", "options", "wanted"), FAULTS, ids=[f"{f} {o}" for f, o, _ in FAULTS])
def test_the_faults_of_options(fmt: str, options: dict[str, Any], wanted: dict[str, str]) -> None:
    assert found(fmt, options) == {(f"options/{name}", code) for name, code in wanted.items()}


@pytest.mark.parametrize(("geometry", "wanted"), GEOMETRY_FAULTS, ids=[str(given) for given, _ in GEOMETRY_FAULTS])
def test_the_faults_of_the_columns_with_coordinates(geometry: Any, wanted: set[tuple[str, str]]) -> None:
    for fmt in ("CSV", "TSV", "XLSX", "JSONL", "Parquet"):
        assert found(fmt, {"geometry": geometry}, intent="ingest_vector") == wanted


@pytest.mark.parametrize(
    "intent", ["ingest_vector", "ingest_building_footprints", "ingest_road_network", "ingest_trees"]
)
def test_intents_for_vector_files_take_tables_with_coordinates(intent: str) -> None:
    assert found("CSV", {"geometry": _XY}, intent=intent, recipe={"crs": "source"}) == set()
    (fault,) = faults("CSV", {}, intent=intent)
    assert (fault.pointer, fault.code) == ("/files/0/type", "type_not_of_intent")
    assert '"options": {"geometry": {"x": "lon", "y": "lat", "crs": "EPSG:4326"}}' in fault.fix


def test_data_may_be_meant_to_lie_outside_the_area_of_use() -> None:
    """Where there are geometries or pixels, and only there."""
    for fmt in FORMATS:
        options = {"area_of_use": "ignore", **({"geometry": _XY} if fmt.type == "tabular" else {})}
        intent = "ingest_raster" if fmt.type == "raster" else "ingest_vector"
        assert found(fmt.name, options, intent=intent, type=fmt.type) == set()
        if fmt.type == "tabular":
            assert found(fmt.name, {**options, "area_of_use": "warn"}, intent=intent) == {
                ("options/area_of_use", "literal_error")
            }
            (fault,) = faults(fmt.name, {"area_of_use": "ignore"})
            assert (fault.pointer, fault.code) == ("/files/0/options/area_of_use", "option_not_of_intent")
            assert "options.geometry" in fault.fix


def test_a_missing_crs_is_named_with_examples() -> None:
    (fault,) = faults("CSV", {"geometry": {"x": "a", "y": "b"}}, intent="ingest_vector")
    assert (fault.pointer, fault.code) == ("/files/0/options/geometry/crs", "field_missing")
    assert '"EPSG:4326"' in fault.fix


def test_where_the_columns_with_coordinates_do_not_belong() -> None:
    for intent in ("ingest_tabular", "ingest_raster"):
        (fault, *_) = [each for each in faults("CSV", {"geometry": _XY}, intent=intent) if "geometry" in each.pointer]
        assert (fault.pointer, fault.code) == ("/files/0/options/geometry", "option_not_of_intent")
        assert "ingest_vector" in fault.fix
    assert found("GPKG", {"geometry": _XY}, intent="ingest_vector", type="vector") == {
        ("options/geometry", "option_not_of_format")
    }
    assert found("CSV", {"geometry": _XY}, intent="ingest_vector", crs="EPSG:4326") == {("crs", "options_contradict")}
    assert ("/recipe", "recipe_not_allowed") in {
        (each.pointer, each.code) for each in faults("CSV", {}, intent="ingest_vector", recipe={"crs": "source"})
    }


def test_a_table_with_coordinates_has_the_recipe_of_its_intent() -> None:
    made = Manifest.model_validate(document("CSV", {"geometry": _XY}, intent="ingest_vector"))
    assert SHIPPED.resolve(made).recipe == VectorRecipe()
    table = Manifest.model_validate(document("CSV", {}))
    assert SHIPPED.resolve(table).recipe is None


def test_only_formats_that_may_be_zipped_have_members() -> None:
    for fmt in FORMATS:
        wanted = set() if fmt.zipped else {("member", "member_not_of_format")}
        kinds = {"type_not_of_intent"} if fmt.type != "tabular" else set()
        got = {each for each in found(fmt.name, {}, member="a/b", type=fmt.type) if each[1] not in kinds}
        assert got == wanted, fmt.name
    assert found("CSV", {}, member="") == {("member", "string_too_short")}
    assert found("CSV", {}, member="x" * 1_025) == {("member", "string_too_long")}


@pytest.mark.parametrize("fmt", [fmt for fmt in FORMATS if fmt.type == "tabular"], ids=lambda fmt: fmt.name)
def test_an_option_that_a_format_does_not_take_is_a_fault_whatever_its_value(fmt: Any) -> None:
    """All of them at once, also those whose values are wrong."""
    options = dict.fromkeys(OPTION_NAMES, 5)
    foreign = {(f"options/{name}", "option_not_of_format") for name in OPTION_NAMES if name not in fmt.options}
    assert foreign <= found(fmt.name, options)
    assert not {place for place in found(fmt.name, options) - foreign if place[1] == "option_not_of_format"}
