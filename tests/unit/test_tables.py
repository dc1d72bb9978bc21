"""The tables that hold the house together are complete."""

from __future__ import annotations

import inspect

import pytest

from app import errors
from app.http.problems import STATUS
from app.http.streaming import etag_matches, parse_range
from app.models.formats import FORMATS, find_format
from app.models.intents import INTENTS, LANES
from app.models.manifests.manifest import ManifestStatus
from app.models.runs.run import TRANSITIONS, RunStatus
from app.system.processes import is_gone, process_name

DOMAIN_ERRORS = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, errors.DomainError)]


def test_every_domain_error_has_a_status_and_a_code_of_its_own() -> None:
    assert set(STATUS) == set(DOMAIN_ERRORS)
    codes = [cls.code for cls in DOMAIN_ERRORS]
    assert len(set(codes)) == len(codes)


def test_every_run_status_has_its_transitions_and_its_manifest_status() -> None:
    assert set(TRANSITIONS) == set(RunStatus)
    assert {status.value for status in RunStatus} < {status.value for status in ManifestStatus}
    final = {status for status in RunStatus if status.is_final}
    assert final == {RunStatus.SUCCESS, RunStatus.FAILURE, RunStatus.CANCELED}


def test_from_every_state_a_final_one_can_be_reached() -> None:
    for start in RunStatus:
        reached, edge = {start}, {start}
        while edge:
            edge = {after for status in edge for after in TRANSITIONS[status]} - reached
            reached |= edge
        assert any(status.is_final for status in reached)


def test_intents_and_formats_are_known_by_one_name_only() -> None:
    assert len({intent.name for intent in INTENTS}) == len(INTENTS)
    assert {intent.lane for intent in INTENTS} | {"ingest"} == set(LANES)
    spellings = [name.lower() for fmt in FORMATS for name in (fmt.name, *fmt.aliases)]
    assert len(set(spellings)) == len(spellings)
    assert all(find_format(fmt.name) is fmt for fmt in FORMATS)


def test_a_process_is_known_by_more_than_its_pid() -> None:
    own = process_name()
    host, namespace, pid, _start = own.split("/")
    assert not is_gone(own)
    assert is_gone(f"{host}/{namespace}/{pid}/1")
    assert not is_gone(f"elsewhere/{namespace}/{pid}/1"), "nothing is known about other hosts"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-0", (0, 1)),
        ("bytes=2-", (2, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-30", (0, 10)),
        ("bytes=8-99", (8, 10)),
        ("bytes=5-2", None),
        ("bytes=0-1,3-4", None),
        ("bytes=-", None),
        ("rows=0-1", None),
    ],
)
def test_ranges(header: str | None, expected: tuple[int, int] | None) -> None:
    assert parse_range(header, 10) == expected


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_ranges_behind_the_end(header: str) -> None:
    with pytest.raises(errors.RangeNotSatisfiable):
        parse_range(header, 10)


def test_etags_are_compared_weakly() -> None:
    assert etag_matches('W/"1", "2"', '"2"')
    assert etag_matches('W/"2"', '"2"')
    assert etag_matches("*", '"2"')
    assert not etag_matches('"1"', '"2"')
    assert not etag_matches(None, '"2"')
