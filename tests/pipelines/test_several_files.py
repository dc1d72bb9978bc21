"""Several sources of one manifest: entries of one archive, layers, and files whose columns differ."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.errors import Forbidden, InvalidManifest
from app.models.caller import Caller
from app.services.intake import find_files
from app.services.intake.submit import Origin
from app.services.runs import control
from tests.pipelines.tables import zipped
from tests.place import LANES, Place, a_place
from tests.service import Json, geojson, manifest, point


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with a_place(tmp_path / "data") as made:
        yield made


def one_point(number: int) -> bytes:
    return geojson((point(number, number), {"n": number}))


def of_zip(batch: str, *members: str) -> Json:
    document = manifest(batch, *[("a.zip", "GeoJSON")] * len(members), tags={"dataset_id": "d"})
    for entry, member in zip(document["files"], members, strict=True):
        entry["member"] = member
    return document


def test_members_of_one_zip_are_files_and_the_zip_is_fetched_once(place: Place) -> None:
    place.put("a.zip", zipped({"x/a.geojson": one_point(1), "b.geojson": one_point(2), "c.geojson": one_point(3)}))
    document = of_zip("zip", "b.geojson", "x/a.geojson")
    run = place.ingest(document)
    assert (run.status, run.counts["rows_out"]) == ("success", 2), run.error
    asset = place.portal.call(place.ledger.get_asset, "d")
    assert asset is not None
    assert [each.s3_key for each in asset.inputs] == ["landing-zone/a.zip"]  # type: ignore[union-attr]
    (fetched,) = [e for e in place.portal.call(place.ledger.list_events, run.run_id) if e.code == "inputs.fetched"]
    assert len(fetched.data["inputs"]) == 1
    # Another member is another version; the same ones, in the same order, are none.
    assert place.ingest(of_zip("again", "b.geojson", "x/a.geojson")).unchanged_version == 1
    assert place.ingest(of_zip("other", "b.geojson", "c.geojson")).reserved_version == 2


def of_pattern(batch: str, *paths: str, **more: Any) -> Json:
    return manifest(batch, *((path, "GeoJSON") for path in paths), tags={"dataset_id": "d"}, **more)


def test_a_pattern_stands_for_the_objects_of_the_moment(place: Place) -> None:
    for number, key in enumerate(("t/b.geojson", "t/a.geojson", "t/x/c.geojson", "t/a.txt")):
        place.put(key, one_point(number))
    document = of_pattern("p", "t/*.geojson")
    accepted = place.accept(document)
    (found,) = accepted.manifest.files_found
    assert (found.path, found.keys) == ("s3://landing-zone/t/*.geojson", ("t/a.geojson", "t/b.geojson"))
    assert accepted.manifest.manifest["files"][0]["path"] == "s3://landing-zone/t/*.geojson"
    place.put("t/0.geojson", one_point(9))
    run = place.carry(accepted.run)
    assert (run.status, run.counts["rows_out"]) == ("success", 2)
    # The same batch, although another file has come meanwhile.
    again = place.accept(document)
    assert (again.created, again.run.run_id) == (False, run.run_id)
    shown = place.accept(dict(accepted.manifest.manifest))
    assert (shown.created, shown.manifest.files_found) == (False, (found,))
    # A further run reads what the first one read.
    rerun = place.portal.call(partial(control.rerun, place.clients, batch_id="p", enabled_lanes=LANES))
    assert place.carry(rerun).unchanged_version == 1
    # Another batch finds what is there now.
    assert place.ingest(of_pattern("q", "t/**/*.geojson")).counts["rows_out"] == 4


def test_a_key_with_a_wildcard_names_its_object(place: Place) -> None:
    place.put("t/?.geojson", one_point(1))
    place.put("t/a.geojson", one_point(2))
    place.put("t/b.geojson", one_point(3))
    assert place.ingest(of_pattern("key", "t/?.geojson")).counts["rows_out"] == 1
    assert place.ingest(of_pattern("both", "t/*.geojson")).counts["rows_out"] == 3


def faults(place: Place, document: Json) -> list[tuple[str, str]]:
    with pytest.raises(InvalidManifest) as caught:
        place.accept(document)
    assert all(fault.detail and fault.fix for fault in caught.value.faults)
    return [(fault.pointer, fault.code) for fault in caught.value.faults]


def test_every_fault_of_patterns_at_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        place.put(f"t/{name}.geojson", one_point(1))
    place.put("manifests/kept.json", one_point(1))
    document = of_pattern("rejected.x", "t/x*", "t/a.geojson", "u/**")
    assert faults(place, document) == [
        ("/files/0/path", "pattern_unmatched"),
        ("/files/2/path", "pattern_unmatched"),
        ("/batch_id", "batch_id_reserved"),
    ]
    assert faults(place, of_pattern("x", "t/b.geojson", "t/*")) == [("/files/1/path", "path_duplicate")]
    # What the service keeps beside the data is no data.
    assert faults(place, of_pattern("x", "**/*.json")) == [("/files/0/path", "pattern_unmatched")]
    with monkeypatch.context() as patch:
        patch.setattr(find_files, "MOST_LOOKED_AT", 2)
        assert faults(place, of_pattern("x", "t/b*", "t/*")) == [("/files/1/path", "pattern_too_many")]
    with monkeypatch.context() as patch:
        patch.setattr(find_files, "MAX_FILES", 3)
        assert faults(place, of_pattern("x", "t/*", "u/a")) == [("/files/0/path", "pattern_too_many")]
    assert faults(place, of_pattern("x", *(f"{n}*" for n in range(101)))) == [("/files", "pattern_too_many")]


def test_patterns_are_bound_to_the_prefixes_of_the_key(place: Place) -> None:
    for key in ("a/x.geojson", "ab/x.geojson", "b/x.geojson"):
        place.put(key, one_point(1))
    caller = Origin(caller=Caller("team", prefixes=("a/",)))
    assert place.accept(of_pattern("mine", "a/*"), caller).created
    for pattern in ("*/x.geojson", "a*/x.geojson", "**", "b/*", "b/nothing*"):
        with pytest.raises(Forbidden):
            place.accept(of_pattern("other", pattern), caller)


def test_a_plan_reads_several_members(place: Place) -> None:
    place.put("a.zip", zipped({"a.geojson": one_point(1), "b.geojson": one_point(2)}))
    plan = place.plan(of_zip("p", "a.geojson", "b.geojson")).plan
    assert plan is not None
    assert (plan.would, plan.counts["rows_out"]) == ("succeed", 2)
    refused = place.plan(of_zip("p", "a.geojson", "x", "y")).plan
    assert refused is not None
    assert [each.reason for each in refused.refusals] == ["member_unknown", "member_unknown"]
