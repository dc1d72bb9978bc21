"""A job trusts nothing that its reader sends."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from app.errors import RunRefused
from app.jobs.channel import Channel
from app.models.manifests.manifest import Manifest
from app.models.recipes.steps import MakeValid, Simplify
from app.pipelines.contract.job_context import JobContext
from app.pipelines.job.attempt import Attempt
from app.pipelines.job.job_side import ReaderCalls, ReaderMisbehaved, take_file
from app.pipelines.job.relayed_errors import ReaderFailed, from_message, to_message
from app.pipelines.vector.engines.postgis_access import read_request, request_document
from app.settings import Limits
from app.storage.postgis.server import StatementFailed
from tests.service import manifest

CHECKS = [{"check": "no_overlaps"}, {"check": "within", "dataset": "districts", "version": 2}]


def calls(tmp_path: Path, what: str = "run") -> ReaderCalls:
    document = manifest("b", ("p.geojson", "GeoJSON"), dataset={"checks": CHECKS})
    parts: dict[str, Any] = {"clients": SimpleNamespace(postgis=None), "call": None, "limits": Limits()}
    parts |= {"job_id": "0" * 32, "manifest": Manifest.model_validate(document), "threads": 1, "memory_bytes": 1}
    parts["scratch"] = tmp_path / "work"
    parts["scratch"].mkdir()
    if what == "plan":
        return ReaderCalls(JobContext(**parts), None, [])
    run: Any = SimpleNamespace()
    return ReaderCalls(Attempt(run=run, scratch_limit=1, **parts), None, [])


PRODUCT = {
    "path": "data",
    "kind": "spatial",
    "format": "geoparquet",
    "crs": "EPSG:4326",
    "bounds": None,
    "column_schema": {},
    "geometry_type": None,
    "counts": {"rows_in": 1, "rows_out": 1},
    "statistics": {},
    "engine": {},
}
# The manifest asks for another check.
RESULT = {"check": "valid_geometry", "expected": "valid geometries", "severity": "error", "passed": True, "found": 0}
STOLEN = {"kind": "source", "s3_key": "landing-zone/theirs", "size": 1, "etag": "e", "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("__init__", {}),
        ("answer", {"name": "fetch", "values": {}}),
        ("no_such_call", {}),
        ("step_started", {"step": "commit"}),
        ("fetch", {"index": 1}),
        ("fetch", {"index": -1}),
        ("fetch", {"index": True}),
        ("fetch", {"index": "0"}),
        ("fetch", {"key": "theirs"}),
        ("fetch_asset", {"dataset_id": "theirs", "version": None}),
        ("fetch_asset", {"dataset_id": "districts", "version": None}),
        ("unchanged", {"inputs": [0], "recipe": [], "engine": {}}),
        ("warn", {"warning": {"code": 1}}),
        ("postgis_versions", {}),
        ("workspace_open", {"connections": 1}),
        ("publish", {"product": PRODUCT, "inputs": [STOLEN]}),
        ("publish", {"product": {**PRODUCT, "path": "../.owner"}, "inputs": []}),
        ("publish", {"product": {**PRODUCT, "format": "exe"}, "inputs": []}),
        ("publish", {"product": {**PRODUCT, "companions": {"preview.png": "/etc/passwd"}}, "inputs": []}),
        ("publish", {"product": {}, "inputs": []}),
        ("publish", {"product": PRODUCT, "inputs": []}),
        ("publish", {"product": {**PRODUCT, "checks": [RESULT]}, "inputs": []}),
        (
            "publish",
            {"product": {**PRODUCT, "checks": [{**RESULT, "severity": "warn", "passed": False}]}, "inputs": []},
        ),
    ],
)
def test_what_no_reader_of_ours_sends_is_refused(tmp_path: Path, name: str, values: dict[str, Any]) -> None:
    made = calls(tmp_path)
    (tmp_path / "work" / "data").write_bytes(b"x")
    with pytest.raises(ReaderMisbehaved):
        made.answer(name, values)


@pytest.mark.parametrize("name", ["step_started", "step_finished", "advance", "warn", "publish"])
def test_a_plan_may_change_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(ReaderMisbehaved, match="unknown call"):
        calls(tmp_path, "plan").answer(name, {})


def test_files_are_taken_from_scratch_only(tmp_path: Path) -> None:
    work, kept = tmp_path / "work", tmp_path / "kept"
    (work / "inner").mkdir(parents=True)
    (work / "empty").mkdir()
    kept.mkdir()
    (tmp_path / "secret").write_text("secret")
    (work / "link").symlink_to(tmp_path / "secret")
    (work / "folder").symlink_to(tmp_path)
    os.mkfifo(work / "fifo")
    (work / "inner" / "data").write_text("rows")
    for name in ("", ".", "..", "../secret", "/etc/passwd", "link", "folder/secret", "fifo", "empty", "missing"):
        with pytest.raises(ReaderMisbehaved):
            take_file(work, name, kept / f"taken{len(list(kept.iterdir()))}")
    assert (tmp_path / "secret").read_text() == "secret"
    taken = take_file(work, "inner/data", kept / "data")
    assert taken.read_text() == "rows"
    assert not (work / "inner" / "data").exists(), "moved out of the reader's reach"


def test_errors_cross_the_channel() -> None:
    refused = RunRefused("a", "b", reason="layer_unknown", file="x.gpkg")
    found = from_message(to_message(refused))
    assert isinstance(found, RunRefused)
    assert (found.detail, found.fix, found.reason, found.file) == ("a", "b", "layer_unknown", "x.gpkg")
    assert isinstance(from_message(to_message(MemoryError())), MemoryError)
    for lacking in (
        pa.ArrowException("Unknown error: Failed to launch worker thread: Resource temporarily unavailable"),
        RuntimeError("can't start new thread"),
        ImportError("libx.so: failed to map segment from shared object"),
        OSError(12, "Cannot allocate memory"),
    ):
        assert isinstance(from_message(to_message(lacking)), MemoryError), lacking
    server = from_message(to_message(StatementFailed("out of memory", "53200")))
    assert isinstance(server, StatementFailed), "PostgreSQL's memory is not the job's"
    try:
        try:
            raise OSError(28, "No space left on device")
        except OSError as err:
            raise ValueError("pyarrow says") from err
    except ValueError as err:
        found = from_message(to_message(err))
    assert isinstance(found, ReaderFailed)
    assert isinstance(found.__cause__, OSError)
    assert found.__cause__.errno == 28
    assert "No space left" in str(found)


@pytest.mark.parametrize(
    "sent", [{}, {"kind": "os.system"}, {"kind": ["x"]}, {"kind": "defect", "text": 5, "errno": "x"}]
)
def test_an_error_that_none_of_ours_sends_is_a_defect(sent: dict[str, Any]) -> None:
    assert isinstance(from_message(sent), ReaderFailed)


def test_postgis_computes_recipe_steps_only() -> None:
    steps = [MakeValid(), MakeValid("structure"), Simplify(0.5)]
    assert read_request(request_document(steps, (4326, 25832)) | {"srids": [4326, 25832]}) == (steps, (4326, 25832))
    for sent in ({}, {"steps": ["1; DROP"]}, {"steps": [True]}, {"steps": [], "srids": [4326, "1) --"]}):
        with pytest.raises(ValueError, match="no "):
            read_request(sent)


def test_a_channel_is_all_that_a_job_reads_from() -> None:
    """Statements for PostGIS come over channels of their own, which close with the reader."""
    near, far = socket.socketpair()
    far.close()
    assert Channel(near).wait(0.1)
