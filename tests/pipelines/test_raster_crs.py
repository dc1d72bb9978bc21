"""The CRS of a raster is the one of its keys: by code, with heights and epoch, or not at all."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS
from pyproj.database import get_codes
from pyproj.enums import PJType
from rasterio.crs import CRS as RasterioCRS  # noqa: N811 # as rasterio's own documents spell it

from app.models.manifests.manifest import ManifestFile
from app.pipelines.common.crs import crs_name, same_crs
from app.pipelines.raster.crs import crs_of, find_crs, rasterio_crs
from app.pipelines.raster.gdal import only_drivers
from tests.pipelines.rasters import UTM, Rasters, terrain
from tests.pipelines.tiffs import GEO_KEYS, PIXEL_SCALE, TIE_POINT, geo_keys, tags_of, tiff

PIXELS = np.arange(12, dtype="u1").reshape(1, 3, 4)
# Codes whose definitions differ between the two databases of PROJ, or lose a detail as WKT.
DIFFICULT = (3067, 3295, 3877, 4266, 5110, 5972, 9311, 26632)
_KINDS = (PJType.PROJECTED_CRS, PJType.GEOGRAPHIC_2D_CRS, PJType.COMPOUND_CRS)
# No GeoTIFF can say of which zone the coordinates are.
_UTM_WITHOUT_ZONE = {32600, 32700}


@pytest.fixture
def rasters(tmp_path: Path) -> Rasters:
    return Rasters(tmp_path)


def keys_of(body: bytes) -> dict[int, int]:
    """{GeoKey: its value in the directory} of the first page."""
    (found,) = tags_of(body, GEO_KEYS)[:1]
    return {found[at]: found[at + 3] for at in range(4, len(found), 4)}


def put(rasters: Rasters, name: str, keys: Any, minor: int = 0) -> tuple[str, str]:
    return rasters.write(name, tiff(PIXELS, geo_keys(keys, minor))), "GTiff"


@pytest.mark.parametrize(
    "keys",
    [
        {1025: 1},
        {1024: 1, 1025: 1},
        {1024: 1, 1025: 1, 3076: 9001},
        {1024: 1, 1025: 1, 1026: "WGS 84 / UTM zone 32N"},
        {1024: 1, 1025: 1, 3073: "WGS 84 / UTM zone 32N"},
        {1024: 2, 1025: 1, 2049: "WGS 84"},
        {1024: 32767, 1025: 1},
    ],
)
def test_units_and_citations_are_no_crs(rasters: Rasters, keys: dict[int, Any]) -> None:
    file = put(rasters, "x.tif", keys)
    error = rasters.refuses(file)
    assert error.reason == "crs_missing"
    assert "files[].crs" in error.fix
    made = rasters.ingest(file, crs="EPSG:25832")
    assert made.product.crs == "EPSG:25832"
    assert keys_of(made.path.read_bytes())[3072] == 25832
    rasters.write("x.prj", CRS(32632).to_wkt("WKT1_ESRI"))
    assert rasters.ingest(file).product.crs == "EPSG:32632"


@pytest.mark.parametrize(("code", "x", "y"), [(3067, 5e5, 6.7e6), (5110, 1e5, 1.3e6), (25832, 5e5, 5.4e6)])
def test_a_code_is_no_conflict_with_itself(rasters: Rasters, code: int, x: float, y: float) -> None:
    """Also where the definitions behind the code differ between the databases of rasterio and pyproj."""
    place = {TIE_POINT: ("d", [0.0, 0.0, 0.0, x, y, 0.0])}
    known = rasters.write("x.tif", tiff(PIXELS, {**place, **geo_keys({1024: 1, 1025: 1, 3072: code})}))
    bare = rasters.write("bare.tif", tiff(PIXELS, place))
    spelt = [CRS(code).to_wkt(), CRS(code).to_wkt("WKT1_ESRI"), RasterioCRS.from_epsg(code).to_wkt(),
             RasterioCRS.from_epsg(code).to_wkt(version="WKT2_2019")]  # fmt: skip
    for text in spelt:
        rasters.write("x.prj", text)
        rasters.write("bare.prj", text)
        for made in (
            rasters.ingest((known, "GTiff"), crs=f"EPSG:{code}"),
            rasters.ingest((bare, "GTiff"), (known, "GTiff")),
        ):
            assert made.product.crs == f"EPSG:{code}"
            assert keys_of(made.path.read_bytes())[3072] == code
    assert rasters.refuses((known, "GTiff"), crs="EPSG:4326").reason == "crs_conflict"


@pytest.mark.parametrize("minor", [0, 1])
def test_heights_stay_with_keys_of_every_version(rasters: Rasters, minor: int) -> None:
    """NAVD88 in US survey feet, on UTM 10N, at 500000 E 5400000 N."""
    file = put(rasters, "x.tif", {1024: 1, 1025: 1, 3072: 26910, 4096: 6360, 4099: 9003}, minor)
    for more in ({}, {"crs": "EPSG:26910"}, {"crs": "EPSG:26910+6360"}):
        made = rasters.ingest(file, **more)
        assert made.watch.warnings == {}
        found = keys_of(made.path.read_bytes())
        assert (found[3072], found[4096]) == (26910, 6360)
        assert made.product.crs == "EPSG:26910+6360"
        assert CRS(made.product.crs).equals(CRS("EPSG:26910+6360"))
    assert rasters.refuses(file, crs="EPSG:26910+5703").reason == "crs_conflict"


def test_heights_of_a_prj_or_the_manifest_are_added(rasters: Rasters) -> None:
    file = put(rasters, "x.tif", {1024: 1, 1025: 1, 3072: 25832})
    made = rasters.ingest(file, crs="EPSG:25832+7837")
    assert keys_of(made.path.read_bytes())[4096] == 7837
    for bare in (file[0], rasters.write("y.tif", tiff(PIXELS))):
        rasters.write(bare.replace(".tif", ".prj"), CRS("EPSG:25832+7837").to_wkt("WKT1_GDAL"))
        found = keys_of(rasters.ingest((bare, "GTiff")).path.read_bytes())
        assert (found[3072], found[4096]) == (25832, 7837)


@pytest.mark.parametrize("more", [{4099: 9001}, {4096: 5030, 4099: 9001}])
def test_heights_above_nothing_in_particular_are_said(rasters: Rasters, more: dict[int, Any]) -> None:
    made = rasters.ingest(put(rasters, "x.tif", {1024: 1, 1025: 1, 3072: 25832, **more}))
    assert made.product.crs == "EPSG:25832"
    assert "x.tif" in made.watch.warnings["vertical_crs_unknown"][0]


def test_a_coordinate_epoch_stays(rasters: Rasters) -> None:
    keys = {1024: 2, 1025: 1, 2048: 9000, 5120: 2010.5}
    place = {PIXEL_SCALE: ("d", [0.01, 0.01, 0.0]), TIE_POINT: ("d", [0.0, 0.0, 0.0, 10.0, 50.0, 0.0])}
    name = rasters.write("x.tif", tiff(PIXELS, {**geo_keys(keys, 1), **place}))
    made = rasters.ingest((name, "GTiff"))
    assert made.product.crs == "EPSG:9000"
    assert made.product.statistics["coordinate_epoch"] == 2010.5
    body = made.path.read_bytes()
    assert 2010.5 in tags_of(body, 34736)[0]
    assert 5120 in keys_of(body)
    without = rasters.write("y.tif", tiff(PIXELS, {**geo_keys({1024: 2, 1025: 1, 2048: 9000}, 1), **place}))
    error = rasters.refuses((name, "GTiff"), (without, "GTiff"))
    assert error.reason == "grid_mismatch"
    assert "coordinate epoch" in error.detail


def test_a_negative_scale_turns_the_rows(rasters: Rasters) -> None:
    """GeoTIFF 1.1, requirement 9: a negative ScaleY means that rows go north."""
    tags = {**geo_keys({1024: 1, 1025: 1, 3072: 32632}), PIXEL_SCALE: ("d", [10.0, -10.0, 0.0])}
    made = rasters.ingest((rasters.write("x.tif", tiff(PIXELS, tags)), "GTiff"))
    with made.open() as dataset:
        assert dataset.transform == Affine(10, 0, 500_000, 0, 10, 5_400_000)
    assert made.pixels.tobytes() == PIXELS.tobytes()


def epsg_codes(*, deprecated: bool) -> Iterator[int]:
    """All codes of both databases that a raster can have."""
    for kind in _KINDS:
        for code in get_codes("EPSG", kind, allow_deprecated=deprecated):
            if code.isdigit() and int(code) not in _UTM_WITHOUT_ZONE:
                yield int(code)


def lost(codes: list[int], path: Path) -> dict[int, str]:
    """{code: what is read} of the codes that do not come back from a GeoTIFF, or not a second time."""
    found: dict[int, str] = {}

    def write(crs: RasterioCRS) -> None:
        size = {"width": 1, "height": 1, "count": 1}
        with rasterio.open(path, "w", driver="GTiff", dtype="uint8", crs=crs, transform=UTM, **size):
            pass

    with warnings.catch_warnings(), only_drivers(["GTiff"], 1):
        for code in codes:
            file = ManifestFile(path="s3://landing-zone/x.tif", type="raster", format="GTiff", crs=f"EPSG:{code}")
            write(RasterioCRS.from_epsg(code))
            with rasterio.open(path) as dataset:
                crs = find_crs(dataset, file, path).crs
            write(rasterio_crs(crs))
            with rasterio.open(path) as dataset:
                back = crs_of(dataset.crs, "x.tif", "in the source")
            if crs_name(crs) != f"EPSG:{code}" or back is None or not same_crs(crs, back):
                found[code] = f"{crs_name(crs)}, {back and crs_name(back)}"
    return found


def test_codes_come_back_from_a_geotiff(tmp_path: Path) -> None:
    codes = list(epsg_codes(deprecated=False))
    assert len(codes) > 5000
    assert lost([*DIFFICULT, *codes[::40]], tmp_path / "x.tif") == {}


@pytest.mark.slow
def test_every_code_comes_back_from_a_geotiff(tmp_path: Path) -> None:
    """Longitude before latitude is what every raster has: those codes are known by their names only."""
    swapped = {code for code in epsg_codes(deprecated=False) if "(lon-lat)" in CRS(code).name}
    assert set(lost(list(epsg_codes(deprecated=False)), tmp_path / "x.tif")) <= swapped


def test_a_deprecated_code_is_not_replaced(rasters: Rasters) -> None:
    """EPSG:3911 of Slovenia has the successor EPSG:8686."""
    name = rasters.put("x.tif", terrain("uint8", 1, 9, 9), crs=None, transform=Affine(10, 0, 5e5, 0, -10, 5.1e6))
    made = rasters.ingest((name, "GTiff"), crs="EPSG:3911")
    assert made.product.crs == "EPSG:3911"
    assert keys_of(made.path.read_bytes())[3072] == 3911
