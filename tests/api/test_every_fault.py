"""Every code of a fault of the catalogue, provoked by the smallest request, or why none can provoke it."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app.messages.catalogue import codes
from app.messages.message import FaultMessage
from app.models.api_key import Scope
from app.models.formats import FORMATS
from app.models.intents import INTENTS
from tests.api.local_api import LocalApi, local_api
from tests.named_tests import names_code

FILE = {"path": "s3://landing-zone/a.csv", "type": "tabular", "format": "CSV"}
GPKG = {"path": "s3://landing-zone/a.gpkg", "type": "vector", "format": "GPKG"}
MANIFEST: dict[str, Any] = {
    "batch_id": "b", "uploader": "ada", "intent": "ingest_tabular", "files": [FILE],
    "metadata": {"title": "t", "description": "", "source": "", "license": "", "attribution": ""},
}  # fmt: skip
JOIN = {"spatial_dataset_id": "a", "tabular_dataset_id": "b", "left_key": "k"}


@dataclass(frozen=True)
class Sent:
    """A request. body: as it is if it is bytes, else as JSON. key: with a key for the prefix `own/`."""

    method: str
    path: str
    body: Any = None
    query: Mapping[str, Any] = field(default_factory=dict)
    key: bool = False


@dataclass(frozen=True)
class Never:
    """Why nothing provokes it."""

    why: str


@dataclass(frozen=True)
class Elsewhere:
    """The test that provokes it by another way in, as `file::name`."""

    test: str


def manifest(**fields: Any) -> Sent:
    """The manifest with other fields."""
    return Sent("POST", "/manifests", {**MANIFEST, **fields})


def file(**fields: Any) -> Sent:
    return manifest(files=[{**FILE, **fields}])


def options(**given: Any) -> Sent:
    return file(options=given)


def metadata(**fields: Any) -> Sent:
    return manifest(metadata={**MANIFEST["metadata"], **fields})


def checks(*given: Any) -> Sent:
    return manifest(dataset={"checks": given})


def without(name: str) -> Sent:
    document = copy.deepcopy(MANIFEST)
    del document[name]
    return Sent("POST", "/manifests", document)


def query(path: str, **parameters: Any) -> Sent:
    return Sent("GET", path, query=parameters)


def limit(value: object) -> Sent:
    return Sent("PUT", "/lanes/join/limit", {"limit": value})


def cleanup(**fields: Any) -> Sent:
    return Sent("POST", "/maintenance/cleanup", {"testing": True, **fields})


PROVOKED: Mapping[str, Sent | Elsewhere | Never] = {
    # Manifests
    "json_invalid": Sent("POST", "/manifests", b"{"),
    "name_repeated": Sent("POST", "/manifests", b'{"a": 1, "a": 2}'),
    "manifest_too_complex": Sent("POST", "/manifests", [0] * 30_001),
    "manifest_too_large": Elsewhere("tests/unit/test_dropped.py::test_what_is_too_large_stays_where_it_is"),
    "manifest_not_processed": Elsewhere(
        "tests/unit/test_dropped.py::test_one_that_cannot_be_recorded_is_rejected_without_its_content"
    ),
    "field_missing": without("uploader"),
    "field_unknown": manifest(colour="red"),
    "faults_omitted": manifest(files=[{}] * 200),
    "text_invalid": manifest(uploader="a\0"),
    "empty": manifest(uploader=" "),
    "batch_id_reserved": manifest(batch_id="rejected.1"),
    "intent_unknown": manifest(intent="paint"),
    "intent_not_available": Never("Every intent of this release has a pipeline."),
    "path_scheme": file(path="https://landing-zone/a.csv"),
    "path_bucket": file(path="s3://elsewhere/a.csv"),
    "path_key": file(path="s3://landing-zone/"),
    "path_traversal": file(path="s3://landing-zone/../a.csv"),
    "path_duplicate": manifest(files=[FILE, FILE]),
    "layers_invalid": manifest(intent="ingest_vector", files=[{**GPKG, "layers": []}]),
    "layers_not_allowed": manifest(intent="ingest_vector", files=[{**GPKG, "layers": "*", "layer": "a"}]),
    "pattern_unmatched": file(path="s3://landing-zone/nothing/*.csv"),
    "pattern_too_many": manifest(
        intent="ingest_parcels",
        files=[{**GPKG, "path": f"s3://landing-zone/{n}*"} for n in range(101)],
    ),
    "path_forbidden": Sent("POST", "/manifests", MANIFEST, key=True),
    "format_unknown": file(format="CSW"),
    "format_not_available": Never("This release can read every format of its table."),
    "format_type_mismatch": file(type="vector"),
    "type_not_of_intent": file(type="raster", format="GTiff"),
    "files_not_allowed": manifest(intent="join_datasets"),
    "files_missing": manifest(files=[]),
    "files_too_many": manifest(files=[FILE, {**FILE, "path": "s3://landing-zone/b.csv"}]),
    "files_mixed": manifest(
        intent="ingest_parcels", files=[FILE, {"path": "s3://landing-zone/b.tif", "type": "raster", "format": "GTiff"}]
    ),
    "member_not_of_format": file(format="Parquet", member="a.parquet"),
    "options_contradict": options(header=False, header_row=2),
    "union_differs": manifest(
        intent="ingest_parcels",
        files=[
            {**GPKG, "path": f"s3://landing-zone/{union}", "options": {"union": union}}
            for union in ("strict", "by_name")
        ],
    ),
    "date_format_invalid": options(date_format="%Q"),
    "option_not_of_format": options(warp="EPSG:4326"),
    "option_not_of_intent": options(geometry={"wkt": "a", "crs": "EPSG:4326"}),
    "geometry_columns_unclear": options(geometry={"x": "a", "crs": "EPSG:4326"}),
    "geometry_crs_unknown": options(geometry={"wkt": "a", "crs": "EPSG:1"}),
    "encoding_unknown": options(encoding="UTF-9"),
    "type_unknown": options(types={"a": "colour"}),
    "delimiter_invalid": options(delimiter="x"),
    "tag_too_long": metadata(tags={"a": "x" * 2_001}),
    "tag_type": metadata(tags={"a": None}),
    "dataset_id_invalid": metadata(tags={"dataset_id": "?"}),
    "testing_invalid": metadata(tags={"testing": "yes"}),
    "join_config_missing": manifest(intent="join_datasets", files=[]),
    "join_config_not_allowed": metadata(join_config=JOIN),
    "recipe_not_allowed": manifest(recipe={"crs": "EPSG:4326"}),
    "columns_contradict": manifest(recipe={"columns": {"select": [], "drop": []}}),
    "crs_invalid": manifest(recipe={"crs": "?"}),
    # Checks
    "dataset_id_differs": manifest(dataset={"id": "a"}, metadata={**MANIFEST["metadata"], "tags": {"dataset_id": "b"}}),
    "check_unknown": checks({"check": "nul"}),
    "check_incomplete": checks({"check": "rows"}),
    "check_contradicts": checks({"check": "rows", "min": 2, "max": 1}),
    "check_own_dataset": manifest(dataset={"id": "a", "checks": [{"check": "within", "dataset": "a"}]}),
    "check_value": checks({"check": "in", "column": "a", "values": [[]]}),
    "checks_not_allowed": manifest(intent="ingest_raster", dataset={"checks": [{"check": "rows", "min": 1}]}),
    "check_not_of_kind": checks({"check": "valid_geometry"}),
    "where_syntax": manifest(recipe={"where": "a = = 1"}),
    "where_too_complex": manifest(recipe={"where": "NOT " * 300 + "a"}),
    "where_not_supported": manifest(recipe={"where": "avg(a) = 1"}),
    # Requests
    "missing": Sent("PUT", "/lanes/join/limit", {}),
    "extra_forbidden": Sent("PUT", "/lanes/join/limit", {"limit": 1, "colour": "red"}),
    "cursor_invalid": query("/runs", cursor="x"),
    "query_unknown": query("/runs", colour="red"),
    "query_repeated": Sent("GET", "/runs", query={"lane": ["join", "spatial"]}),
    "keyword_empty": query("/assets", keyword=""),
    "tag_invalid": query("/assets", tag="north"),
    "text_empty": query("/assets", text="!"),
    "bbox_invalid": query("/assets", bbox="1,2,3"),
    "time_invalid": query("/assets", since="2026"),
    "time_out_of_range": query("/assets", since="1969-01-01T00:00:00Z"),
    "size_not_bound": Sent("POST", "/landing/presign", {"key": "a.csv", "method": "PUT", "max_bytes": 5}),
    # Values of any field
    "value_error": Sent("POST", "/maintenance/cleanup", {"testing": False}),
    "string_type": manifest(uploader=1),
    "string_unicode": limit("\ud800"),
    "string_pattern_mismatch": manifest(batch_id="?"),
    "string_too_short": options(delimiter=""),
    "string_too_long": manifest(uploader="x" * 100_000),
    "int_type": limit([]),
    "int_parsing": Sent("GET", "/assets/a/vx"),
    "int_parsing_size": Sent("GET", "/assets/a/v" + "9" * 5_000),
    "int_from_float": limit(1.5),
    "float_type": cleanup(older_than_seconds="x"),
    "float_parsing": query("/runs/r", wait="x"),
    "finite_number": query("/runs/r", wait="nan"),
    "bool_type": cleanup(dry_run=1),
    "bool_parsing": query("/assets", testing="x"),
    "tuple_type": manifest(files=0),
    "too_short": checks({"check": "in", "column": "a", "values": []}),
    "too_long": Sent("GET", "/assets", query={"keyword": ["a"] * 11}),
    "dict_type": metadata(tags=1),
    "model_type": Sent("POST", "/manifests", 0),
    "model_attributes_type": Sent("PUT", "/lanes/join/limit", 0),
    "literal_error": query("/assets", kind="x"),
    "enum": query("/runs", status="x"),
    "greater_than": manifest(intent="ingest_vector", recipe={"simplify": {"tolerance": 0}}),
    "greater_than_equal": query("/runs", limit=0),
    "less_than_equal": query("/runs", limit=100_000),
    "datetime_parsing": query("/assets", since="0000-01-01T00:00:00Z"),
    "datetime_from_date_parsing": query("/assets", since="x"),
    "timezone_aware": query("/assets", since="2026-01-01T00:00:00"),
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[LocalApi]:
    async with local_api(tmp_path) as started:
        yield started


def test_every_code_has_its_row_and_no_other() -> None:
    assert PROVOKED.keys() == codes(FaultMessage).keys()


@pytest.mark.anyio
async def test_each_is_provoked(api: LocalApi) -> None:
    """All in one test, because starting the API takes longer than a request."""
    admin, own = await api.key("admin"), await api.key("own", Scope.SUBMIT, "own/")
    wrong = []
    for code, sent in PROVOKED.items():
        if not isinstance(sent, Sent):
            continue
        content = sent.body if isinstance(sent.body, bytes) else json.dumps(sent.body).encode()
        headers = {"Content-Type": "application/json", **(own if sent.key else admin)}
        answer = await api.http.request(
            sent.method, sent.path, content=None if sent.body is None else content, params=sent.query, headers=headers
        )
        found = {fault["code"]: fault for fault in answer.json().get("errors", ())}
        if code not in found or not found[code]["detail"] or not found[code]["fix"]:
            wrong.append(f"{code}: {answer.status_code} {sorted(found)} {answer.text[:300]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("code", [code for code, row in PROVOKED.items() if isinstance(row, Elsewhere)])
def test_the_named_tests_exist_and_name_the_code(code: str) -> None:
    row = PROVOKED[code]
    assert isinstance(row, Elsewhere)
    assert names_code(row.test, code), row.test


def test_what_this_release_has_is_available() -> None:
    """Why `intent_not_available` and `format_not_available` are never provoked."""
    assert all(intent.pipeline for intent in INTENTS)
    assert all(fmt.available for fmt in FORMATS)
