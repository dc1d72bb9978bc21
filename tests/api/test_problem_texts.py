"""Problems are written for users: no wording of Python or its libraries, and never a fault without a fix."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.http.problems import problem_codes
from app.messages.catalogue import codes
from app.messages.message import FaultMessage
from tests.api.local_api import LocalApi, local_api

FORBIDDEN = re.compile(
    r"Input should|valid (tuple|dictionary|string|integer|number|boolean|list|datetime|JSON)|literal\[|constrained-"
    r"|See previous exception|unable to (parse|interpret)|dictionary|tuple|NoneType|\bNone\b|\bTrue\b|\bFalse\b|\{'"
    r"|\bb'|Errno|Extra inputs|Field required|pydantic|UTC offset|Expecting|Traceback|frozenset|Decimal|Value error"
    r"|is not valid; found",
)

WRONG: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 10**30, "", " ", "x\u0000", "\ud800", "some", "it's", [], [None], [1], ["", "a"],
    {}, {"file": None}, {"a": [True, None]},
)  # fmt: skip

MANIFEST: dict[str, Any] = {
    "batch_id": "texts",
    "uploader": "ada",
    "intent": "ingest_tabular",
    "files": [
        {
            "path": "s3://landing-zone/a.csv",
            "type": "tabular",
            "format": "CSV",
            "layer": "a",
            "crs": "EPSG:4326",
            "options": {
                "encoding": "UTF-8", "delimiter": ";", "quote": '"', "header": True, "sheet": "a", "nulls": ["NA"],
                "types": {"a": "text"}, "warp": "EPSG:4326", "resampling": "nearest",
            },
        }
    ],
    "metadata": {
        "title": "t", "description": "", "source": "", "license": "", "attribution": "", "keywords": ["a"],
        "project": "p", "tags": {"dataset_id": "texts", "testing": True, "level": 3},
        "join_config": {
            "spatial_dataset_id": "a", "spatial_version": 1, "tabular_dataset_id": "b", "tabular_version": 1,
            "left_key": "a", "right_key": "b", "how": "left", "spatial_columns": ["a"],
        },
    },
    "new_version": "always",
}  # fmt: skip
LIMIT = {"limit": 2}
CLEANUP = {"testing": True, "older_than_seconds": 5, "landing_files": False, "dry_run": True}
PRESIGN = {"key": "a.csv", "method": "POST", "max_bytes": 5}

QUERIES = {
    "/manifests": ("limit", "cursor", "status", "testing", "since", "intent", "uploader"),
    "/runs": ("limit", "cursor", "status", "lane"),
    "/runs/r": ("wait",),
    "/runs/r/events": ("after", "limit"),
    "/assets": ("limit", "cursor", "kind", "keyword", "tag", "bbox", "text", "testing", "since", "deleted"),
    "/assets/a": ("limit", "deleted"),
    "/assets/a/v1/lineage": ("direction", "depth", "format"),
    "/landing": ("limit", "after", "prefix"),
    "/activity": ("limit", "cursor"),
    "/webhooks/deliveries": ("limit", "status"),
}
QUERY_VALUES = (
    "", "-1", "0", "x", "1.5", "nan", "inf", "9" * 30, "null", "2026-01-01", "2026-01-01T00:00:00",
    "0001-01-01T00:00:00Z", "2026-13-01T00:00:00Z", "é" * 3000, "a\u0000b",
)  # fmt: skip

NOT_JSON = (
    b"", b"{", b"[", b'{"a"', b'{"a":', b'{"a":1', b'{"a":1,}', b"[1,]", b"{} {}", b'{"a":"', b'"\\x"', b'"\\u12"',
    b'"\n"', b"nul", b"NaN", b"1e999", b'{"a":1e999}', b"\xff", b"\xef\xbb\xbf{}", b"[" * 100_000,
    b'{"a":1,"a":2}', b"text",
)  # fmt: skip


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[LocalApi]:
    async with local_api(tmp_path) as opened:
        yield opened


def _places(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield place
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in inside:
        yield from _places(item, (*place, name))


def _variants(document: Any) -> Iterator[Any]:
    """Each kind of wrong value at each place, each field left out, and an unknown field in each object."""
    for place in _places(document):
        for value in (*WRONG, ...):
            changed = copy.deepcopy({"": document})
            parent: Any = changed
            for name in ("", *place)[:-1]:
                parent = parent[name]
            last = ("", *place)[-1]
            if value is not ...:
                parent[last] = value
            elif isinstance(parent[last], dict):
                parent[last]["unknown"] = 1
                yield copy.deepcopy(changed[""])
                del parent[last]
            else:
                del parent[last]
            if "" in changed:
                yield changed[""]


def _check(answer: Any, sent: object) -> int:
    """How many faults the problem has, after each of its texts was looked at."""
    if answer.status_code < 400:
        return 0
    problem = answer.json()
    assert answer.status_code < 500 or problem["code"] == "presign_unsupported", (sent, problem)
    assert problem["code"] in problem_codes(), (sent, problem)
    assert {fault["code"] for fault in problem.get("errors", ())} <= codes(FaultMessage).keys(), (sent, problem)
    for text in (problem, *problem.get("errors", ())):
        assert text.get("fix"), (sent, text)
        # What the sender wrote may be quoted.
        quoted = re.sub(r"(?:found|is|id:|encoding|format|intent|type) '.*'", "", f"{text['detail']} {text['fix']}")
        assert not FORBIDDEN.search(quoted), (sent, text)
    return len(problem.get("errors", ()))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "path", "document"),
    [
        ("POST", "/manifests", MANIFEST),
        ("PUT", "/lanes/join/limit", LIMIT),
        ("POST", "/maintenance/cleanup", CLEANUP),
        ("POST", "/landing/presign", PRESIGN),
    ],
)
async def test_bodies(api: LocalApi, method: str, path: str, document: Any) -> None:
    faults = 0
    for body in _variants(document):
        text = json.dumps(body)
        answer = await api.http.request(method, path, content=text, headers={"Content-Type": "application/json"})
        faults += _check(answer, text)
    assert faults > 20


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/manifests", "/lanes/join/limit", "/maintenance/cleanup", "/landing/presign"])
async def test_bodies_that_are_not_json(api: LocalApi, path: str) -> None:
    method = "PUT" if path.endswith("limit") else "POST"
    for body in NOT_JSON:
        for media_type in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
            answer = await api.http.request(method, path, content=body, headers={"Content-Type": media_type})
            assert answer.status_code >= 400
            _check(answer, body)


@pytest.mark.anyio
async def test_queries_paths_and_headers(api: LocalApi) -> None:
    faults = 0
    for path, names in QUERIES.items():
        for name in names:
            for value in QUERY_VALUES:
                sent = f"{path}?{name}={value[:20]}"
                faults += _check(await api.http.get(path, params={name: value}), sent)
        faults += _check(await api.http.get(path, params=[("keyword", "a")] * 11), path)
    for path in ("/assets/a/v0", "/assets/a/vx", "/assets/a/v1.5", "/nowhere", "/assets/a/v" + "9" * 30):
        faults += _check(await api.http.get(path), path)
    faults += _check(await api.http.get("/runs/r/events", headers={"Last-Event-ID": "x"}), "Last-Event-ID")
    _check(await api.http.patch("/runs"), "PATCH /runs")
    assert faults > 50
