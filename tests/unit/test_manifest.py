"""The manifest's rules: every fault at once, each with its pointer, its code and what to do."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.errors import Fault
from app.models.bounded import DATASET_ID_PATTERN
from app.models.intents import intent_names
from app.models.manifests.faults import invalid_manifest
from app.models.manifests.manifest import Manifest
from app.models.recipes.table import SHIPPED
from tests.service import manifest

GOOD = manifest("b-1", ("a/x.gpkg", "GPKG"))


def faults(document: Any) -> tuple[Fault, ...]:
    with pytest.raises(ValidationError) as caught:
        Manifest.model_validate(document)
    return tuple(invalid_manifest(caught.value.errors()).faults)


def changed(path: str, value: Any) -> dict[str, Any]:
    """GOOD with the value at the slash-separated path replaced; `...` removes it."""
    document: Any = copy.deepcopy(GOOD)
    node, parts = document, path.split("/")
    for part in parts[:-1]:
        node = node[int(part)] if part.isdigit() else node[part]
    if value is ...:
        del node[parts[-1]]
    else:
        node[parts[-1]] = value
    return document


WITHIN = {"check": "within", "dataset": "a"}
JOIN = {"spatial_dataset_id": "a", "tabular_dataset_id": "b", "left_key": "k"}

ONE_FAULT = [
    ("batch_id", ..., "/batch_id", "field_missing"),
    ("batch_id", "", "/batch_id", "string_pattern_mismatch"),
    ("batch_id", "a b", "/batch_id", "string_pattern_mismatch"),
    ("batch_id", "x" * 129, "/batch_id", "string_pattern_mismatch"),
    ("batch_id", "b\n", "/batch_id", "string_pattern_mismatch"),
    ("batch_id", 5, "/batch_id", "string_type"),
    ("uploader", "x" * 201, "/uploader", "string_too_long"),
    ("intent", "ingest_" + "x" * 122, "/intent", "string_too_long"),
    ("files", [{}] * 5_001, "/files", "too_long"),
    ("files/0/layer", "x" * 1_001, "/files/0/layer", "string_too_long"),
    ("files/0/crs", "x" * 10_001, "/files/0/crs", "string_too_long"),
    ("files/0/format", "x" * 101, "/files/0/format", "string_too_long"),
    ("files/0/options", {"encoding": "x" * 65}, "/files/0/options/encoding", "string_too_long"),
    ("files/0/options", {"encoding": "rot13"}, "/files/0/options/encoding", "encoding_unknown"),
    ("files/0/options", {"nulls": ["x"] * 201}, "/files/0/options/nulls", "too_long"),
    ("files/0/options", {"types": dict.fromkeys(map(str, range(2_001)), "text")}, "/files/0/options/types", "too_long"),
    ("metadata/title", "x" * 1_001, "/metadata/title", "string_too_long"),
    ("metadata/description", "x" * 10_001, "/metadata/description", "string_too_long"),
    ("metadata/source", "x" * 2_001, "/metadata/source", "string_too_long"),
    ("metadata/license", "x" * 10_001, "/metadata/license", "string_too_long"),
    ("metadata/attribution", "x" * 2_001, "/metadata/attribution", "string_too_long"),
    ("metadata/project", "x" * 201, "/metadata/project", "string_too_long"),
    ("metadata/keywords", ["x" * 201], "/metadata/keywords/0", "string_too_long"),
    ("metadata/keywords", ["x"] * 201, "/metadata/keywords", "too_long"),
    ("metadata/tags", {str(n): n for n in range(201)}, "/metadata/tags", "too_long"),
    ("metadata/tags", {"a": "x" * 2_001}, "/metadata/tags/a", "tag_too_long"),
    ("uploader", "  ", "/uploader", "empty"),
    ("intent", "make_map", "/intent", "intent_unknown"),
    ("intent", "ingest_", "/intent", "intent_unknown"),
    ("intent", "INGEST_VECTOR", "/intent", "intent_unknown"),
    ("files", [], "/files", "files_missing"),
    ("files", "x", "/files", "tuple_type"),
    ("files/0/path", "s3://other/x.gpkg", "/files/0/path", "path_bucket"),
    ("files/0/path", "https://landing-zone/x.gpkg", "/files/0/path", "path_scheme"),
    ("files/0/path", "/etc/passwd", "/files/0/path", "path_bucket"),
    ("files/0/path", "s3://landing-zone/", "/files/0/path", "path_key"),
    ("files/0/path", "s3://landing-zone/a/../../x", "/files/0/path", "path_traversal"),
    ("files/0/path", "s3://landing-zone/a//x", "/files/0/path", "path_traversal"),
    ("files/0/path", "landing-zone/a\\..\\x", "/files/0/path", "path_traversal"),
    ("files/0/path", "landing-zone/a\x00x", "/files/0/path", "path_traversal"),
    ("files/0/type", "vectr", "/files/0/type", "literal_error"),
    ("files/0/format", "GTiff", "/files/0/format", "format_type_mismatch"),
    ("files/0/format", "GeoJSn", "/files/0/format", "format_unknown"),
    ("files/0/format", "VRT", "/files/0/format", "format_unknown"),
    ("files/0/layr", "x", "/files/0/layr", "field_unknown"),
    ("files/0/layer", "", "/files/0/layer", "empty"),
    ("files/0/options", {"encoding": "utf-8"}, "/files/0/options/encoding", "option_not_of_format"),
    ("files/0/options", {"sheet": "x"}, "/files/0/options/sheet", "option_not_of_format"),
    ("files/0/options", {"encoding": "klingon"}, "/files/0/options/encoding", "encoding_unknown"),
    ("files/0/options", {"enc": "utf-8"}, "/files/0/options/enc", "field_unknown"),
    ("metadata", ..., "/metadata", "field_missing"),
    ("metadata/title", " ", "/metadata/title", "empty"),
    ("metadata/license", ..., "/metadata/license", "field_missing"),
    ("metadata/dataset_id", "x", "/metadata/dataset_id", "field_unknown"),
    ("metadata/tags", {"dataset_id": "../x"}, "/metadata/tags/dataset_id", "dataset_id_invalid"),
    ("metadata/tags", {"dataset_id": 5}, "/metadata/tags/dataset_id", "dataset_id_invalid"),
    ("metadata/tags", {"testing": "yes"}, "/metadata/tags/testing", "testing_invalid"),
    ("metadata/tags", {"a": {"b": 1}}, "/metadata/tags/a", "tag_type"),
    ("metadata/tags", {"a": None}, "/metadata/tags/a", "tag_type"),
    ("metadata/tags", {"a": 2**70}, "/metadata/tags/a", "tag_type"),
    ("metadata/tags", {"a": float("nan")}, "/metadata/tags/a", "tag_type"),
    ("metadata/join_config", JOIN, "/metadata/join_config", "join_config_not_allowed"),
    ("file", "x", "/file", "field_unknown"),
    ("uploader", "a\0b", "/uploader", "text_invalid"),
    ("metadata/title", "\ud800", "/metadata/title", "text_invalid"),
    ("files/0/path", "landing-zone/" + "x/" * 600 + "x", "/files/0/path", "path_key"),
    ("dataset", {"checks": [{"check": "within"}]}, "/dataset/checks/0", "check_incomplete"),
    ("dataset", {"checks": [{**WITHIN, "bbox": [0, 0, 1, 1]}]}, "/dataset/checks/0", "check_incomplete"),
    (
        "dataset",
        {"checks": [{"check": "within", "bbox": [0, 0, 1, 1], "version": 1}]},
        "/dataset/checks/0/version",
        "check_incomplete",
    ),
    ("dataset", {"checks": [{**WITHIN, "version": 0}]}, "/dataset/checks/0/version", "greater_than_equal"),
    ("dataset", {"checks": [{**WITHIN, "dataset": "../a"}]}, "/dataset/checks/0/dataset", "string_pattern_mismatch"),
    ("dataset", {"checks": [{**WITHIN, "dataset": "b-1"}]}, "/dataset/checks/0/dataset", "check_own_dataset"),
]


@pytest.mark.parametrize(
    ("path", "value", "pointer", "code"), ONE_FAULT, ids=[f"{p}-{c}-{i}" for i, (p, _, _, c) in enumerate(ONE_FAULT)]
)
def test_each_rule_gives_one_fault_at_its_place(path: str, value: Any, pointer: str, code: str) -> None:
    found = faults(changed(path, value))
    assert (pointer, code) in [(fault.pointer, fault.code) for fault in found]
    assert all(fault.detail and fault.fix for fault in found)
    assert {fault.pointer for fault in found} == {pointer}


@pytest.mark.parametrize("document", [None, 5, "x", [], [GOOD]])
def test_what_is_no_object_is_one_fault(document: Any) -> None:
    (fault,) = faults(document)
    assert fault.pointer == ""


def test_all_faults_come_at_once_cross_field_rules_included() -> None:
    document = changed(
        "files", [GOOD["files"][0], {**GOOD["files"][0], "path": "landing-zone/a/x.gpkg"}, {"path": "s3://b/x"}]
    )
    document["metadata"]["titel"] = document["metadata"].pop("title")
    document["extra"] = 1
    pointers = {(f.pointer, f.code) for f in faults(document)}
    assert pointers == {
        ("/files/1/path", "path_duplicate"),
        ("/files/2/path", "path_bucket"),
        ("/files/2/type", "field_missing"),
        ("/files/2/format", "field_missing"),
        ("/metadata/title", "field_missing"),
        ("/metadata/titel", "field_unknown"),
        ("/extra", "field_unknown"),
    }


# What is wrong with one entry, and the fault that it gives; none of them hides that of another entry.
WRONG_ENTRIES: list[tuple[dict[str, Any], str, str]] = [
    ({"layers": []}, "layers", "layers_invalid"),
    ({"layers": ["a", " a"]}, "layers", "layers_invalid"),
    ({"layers": ["*", "a"]}, "layers", "layers_invalid"),
    ({"layers": "*", "layer": "a"}, "layers", "layers_not_allowed"),
    ({"layers": "a"}, "layers", "tuple_type"),
    ({"layers": [""]}, "layers/0", "empty"),
    ({"member": ""}, "member", "string_too_short"),
    ({"options": {"union": "some"}}, "options/union", "literal_error"),
    ({"options": {"types": {"a": "number"}}}, "options/types/a", "type_unknown"),
    ({"path": "s3://landing-zone/../*"}, "path", "path_traversal"),
]


@given(st.lists(st.sampled_from(WRONG_ENTRIES), min_size=1, max_size=6), st.booleans())
def test_every_fault_of_several_files_at_once(wrong: list[tuple[dict[str, Any], str, str]], supersedes: bool) -> None:
    entries = [
        {"path": f"landing-zone/{number}/*.gpkg", "type": "vector", "format": "GPKG", **fields}
        for number, (fields, _, _) in enumerate(wrong)
    ]
    entries.append({"path": "landing-zone/last", "type": "vector", "format": "GPKG", "options": {"union": "by_name"}})
    document = changed("files", entries) | ({"supersedes": "sha256:1"} if supersedes else {})
    wanted = {(f"/files/{number}/{field}", code) for number, (_, field, code) in enumerate(wrong)}
    wanted |= {("/supersedes", "string_pattern_mismatch")} if supersedes else set()
    found = {(fault.pointer, fault.code) for fault in faults(document)}
    assert wanted <= found
    assert {code for _, code in found - wanted} <= {"path_duplicate", "union_differs"}
    assert all(fault.detail and fault.fix for fault in faults(document))


@pytest.mark.parametrize(
    ("kind", "fmt", "parts", "allowed"),
    [
        ("vector", "GeoJSON", ({"member": "a"}, {"member": "b"}), True),
        ("vector", "GeoJSON", ({"member": "a"}, {"member": "a"}), False),
        ("vector", "GPKG", ({"layer": "a"}, {"layer": "b"}), True),
        ("vector", "GPKG", ({"layer": "a"}, {"layer": "a "}), False),
        ("vector", "GPKG", ({"layer": "a"}, {}), False),
        ("vector", "GPKG", ({}, {"layers": ["a"]}), False),
        ("vector", "GPKG", ({"layers": ["a", "b"]}, {"layers": ["c"]}), True),
        ("vector", "GPKG", ({"layers": ["a", "b"]}, {"layer": "b"}), False),
        ("vector", "GPKG", ({"layers": "*"}, {"layer": "b"}), False),
        ("vector", "GPKG", ({"layer": "b", "member": "x"}, {"layers": "*", "member": "y"}), True),
        ("vector", "GPKG", ({"layer": "b", "member": "x"}, {"layers": "*"}), False),
        ("vector", "GPKG", ({"crs": "EPSG:1"}, {"crs": "EPSG:2"}), False),
        ("raster", "netCDF", ({"layer": "a"}, {"layer": "b"}), False),
    ],
)
def test_the_parts_of_one_file_are_sources(kind: str, fmt: str, parts: tuple[Any, ...], allowed: bool) -> None:
    entries = [{"path": "landing-zone/a", "type": kind, "format": fmt, **part} for part in parts]
    document = changed("files", entries) | {"intent": f"ingest_{kind}"}
    if allowed:
        assert len(Manifest.model_validate(document).files) == 2
    else:
        assert [fault.code for fault in faults(document)] == ["path_duplicate"]


def test_unknown_names_are_met_with_the_nearest_known_one() -> None:
    assert "'layer'" in faults(changed("files/0/layr", "x"))[0].fix
    assert "'GeoJSON'" in faults(changed("files/0/format", "GeoJSn"))[0].fix
    assert "metadata.tags.dataset_id" in faults(changed("metadata/dataset_id", "x"))[0].fix
    assert "'join_datasets'" in faults(changed("intent", "join_dataset"))[0].fix


def test_an_unknown_intent_is_met_with_the_table() -> None:
    (fault,) = faults(changed("intent", "make_map"))
    assert all(name in fault.fix for name in intent_names())


def test_pointers_escape_slashes_and_tildes() -> None:
    (fault,) = faults(changed("metadata/tags", {"a/b~c": []}))
    assert fault.pointer == "/metadata/tags/a~1b~0c"


def test_join_config_is_needed_by_the_join_and_files_are_not() -> None:
    document = changed("intent", "join_datasets")
    assert {(f.pointer, f.code) for f in faults(document)} == {
        ("/files", "files_not_allowed"),
        ("/metadata/join_config", "join_config_missing"),
    }
    document["files"] = []
    document["metadata"]["join_config"] = JOIN
    assert Manifest.model_validate(document).metadata.join_config is not None


def test_a_join_version_is_a_whole_number_from_one() -> None:
    document = changed("intent", "join_datasets")
    document["files"] = []
    for bad in (0, "3", 1.5, True):
        document["metadata"]["join_config"] = {**JOIN, "spatial_version": bad}
        assert {fault.pointer for fault in faults(document)} == {"/metadata/join_config/spatial_version"}


def test_tabular_takes_exactly_one_file() -> None:
    document = changed("intent", "ingest_tabular")
    document["files"] = [{"path": f"s3://landing-zone/{n}.csv", "type": "tabular", "format": "CSV"} for n in "ab"]
    assert [(f.pointer, f.code) for f in faults(document)] == [("/files", "files_too_many")]


def test_a_file_of_the_wrong_type_for_the_intent() -> None:
    document = changed("files", [{"path": "s3://landing-zone/x.csv", "type": "tabular", "format": "CSV"}])
    assert [(f.pointer, f.code) for f in faults(document)] == [("/files/0/type", "type_not_of_intent")]


def test_two_spellings_of_a_manifest_are_the_same_content() -> None:
    other = changed("files/0/path", GOOD["files"][0]["path"].removeprefix("s3://"))
    other["files"][0]["format"] = "geopackage"
    other["metadata"]["keywords"] = []
    assert Manifest.model_validate(other).content_hash == Manifest.model_validate(GOOD).content_hash
    other["metadata"]["keywords"] = ["x"]
    assert Manifest.model_validate(other).content_hash != Manifest.model_validate(GOOD).content_hash


def test_keywords_are_trimmed_and_deduplicated_in_order() -> None:
    read = Manifest.model_validate(changed("metadata/keywords", [" b", "a", "b ", "", " "]))
    assert read.metadata.keywords == ("b", "a")


def test_a_manifest_survives_the_ledger_unchanged() -> None:
    document = changed("metadata/tags", {"dataset_id": "d", "s": "ü", "i": 3, "f": 2.5, "b": False, "testing": True})
    read = Manifest.model_validate(document)
    assert Manifest.model_validate(read.model_dump(mode="json")) == read
    assert (read.dataset_id, read.testing) == ("d", True)
    assert type(read.metadata.tags["i"]) is int
    assert read.metadata.tags["b"] is False


@pytest.mark.parametrize(
    ("title", "readable"),
    [
        ("Flurstücke (Großmühlbach), 2026", "flurstuecke-grossmuehlbach-2026"),
        ("Łódź & Ålesund", "lodz-alesund"),
        ("../../etc/passwd", "etc-passwd"),
        ("東京", "dataset"),
        ("word " * 100, "-".join(["word"] * 12)),
        ("x" * 500, "x" * 60),
    ],
)
def test_without_a_tag_the_dataset_is_named_after_title_and_batch(title: str, readable: str) -> None:
    document = changed("metadata/tags", {})
    document["metadata"]["title"] = title
    named = Manifest.model_validate(document).dataset_id
    assert named == Manifest.model_validate(document).dataset_id
    assert re.fullmatch(rf"{readable}-[0-9a-f]{{12}}", named)
    assert re.fullmatch(DATASET_ID_PATTERN, named)
    # Two manifests of the same title have nothing to do with each other.
    document["batch_id"] = "b-2"
    assert Manifest.model_validate(document).dataset_id.startswith(f"{readable}-")
    assert Manifest.model_validate(document).dataset_id != named


def test_any_other_ingest_intent_runs_the_default_recipe_on_its_own_lane() -> None:
    row = Manifest.model_validate(changed("intent", "ingest_trees")).intent_row
    assert (row.job_name, row.lane) == ("ingest_job", "ingest")
    assert SHIPPED.of("ingest_trees") == SHIPPED.of("ingest_vector")


@pytest.mark.parametrize("spelling", ["SHP", "shp", "ESRI Shapefile", "shapefile"])
def test_formats_have_aliases(spelling: str) -> None:
    assert Manifest.model_validate(changed("files/0/format", spelling)).files[0].format == "SHP"


def test_what_was_accepted_before_there_were_limits_is_still_read() -> None:
    """A queued run of an earlier release, or a rerun of its manifest, is not refused for its lengths."""
    document = copy.deepcopy(manifest("before", ("p.geojson", "GeoJSON")))
    document["metadata"] |= {"title": "t" * 20_000, "keywords": ["k" * 300], "tags": {"note": "n" * 5_000}}
    with pytest.raises(ValidationError) as refused:
        Manifest.model_validate(document)
    assert {line["type"] for line in refused.value.errors()} == {"string_too_long", "tag_too_long"}
    kept = Manifest.from_ledger(document)
    assert kept.metadata.title == "t" * 20_000
    assert kept.metadata.tags["note"] == "n" * 5_000
