"""The fields of a recipe, over every engine, against geopandas and shapely."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely

from app.errors import RunRefused
from app.models.recipes.table import RecipeTable
from app.pipelines.common.crs import metres_per_unit, parse_crs
from app.pipelines.common.findings import Findings
from app.pipelines.vector.engines.measure import changed_rows, measure, sizes_of
from app.settings import Limits
from tests.pipelines.conftest import Bench, expected
from tests.pipelines.engines import SAME_DEGREES, assert_same_geometries
from tests.pipelines.test_engine import frame_of, multi
from tests.pipelines.test_formats import put

SAMPLES = Path(__file__).parents[2] / "samples"
BOW, SPIKE = "POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0))", "POLYGON ((0 0, 4 0, 4 4, 4 9, 4 4, 0 4, 0 0))"


def run(bench: Bench, frame: geopandas.GeoDataFrame, fmt: str = "GPKG", **recipe: Any) -> Any:
    return bench.run({"path": put(bench, frame, fmt), "format": fmt}, recipe=recipe)


def test_a_house_stays_a_house(bench: Bench) -> None:
    """14 by 10 m: the tolerances of the described platform leave a triangle."""
    house = geopandas.GeoDataFrame(
        {"n": [1]}, geometry=[shapely.box(600_000, 5_400_000, 600_014, 5_400_010)], crs=25832
    )
    name = put(bench, house, "GPKG")
    file = {"path": name, "format": "GPKG"}
    found = bench.run(file, intent="ingest_building_footprints")
    assert found.frame.to_crs(25832).area.iloc[0] == pytest.approx(140, abs=1e-3)
    described = RecipeTable.read(SAMPLES / "recipes/described-platform.toml")
    (before,) = bench.run(file, intent="ingest_building_footprints", recipes=described).frame.to_crs(25832).area
    if bench.engine == "local":  # GEOS 3.11, which Debian's PostGIS has, keeps the four corners
        assert before < 100


def overlaps(geometries: Any) -> int:
    """Pairs that share more than a square centimetre."""
    kept = np.asarray(geometries, object)[~shapely.is_missing(geometries)]
    left, right = shapely.STRtree(kept).query(kept, predicate="intersects")
    first = left < right
    shared = shapely.area(shapely.intersection(kept[left[first]], kept[right[first]]))
    return int((shared > 1e-4).sum())


def test_the_parcels_of_the_demo_overlap_no_more_than_in_their_source(bench: Bench) -> None:
    """Two pairs do so there: their corners were digitised in the wrong order."""
    source = geopandas.read_file(SAMPLES / "parcels.gpkg")
    (bench.landing / "p.gpkg").write_bytes((SAMPLES / "parcels.gpkg").read_bytes())
    file = {"path": "p.gpkg", "format": "GPKG"}
    described = RecipeTable.read(SAMPLES / "recipes/described-platform.toml")
    found = [
        overlaps(bench.run(file, recipes=each).frame.to_crs(25832).geometry) for each in (RecipeTable(), described)
    ]
    assert overlaps(shapely.make_valid(source.geometry.to_numpy())) == 2
    assert found[0] == 2
    assert found[1] > 20


@pytest.mark.parametrize("crs", ["source", "EPSG:25832"])
def test_the_crs_of_the_source_is_kept(bench: Bench, parcels: geopandas.GeoDataFrame, crs: str) -> None:
    found = run(bench, parcels, "GeoParquet", crs=crs)
    assert found.product.crs == "EPSG:25832"
    assert found.frame.crs == parcels.crs
    wanted = parcels.geometry.to_numpy().copy()
    broken = ~shapely.is_valid(wanted)
    wanted[broken] = shapely.make_valid(wanted[broken], method="linework")
    bench.agree(found.frame.geometry, wanted, 1e-6)
    # The catalogue finds it by degrees.
    box = found.product.statistics["bounds_4326"]
    assert (box["minx"], box["miny"]) == pytest.approx(parcels.to_crs(4326).total_bounds[:2], abs=0.1)


def test_another_crs(bench: Bench, parcels: geopandas.GeoDataFrame) -> None:
    found = run(bench, parcels, crs="EPSG:3035")
    assert found.product.crs == "EPSG:3035"
    wanted = multi(parcels).to_crs(3035).geometry.to_numpy()
    valid = shapely.is_valid(wanted)
    assert shapely.equals_exact(found.frame.geometry.to_numpy()[valid], wanted[valid], 1e-6).all()


def test_a_crs_that_proj_does_not_know(bench: Bench, parcels: geopandas.GeoDataFrame) -> None:
    with pytest.raises(RunRefused) as caught:
        run(bench, parcels, crs="EPSG:9999999")
    assert caught.value.reason == "crs_unknown"
    assert "recipe" in caught.value.detail


def test_files_of_two_crss_have_none_to_keep(bench: Bench, parcels: geopandas.GeoDataFrame) -> None:
    put(bench, parcels, "GeoParquet", "a")
    put(bench, parcels.to_crs(25833), "GeoParquet", "b")
    files = [{"path": f"{name}.parquet", "format": "GeoParquet"} for name in ("a", "b")]
    with pytest.raises(RunRefused) as caught:
        bench.run(*files, recipe={"crs": "source"})
    assert caught.value.reason == "crs_differs"
    assert "EPSG:25833" in caught.value.detail
    assert len(bench.run(*files, recipe={"crs": "EPSG:25832"}).frame) == 1200


@pytest.mark.parametrize("method", ["linework", "structure"])
def test_methods_of_repair(bench: Bench, parcels: geopandas.GeoDataFrame, method: Any) -> None:
    frame = frame_of(BOW, SPIKE, "MULTIPOLYGON (((0 0, 1 0, 1 1, 0 1, 0 0)), ((0 0, 1 0, 1 1, 0 1, 0 0)))")
    found = run(bench, frame, "GeoParquet", repair=method)
    wanted = shapely.make_valid(frame.geometry.to_numpy(), method=method)
    wanted[2] = shapely.MultiPolygon([wanted[2]]) if wanted[2].geom_type == "Polygon" else wanted[2]
    assert found.counts["repaired"] == 3
    assert_same_geometries(shapely.normalize(found.frame.geometry.to_numpy()), shapely.normalize(wanted), SAME_DEGREES)


def test_without_repair_invalid_geometries_are_kept_and_counted(bench: Bench) -> None:
    frame = frame_of(BOW, "POLYGON ((0 0, 5 0, 5 5, 0 0))", None)
    found = run(bench, frame, "GeoParquet", repair="off")
    assert_same_geometries(found.frame.geometry, frame.geometry)
    assert "repaired" not in found.counts
    _, count, samples = found.watch.warnings["invalid_kept"]
    assert (count, samples[0]["row"]) == (1, 0)
    assert "Self-intersection" in samples[0]["reason"]


@pytest.mark.parametrize("recipe", [{"tolerance": 5.0, "unit": "m"}, {"tolerance": 5.0, "unit": "crs"}])
def test_a_tolerance_in_metres(bench: Bench, parcels: geopandas.GeoDataFrame, recipe: dict[str, Any]) -> None:
    found = run(bench, parcels, crs="EPSG:25832", simplify=recipe)
    before = run(bench, parcels, crs="EPSG:25832")
    assert found.counts["vertices_out"] < before.counts["vertices_out"]
    away = shapely.hausdorff_distance(found.frame.geometry.to_numpy(), before.frame.geometry.to_numpy())
    assert away.max() <= 5.0 + 1e-6


def test_a_tolerance_in_metres_of_degrees(bench: Bench, parcels: geopandas.GeoDataFrame) -> None:
    found = run(bench, parcels, simplify={"tolerance": 11.0})
    tolerance = 11.0 / metres_per_unit(parse_crs("EPSG:4326", "", ""))
    bench.agree(found.frame.geometry, expected(multi(parcels), tolerance), simplified=tolerance)
    # No line moves farther than asked, in whatever direction.
    before, after = (frame.to_crs(25832).geometry.to_numpy() for frame in (run(bench, parcels).frame, found.frame))
    assert shapely.hausdorff_distance(before, after).max() <= 11.0


@pytest.mark.parametrize(("crs", "metres"), [("EPSG:25832", 1.0), ("EPSG:2264", 0.3048006096), ("EPSG:4326", 111_694),
                                             ("EPSG:4807", 100_525), ("EPSG:7405", 1.0)])  # fmt: skip
def test_metres_of_a_unit(crs: str, metres: float) -> None:
    assert metres_per_unit(parse_crs(crs, "", "")) == pytest.approx(metres, rel=1e-4)


def test_heights_are_dropped(bench: Bench) -> None:
    frame = frame_of("POINT Z (9 50 7)", "LINESTRING Z (9 50 1, 10 50 2)", "POINT (9 50)", None, "POLYGON EMPTY")
    found = run(bench, frame, "GeoParquet", dimensions="2d")
    assert_same_geometries(found.frame.geometry, shapely.force_2d(frame.geometry.to_numpy()))
    assert not shapely.has_z(found.frame.geometry.to_numpy()).any()
    assert found.product.statistics["geometry_types"] == {"LineString": 1, "Point": 2, "Polygon": 1}


def test_single_geometries_become_multi(bench: Bench) -> None:
    frame = frame_of(
        "POINT Z (9 50 7)", "LINESTRING (9 50, 10 50)", BOW, "MULTIPOINT (1 1, 2 2)", None, "POLYGON EMPTY",
        "GEOMETRYCOLLECTION (POINT (1 1))",
    )  # fmt: skip
    found = run(bench, frame, "GeoParquet", multi="promote").frame.geometry.to_numpy()
    kinds = [each.geom_type if each is not None else None for each in found]
    assert kinds == ["MultiPoint", "MultiLineString", "MultiPolygon", "MultiPoint", None, "MultiPolygon",
                     "GeometryCollection"]  # fmt: skip
    assert shapely.get_num_geometries(found).tolist() == [1, 1, 2, 2, 0, 0, 1]
    assert shapely.get_coordinates(found[:1], include_z=True).tolist() == [[9, 50, 7]]


@pytest.mark.parametrize("crs", ["EPSG:25832", "EPSG:32632"])
def test_what_a_recipe_took_is_measured(bench: Bench, crs: str) -> None:
    before = shapely.buffer(shapely.points(np.linspace(4e5, 6e5, 300), 5.5e6), 30)
    found = run(bench, geopandas.GeoDataFrame({"n": range(300)}, geometry=before, crs=crs), crs=crs,
                simplify={"tolerance": 5})  # fmt: skip
    after = found.frame.geometry.to_numpy()
    sizes = found.product.statistics["geometry"]
    assert sizes["unit"] == "metre"
    assert sizes["area_before"] == pytest.approx(shapely.area(before).sum())
    assert sizes["area_after"] == pytest.approx(shapely.area(after).sum())
    assert sizes["length_before"] == pytest.approx(shapely.length(before).sum())
    assert sizes["length_after"] == pytest.approx(shapely.length(after).sum())
    assert sizes["length_after"] < sizes["length_before"]
    assert found.counts["vertices_in"] > found.counts["vertices_out"]


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3035"])
def test_repair_alone_takes_nothing(bench: Bench, parcels: geopandas.GeoDataFrame, crs: str) -> None:
    """Two bow ties, whose halves cancel out before the repair, gain area; everything else is as it was."""
    found = run(bench, parcels, crs=crs)
    moved = parcels.to_crs(crs).geometry.to_numpy()
    sizes = found.product.statistics["geometry"]
    assert sizes["area_before"] == pytest.approx(shapely.area(moved).sum(), rel=1e-9)
    assert sizes["area_after"] > sizes["area_before"]
    assert sizes["length_after"] == pytest.approx(sizes["length_before"], rel=1e-9)
    assert "geometry_reduced" not in found.watch.warnings


def test_a_recipe_that_takes_much_is_warned_of(bench: Bench) -> None:
    saw = [(500_000 + i, 5_500_000 + 10 * (i % 2)) for i in range(100)]
    frame = geopandas.GeoDataFrame({"n": [1]}, geometry=[shapely.LineString(saw)], crs=25832)
    file = {"path": put(bench, frame, "GPKG"), "format": "GPKG"}
    recipe = {"crs": "source", "simplify": {"tolerance": 20}}
    message = bench.run(file, recipe=recipe).watch.warnings["geometry_reduced"][0]
    assert "took 0.0% of the area and 90.0% of the length" in message
    assert "recipe.simplify.tolerance" in message
    allowed = bench.run(file, recipe=recipe, limits=Limits(geometry_reduced_share=0.95))
    assert "geometry_reduced" not in allowed.watch.warnings


def test_a_repair_that_takes_much_names_the_repair(bench: Bench) -> None:
    """A ring that runs around a square and again around a half of it has the half twice."""
    ring = [(0, 0), (2, 0), (2, 2), (0, 2), (0, 0), (2, 0), (2, 1), (0, 1), (0, 0)]
    frame = geopandas.GeoDataFrame({"n": [1]}, geometry=[shapely.Polygon(ring)], crs=4326)
    file = {"path": put(bench, frame, "GPKG"), "format": "GPKG"}
    message = bench.run(file, recipe={"crs": "source"}).watch.warnings["geometry_reduced"][0]
    assert "recipe.repair" in message
    assert "simplify" not in message


def test_collapsed_geometries_are_counted() -> None:
    before = np.array([shapely.box(0, 0, 2, 2), shapely.LineString([(0, 0), (3, 0)]), shapely.Point(1, 1)], object)
    after = np.array([shapely.LineString([(0, 0), (2, 2)]), shapely.Point(0, 0), before[2]], object)
    findings = Findings()
    rows = changed_rows(before, after)
    measure(after, rows, sizes_of(before[rows]), 100, findings)
    assert rows.tolist() == [0, 1]
    assert findings.counts["collapsed"] == 2
    assert [each["row"] for each in findings.samples["collapsed"]] == [100, 101]
    sizes = findings.sizes
    assert (sizes["area_before"], sizes["area_after"]) == (4, 0)
    assert (sizes["length_before"], sizes["length_after"]) == (11, pytest.approx(8**0.5))


def at(*degrees: tuple[float, float], crs: int = 4326) -> geopandas.GeoDataFrame:
    points = geopandas.GeoSeries([shapely.Point(each) for each in degrees], crs=4326)
    return geopandas.GeoDataFrame({"n": range(len(points))}, geometry=points.to_crs(crs))


@pytest.mark.parametrize(("crs", "kept"), [("EPSG:25832", False), ("source", True)])
def test_results_outside_of_their_area_of_use(bench: Bench, crs: str, kept: bool) -> None:
    """UTM 32 is for 6 to 12 degrees east."""
    frame = at((9, 50), (11.9, 50), (13, 50), (17, 50), crs=25832 if kept else 4326)
    found = run(bench, frame, "GeoParquet", crs=crs)
    code = "outside_area_of_use" if kept else "result_outside_area_of_use"
    _, count, samples = found.watch.warnings[code]
    assert (count, [each["row"] for each in samples]) == (2, [2, 3])
    assert found.counts[code] == 2
    assert not [name for name in found.counts if "far" in name]


@pytest.mark.parametrize(("crs", "kept"), [("EPSG:25832", False), ("source", True)])
def test_most_results_far_outside_are_warned_of(bench: Bench, crs: str, kept: bool) -> None:
    """A zone and more away, where PROJ still transforms to the nanometre and back."""
    frame = at((9, 50), (25, 50), (26, 50), crs=25832 if kept else 4326)
    found = run(bench, frame, "GeoParquet", crs=crs)
    message, count, _ = found.watch.warnings["outside_area_of_use" if kept else "result_outside_area_of_use"]
    assert (count, "2 geometries of 3 (66.7%) reach outside" in message) == (2, True)
    back = shapely.get_coordinates(found.frame.to_crs(4326).geometry.to_numpy())
    assert back == pytest.approx(np.array([(9, 50), (25, 50), (26, 50)]))


def test_the_source_is_checked_whatever_the_crs_of_the_result(bench: Bench) -> None:
    degrees = geopandas.GeoDataFrame({"n": [1, 2]}, geometry=shapely.points([[9, 48], [10, 49]]), crs=25832)
    with pytest.raises(RunRefused) as caught:
        run(bench, degrees, "GeoParquet", crs="EPSG:3035")
    assert caught.value.reason == "outside_area_of_use"


@pytest.mark.parametrize(
    ("crs", "inside", "outside"),
    [
        ("EPSG:3857", (10, 85), (10, 86)),
        ("EPSG:4258", (10, 50), (-75, 40)),  # geographic
        ("EPSG:3832", (179.9, 0), (30, 10)),  # the area crosses the antimeridian
        ("EPSG:3832", (-120, 0), (-40, 10)),
        ("EPSG:4807", (2.5, 46), (15, 46)),  # grads from Paris
        ("EPSG:2056", (8.3, 47), (8.3, 49)),
    ],
)
def test_areas_of_use_of_other_crss(
    bench: Bench, crs: str, inside: tuple[float, float], outside: tuple[float, float]
) -> None:
    found = run(bench, at(inside, inside, outside), "GeoParquet", crs=crs)
    assert found.watch.warnings["result_outside_area_of_use"][1] == 1
    plain = run(bench, at(inside, inside), "GeoParquet", crs=crs)
    assert "result_outside_area_of_use" not in plain.watch.warnings


def test_only_vertices_count_not_the_corners_of_a_box(bench: Bench) -> None:
    """A box in UTM that has a corner outside, around a triangle that has none."""
    triangle = geopandas.GeoSeries([shapely.Polygon([(6.1, 48), (11, 48), (11, 54)])], crs=4326).to_crs(25832)
    box = geopandas.GeoSeries([shapely.box(*triangle.total_bounds)], crs=25832).to_crs(4326)
    assert box.total_bounds[0] < 6
    found = run(bench, geopandas.GeoDataFrame({"n": [1]}, geometry=triangle), "GeoParquet", crs="source")
    assert "outside_area_of_use" not in found.watch.warnings
