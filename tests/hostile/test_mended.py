"""What the hostile files found, one by one, with the good files that must go on being read."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest
import shapely
from pyproj import CRS

from app.errors import RunRefused
from app.pipelines.common.crs import parse_crs
from app.pipelines.common.wkb_depth import MOST_LEVELS, is_too_deep
from app.pipelines.raster.gdal import has_geotransform, only_drivers
from app.pipelines.tabular.xlsx.workbook import stream_xml
from app.pipelines.vector.formats.shapefile.index import check_index
from app.settings import Limits
from tests.hostile import grids, markup, vectors
from tests.hostile.case import Bait, zipped
from tests.pipelines.conftest import Bench

NOWHERE = Bait("", "")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def put_shapefile(bench: Bench, **changes: vectors.Callable) -> str:
    for name, body in dict(vectors.shp(**changes)(NOWHERE)).items():
        bench.write(name, body)
    return "s.shp"


# --- shapefiles


@pytest.mark.parametrize(
    "change",
    [
        {"shx": vectors.put(100, ">l", 2**30)},
        {"shx": vectors.put(108, ">l", 10)},
        {"shx": vectors.put(104, ">l", 2**28)},
        {"shp": vectors.put(108, "<l", 77)},
        {"shp": vectors.put(108, "<l", 5)},
    ],
    ids=["behind-the-end", "in-the-header", "too-long", "no-type", "another-type"],
)
def test_records_that_cannot_be_read_are_no_null_geometries(bench: Bench, change: dict[str, vectors.Callable]) -> None:
    assert bench.refused(put_shapefile(bench, **change), "SHP").reason == "file_damaged"


def test_null_geometries_stay(bench: Bench) -> None:
    name = put_shapefile(bench, shp=vectors.put(108, "<l", 0))
    assert check_index(bench.landing / "s.shp", bench.landing / "s.shx", "x") == 1
    assert bench.one(name, "SHP").frame.geometry.isna().tolist() == [True, False, False]


@pytest.mark.parametrize(("at", "layout", "value"), [(10, "<H", 0), (10, "<H", 40), (48, "<B", 255)])
def test_a_table_whose_fields_do_not_fit_its_rows(bench: Bench, at: int, layout: str, value: int) -> None:
    name = put_shapefile(bench, dbf=vectors.put(at, layout, value))
    assert bench.refused(name, "SHP").reason == "file_damaged"


# --- nested geometries


def nested(levels: int, inside: bytes = vectors.ONE) -> bytes:
    return struct.pack("<BLL", 1, 7, 1) * levels + inside


def test_geometries_deep_in_one_another_are_found_before_geos_meets_them() -> None:
    assert is_too_deep(nested(100_000))
    assert is_too_deep(nested(MOST_LEVELS + 1))
    assert not is_too_deep(nested(MOST_LEVELS))
    assert is_too_deep(struct.pack(">BLL", 0, 7, 1) * 1000 + vectors.ONE)
    assert is_too_deep((struct.pack("<BLL", 1, 7, 2) + vectors.ONE) * 1000 + vectors.ONE), "behind a first child"
    assert is_too_deep(struct.pack("<BLL", 1, 6, 1) * 1000 + vectors.ONE), "of multi polygons, which may not nest"
    assert is_too_deep(struct.pack("<BLL", 1, 1007, 1) * 1000 + vectors.ONE), "with Z"
    assert is_too_deep(struct.pack("<BLLL", 1, 0x20000007, 4326, 1) * 1000 + vectors.ONE), "with an SRID"


def test_large_geometries_are_not_deep() -> None:
    boxes = shapely.box(*np.random.default_rng(1).integers(0, 9, (4, 2000)).astype(float))
    pairs = [shapely.GeometryCollection([shapely.Point(i, i), shapely.MultiPoint([(i, i)])]) for i in range(500)]
    for geometry in (shapely.MultiPolygon(list(boxes)), shapely.GeometryCollection(pairs)):
        assert not is_too_deep(shapely.to_wkb(geometry))
        assert not is_too_deep(shapely.to_wkb(geometry, byte_order=0))
        assert not is_too_deep(shapely.to_wkb(shapely.force_3d(geometry), flavor="iso"))
        assert not is_too_deep(shapely.to_wkb(geometry)[:-7]), "cut: the decoder's to refuse"


# --- CRSs that lead to files


@pytest.mark.parametrize(
    "text",
    [
        vectors.GRID.format(path="/somewhere/grid.gsb"),
        vectors.GRID.format(path="@null,./grid.gsb"),
        vectors.GRID.format(path="~/grid.gsb"),
        "+init=/somewhere/file:4326",
        "+proj=pipeline +step +proj=hgridshift +grids=../x.gsb",
        "+proj=longlat +datum=WGS84 +geoidgrids=/somewhere/x.gtx +vunits=m +type=crs",
        '{"type": "x", "deep": ' + "[" * 70_000 + "]" * 70_000 + "}",
    ],
)
def test_a_crs_that_leads_to_a_file_is_unknown(text: str) -> None:
    with pytest.raises(RunRefused) as caught:
        parse_crs(text, "x", "in the source")
    assert caught.value.reason == "crs_unknown"
    assert "refers to another file" in caught.value.detail or "characters" in caught.value.detail


@pytest.mark.parametrize(
    "text",
    [
        "EPSG:25832",
        "urn:ogc:def:crs:EPSG::4326",
        "http://www.opengis.net/def/crs/EPSG/0/4326",
        "+proj=merc +a=6378137 +b=6378137 +nadgrids=@null +wktext +no_defs",
        "+proj=longlat +ellps=bessel +nadgrids=BETA2007.gsb +no_defs +type=crs",
        "+proj=tmerc +lat_0=0 +lon_0=9 +k=1 +x_0=3500000 +ellps=bessel +towgs84=598.1,73.7,418.2,0.2,0.0,-2.4,6.7",
        CRS("EPSG:5972").to_wkt(),
        CRS("EPSG:3857").to_wkt("WKT1_GDAL"),
    ],
)
def test_a_crs_that_leads_nowhere_is_known(text: str) -> None:
    assert parse_crs(text, "x", "in the source").name


# --- what mutations found


def test_offsets_before_the_beginning_of_an_archive(bench: Bench) -> None:
    body = zipped({"x.geojson": vectors.collection(vectors.feature(a=1))})
    at = body.rfind(b"PK\5\6")
    bench.write("x.zip", body[: at + 16] + struct.pack("<L", len(body)) + body[at + 20 :])
    assert bench.refused("x.zip", "GeoJSON").reason == "archive_invalid"


def test_an_encoding_with_a_zero_byte_is_unknown(bench: Bench) -> None:
    name = put_shapefile(bench, cpg=lambda *_: b"UT\x00F-8")
    assert bench.refused(name, "SHP").reason == "encoding_unknown"


@pytest.mark.parametrize("encoding", ["Uor-8", "utf-7", "shift_jis"])
@pytest.mark.parametrize("fmt", ["KML", "GML"])
def test_xml_in_no_encoding(bench: Bench, fmt: str, encoding: str) -> None:
    body = (markup.kml("") if fmt == "KML" else markup.gml())(NOWHERE)
    assert isinstance(body, bytes)
    name = bench.write("x.xml", re.sub(rb"(?i)utf-8", encoding.encode(), body, count=1))
    assert bench.refused(name, fmt).reason in ("xml_invalid", "encoding_wrong")


def test_a_workbook_in_no_encoding(tmp_path: Path) -> None:
    part = tmp_path / "sheet.xml"
    part.write_bytes(b"<?xml version='1.0' encoding='Uor-8'?><worksheet/>")
    with pytest.raises(RunRefused) as caught:
        list(stream_xml(part, "x"))
    assert caught.value.reason == "file_damaged"


# --- rasters, GeoJSON, GeoParquet


def test_a_picture_without_a_place_has_none(tmp_path: Path) -> None:
    """rasterio gives what its memory held for a JP2 without geotransform: a place that changes from call to call."""
    path = tmp_path / "x.jp2"
    path.write_bytes(grids.drawn("JP2OpenJPEG"))
    placed = tmp_path / "x.tif"
    placed.write_bytes(grids.drawn())
    with only_drivers(("JP2OpenJPEG",), 1):
        assert not has_geotransform(str(path))
        assert has_geotransform(str(placed))


def test_features_that_have_nothing_in_common_are_too_many_columns(bench: Bench) -> None:
    """Before a table of so many columns and rows is made of them."""
    bench.write("x.json", vectors.collection(*(vectors.feature(**{f"p{i}": 1}) for i in range(3_000))))
    assert bench.refused("x.json", "GeoJSON", limits=Limits(columns=100)).reason == "columns_too_many"


def test_metadata_without_end(bench: Bench) -> None:
    bench.write("x.parquet", bytes(vectors.with_geo("[" * 100_000 + "]" * 100_000)(NOWHERE)))
    assert bench.refused("x.parquet", "GeoParquet").reason == "geoparquet_metadata"
