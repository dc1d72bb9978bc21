"""Manifests as bytes: what is no JSON, what JSON leaves open, and what is kept of what was refused."""

from __future__ import annotations

import codecs
import json

import pytest

from app.errors import InvalidManifest
from app.services.documents import kept_document, read_json, read_manifest
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
        (GOOD.encode() + b"}", "Extra data"),
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


def test_a_wide_document_takes_no_longer_than_it_should() -> None:
    raw = b'{"a":[' + b"0," * 500_000 + b"0]}"
    assert len(read_json(raw)["a"]) == 500_001
