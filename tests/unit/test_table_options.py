"""The options of tables in a manifest: every fault at once, at its pointer, with what to do."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.models.faults import invalid_manifest
from app.models.formats import FORMATS, OPTION_NAMES
from app.models.manifest import Manifest
from tests.service import manifest


def document(fmt: str, options: dict[str, Any], **more: Any) -> dict[str, Any]:
    made = manifest("b-1", ("t", fmt))
    made["intent"] = "ingest_tabular"
    made["files"][0] |= {"type": "tabular", "options": options, **more}
    return made


def found(fmt: str, options: dict[str, Any], **more: Any) -> set[tuple[str, str]]:
    """{(pointer below the file, code)}"""
    try:
        Manifest.model_validate(document(fmt, options, **more))
    except ValidationError as err:
        faults = invalid_manifest(err.errors()).faults
        assert all(fault.detail and fault.fix for fault in faults)
        return {(fault.pointer.removeprefix("/files/0/"), fault.code) for fault in faults}
    return set()


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
]


@pytest.mark.parametrize(("fmt", "options", "wanted"), FAULTS, ids=[f"{f} {o}" for f, o, _ in FAULTS])
def test_the_faults_of_options(fmt: str, options: dict[str, Any], wanted: dict[str, str]) -> None:
    assert found(fmt, options) == {(f"options/{name}", code) for name, code in wanted.items()}


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
