"""netCDF: every cell comes out where its coordinate variables say, as the value that its attributes say."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from pyproj import CRS

from tests.pipelines.rasters import Made, Rasters

LON = {"units": "degrees_east", "standard_name": "longitude"}
LAT = {"units": "degrees_north", "standard_name": "latitude"}
EAST, NORTH = 10.05 + 0.1 * np.arange(10), 45.05 + 0.1 * np.arange(6)
MERCATOR_32 = {
    "grid_mapping_name": "transverse_mercator", "longitude_of_central_meridian": 9.0,
    "latitude_of_projection_origin": 0.0, "scale_factor_at_central_meridian": 0.9996, "false_easting": 5e5,
    "false_northing": 0.0, "semi_major_axis": 6378137.0, "inverse_flattening": 298.257223563,
}  # fmt: skip

Axis = tuple[str, Any, Mapping[str, str]]


@pytest.fixture
def rasters(tmp_path: Path) -> Rasters:
    return Rasters(tmp_path)


def attributes(item: h5py.HLObject, given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        item.attrs[name] = np.bytes_(value.encode()) if isinstance(value, str) else value


def write(
    rasters: Rasters, axes: list[Axis], values: Any, given: Mapping[str, Any] | None = None, **mapping: Any
) -> str:
    """A netCDF-4 file x.nc with one variable v along these axes, and a grid mapping."""
    with h5py.File(rasters.landing / "x.nc", "w") as file:
        for name, cells, described in axes:
            attributes(file.create_dataset(name, data=np.asarray(cells)), described)
            file[name].make_scale(name)
        variable = file.create_dataset("v", data=values)
        attributes(variable, {"grid_mapping": "crs", **(given or {})})
        for number, (name, _, _) in enumerate(axes):
            variable.dims[number].attach_scale(file[name])
        file["crs"] = np.int32(0)
        attributes(
            file["crs"], mapping or {"grid_mapping_name": "latitude_longitude", "spatial_ref": CRS(4326).to_wkt()}
        )
    return "x.nc"


def grid(rasters: Rasters, values: Any, given: Mapping[str, Any], axes: list[Axis] | None = None) -> Made:
    """What comes out of values on 6 x 10 cells, with these attributes."""
    name = write(rasters, axes or [("lat", NORTH[::-1], LAT), ("lon", EAST, LON)], values, given)
    return rasters.ingest((name, "netCDF"))


def cells(made: Made, band: int = 0) -> dict[tuple[float, float], float]:
    """{(x, y) of the centre: value} of all pixels."""
    with made.open() as dataset:
        values = dataset.read(band + 1)
        at = itertools.product(range(dataset.height), range(dataset.width))
        return {(round(x, 6), round(y, 6)): values[row, column].item()
                for row, column in at for x, y in [dataset.transform @ (column + 0.5, row + 0.5)]}  # fmt: skip


@pytest.mark.parametrize("turned", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
@pytest.mark.parametrize("order", ["lat lon", "lon lat", "time lat lon", "time lon lat"])
def test_every_order_and_direction_of_the_axes(rasters: Rasters, order: str, turned: tuple[int, int]) -> None:
    given = {"lon": EAST[:: turned[0]], "lat": NORTH[:: turned[1]], "time": np.array([3.0])}
    described = {"lon": LON, "lat": LAT, "time": {"units": "days since 2026-01-01"}}
    names = order.split()
    values = sum(
        factor * given[name].reshape([-1 if name == other else 1 for other in names])
        for name, factor in (("lon", 1000), ("lat", 1))
    )
    made = rasters.ingest((write(rasters, [(n, given[n], described[n]) for n in names], values), "netCDF"))
    found = cells(made)
    assert found == pytest.approx({(round(x, 6), round(y, 6)): 1000 * x + y for x in EAST for y in NORTH})
    assert ("axes_transposed" in made.watch.warnings) is order.endswith("lon lat")
    assert set(made.watch.warnings) <= {"axes_transposed"}
    with made.open() as dataset:
        assert dataset.transform.e < 0
    assert made.product.counts["rows_out"] == 6


def test_a_large_transposed_grid_is_read_in_windows(rasters: Rasters, monkeypatch: pytest.MonkeyPatch) -> None:
    east, north = 5 + 0.01 * np.arange(1100), 40 + 0.01 * np.arange(700)
    values = (east[:, None] * 1000 + north).astype("f4")
    monkeypatch.setattr("app.pipelines.raster.compute._WINDOW_BYTES", 512 * 512 * 4)
    made = rasters.ingest((write(rasters, [("lon", east, LON), ("lat", north, LAT)], values), "netCDF"))
    assert made.pixels.tobytes() == values.T[::-1].tobytes()


def test_axes_that_are_not_the_last_two_are_refused(rasters: Rasters) -> None:
    times = ("time", np.arange(4.0), {"units": "days since 2026-01-01"})
    name = write(rasters, [("lat", NORTH, LAT), ("lon", EAST, LON), times], np.zeros((6, 10, 4)))
    error = rasters.refuses((name, "netCDF"))
    assert error.reason == "georeference_not_affine"
    assert "(lat, lon, time)" in error.detail
    assert "ncpdq -a lat,lon" in error.fix


def test_uneven_axes(rasters: Rasters) -> None:
    """Cells of a Mercator grid; of one whose coordinates were rounded; and of one in 32-bit floats."""
    uneven = 60 - np.cumsum(np.linspace(0.075, 0.04, 60))
    zeros = np.zeros((60, 10), "f4")
    error = rasters.refuses((write(rasters, [("lat", uneven, LAT), ("lon", EAST, LON)], zeros), "netCDF"))
    assert error.reason == "georeference_not_affine"
    assert "'lat'" in error.detail
    even = 60 - np.arange(60) / 30
    rounded = write(rasters, [("lat", even.round(2), LAT), ("lon", EAST, LON)], zeros)
    made = rasters.ingest((rounded, "netCDF"))
    assert "'lat'" in made.watch.warnings["axes_rounded"][0]
    with made.open() as dataset:
        rows = dataset.transform.f + dataset.transform.e * (np.arange(60) + 0.5)
    assert np.abs(rows - even).max() < 0.25 / 30
    short = [
        ("lat", (60 - np.arange(60) / 1200).astype("f4"), LAT),
        ("lon", (170 + np.arange(10) / 1200).astype("f4"), LON),
    ]
    assert rasters.ingest((write(rasters, short, zeros), "netCDF")).watch.warnings == {}


@pytest.mark.parametrize("described", [LON, {}])
def test_longitudes_that_jump_at_180(rasters: Rasters, described: Mapping[str, str]) -> None:
    east = np.array([178.5, 179.5, -179.5, -178.5])
    name = write(rasters, [("lat", [1.5, 0.5], LAT), ("lon", east, described)], np.array([[1, 2, 3, 4], [5, 6, 7, 8]]))
    made = rasters.ingest((name, "netCDF"))
    found = {(x % 360, y): value for (x, y), value in cells(made).items()}
    assert found == {(x % 360, y): 4 * (1.5 - y) + n + 1 for y in (1.5, 0.5) for n, x in enumerate(east)}
    box = made.product.statistics["bounds_4326"]
    assert (box["minx"], box["maxx"]) == (178, -178)


@pytest.mark.parametrize(("unit", "metres"), [("m", 1), ("km", 1000), ("", 1)])
@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.parametrize("turned", [1, -1])
def test_projected_axes_win_over_a_stale_geotransform(
    rasters: Rasters, unit: str, metres: int, stale: bool, turned: int
) -> None:
    x, y = 4e5 + 1e3 * np.arange(10), (5e6 + 1e3 * np.arange(6))[::turned]
    described = {"units": unit} if unit else {}
    more = {"GeoTransform": "0 1000 0 900000 0 -1000"} if stale else {}
    values = x / 1e3 + y[:, None]
    name = write(rasters, [("y", y / metres, described), ("x", x / metres, described)], values, None,
                 **MERCATOR_32, spatial_ref=CRS(32632).to_wkt(), **more)  # fmt: skip
    made = rasters.ingest((name, "netCDF"))
    assert cells(made) == {(e, n): e / 1e3 + n for e in x for n in y}
    assert made.product.crs == "EPSG:32632"


def test_what_a_stale_geotransform_said_is_a_warning(rasters: Rasters) -> None:
    x, y = 4e5 + 1e3 * np.arange(10), 5e6 + 1e3 * np.arange(6)
    name = write(rasters, [("y", y, {}), ("x", x, {})], np.zeros((6, 10)), None, **MERCATOR_32,
                 spatial_ref=CRS(32632).to_wkt(), GeoTransform="0 1000 0 900000 0 -1000")  # fmt: skip
    text = rasters.ingest((name, "netCDF")).watch.warnings["georeference_by_axes"][0]
    assert "900000" in text
    assert "399500" in text


def test_a_view_from_a_satellite_is_placed_in_metres(rasters: Rasters) -> None:
    height = 35_786_023.0
    angles: list[Axis] = [
        (name, cells, {"units": "rad", "standard_name": f"projection_{name}_coordinate"})
        for name, cells in (("y", 0.1 - 0.001 * np.arange(6)), ("x", -0.1 + 0.001 * np.arange(10)))
    ]
    name = write(rasters, angles, np.zeros((6, 10)), None, grid_mapping_name="geostationary", sweep_angle_axis="x",
                 perspective_point_height=height, longitude_of_projection_origin=-75.0, semi_major_axis=6378137.0,
                 semi_minor_axis=6356752.31414)  # fmt: skip
    made = rasters.ingest((name, "netCDF"))
    with made.open() as dataset:
        assert dataset.transform @ (0.5, 0.5) == pytest.approx((-0.1 * height, 0.1 * height))
    assert "gdal_warning" not in made.watch.warnings


@pytest.mark.parametrize("stored", ["i1", "i2", "i4", "i8", "u1", "u2", "u4"])
@pytest.mark.parametrize("unsigned", ["true", "false"])
def test_unsigned_says_what_the_bits_mean(rasters: Rasters, stored: str, unsigned: str) -> None:
    bits = np.arange(60, dtype="i8")
    bits[:5] = [-1, -2, -3, -128, 100]
    values = bits.astype(stored).reshape(6, 10)
    wanted = values.view(("u" if unsigned == "true" else "i") + stored[1])
    made = grid(rasters, values, {"_Unsigned": unsigned, "_FillValue": values.ravel()[1:2]})
    assert made.pixels.dtype == wanted.dtype
    assert made.pixels.tobytes() == wanted.tobytes()
    assert made.product.statistics["nodata"] == wanted[0, 1]
    assert (made.bands[0]["valid"], made.bands[0]["min"]) == (59, np.delete(wanted, 1).min())


def test_unsigned_bytes_of_a_classic_file(rasters: Rasters) -> None:
    pixels = np.arange(196, 256, dtype="u1").reshape(1, 6, 10)
    name = rasters.put_netcdf("x.nc", pixels, options={"FORMAT": "NC"})
    assert rasters.ingest((name, "netCDF")).pixels.tobytes() == pixels.tobytes()


MISSING: list[tuple[dict[str, Any], set[int]]] = [
    ({"missing_value": np.float32(5)}, {5}),
    ({"missing_value": np.float32(5), "_FillValue": np.float32(7)}, {5, 7}),
    ({"missing_value": np.array([5, 7, 9], "f4")}, {5, 7, 9}),
    ({"missing_value": np.float64(5), "_FillValue": np.float32(np.nan)}, {5}),
    ({"valid_range": np.array([10, 49], "f4"), "_FillValue": np.float32(7)}, {*range(10), *range(50, 60)}),
    ({"valid_min": np.float32(10), "_FillValue": np.float32(7)}, set(range(10))),
    ({"valid_max": np.float32(49), "_FillValue": np.float32(7)}, {7, *range(50, 60)}),
]  # fmt: skip


@pytest.mark.parametrize(("given", "missing"), MISSING, ids=lambda value: ",".join(map(str, value)))
def test_all_values_that_mean_nothing_are_nodata(rasters: Rasters, given: dict[str, Any], missing: set[int]) -> None:
    values = np.arange(60, dtype="f4").reshape(6, 10)
    made = grid(rasters, values, given)
    with made.open() as dataset:
        shown = dataset.dataset_mask() != 0
        assert (shown == ~np.isin(values, list(missing))).all()
        assert dataset.read(1)[shown].tobytes() == values[shown].tobytes()
    assert made.bands[0]["valid"] == 60 - len(missing)
    stored = made.product.statistics["nodata"]
    changed = len(missing - {float(stored)})
    assert made.watch.warnings.get("missing_values", ("", 0))[1] == changed


def test_values_outside_the_valid_range_stay_without_nodata(rasters: Rasters) -> None:
    values = np.arange(60, dtype="f4").reshape(6, 10)
    made = grid(rasters, values, {"valid_range": np.array([10, 49], "f4")})
    assert made.pixels.tobytes() == values.tobytes()
    assert made.watch.warnings["missing_values"][1] == 20


@pytest.mark.parametrize("projected", [False, True])
def test_an_ellipsoid_without_a_datum_may_be_declared(rasters: Rasters, projected: bool) -> None:
    if projected:
        x, y = 4e5 + 1e3 * np.arange(10), 5e6 + 1e3 * np.arange(6)
        axes: list[Axis] = [("y", y, {"units": "m"}), ("x", x, {"units": "m"})]
        name, code, others = write(rasters, axes, np.zeros((6, 10)), None, **MERCATOR_32), 32632, (32633, 25832, 4326)
    else:
        earth = {"grid_mapping_name": "latitude_longitude", "semi_major_axis": 6378137.0}
        axes = [("lat", NORTH, LAT), ("lon", EAST, LON)]
        name = write(rasters, axes, np.zeros((6, 10)), None, **earth, inverse_flattening=298.257223563)
        code, others = 4326, (4258, 4277, 32632)
    assert "EPSG" not in rasters.ingest((name, "netCDF")).product.crs
    assert rasters.ingest((name, "netCDF"), crs=f"EPSG:{code}").product.crs == f"EPSG:{code}"
    for other in others:
        assert rasters.refuses((name, "netCDF"), crs=f"EPSG:{other}").reason == "crs_conflict"
    rasters.write("x.prj", CRS(code).to_wkt("WKT1_ESRI"))
    assert rasters.ingest((name, "netCDF")).product.crs == f"EPSG:{code}"


@pytest.mark.parametrize("layer", ["/data/deep/v", None])
def test_variables_in_groups_are_placed_too(rasters: Rasters, layer: str | None) -> None:
    """Their dimensions are those of the group or of one above."""
    with h5py.File(rasters.landing / "x.nc", "w") as file:
        group = file.create_group("/data/deep")
        for owner, name, values, described in ((file, "lat", NORTH, LAT), (group, "lon", EAST, LON)):
            attributes(owner.create_dataset(name, data=values), described)
            owner[name].make_scale(name)
        variable = group.create_dataset("v", data=1000 * EAST[:, None] + NORTH)
        variable.dims[0].attach_scale(group["lon"])
        variable.dims[1].attach_scale(file["lat"])
        if layer:
            file.create_dataset("v", data=np.zeros((6, 6))).dims[0].attach_scale(file["lat"])
    made = rasters.ingest(("x.nc", "netCDF"), crs="EPSG:4326", **({"layer": layer} if layer else {}))
    wanted = {(round(x, 6), round(y, 6)): 1000 * x + y for x in EAST for y in NORTH}
    assert cells(made) == pytest.approx(wanted)
