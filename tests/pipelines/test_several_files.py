"""Several sources of one manifest: entries of one archive, layers, and files whose columns differ."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipelines.tables import zipped
from tests.place import Place, a_place
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


def test_a_plan_reads_several_members(place: Place) -> None:
    place.put("a.zip", zipped({"a.geojson": one_point(1), "b.geojson": one_point(2)}))
    plan = place.plan(of_zip("p", "a.geojson", "b.geojson")).plan
    assert plan is not None
    assert (plan.would, plan.counts["rows_out"]) == ("succeed", 2)
    refused = place.plan(of_zip("p", "a.geojson", "x", "y")).plan
    assert refused is not None
    assert [each.reason for each in refused.refusals] == ["member_unknown", "member_unknown"]
