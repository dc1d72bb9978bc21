"""Joins through the real service: posted, downloaded, compared with pandas; parents that change or are not there."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas
import pandas
import pytest

from tests.service import Service, geojson, manifest, point, running_service, wait_for

SAMPLES = Path(__file__).parents[2] / "samples"
JOIN: dict[str, Any] = json.loads((SAMPLES / "join" / "population_map.json").read_text())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with the countries and the populations of the samples."""
    with running_service(tmp_path_factory.mktemp("join") / "data", SPATIAL_ETL_RUN__MAX_ATTEMPTS="2") as started:
        for name in ("countries", "tabular/population"):
            document = json.loads((SAMPLES / f"{name}.json").read_text())
            key = document["files"][0]["path"].removeprefix("s3://landing-zone/")
            started.put(key, (SAMPLES / name).with_name(key.rpartition("/")[2]).read_bytes())
            assert started.ingest(document)["status"] == "success"
        yield started


def join(batch_id: str, dataset_id: str = "population-map", **config: Any) -> dict[str, Any]:
    document = copy.deepcopy(JOIN)
    document["batch_id"] = batch_id
    document["metadata"]["tags"] = {"dataset_id": dataset_id}
    document["metadata"]["join_config"] |= config
    return document


def frame(service: Service, path: str, into: Path) -> geopandas.GeoDataFrame:
    into.write_bytes(service.http.get(f"/assets/{path}/download").content)
    return geopandas.read_parquet(into)


def column_origins(service: Service, dataset_id: str) -> dict[str, list[tuple[str, str]]]:
    events = service.http.get(f"/assets/{dataset_id}/v1/lineage?format=openlineage").json()
    (made,) = [each for each in events if each["eventType"] == "COMPLETE" and each["outputs"][0]["name"] == dataset_id]
    columns = made["outputs"][0]["facets"]["columnLineage"]["fields"]
    return {name: [(each["name"], each["field"]) for each in field["inputFields"]] for name, field in columns.items()}


def test_the_sample(world: Service, tmp_path: Path) -> None:
    run = world.ingest(JOIN)
    assert run["status"] == "success", run["error"]
    assert (run["job_name"], run["lane"]) == ("join_asset_job", "join")
    assert run["links"]["asset"] == "/assets/population-map/v1"

    (tmp_path / "p.parquet").write_bytes(world.http.get("/assets/population/v1/download").content)
    people = pandas.read_parquet(tmp_path / "p.parquet", dtype_backend="pyarrow")
    countries = frame(world, "countries/v1", tmp_path / "c.parquet")
    expected = people.merge(
        countries[["iso_a3", "continent", "geom"]], how="left", left_on="iso_code", right_on="iso_a3"
    ).drop(columns="iso_a3")
    found = frame(world, "population-map/v1", tmp_path / "j.parquet")
    assert list(found.columns) == [*people.columns, "continent", "geom"]
    for column in people.columns:
        assert found[column].tolist() == pandas.Series(expected[column].to_numpy(dtype=object, na_value=None)).tolist()
    assert found.continent.isna().tolist() == expected.continent.isna().tolist()
    there = expected.continent.notna()
    assert found.continent[there].tolist() == expected.continent[there].tolist()
    assert found.geometry[there].to_wkb().tolist() == geopandas.GeoSeries(expected.geom[there]).to_wkb().tolist()
    assert found.loc[~there, "iso_code"].tolist() == ["FRA", "NOR"]

    warnings = {each["code"]: each for each in run["warnings"]}
    assert warnings["tabular_rows_unmatched"]["samples"] == ["FRA", "NOR"]
    assert warnings["spatial_keys_duplicated"]["samples"] == ["-99"]
    assert run["counts"]["rows_out"] == len(expected) == len(people)


def test_what_the_catalogue_and_the_lineage_say(world: Service) -> None:
    world.ingest(join("join-catalogue", "map-2", spatial_columns=["name", "iso_a3"]))
    asset = world.http.get("/assets/map-2/v1").json()
    assert (asset["kind"], asset["format"], asset["crs"]) == ("joined", "geoparquet", "EPSG:4326")
    assert asset["inputs"] == [
        {"kind": "asset", "dataset_id": "population", "version": 1, "role": "tabular"},
        {"kind": "asset", "dataset_id": "countries", "version": 1, "role": "spatial"},
    ]
    assert asset["metadata"]["column_schema"]["landername"]["title"] == "Ländername"
    assert asset["metadata"]["column_schema"]["geom"]["logical_type"] == "geometry"
    graph = world.http.get("/assets/map-2/v1/lineage").json()
    roles = {(edge["source"], edge["role"]) for edge in graph["edges"] if edge["target"] == f"run:{asset['run_id']}"}
    assert roles == {("asset:population/v1", "tabular"), ("asset:countries/v1", "spatial")}
    origins = column_origins(world, "map-2")
    assert origins["iso_code"] == [("population", "iso_code")]
    assert origins["name"] == [("countries", "name")]
    assert origins["geom"] == [("countries", "geom")]


def test_the_same_again_is_unchanged_until_a_parent_has_a_new_version(world: Service) -> None:
    world.put("stops.geojson", geojson(*((point(n, n), {"code": f"{n:03d}"}) for n in range(3))))
    world.put("riders.csv", b"code,riders\n001,10\n002,20\n002,21\n009,5\n")
    tabular = manifest("riders-1", ("riders.csv", "CSV"), intent="ingest_tabular", tags={"dataset_id": "riders"})
    tabular["files"][0]["type"] = "tabular"
    assert world.ingest(tabular)["status"] == "success"
    assert world.ingest(manifest("stops-1", ("stops.geojson", "GeoJSON"), tags={"dataset_id": "stops"}))["status"] == (
        "success"
    )
    parents = {"tabular_dataset_id": "riders", "spatial_dataset_id": "stops", "left_key": "code", "right_key": None,
               "spatial_columns": [], "how": "outer"}  # fmt: skip
    first = world.ingest(join("stops-riders-1", "load", **parents))
    assert first["status"] == "success", first["error"]
    assert first["counts"]["rows_out"] == 5
    again = world.ingest(join("stops-riders-2", "load", **parents))
    assert (again["status"], again["unchanged_version"]) == ("success", 1)
    assert world.versions("load") == [1]

    world.put("riders.csv", b"code,riders\n000,7\n")
    assert world.ingest({**tabular, "batch_id": "riders-2"})["status"] == "success"
    newer = world.ingest(join("stops-riders-3", "load", **parents))
    assert (newer["status"], newer["counts"]["rows_out"]) == ("success", 3)
    older = world.ingest(join("stops-riders-4", "load", **parents, tabular_version=1))
    assert older["counts"]["rows_out"] == 5
    assert world.versions("load") == [3, 2, 1]
    assert world.http.get("/assets/load/v3").json()["inputs"][0]["version"] == 1
    hashes = [world.http.get(f"/assets/load/v{version}").json()["content_hash"] for version in (1, 2, 3)]
    assert hashes[0] == hashes[2] != hashes[1]

    assert world.ingest(join("stops-riders-5", "both", **{**parents, "spatial_columns": ["*"]}))["status"] == "success"
    origins = column_origins(world, "both")
    assert (origins["code"], origins["code_spatial"]) == ([("riders", "code")], [("stops", "code")])


@pytest.mark.parametrize(
    ("config", "code", "said"),
    [
        ({"tabular_dataset_id": "populations"}, "dataset_unknown", "Did you mean 'population'?"),
        ({"spatial_version": 7}, "version_unknown", "Its newest versions: 1."),
        ({"spatial_dataset_id": "population", "right_key": "iso_code"}, "kind_wrong", "spatial_dataset_id"),
        ({"left_key": "ISO-Code"}, "column_unknown", "Did you mean 'iso_code'?"),
        ({"right_key": "pop_est", "how": "inner"}, "no_rows", "right_key"),
    ],
)
def test_joins_that_are_refused(world: Service, config: dict[str, Any], code: str, said: str) -> None:
    before = world.lake()
    run = world.ingest(join(f"refused-{code}", f"refused-{code}", **config))
    assert (run["status"], run["error"]["code"]) == ("failure", code), run
    assert said in run["error"]["fix"]
    assert str(world.data_dir) not in json.dumps(run["error"])
    assert world.lake() == before
    wait_for(lambda: world.scratch() == [], "scratch to be empty")


def test_a_parent_whose_bytes_are_not_the_ledgers_is_not_joined(world: Service) -> None:
    path = world.data_dir / "objects" / "data-lake" / world.http.get("/assets/countries/v1").json()["s3_key"]
    right = path.read_bytes()
    before = world.lake()
    path.chmod(0o644)
    try:
        wrong = bytearray(right)
        wrong[len(wrong) // 2] ^= 1
        for number, content in enumerate((bytes(wrong), None)):
            path.unlink() if content is None else path.write_bytes(content)
            run = world.ingest(join(f"tampered-{number}", "tampered"))
            assert run["status"] == "failure"
            assert run["attempt"] == 2
            assert "countries version 1" in run["error"]["detail"]
            expected = "is missing in the lake" if content is None else "differs in the lake from its hash"
            assert expected in run["error"]["detail"]
            assert world.versions("tampered") == []
    finally:
        path.write_bytes(right)
    assert world.lake() == before
    assert world.ingest(join("mended", "tampered"))["status"] == "success"
