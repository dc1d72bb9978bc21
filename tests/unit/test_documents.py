"""Manifests as bytes: what is no JSON, what JSON leaves open, and what is kept of what was refused."""

from __future__ import annotations

import codecs
import json
import time
from typing import Any

import pytest

from app.errors import InvalidManifest
from app.services.intake.manifest_json import MAX_VALUES, kept_document, read_json, read_manifest
from tests.service import manifest


def faults_of(raw: bytes) -> list[tuple[str, str]]:
    with pytest.raises(InvalidManifest) as caught:
        read_manifest(raw)
    assert all(fault.detail and fault.fix for fault in caught.value.faults)
    return [(fault.pointer, fault.code) for fault in caught.value.faults]


GOOD = json.dumps(manifest("b-1", ("ä/x.gpkg", "GPKG")), ensure_ascii=False)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_the_encodings_that_json_knows(encoding: str) -> None:
    assert read_manifest(GOOD.encode(encoding)).files[0].key == "ä/x.gpkg"


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (codecs.BOM_UTF8, "empty"),
        (GOOD.encode()[:-1], "at character"),
        (GOOD.encode() + b"}", "more text after the end"),
        (b'{"a": "\xff"}', "byte 0xff at position 7"),
        (GOOD.encode("latin-1"), "UTF-8"),
        (b'{"a": NaN}', "NaN is not a number"),
        (b'{"a": -Infinity}', "-Infinity is not a number"),
        (b'{"a": 1e999}', "too large"),
        (b"1" * 5000, "digits"),
        (b"[" * 100_000, "nested"),
        (b'{"a":' * 100_000, "nested"),
        (b'{"metadata": ' + b"[" * 900 + b"]" * 900 + b"}", ""),
        (b"\0" * 100, ""),
    ],
)
def test_what_is_no_json_has_one_fault_that_says_where(raw: bytes, detail: str) -> None:
    with pytest.raises(InvalidManifest) as caught:
        read_manifest(raw)
    if detail:
        (fault,) = caught.value.faults
        assert (fault.pointer, fault.code) == ("", "json_invalid")
        assert detail in fault.detail


def test_names_that_come_twice_are_found_wherever_they_are() -> None:
    raw = b'{"a": 1, "b": [{"x/y": 1, "z": 2, "x/y": 1}], "a": 1, "a": {"c": {"d": 1, "d": 2}}}'
    assert faults_of(raw) == [("/a", "name_repeated"), ("/a/c/d", "name_repeated"), ("/b/0/x~1y", "name_repeated")]


def test_every_fault_of_a_manifest_is_told() -> None:
    document = manifest("not good", ("x", "GeoJSn"))
    document["extra"] = 1
    assert set(faults_of(json.dumps(document).encode())) == {
        ("/batch_id", "string_pattern_mismatch"),
        ("/files/0/format", "format_unknown"),
        ("/extra", "field_unknown"),
        ("/metadata/tags/dataset_id", "dataset_id_invalid"),
    }


@pytest.mark.parametrize("raw", [b"null", b"1", b'"x"', b"[]", b"true"])
def test_json_that_is_no_object(raw: bytes) -> None:
    assert [pointer for pointer, _ in faults_of(raw)] == [""]


@pytest.mark.parametrize(
    "document", [{}, {"batch_id": 1, "a": [{"b": [None, 1.5, 2**63 - 1, "ä🗺"]}]}, {"a.b": {"$c": 1}, "": []}]
)
def test_an_object_is_kept_as_it_came(document: object) -> None:
    assert kept_document(json.dumps(document).encode()) == document


@pytest.mark.parametrize(
    "raw",
    [b"[]", b"{", b'{"a": 1, "a": 2}', b'{"a": 9223372036854775808}', b'{"a": "\\u0000"}', b'{"\\ud800": 1}',
     b'{"a":' + b"[" * 100 + b"]" * 100 + b"}", "{ä".encode("latin-1"), b"{\0", b'{"a": NaN}'],
)  # fmt: skip
def test_what_not_every_ledger_keeps_is_kept_as_text(raw: bytes) -> None:
    kept = kept_document(raw)
    assert set(kept) == {"raw"}
    assert kept["raw"] == raw.decode("utf-8", "replace").replace("\0", "\ufffd")
    json.dumps(kept, ensure_ascii=False).encode()


def test_very_long_text_is_cut() -> None:
    assert len(kept_document(b"x" * 10**6)["raw"]) == 64 * 1024


def test_values_are_counted_before_they_are_parsed() -> None:
    most = b'{"a":[' + b"0," * (MAX_VALUES - 3) + b'0], "b": "' + b"[,{" * MAX_VALUES + b'"}'
    assert len(read_json(most)["a"]) == MAX_VALUES - 2
    for item in (b"0,", b"{},", b"[],", b'"",', b'"\\"",'):
        raw = b"[" + item * MAX_VALUES + b"0]"
        assert faults_of(raw) == [("", "manifest_too_complex")]
        assert faults_of(raw.decode().encode("utf-16")) == [("", "manifest_too_complex")]


@pytest.mark.parametrize("levels", [32, 33])
def test_levels_are_counted_before_they_are_parsed(levels: int) -> None:
    raw = b'{"metadata":{"title":"' + b"[" * 99 + b'","tags":' + b"[" * (levels - 2) + b"]" * (levels - 2) + b"}}"
    assert (("", "json_invalid") in faults_of(raw)) is (levels > 32)


def document_of(files: Any = (), **fields: Any) -> bytes:
    return json.dumps(manifest("b-1", ("x.csv", "CSV")) | {"files": files} | fields).encode()


COSTLY: dict[str, bytes] = {
    "one repeated name": ("{" + ",".join(f'"{i % 29_000}":1' for i in range(29_001)) + "}").encode(),
    "repeated names": ("{" + ",".join(f'"{i % 14_000}":1' for i in range(29_000)) + "}").encode(),
    "empty files": document_of([{}] * 5_000),
    "more files than there may be": document_of([{}] * 14_000),
    "unknown fields": document_of(**{f"fles{i}": 1 for i in range(29_000)}),
    "unknown formats": document_of([{"path": "x", "type": "vector", "format": f"GTif{i}"} for i in range(5_000)]),
    "texts that no ledger stores": document_of(a={f"\ud800{i}": "\0" for i in range(28_000)}),
    "unknown types": document_of([{"options": {"types": {str(i): "z" for i in range(1_990)}}}] * 14),
    "numbers as keywords": document_of(metadata={"keywords": [1] * 29_000}),
    "long names": document_of(**{"x" * 400_000: "y" * 400_000}),
    "a long value": document_of(batch_id=["y" * 90] * 9_000),
    "long numbers": b"[" + b",".join([b"9" * 4300] * 200) + b"]",
    "a string without end": b'["' + b'\\"' * 500_000,
}


@pytest.mark.parametrize("raw", COSTLY.values(), ids=COSTLY)
def test_what_is_wrong_is_found_in_time_and_told_within_bounds(raw: bytes) -> None:
    """The bound is ten times of what was measured: work that grows with the square takes minutes."""
    begun = time.process_time()
    with pytest.raises(InvalidManifest) as caught:
        read_manifest(raw)
    assert time.process_time() - begun < 2
    faults = caught.value.faults
    assert len(faults) <= 101
    assert sum(len(fault.pointer) + len(fault.detail) + len(fault.fix) for fault in faults) < 100_000


def test_faults_that_are_not_listed_are_counted() -> None:
    with pytest.raises(InvalidManifest) as caught:
        read_manifest(document_of([{}] * 4_000))
    assert len(caught.value.faults) == 101
    last = caught.value.faults[-1]
    assert (last.pointer, last.code, last.detail) == ("", "faults_omitted", "11,900 further faults are not listed.")
    assert caught.value.detail == "The manifest has 12,000 faults."


LONG = {"a": 1} | {f"a{i}": "z" * 100 for i in range(1_000)}


def test_a_large_object_is_kept_as_text() -> None:
    raw = json.dumps(LONG).encode()
    assert kept_document(raw) == {"raw": raw.decode()[: 64 * 1024]}


@pytest.mark.parametrize("field", [("uploader",), ("intent",), ("metadata", "project")])
def test_a_text_that_is_too_long_for_an_index_is_kept_as_text(field: tuple[str, ...]) -> None:
    document: Any = "x" * 5_000
    for name in reversed(field):
        document = {name: document}
    assert set(kept_document(json.dumps(document).encode())) == {"raw"}
