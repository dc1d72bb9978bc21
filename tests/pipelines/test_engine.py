"""What happens to geometries between load and export, and what is said about it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely

from app.cli.doctor import libraries
from app.errors import RunCanceled, RunRefused, StaleAttempt
from app.models.recipes.steps import MakeValid, Recipe, Reproject, Simplify
from app.pipelines.common.findings import Findings
from app.pipelines.vector import pipeline as vector
from app.pipelines.vector.engines.clean import simplify
from app.pipelines.vector.engines.local import LocalEngine
from app.pipelines.vector.formats.open import inspect
from app.settings import Limits
from tests.pipelines.conftest import Bench, Result, Watch, assert_same_geometries, expected
from tests.pipelines.test_formats import put

FIXTURES = Path(pyogrio.__file__).parent / "tests" / "fixtures"


def frame_of(*wkt: str | None, crs: int | str | None = 4326) -> geopandas.GeoDataFrame:
    made = np.array([None if text is None else shapely.from_wkt(text) for text in wkt], object)
    return geopandas.GeoDataFrame({"i": range(len(wkt))}, geometry=made, crs=crs)


def multi(frame: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    """As a GeoPackage stores polygons where some are multi polygons."""
    made = [g if g.geom_type == "MultiPolygon" else shapely.MultiPolygon([g]) for g in frame.geometry]
    return frame.assign(geometry=made)


def through(bench: Bench, *wkt: str | None, crs: int | str | None = 4326, **more: str) -> Result:
    return bench.one(put(bench, frame_of(*wkt, crs=crs), "GeoParquet"), "GeoParquet", **more)


def test_nulls_empties_and_mixtures_stay(bench: Bench) -> None:
    wkt = (None, "POINT (1 2)", "POLYGON EMPTY", "LINESTRING (0 0, 1 1)", "GEOMETRYCOLLECTION (POINT (1 1))", None)
    result = through(bench, *wkt)
    bench.agree(result.frame.geometry, frame_of(*wkt).geometry)
    assert result.counts["rows_in"] == result.counts["rows_out"] == 6
    assert (result.counts["null_geometries"], result.counts["empty_geometries"]) == (2, 1)
    assert result.watch.warnings["null_geometries"][2][1] == {"file": "data.parquet", "row": 5}
    assert result.product.geometry_type == "Geometry"
    assert pq.read_table(result.path).column("bbox").null_count == 3
    assert result.asset.bounds is not None
    assert result.asset.bounds.maxx == 1


def test_only_nulls(bench: Bench) -> None:
    result = through(bench, None, None)
    assert result.asset.bounds is None
    assert result.product.geometry_type is None
    assert len(pq.read_table(result.path)) == 2


@pytest.mark.parametrize("crs", [25832, 4326])
def test_z_is_kept(bench: Bench, crs: int) -> None:
    base = (500000, 5500000) if crs == 25832 else (9, 50)
    frame = frame_of(
        f"POINT Z ({base[0]} {base[1]} 7.5)",
        f"LINESTRING Z ({base[0]} {base[1]} 1, {base[0] + 1} {base[1]} 2)",
        crs=crs,
    )
    found = bench.one(put(bench, frame, "GPKG"), "GPKG").frame.geometry
    bench.agree(found, expected(frame))
    assert shapely.get_coordinates(found.to_numpy(), include_z=True)[:, 2].tolist() == [7.5, 1, 2]


def test_z_beside_no_z(bench: Bench) -> None:
    frame = frame_of(
        "POINT Z (500000 5500000 7.5)", "POINT (500001 5500000)", "POINT Z (500002 5500000 NaN)", crs=25832
    )
    found = bench.one(put(bench, frame, "GeoParquet"), "GeoParquet").frame.geometry.to_numpy()
    assert shapely.has_z(found).tolist()[:2] == [True, False]
    assert shapely.get_z(found[0]) == 7.5
    flat = frame_of("POINT (500000 5500000)", "POINT (500001 5500000)", "POINT (500002 5500000)", crs=25832).to_crs(
        4326
    )
    assert shapely.get_coordinates(found).tolist() == shapely.get_coordinates(flat.geometry.to_numpy()).tolist()


def test_m_is_dropped_and_counted(bench: Bench) -> None:
    shutil.copy(FIXTURES / "line_zm.gpkg", bench.landing / "m.gpkg")
    result = bench.one("m.gpkg", "GPKG")
    assert result.counts["m_dropped"] == 1
    found = result.frame.geometry.iloc[0]
    assert found.has_z
    assert not found.has_m
    assert found.equals(geopandas.read_file(FIXTURES / "line_zm.gpkg").geometry.iloc[0])


@pytest.mark.parametrize("name", ["curve", "curvepolygon", "multisurface"])
def test_curves_are_linearised_and_counted(bench: Bench, name: str) -> None:
    shutil.copy(FIXTURES / f"{name}.gpkg", bench.landing / "c.gpkg")
    result = bench.one("c.gpkg", "GPKG")
    assert result.counts["curved_linearized"] == 1
    bench.agree(result.frame.geometry, expected(geopandas.read_file(FIXTURES / f"{name}.gpkg")))


def test_broken_polygons_are_repaired_and_only_they(bench: Bench) -> None:
    bow, fine = "POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0))", "POLYGON ((0 0, 5 0, 5 5, 0 0))"
    result = through(bench, bow, fine)
    assert result.counts["repaired"] == 1
    sample = result.watch.warnings["repaired"][2][0]
    assert sample["row"] == 0
    assert "Self-intersection" in sample["reason"]
    assert result.frame.geometry.iloc[0].geom_type == "MultiPolygon"
    assert result.frame.geometry.iloc[0].area == 2
    assert result.frame.geometry.iloc[1].equals_exact(shapely.from_wkt(fine))


def test_what_is_simplified_stays_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    """GEOS keeps the topology of a polygon, but not always; provoked here by a simplification that breaks it."""
    rings = np.array([shapely.Point(0, 0).buffer(1), shapely.Point(9, 9).buffer(1)], object)
    bow = shapely.from_wkt("POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0))")
    monkeypatch.setattr(shapely, "simplify", lambda g, *_, **__: np.array([bow, g[1]], object))
    findings = Findings()
    found = simplify(rings, 0.1, 100, findings)
    assert found[0] is rings[0]
    assert findings.counts["simplify_kept"] == 1
    assert findings.samples["simplify_kept"] == [{"row": 100}]


def test_steps_run_in_their_order_and_only_those(bench: Bench, parcels: geopandas.GeoDataFrame, tmp_path: Path) -> None:
    name = put(bench, parcels, "GeoParquet")
    ctx = bench.context({"path": name, "format": "GeoParquet"})
    (source,) = inspect(ctx.fetch(ctx.manifest.files[0]), Limits(), 2)
    recipe = Recipe("r", (Simplify(5.0), Reproject("EPSG:3857"), MakeValid()))
    report = LocalEngine().run([source], recipe, tmp_path / "x.parquet", Watch(), 2)
    wanted = (
        parcels.assign(geometry=shapely.simplify(parcels.geometry.to_numpy(), 5.0)).to_crs(3857).geometry.to_numpy()
    )
    broken = ~shapely.is_valid(wanted)
    wanted[broken] = shapely.make_valid(wanted[broken])
    assert report.crs == "EPSG:3857"
    assert_same_geometries(geopandas.read_parquet(tmp_path / "x.parquet").geometry, wanted)
    nothing = LocalEngine().run([source], Recipe("n", ()), tmp_path / "y.parquet", Watch(), 1)
    assert nothing.crs == "EPSG:25832"
    assert_same_geometries(geopandas.read_parquet(tmp_path / "y.parquet").geometry, parcels.geometry)


@pytest.mark.parametrize(
    "crs", ["EPSG:4326", "OGC:CRS84", "EPSG:25832", "EPSG:31468", "EPSG:2056", "EPSG:3857", "EPSG:4258", "EPSG:3035"]
)
def test_reprojection_equals_geopandas(bench: Bench, countries: geopandas.GeoDataFrame, crs: str) -> None:
    points = shapely.points(np.random.default_rng(2).uniform((8, 46.5), (10, 47.5), (500, 2)))
    frame = geopandas.GeoDataFrame({"i": range(500)}, geometry=points, crs=4326).to_crs(crs)
    found = bench.one(put(bench, frame, "GeoParquet"), "GeoParquet").frame.geometry
    bench.agree(found, frame.to_crs(4326).geometry)
    assert np.allclose(shapely.get_coordinates(found.to_numpy()), shapely.get_coordinates(points), atol=2e-5)


def test_datum_grids_that_are_missing_are_told(bench: Bench) -> None:
    result = through(bench, "POINT (3500000 5500000)", crs=31467)
    message = result.watch.warnings["datum_grid_missing"][0]
    assert "BETA2007" in message
    assert " m)" in message
    assert "put the file into the folder that SPATIAL_ETL_PROJ_GRIDS names" in message


def test_a_datum_grid_of_the_operator_is_used_by_both_copies_of_proj(tmp_path: Path) -> None:
    """BETA2007, as Debian ships it. In another process, in the sandbox of readers, which PROJ and Landlock keep."""
    grid = Path("/usr/share/proj/BETA2007.gsb")
    if not grid.is_file():
        pytest.skip("needs Debian's package proj-data")
    grids, scratch = tmp_path / "grids", tmp_path / "scratch"
    grids.mkdir()
    scratch.mkdir()
    (grids / grid.name).write_bytes(grid.read_bytes())
    code = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "import rasterio.warp\n"
        "from pyproj import CRS\n"
        "from app.cli.doctor import libraries\n"
        "from app.jobs.sandbox import sandbox_reader\n"
        "from app.pipelines.common.grids import grids_version, use_grids\n"
        "from app.pipelines.common.reproject import Reprojector\n"
        "import numpy as np\n"
        "grids, scratch = map(Path, sys.argv[1:])\n"
        "listed = next(check.details['grids'] for check in libraries(grids) if check.name == 'proj')\n"
        "before = grids_version()\n"
        "use_grids(grids, scratch)\n"
        "sandbox_reader(scratch, grids)\n"
        "found = Reprojector(CRS.from_epsg(31467), CRS.from_epsg(4326), 'x')\n"
        "vector = found.move(np.array([[3_500_000.0, 5_500_000.0]]))[0].tolist()\n"
        "x, y = rasterio.warp.transform('EPSG:31467', 'EPSG:4326', [3_500_000], [5_500_000])\n"
        "print(json.dumps([listed, len(found.warnings()), vector, [*x, *y], before, grids_version()]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(grids), str(scratch)], check=True, capture_output=True, text=True
    )
    listed, warned, vector, raster, before, after = json.loads(done.stdout.splitlines()[-1])
    assert "BETA2007.gsb" in listed
    assert warned == 0
    assert vector == pytest.approx([8.998958968, 49.636708262], abs=1e-9)
    assert raster == pytest.approx(vector, abs=1e-9)
    assert before == {}
    assert len(after["grids"]) == 12


def test_a_folder_of_grids_that_is_missing_is_a_fault_of_doctor(tmp_path: Path) -> None:
    found = next(check for check in libraries(tmp_path / "none") if check.name == "proj")
    assert not found.ok
    assert f"SPATIAL_ETL_PROJ_GRIDS names {tmp_path / 'none'}" in str(found.problem)
    assert found.fix == "Make the folder, or correct the setting."


def test_not_finite(bench: Bench) -> None:
    frame = frame_of("POINT (1 1)", "POINT (2 2)", "LINESTRING (1 1, 2 2)")
    frame.loc[2, "geometry"] = shapely.LineString([(1, 1), (np.inf, 2)])
    error = bench.refused(put(bench, frame, "GeoParquet"), "GeoParquet")
    assert error.reason == "coordinates_not_finite"
    assert "row 2" in error.detail


def test_not_transformable(bench: Bench) -> None:
    frame = frame_of("POINT (500000 5500000)", "POINT (1e300 1e300)", crs=25832)
    error = bench.refused(put(bench, frame, "GeoParquet"), "GeoParquet")
    assert error.reason == "coordinates_not_transformable"
    assert "row 1" in error.detail
    local = 'LOCAL_CS["site",UNIT["metre",1]]'
    frame = geopandas.GeoDataFrame({"a": [1]}, geometry=[shapely.Point(1, 1)], crs=local)
    assert bench.refused(put(bench, frame, "GeoParquet"), "GeoParquet").reason == "crs_not_transformable"


def test_area_of_use(bench: Bench) -> None:
    neighbour = through(bench, "POINT (500000 5500000)", "POINT (800000 5800000)", crs=25832)
    _, count, samples = neighbour.watch.warnings["outside_area_of_use"]
    assert count == 1
    assert samples[0]["row"] == 1
    assert neighbour.counts["outside_area_of_use"] == 1
    (bench.lake / "v1.parquet").unlink()
    degrees = frame_of("POINT (9 48)", "POINT (10 49)", "POINT (500000 5500000)", crs=25832)
    error = bench.refused(put(bench, degrees, "GeoParquet"), "GeoParquet")
    assert error.reason == "outside_area_of_use"
    metres = frame_of("POINT (500000 5500000)", "POINT (500000 5500000)", "POINT (9 48)", crs=4326)
    assert bench.refused(put(bench, metres, "GeoParquet"), "GeoParquet").reason == "outside_area_of_use"


PACIFIC = 3832  # WGS 84 / PDC Mercator, centred at 150° E: the antimeridian is in its middle


def test_antimeridian(bench: Bench) -> None:
    west, east = (
        float(v)
        for v in shapely.get_coordinates(
            frame_of("POINT (178 0)", "POINT (182 0)").to_crs(PACIFIC).geometry.to_numpy()
        )[:, 0]
    )
    box = shapely.box(west, 0, east, 200_000)
    line = shapely.LineString([(west, 0), (east, 100_000)])
    high = shapely.force_3d(box, 5)
    frame = geopandas.GeoDataFrame(
        {"i": range(4)}, geometry=[box, line, shapely.box(west - 9e5, 0, west, 2e5), high], crs=PACIFIC
    )
    result = bench.one(put(bench, frame, "GPKG"), "GPKG")
    found = result.frame.geometry.to_numpy()
    assert result.counts["antimeridian_split"] == 3
    assert [g.geom_type for g in found] == ["MultiPolygon", "MultiLineString", "Polygon", "MultiPolygon"]
    for part in [*found[0].geoms, *found[1].geoms]:
        assert part.bounds[2] - part.bounds[0] < 3
    assert found[0].area == pytest.approx(4 * shapely.bounds(found[0])[3], rel=1e-8)
    assert shapely.is_valid(found).all()
    assert result.asset.bounds is not None
    assert (result.asset.bounds.minx, result.asset.bounds.maxx) == (-180, 180)


PARIS = "+proj=longlat +ellps=WGS84 +pm=paris +no_defs"
PARIS_SHIFT = np.array([2.33722917, 0, 0])


@pytest.mark.parametrize("crs", ["EPSG:4326", "OGC:CRS84", "EPSG:4284", "EPSG:4167", PARIS])
def test_longitudes_that_run_on_past_180(bench: Bench, crs: str) -> None:
    south = -45 if crs == "EPSG:4167" else 65
    shapes = [
        shapely.box(179, south, 183, south + 1),
        shapely.LineString([(179, south, 1), (181, south, 3)]),
        shapely.box(-183, south, -179, south + 1),
        shapely.box(185, south, 186, south + 1),
        shapely.Point(181, south),
        shapely.MultiPoint([(179, south), (181, south)]),
        shapely.MultiPolygon([shapely.box(170, south, 171, south + 1), shapely.box(179, south, 181, south + 1)]),
        shapely.GeometryCollection([shapely.LineString([(181, south), (179, south)]), shapely.Point(0, south)]),
        shapely.Polygon([(179, south), (181, south + 1), (181, south), (179, south + 1)]),
        shapely.box(10, south, 11, south + 1),
        None,
    ]
    if crs == PARIS:
        shapes = [
            s and shapely.transform(s, lambda xy: xy - PARIS_SHIFT[: xy.shape[1]], include_z=bool(s.has_z))
            for s in shapes
        ]
    frame = geopandas.GeoDataFrame({"i": range(len(shapes))}, geometry=shapes, crs=crs)
    result = bench.one(put(bench, frame, "GeoParquet"), "GeoParquet")
    found = result.frame.geometry.to_numpy()
    assert result.counts["antimeridian_split"] == 6
    assert result.counts["longitudes_wrapped"] == 3
    parts = shapely.get_parts(shapely.get_parts(found[~shapely.is_missing(found)]))
    boxes = shapely.bounds(parts)
    assert (boxes[:, 2] - boxes[:, 0] < 4).all()
    assert (np.abs(boxes[:, [0, 2]]) <= 180).all()
    assert shapely.is_valid(found[:-1]).all()
    assert shapely.area(found[:4]) == pytest.approx([4, 0, 4, 1], rel=1e-2)
    assert [g.geom_type for g in found[:3]] == ["MultiPolygon", "MultiLineString", "MultiPolygon"]
    line = shapely.get_coordinates(found[1], include_z=True)
    assert line[:, 0] == pytest.approx([179, 180, -180, -179], abs=0.01)
    if crs != "EPSG:4284":
        assert line[:, 2] == pytest.approx([1, 2, 2, 3], abs=0.1)
    assert shapely.length(found[1]) == pytest.approx(2, rel=1e-3)
    assert found[4].x == pytest.approx(-179, abs=0.01)
    assert found[3].bounds == pytest.approx((-175, south, -174, south + 1), abs=0.01)


def test_a_world_that_runs_from_0_to_360(bench: Bench) -> None:
    result = through(bench, "POLYGON ((0 -80, 360 -80, 360 80, 0 80, 0 -80))", "LINESTRING (-200 0, 200 0)")
    world, line = result.frame.geometry
    assert world.is_valid
    assert world.area == 360 * 160
    assert line.length == 400


def test_what_is_really_as_wide_as_the_world_stays_whole(bench: Bench) -> None:
    half = 20037508.0
    frame = geopandas.GeoDataFrame({"i": [0]}, geometry=[shapely.box(-half, -1e6, half, 1e6)], crs=3857)
    result = bench.one(put(bench, frame, "GeoParquet"), "GeoParquet")
    assert "antimeridian_split" not in result.counts
    bench.agree(result.frame.geometry, expected(frame))


def test_countries_through_a_polar_projection(bench: Bench, countries: geopandas.GeoDataFrame) -> None:
    """Antarctica encloses a pole; in longitude and latitude it must still cover it."""
    antarctica = countries[countries["name"] == "Antarctica"]
    pole = geopandas.GeoDataFrame({"i": [0]}, geometry=[shapely.Point(0, 0).buffer(1_500_000)], crs=3031)
    result = bench.one(put(bench, pole, "GPKG"), "GPKG")
    found = result.frame.geometry.iloc[0]
    assert result.counts["antimeridian_split"] == 1
    assert found.is_valid
    assert found.bounds[0] == -180
    assert found.bounds[1] == -90
    assert found.bounds[2] == 180
    assert found.contains(shapely.Point(77, -89))
    assert len(antarctica) == 1


def test_several_files_become_one(bench: Bench, parcels: geopandas.GeoDataFrame) -> None:
    a = put(bench, parcels.iloc[:200], "GPKG", "a")
    b = put(bench, parcels.iloc[200:].to_crs(3857), "FlatGeobuf", "b")
    result = bench.run({"path": a, "format": "GPKG"}, {"path": b, "format": "FlatGeobuf"})
    assert result.frame["name"].where(result.frame["name"].notna(), None).tolist() == parcels["name"].tolist()
    assert result.product.statistics["rows_by_file"] == {a: 200, b: 400}
    assert [i.s3_key for i in result.asset.inputs] == [a, b]  # type: ignore[union-attr] # sources
    bench.agree(result.frame.geometry, expected(multi(parcels)), 1e-9)


def test_schemas_that_differ(bench: Bench, parcels: geopandas.GeoDataFrame) -> None:
    a = put(bench, parcels, "GPKG", "a")
    other = parcels.rename(columns={"area": "surface"}).assign(count=lambda f: f["count"].astype("float64"))
    b = put(bench, other, "GPKG", "b")
    with pytest.raises(RunRefused) as caught:
        bench.run({"path": a, "format": "GPKG"}, {"path": b, "format": "GPKG"})
    error = caught.value
    assert error.reason == "schema_mismatch"
    assert error.file == b
    assert "'area'" in error.detail
    assert "'surface'" in error.detail
    assert "'count' is int64" in error.detail
    order = put(bench, parcels[["area", "name", "count", "geometry"]], "GPKG", "c")
    with pytest.raises(RunRefused, match="another order"):
        bench.run({"path": a, "format": "GPKG"}, {"path": order, "format": "GPKG"})
    points = parcels.assign(geometry=parcels.geometry.centroid)
    d = put(bench, points, "GPKG", "d")
    with pytest.raises(RunRefused, match="geometries"):
        bench.run({"path": a, "format": "GPKG"}, {"path": d, "format": "GPKG"})


def test_layers(bench: Bench, countries: geopandas.GeoDataFrame) -> None:
    target = bench.landing / "x.gpkg"
    countries.head(2).to_file(target, driver="GPKG", layer="lakes")
    countries.head(3).to_file(target, driver="GPKG", layer="rivers")
    pyogrio.write_dataframe(countries.head(3).drop(columns="geometry"), target, driver="GPKG", layer="table")
    error = bench.refused("x.gpkg", "GPKG")
    assert error.reason == "layer_ambiguous"
    assert "'lakes'" in error.detail
    assert "'rivers'" in error.detail
    error = bench.refused("x.gpkg", "GPKG", layer="Rivers")
    assert error.reason == "layer_unknown"
    assert "Did you mean 'rivers'?" in error.fix
    assert bench.refused("x.gpkg", "GPKG", layer="table").reason == "geometry_missing"
    assert bench.refused("x.gpkg", "GPKG", layer="lakes", limits=Limits(layers=1)).reason == "layers_too_many"
    assert len(bench.one("x.gpkg", "GPKG", layer="rivers").frame) == 3


def test_crs_declarations(bench: Bench, parcels: geopandas.GeoDataFrame) -> None:
    bare = put(bench, parcels.set_crs(None, allow_override=True), "GPKG")
    assert bench.refused(bare, "GPKG").reason == "crs_missing"
    assert bench.refused(bare, "GPKG", crs="EPSG:0").reason == "crs_unknown"
    found = bench.one(bare, "GPKG", crs="EPSG:25832").frame
    bench.agree(found.geometry, expected(multi(parcels)))
    (bench.lake / "v1.parquet").unlink()
    known = put(bench, parcels, "GPKG", "known")
    error = bench.refused(known, "GPKG", crs="EPSG:25833")
    assert error.reason == "crs_conflict"
    assert "EPSG:25832" in error.detail
    assert len(bench.one(known, "GPKG", crs="EPSG:25832").frame) == 600


def test_no_features(bench: Bench, parcels: geopandas.GeoDataFrame) -> None:
    for fmt in ("GPKG", "GeoParquet", "FlatGeobuf"):
        assert bench.refused(put(bench, parcels.head(0), fmt), fmt).reason == "no_features"


def test_intents(bench: Bench, parcels: geopandas.GeoDataFrame) -> None:
    name = put(bench, parcels, "GPKG")
    for intent in ("ingest_vector", "ingest_building_footprints", "ingest_road_network", "ingest_parcels"):
        found = bench.run({"path": name, "format": "GPKG"}, intent=intent)
        assert "simplified" not in found.counts
        bench.agree(found.frame.geometry, expected(multi(parcels)))
    with pytest.raises(RunRefused) as caught:
        vector.run(bench.context({"path": name, "format": "GTiff", "type": "raster"}, intent="ingest_parcels"))
    assert caught.value.reason == "format_not_vector"


@pytest.mark.parametrize("error", [RunCanceled("stop"), StaleAttempt("gone")])
def test_a_watch_that_raises_stops_everything(bench: Bench, parcels: geopandas.GeoDataFrame, error: Exception) -> None:
    name = put(bench, parcels, "GPKG")
    ctx = bench.context({"path": name, "format": "GPKG"}, watch=Watch(error=error))
    with pytest.raises(type(error)):
        vector.run(ctx)
    assert not [t for t in threading.enumerate() if t.name.startswith("transform")]
    assert ctx.product is None


IMPORT = """
import os, threading
import app.pipelines.vector.pipeline

assert threading.active_count() == 1
opened = [os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if int(n) > 2]
# PROJ's own read-only database is opened by pyogrio and pyproj themselves; PROJ copes with a fork.
assert not [f for f in opened if os.path.isfile(f) and not f.endswith("/proj.db")], opened
"""

FORK = """
import os, pathlib, sys
import app.pipelines.vector.pipeline
from app.models.manifests.manifest import ManifestFile
from app.models.recipes.vector import VectorRecipe
from app.pipelines.contract.context import FetchedFile
from app.pipelines.vector.engines.local import LocalEngine
from app.pipelines.vector.formats.open import inspect
from app.settings import Limits
from tests.pipelines.conftest import Watch

child = os.fork()
if child == 0:
    path = pathlib.Path(sys.argv[1])
    declared = ManifestFile(path="s3://landing-zone/data.gpkg", type="vector", format="GPKG")
    (source,) = inspect(FetchedFile(declared, path, ()), Limits(), 2)
    report = LocalEngine().run([source], VectorRecipe().steps("r"), path.with_name("o.parquet"), Watch(), 2)
    os._exit(0 if report.counts["rows_out"] == 600 else 1)
assert os.waitpid(child, 0)[1] == 0
"""


def python(code: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, cwd=Path(__file__).parents[2], timeout=60)


def test_importing_opens_nothing() -> None:
    """The worker forks after importing: no threads and no files may be left by an import."""
    python(IMPORT)


def test_a_forked_child_runs_after_its_parent_imported(bench: Bench, parcels: geopandas.GeoDataFrame) -> None:
    python(FORK, str(bench.landing / put(bench, parcels, "GPKG")))


def test_chunks_are_bounded_in_bytes(bench: Bench) -> None:
    """Large polygons come in small chunks, whatever the format; no row is lost on the way."""
    circle = shapely.Point(0, 0).buffer(1, quad_segs=2000)
    frame = geopandas.GeoDataFrame(
        {"i": range(300)}, geometry=[shapely.affinity.translate(circle, i % 90, i % 45) for i in range(300)], crs=4326
    )
    for fmt in ("GPKG", "FlatGeobuf", "SHP", "GeoParquet", "GML", "GeoJSONSeq"):
        name = put(bench, frame, fmt)
        declared = bench.context({"path": name, "format": fmt})
        (source,) = inspect(declared.fetch(declared.manifest.files[0]), Limits(), 2)
        vertices = [len(chunk.decode(Findings())[1].coordinates) for chunk in source.open_chunks()]
        assert sum(vertices) == shapely.get_num_coordinates(frame.geometry.to_numpy()).sum(), fmt
        assert max(vertices) * 16 <= 6 * 1024 * 1024, fmt


RADIUS = 6_378_137.0


def mercator(points: Any) -> Any:
    """Degrees in EPSG:3857 by its formula, which goes on beyond ±180°."""
    x, y = np.radians(points).T
    return np.column_stack([x, np.log(np.tan(np.pi / 4 + y / 2))]) * RADIUS


@pytest.mark.parametrize(
    ("crs", "projected"), [("EPSG:3857", mercator), ("EPSG:4087", lambda points: np.radians(points) * RADIUS)]
)
def test_projected_longitudes_that_run_on_past_180(bench: Bench, crs: str, projected: Any) -> None:
    shapes = [
        shapely.Point(188.5, 10), shapely.Point(-181, -40), shapely.Point(370, 5), shapely.Point(10, 20),
        shapely.box(185, 10, 190, 12), shapely.LineString([(-190, 0), (-185, 5)]),
        shapely.box(178, 30, 184, 32), shapely.MultiPoint([(179, 5), (181, 5)]), shapely.Point(179.9, 1), None,
    ]  # fmt: skip
    frame = geopandas.GeoDataFrame(
        {"i": range(len(shapes))}, geometry=[each and shapely.transform(each, projected) for each in shapes], crs=crs
    )
    result = bench.one(put(bench, frame, "GeoParquet"), "GeoParquet")
    found = result.frame.geometry.to_numpy()
    assert (result.counts["longitudes_wrapped"], result.counts["antimeridian_split"]) == (6, 1)
    assert result.watch.warnings["longitudes_wrapped"][1] == 6
    assert [(each.x, each.y) for each in found[:4]] == [
        pytest.approx(place, abs=1e-9) for place in ((-171.5, 10), (179, -40), (10, 5), (10, 20))
    ]
    assert found[4].bounds == pytest.approx((-175, 10, -170, 12), abs=1e-9)
    assert found[5].bounds == pytest.approx((170, 0, 175, 5), abs=1e-9)
    inside = frame.iloc[[3, 8]]
    assert "longitudes_wrapped" not in bench.one(put(bench, inside, "GeoParquet"), "GeoParquet").watch.warnings
