"""Several sources of one manifest: entries of one archive, layers, and files whose columns differ."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import geopandas
import pyarrow.parquet as pq
import pytest
import shapely

from app.errors import BatchConflict, Forbidden, InvalidManifest
from app.models.caller import Caller
from app.services.intake import find_files
from app.services.intake import supersede as intake_supersede
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


# Layers


def layered(place: Place, key: str, driver: str, **layers: geopandas.GeoDataFrame) -> str:
    """A file with these layers, in the landing zone."""
    folder = place.settings.objects_dir.parent / "made"
    folder.mkdir(exist_ok=True)
    path = folder / key
    for name, frame in layers.items():
        options = {"FORMAT": "GML3"} if driver == "GML" else {}
        frame.to_file(path, layer=name, driver=driver, mode="a" if path.exists() else "w", **options)
    if path.is_dir():
        shutil.make_archive(str(path), "zip", folder, key)
        path = path.with_name(f"{key}.zip")
        key = path.name
    return place.put(key, path.read_bytes())


def points(*numbers: int, **columns: Any) -> geopandas.GeoDataFrame:
    geometry = [shapely.Point(number, number) for number in numbers]
    return geopandas.GeoDataFrame({"n": list(numbers), **columns}, geometry=geometry, crs=4326)


def of_layers(batch: str, key: str, fmt: str, layers: Any, **options: Any) -> Json:
    document = manifest(batch, (key, fmt), tags={"dataset_id": "d"})
    document["files"][0] |= {"layers": layers} | ({"options": options} if options else {})
    return document


WITH_LAYERS = {"GPKG": ("GPKG", "l.gpkg"), "OpenFileGDB": ("OpenFileGDB", "l.gdb"), "KML": ("LIBKML", "l.kml")}


@pytest.mark.parametrize("fmt", WITH_LAYERS)
def test_layers_are_like_files(place: Place, fmt: str) -> None:
    driver, key = WITH_LAYERS[fmt]
    key = layered(place, key, driver, b=points(1, 2), a=points(3), c=points(4))
    run = place.ingest(of_layers("some", key, fmt, ["a", "b"]))
    assert (run.status, run.counts["rows_out"]) == ("success", 3), run.error
    table = pq.read_table(place.product("d"))
    assert [int(n) for n in table["n"].to_pylist()] == [3, 1, 2]
    assert "layer" not in table.column_names
    asset = place.portal.call(place.ledger.get_asset, "d")
    assert asset is not None
    assert asset.statistics["rows_by_file"] == {f"{key} (layer 'a')": 1, f"{key} (layer 'b')": 2}
    plan = place.plan(of_layers("p", key, fmt, "*")).plan
    assert plan is not None
    assert sorted(str(file.layer) for file in plan.files) == ["a", "b", "c"]
    assert plan.counts["rows_out"] == 4
    assert place.ingest(of_layers("all", key, fmt, "*")).counts["rows_out"] == 4
    # The accepted manifest, as it is shown, is the same batch.
    record = place.portal.call(place.ledger.get_manifest, "all")
    assert record is not None
    assert not place.accept(dict(record.manifest)).created
    refused = place.ingest(of_layers("wrong", key, fmt, ["a", "bb"]))
    assert refused.error is not None
    assert (refused.error.code, "Did you mean 'b'?" in refused.error.fix) == ("layer_unknown", True)


def test_shapefiles_of_one_zip_are_layers(place: Place) -> None:
    folder = place.settings.objects_dir.parent / "shapes"
    folder.mkdir()
    for name, number in (("b", 1), ("a", 2), ("c", 3)):
        points(number).to_file(folder / f"{name}.shp")
    place.put("s.zip", Path(shutil.make_archive(str(folder), "zip", folder)).read_bytes())
    assert place.ingest(of_layers("some", "s.zip", "SHP", ["c", "a"])).counts["rows_out"] == 2
    assert pq.read_table(place.product("d"))["n"].to_pylist() == [3, 2]
    assert place.ingest(of_layers("all", "s.zip", "SHP", "*")).counts["rows_out"] == 3
    # One layer for each entry is the same.
    document = manifest("entries", ("s.zip", "SHP"), ("s.zip", "SHP"), tags={"dataset_id": "e"})
    for entry, name in zip(document["files"], ("c", "a"), strict=True):
        entry["layer"] = name
    assert place.ingest(document).counts["rows_out"] == 2


def test_layers_that_differ(place: Place) -> None:
    key = layered(place, "l.gpkg", "GPKG", a=points(1, 2, m=[1, 2]), b=points(3, name=["x"]))
    run = place.ingest(of_layers("strict", key, "GPKG", "*"))
    assert run.error is not None
    assert run.error.code == "schema_mismatch"
    assert "l.gpkg (layer 'a')" in run.error.detail
    united = place.ingest(of_layers("united", key, "GPKG", ["a", "b"], union="by_name"))
    assert (united.counts["rows_out"], united.counts["columns_filled"]) == (3, 2)
    # Numbers of rows are those of a layer.
    run = place.ingest(of_layers("typed", key, "GPKG", "*", union="by_name", types={"name": "int64"}))
    assert run.error is not None
    assert run.error.detail.startswith("In the layer 'b' of l.gpkg: ")
    assert (run.error.code, run.error.file, "row 0 " in run.error.detail) == ("value_invalid", "l.gpkg", True)


def test_layers_without_geometries_and_without_rows(place: Place) -> None:
    key = layered(place, "l.gpkg", "GPKG", a=points(1), b=points(2), none=points())
    with sqlite3.connect(place.settings.objects_dir / "landing-zone" / key) as db:
        db.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
        db.execute("INSERT INTO notes VALUES (1, 'x')")
        db.execute("INSERT INTO gpkg_contents (table_name, data_type, identifier) VALUES ('notes', 'attributes', 'n')")
    run = place.ingest(of_layers("empty", key, "GPKG", "*"))
    assert run.error is not None
    assert (run.error.code, "'none'" in run.error.detail) == ("no_features", True)
    run = place.ingest(of_layers("notes", key, "GPKG", ["a", "notes"]))
    assert run.error is not None
    assert (run.error.code, "'notes'" in run.error.detail) == ("geometry_missing", True)
    with sqlite3.connect(place.settings.objects_dir / "landing-zone" / key) as db:
        db.execute("UPDATE gpkg_contents SET data_type = 'attributes' WHERE table_name = 'none'")
        db.execute("DELETE FROM gpkg_geometry_columns WHERE table_name = 'none'")
    run = place.ingest(of_layers("fine", key, "GPKG", "*"))
    (warning,) = [each for each in run.warnings if each.code == "layers_ignored"]
    assert (run.counts["rows_out"], warning.count, "'notes'" in warning.message) == (2, 2, True)


def test_folders_of_one_name_are_two_layers(place: Place) -> None:
    folder = "<Folder><name>a</name><Placemark><Point><coordinates>{0},1</coordinates></Point></Placemark></Folder>"
    folders = "".join(folder.format(number) for number in (1, 2))
    text = f"<kml xmlns='http://www.opengis.net/kml/2.2'><Document>{folders}</Document></kml>"
    place.put("l.kml", text.encode())
    assert place.ingest(of_layers("kml", "l.kml", "KML", "*")).status == "success"
    assert geopandas.read_parquet(place.product("d")).geometry.x.tolist() == [1, 2]


def test_shapefiles_of_one_name_are_not_told_apart(place: Place) -> None:
    folder = place.settings.objects_dir.parent / "shapes"
    for name in ("x", "y"):
        (folder / name).mkdir(parents=True)
        points(1).to_file(folder / name / "a.shp")
    place.put("s.zip", Path(shutil.make_archive(str(folder), "zip", folder)).read_bytes())
    for batch, layers in (("all", "*"), ("one", ["a"])):
        run = place.ingest(of_layers(batch, "s.zip", "SHP", layers))
        assert run.error is not None
        assert run.error.code == "layer_ambiguous"


def test_feature_types_of_gml_are_layers(place: Place) -> None:
    member = (
        "<gml:featureMember><{0}><at><gml:Point srsName='EPSG:4326'><gml:pos>{1} {1}</gml:pos></gml:Point></at>"
        "<n>{1}</n></{0}></gml:featureMember>"
    )
    text = "".join(member.format(name, number) for name, number in (("a", 1), ("b", 2), ("a", 3)))
    place.put(
        "l.gml",
        f"<gml:FeatureCollection xmlns:gml='http://www.opengis.net/gml'>{text}</gml:FeatureCollection>".encode(),
    )
    assert place.ingest(of_layers("all", "l.gml", "GML", "*")).counts["rows_out"] == 3
    assert place.ingest(of_layers("some", "l.gml", "GML", ["b", "a"])).status == "success"
    assert pq.read_table(place.product("d"))["n"].to_pylist() == [2, 1, 3]


def test_a_file_of_one_layer(place: Place) -> None:
    place.put("a.geojson", one_point(1))
    assert place.ingest(of_layers("all", "a.geojson", "GeoJSON", "*")).status == "success"
    run = place.ingest(of_layers("other", "a.geojson", "GeoJSON", ["x"]))
    assert run.error is not None
    assert run.error.code == "layer_unknown"


# Corrected manifests


def conflict(place: Place, document: Json) -> str:
    """The text of the refusal; the batch stays as it was."""
    before = place.portal.call(place.ledger.get_manifest, document["batch_id"])
    with pytest.raises(BatchConflict) as caught:
        place.accept(document)
    assert place.portal.call(place.ledger.get_manifest, document["batch_id"]) == before
    return str(caught.value)


def test_a_manifest_that_made_nothing_may_be_corrected(place: Place) -> None:
    wrong = of_pattern("b", "missing.geojson")
    failed = place.ingest(wrong)
    assert failed.status == "failure"
    place.put("t/a.geojson", one_point(1))
    right = of_pattern("b", "t/*.geojson") | {"metadata": wrong["metadata"] | {"tags": {"dataset_id": "other"}}}
    told = conflict(place, right)
    (content_hash,) = re.findall(r'"supersedes": "(sha256:[0-9a-f]{64})"', told)
    accepted = place.accept(right | {"supersedes": content_hash})
    assert accepted.created
    run = place.carry(accepted.run)
    assert (run.status, run.retry_of, run.partition_key) == ("success", failed.run_id, "other")
    record = place.portal.call(place.ledger.get_manifest, "b")
    assert record is not None
    assert (record.status, [each.keys for each in record.files_found]) == ("success", [("t/a.geojson",)])
    (earlier,) = record.earlier
    assert earlier.manifest["files"][0]["path"] == "s3://landing-zone/missing.geojson"
    assert failed.created_at < earlier.superseded_at == run.created_at
    # Sent again, with or without the field, and as it is shown: the same batch.
    for same in (right | {"supersedes": content_hash}, right, dict(record.manifest)):
        again = place.accept(same)
        assert (again.created, again.run.run_id) == (False, run.run_id)
    # It has made a version, and so has the earlier one no successor any more.
    other = right | {"uploader": "someone else"}
    assert "supersedes" not in conflict(place, other)
    assert "not the one" in conflict(place, other | {"supersedes": content_hash})
    assert "succeeded" in conflict(place, other | {"supersedes": record.content_hash})
    # A rerun of the run that failed carries the manifest of today.
    rerun = place.portal.call(partial(control.rerun, place.clients, run_id=failed.run_id, enabled_lanes=LANES))
    assert (rerun.retry_of, rerun.partition_key) == (failed.run_id, "other")
    assert place.carry(rerun).unchanged_version == 1


def test_what_cannot_be_corrected(place: Place) -> None:
    nothing = "sha256:" + "0" * 64
    assert "Leave `supersedes` out" in conflict(place, of_pattern("new", "a.geojson") | {"supersedes": nothing})
    waiting = place.accept(of_pattern("b", "team/a.geojson"))
    content_hash = waiting.manifest.content_hash
    right = of_pattern("b", "t/a.geojson") | {"supersedes": content_hash}
    assert "/cancel" in conflict(place, right)
    place.carry(waiting.run)
    caller = Origin(caller=Caller("team", prefixes=("t/",)))
    with pytest.raises(Forbidden):  # the files of the earlier one are not the caller's
        place.accept(right, caller)
    assert place.accept(right).created


def test_a_batch_is_corrected_so_often_and_no_more(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_supersede, "_MOST_EARLIER", 1)
    run = place.ingest(of_pattern("b", "missing"))
    for name in ("b", "c"):
        record = place.portal.call(place.ledger.get_manifest, run.batch_id)
        assert record is not None
        document = of_pattern("b", name) | {"supersedes": record.content_hash}
        if name == "c":
            assert "too often" in conflict(place, document)
        else:
            assert place.ingest(document).status == "failure"
