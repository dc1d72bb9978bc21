"""Data outside the area of use of their CRS, over every engine: PROJ itself says where they lie, and what is lost."""

from __future__ import annotations

import re
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
from pyproj import CRS, Geod, Transformer

from app.errors import RunRefused
from app.pipelines.common.areas import kilometres_outside, shown_distance
from app.pipelines.common.round_trip import ACCURACY_METRES, RoundTrip
from tests.pipelines.conftest import Bench, Result
from tests.pipelines.engines import SAME_DEGREES
from tests.pipelines.test_formats import put

IGNORE: dict[str, Any] = {"options": {"area_of_use": "ignore"}}
# (CRS of official data, places that it is used for, in degrees).
COUNTRIES: list[tuple[str, list[tuple[float, float]]]] = [
    ("EPSG:25833", [(5.32, 60.39), (31.1, 70.37), (15, 65)]),  # Bergen and Vardø in Norway's one zone
    ("EPSG:32632", [(18.17, 40.35), (7.68, 45.07)]),  # Lecce in that of Italy's boundaries
    ("EPSG:5070", [(-149.9, 61.2), (-176.6, 51.9)]),  # Alaska in the CRS of the contiguous states
    ("EPSG:32647", [(117, 5.5), (101, 4)]),  # Sabah in the zone of Malacca, which lies in it with y before x too
]


def projected(crs: str, degrees: Any) -> Any:
    """(n, 2) coordinates in a CRS of the degrees of its datum, as PROJ gives them."""
    known = CRS(crs)
    x, y = np.asarray(degrees, float).T
    return np.column_stack(Transformer.from_crs(known.geodetic_crs, known, always_xy=True).transform(x, y))


def points(crs: str, coordinates: Any) -> geopandas.GeoDataFrame:
    made = shapely.points(np.asarray(coordinates, float))
    return geopandas.GeoDataFrame({"n": range(len(made))}, geometry=made, crs=crs)


def run(bench: Bench, frame: geopandas.GeoDataFrame, fmt: str = "GeoParquet", **more: Any) -> Result:
    recipe = more.pop("recipe", None)
    return bench.run({"path": put(bench, frame, fmt), "format": fmt, **more}, recipe=recipe)


def refused(bench: Bench, frame: geopandas.GeoDataFrame, **more: Any) -> RunRefused:
    with pytest.raises(RunRefused) as caught:
        run(bench, frame, **more)
    assert "{" not in caught.value.detail
    return caught.value


@pytest.mark.parametrize("fmt", ["GPKG", "GeoParquet"])
@pytest.mark.parametrize(("crs", "places"), COUNTRIES, ids=[crs for crs, _ in COUNTRIES])
def test_a_country_in_one_zone(bench: Bench, crs: str, places: list[tuple[float, float]], fmt: str) -> None:
    """Published where they lie, with a warning of how many and how far; nothing is said if the manifest means it."""
    frame = points(crs, projected(crs, places))
    found = run(bench, frame, fmt)
    made = shapely.get_coordinates(found.frame.geometry.to_numpy())
    assert np.abs(made - places).max() < (2e-5 if crs == "EPSG:5070" else SAME_DEGREES)  # NAD83 is not WGS 84
    area = CRS(crs).area_of_use
    assert area is not None
    west, east, north = area.west, area.east, area.north
    outside = [n for n, (x, y) in enumerate(places) if not (west <= x <= east and y <= north)]
    message, count, samples = found.watch.warnings["outside_area_of_use"]
    assert (count, [each["row"] for each in samples]) == (len(outside), outside)
    assert message.startswith(f"{len(outside)} geometr")
    assert f"of {len(places)} ({len(outside) / len(places):.1%})" in message
    assert f"the area of use of {crs} ({abs(west):.4g}°" in message
    assert "options.area_of_use: ignore" in message
    assert "{" not in message
    # No farther than to the nearest corner of the area or its edge at the same latitude, by the ellipsoid.
    geod = Geod(ellps="GRS80")
    inside = [(min(max(x, west), east), min(max(y, area.south), north)) for x, y in places]
    wanted = max(geod.inv(*place, *near)[2] for place, near in zip(places, inside, strict=True)) / 1000
    (told,) = re.findall(r"by up to ([\d,]+) km", message)
    assert float(told.replace(",", "")) == pytest.approx(wanted, rel=0.01)
    assert found.counts["outside_area_of_use"] == len(outside)

    meant = run(bench, frame, fmt, **IGNORE)
    assert "outside_area_of_use" not in {**meant.counts, **meant.watch.warnings}
    assert meant.path.read_bytes() == found.path.read_bytes()


def test_a_polygon_around_the_pole_of_which_one_edge_lies_outside(bench: Bench) -> None:
    """Sea ice in EPSG:3411, which is for 60 to 90 degrees north."""
    ring = [(lon, 45.0 if lon == -150 else 70.0) for lon in range(-180, 180, 10)]
    shape = shapely.Polygon(projected("EPSG:3411", ring))  # y before x is a place of the area for its first vertex
    found = run(bench, geopandas.GeoDataFrame({"n": [1]}, geometry=[shape], crs=3411), recipe={"crs": "source"})
    assert shapely.equals_exact(found.frame.geometry.to_numpy(), [shape]).all()
    message, count, _ = found.watch.warnings["outside_area_of_use"]
    assert (count, "1 geometry of 1 (100.0%) reaches outside" in message) == (1, True)


def test_the_plan_says_the_same(bench: Bench) -> None:
    file = {"path": put(bench, points("EPSG:25833", projected("EPSG:25833", [(5.3, 60.4)])), "GPKG"), "format": "GPKG"}
    plan = bench.plan({**file, **IGNORE})
    assert (plan.would, plan.refusals) == ("succeed", ())
    options = plan.files[0].editable.options
    assert options is not None
    assert options.area_of_use == "ignore"
    assert any("whether they lie where their CRS is meant for" in each for each in plan.not_looked_at)


def test_each_file_has_its_own_area_and_its_own_answer(bench: Bench) -> None:
    """Files of one CRS are one warning, those that are meant to lie outside have none."""
    bergen, vardo, berlin = (5.3, 60.4), (31.1, 70.4), (13.4, 52.5)
    put(bench, points("EPSG:25833", projected("EPSG:25833", [bergen, berlin])), "GeoParquet", "a")
    put(bench, points("EPSG:25833", projected("EPSG:25833", [vardo, berlin])), "GeoParquet", "b")
    put(bench, points("EPSG:25833", projected("EPSG:25833", [vardo])), "GeoParquet", "c")
    files = [{"path": f"{name}.parquet", "format": "GeoParquet"} for name in "abc"]
    found = bench.run(*files[:2], {**files[2], **IGNORE})
    message, count, samples = found.watch.warnings["outside_area_of_use"]
    assert (count, [(each["file"], each["row"]) for each in samples]) == (2, [("a.parquet", 0), ("b.parquet", 0)])
    assert "2 geometries of 4 (50.0%) reach" in message
    assert found.counts["outside_area_of_use"] == 2


@pytest.mark.parametrize("recipe", [{"crs": "source"}, {}, {"crs": "EPSG:3035"}])
@pytest.mark.parametrize(
    ("coordinates", "reading"),
    [([(9, 48), (10, 49)], "as degrees"), ([(5.5e6, 5e5), (5.4e6, 4e5), (5.3e6, 4e5)], "y before x")],
)
def test_coordinates_that_lie_inside_if_read_otherwise(
    bench: Bench, coordinates: Any, reading: str, recipe: dict[str, str]
) -> None:
    """Degrees and swapped axes under UTM 32; the manifest may say that they are meant as they are."""
    frame = points("EPSG:25832", [*coordinates, (500_000, 5_500_000)])
    error = refused(bench, frame, recipe=recipe)
    assert (error.reason, error.file) == ("outside_area_of_use", "data.parquet")
    assert f"{len(coordinates)} of {len(coordinates) + 1} geometries lie far outside" in error.detail
    assert re.search(r"the area of use of EPSG:25832 \(6°E to .*N\), and inside it if", error.detail)
    assert f"coordinates are read {reading}, for example row 0." in error.detail
    assert "options.area_of_use: ignore" in error.fix
    assert len(run(bench, frame, recipe=recipe, **IGNORE).frame) == len(frame)


@pytest.mark.parametrize("more", [{}, IGNORE])
@pytest.mark.parametrize("place", [(35.7, 139.7), (500_000, 5_500_000), (500_000, 48)])
def test_degrees_that_are_no_place_on_earth(bench: Bench, place: tuple[float, float], more: dict[str, Any]) -> None:
    frame = points("EPSG:4326", [place, place, (9, 48)])
    error = refused(bench, frame, **more)
    assert error.reason == "outside_area_of_use"
    assert "the coordinates of 2 of 3 geometries are no place on Earth in EPSG:4326, for example row 0" in error.detail


def test_a_result_far_away_is_warned_of(bench: Bench) -> None:
    frame = points("EPSG:4326", [(9, 50), (25, 50), (26, 50)])
    found = run(bench, frame, recipe={"crs": "EPSG:25832"})
    assert (
        np.abs(found.frame.to_crs(4326).get_coordinates().to_numpy() - frame.get_coordinates()).to_numpy().max() < 1e-8
    )
    message, count, _ = found.watch.warnings["result_outside_area_of_use"]
    assert count == 2
    assert "2 geometries of 3 (66.7%) reach outside the area of use of recipe.crs, EPSG:25832 (6°E" in message
    assert re.search(r"by up to (99\d|1,00\d) km", message)
    assert "outside_area_of_use" not in found.watch.warnings
    assert "result_outside_area_of_use" not in run(bench, frame, recipe={"crs": "EPSG:25832"}, **IGNORE).watch.warnings


@pytest.mark.parametrize("more", [{}, IGNORE])
def test_a_result_that_cannot_hold_a_row_is_refused(bench: Bench, more: dict[str, Any]) -> None:
    """Switzerland's projection gives two places on Earth the same coordinates."""
    there = projected("EPSG:2056", [(120, 10)])
    back = Transformer.from_crs("EPSG:2056", CRS("EPSG:2056").geodetic_crs, always_xy=True).transform(*there[0])
    assert abs(back[0] - 120) > 1
    frame = points("EPSG:4326", [(8, 47), (8.1, 47), (8.2, 47), (120, 10)])
    error = refused(bench, frame, recipe={"crs": "EPSG:2056"}, **more)
    assert (error.reason, error.file) == ("result_misplaced", "data.parquet")
    assert (
        "1 row has coordinates that EPSG:2056 cannot hold: those of row 3, x=120 and y=10 in EPSG:4326" in error.detail
    )


@pytest.mark.parametrize("more", [{}, IGNORE])
def test_a_source_whose_coordinates_are_lost_is_refused(bench: Bench, more: dict[str, Any]) -> None:
    """New Zealand's Map Grid is a polynomial: far away it gives places that have other coordinates."""
    crs = CRS("EPSG:27200")
    geographic = Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    given = projected("EPSG:27200", [(120, 10)])
    again = projected("EPSG:27200", [geographic.transform(*given[0])])
    assert np.hypot(*(again - given)[0]) > 1e6
    frame = points("EPSG:27200", [*projected("EPSG:27200", [(175, -40)] * 3), *given])
    error = refused(bench, frame, **more)
    assert (error.reason, error.file) == ("coordinates_not_transformable", "data.parquet")
    assert "1 row has coordinates that EPSG:27200 cannot be transformed from: row 3" in error.detail
    assert re.search(r"comes back from degrees [\d,]+ km off", error.detail)
    # Where nothing is transformed, it is warned of.
    kept = run(bench, frame, recipe={"crs": "source"})
    assert kept.watch.warnings["outside_area_of_use"][1] == 1


def test_a_map_that_goes_on_beyond_the_antimeridian(bench: Bench) -> None:
    """Fiji east of 180° in Web Mercator: a turn around the Earth more, and no loss."""
    wide = Transformer.from_crs(4326, 3857, always_xy=True).transform(179, -17)
    turn = 2 * np.pi * 6_378_137
    frame = points("EPSG:3857", [(wide[0] + turn, wide[1]), (wide[0] - turn, wide[1])])
    found = run(bench, frame)
    assert np.abs(found.frame.get_coordinates().to_numpy() - (179, -17)).max() < 1e-9
    assert RoundTrip(CRS(3857)).off_from_crs(frame.get_coordinates().to_numpy()).max() < ACCURACY_METRES


@pytest.mark.parametrize("crs", ["EPSG:25833", "EPSG:5070", "EPSG:2263", "EPSG:27572", "EPSG:7405", "EPSG:3413"])
def test_round_trips_in_other_units_and_meridians(crs: str) -> None:
    """Feet, grads from Paris, a compound CRS: what comes back in PROJ comes back here, and nothing that does not."""
    trip = RoundTrip(CRS(crs))
    assert trip.base is not None
    degrees = np.array([(5.3, 60.4), (31, 70), (-150, 61), (2, 47)])
    there = np.column_stack(Transformer.from_crs(trip.base, trip.crs, always_xy=True).transform(*degrees.T))
    assert trip.off_from_crs(there).max() < ACCURACY_METRES
    assert trip.off_from_base(degrees).max() < ACCURACY_METRES
    assert (trip.off_from_crs(np.array([(1e30, 1e30)])) > ACCURACY_METRES).all()


def test_distances_outside_an_area() -> None:
    area = (170.0, -10.0, -170.0, 10.0)
    geod = Geod("+proj=longlat +a=6371000 +b=6371000")
    for place, near in (((160, 5), (170, 5)), ((-160, -20), (-170, -10)), ((175, 30), (175, 10))):
        wanted = geod.inv(*place, *near)[2] / 1000
        assert kilometres_outside(np.array([place, (180, 0)], float), area) == pytest.approx(wanted)
    assert kilometres_outside(np.array([(180.0, 0), (np.inf, 0), (-175, 3)]), area) == 0
    assert [shown_distance(each) for each in (1234.4, 3.44, 0.02)] == ["1,234 km", "3.4 km", "20 m"]
