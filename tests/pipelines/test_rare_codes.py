"""Codes of refusals and warnings that no other test provokes, each by the smallest source."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio.from_thread
import numpy as np
import pyarrow as pa
import pytest
import rasterio
import shapely

from app.clients import open_clients
from app.errors import RunRefused
from app.models.asset import Deletion
from app.models.base import utcnow
from app.pipelines.contract.fetch_version import fetch_version
from app.pipelines.raster import pipeline as raster
from app.pipelines.raster.cog import CogOptions, write_cog
from app.pipelines.tabular import pipeline as tabular
from app.settings import Settings
from tests.contract.ledgers import put_asset
from tests.pipelines.conftest import Bench
from tests.pipelines.joins import Lake, points
from tests.pipelines.rasters import UTM, Rasters
from tests.pipelines.test_postgis import engine_at
from tests.servers.postgres import execute, fresh_database

POINT = json.dumps({"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [9, 48]}})


@pytest.mark.parametrize(("run", "code"), [(raster.run, "format_not_raster"), (tabular.run, "format_not_tabular")])
def test_a_file_of_another_type(tmp_path: Path, run: Any, code: str) -> None:
    bench = Bench(tmp_path)
    (bench.landing / "a.geojson").write_text(POINT)
    with pytest.raises(RunRefused) as caught:
        run(bench.context({"path": "a.geojson", "format": "GeoJSON"}))
    assert caught.value.reason == code
    assert caught.value.fix


def test_a_collection_across_the_antimeridian(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    # In EPSG:3832, which is centred at 150 degrees east, the line goes on past 180 degrees.
    line = shapely.LineString([(3_000_000, 0), (4_000_000, 0)])
    shape = json.loads(shapely.to_geojson(shapely.GeometryCollection([line, shapely.Point(3_000_000, 10)])))
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3832"}}
    features = [{"type": "Feature", "properties": {}, "geometry": shape}]
    document = {"type": "FeatureCollection", "crs": crs, "features": features}
    (bench.landing / "a.geojson").write_text(json.dumps(document))
    with pytest.raises(RunRefused) as caught:
        bench.run({"path": "a.geojson", "format": "GeoJSON"})
    assert caught.value.reason == "antimeridian_unsplittable"


def test_a_crs_that_a_geotiff_cannot_store(tmp_path: Path) -> None:
    rasters = Rasters(tmp_path)
    rasters.put("a.png", np.ones((1, 8, 8), "uint8"), driver="PNG", crs=None)
    (rasters.landing / "a.wld").write_text("10\n0\n0\n-10\n0\n0\n")
    error = rasters.refuses(("a.png", "PNG"), crs="+proj=bertin1953 +ellps=WGS84 +type=crs")
    assert error.reason == "crs_not_in_geotiff"


def test_a_corner_that_has_no_coordinates_in_degrees(tmp_path: Path) -> None:
    rasters = Rasters(tmp_path)
    # Half a globe, seen from above 0, 0: its corners lie beside it.
    place = rasterio.Affine(1_600_000, 0, -6_400_000, 0, -1_600_000, 6_400_000)
    rasters.put("a.tif", np.ones((1, 8, 8), "uint8"), crs="+proj=ortho +lat_0=0 +lon_0=0 +ellps=WGS84", transform=place)
    made = rasters.ingest(("a.tif", "GTiff"))
    assert "bounds_unknown" in made.watch.warnings


@contextmanager
def _files_of_at_most(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_result_that_cannot_be_written(tmp_path: Path) -> None:
    source, target = tmp_path / "a.tif", tmp_path / "b.tif"
    noise = np.random.default_rng(1).integers(0, 255, (1, 512, 512), "uint8")
    settings = {"count": 1, "height": 512, "width": 512, "dtype": "uint8", "crs": "EPSG:32632", "transform": UTM}
    with rasterio.open(source, "w", driver="GTiff", **settings) as made:
        made.write(noise)
    options = CogOptions(256, "STANDARD", "nearest")
    with _files_of_at_most(65_536), pytest.raises(RunRefused) as caught:
        write_cog(source, target, options, threads=1, progress=lambda _: None)
    assert caught.value.reason == "raster_not_written"
    assert str(tmp_path) not in caught.value.detail


def test_keys_of_a_join(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.tabular(pa.table({"k": ["a", "a", "b", None]}))
    lake.spatial(pa.table({"k": ["a", "c", "c", None]}), points(4))
    warnings = lake.join(how="outer").watch.warnings
    assert {code: count for code, (_, count, _) in warnings.items()} == {
        "tabular_keys_missing": 1,
        "spatial_keys_missing": 1,
        "tabular_rows_unmatched": 1,
        "spatial_rows_unmatched": 2,
        "tabular_keys_duplicated": 1,
        "spatial_keys_duplicated": 1,
    }


def test_a_version_that_was_deleted(tmp_path: Path) -> None:
    with anyio.from_thread.start_blocking_portal() as portal:
        clients_of = portal.wrap_async_context_manager(open_clients(Settings(data_dir=tmp_path)))
        with clients_of as clients:
            portal.call(clients.ledger.migrate)
            first = portal.call(put_asset, clients.ledger, "roads")
            portal.call(put_asset, clients.ledger, "roads")
            assert first.version == 1
            deletion = Deletion(at=utcnow(), by="ada", reason="request")
            portal.call(clients.ledger.delete_version, "roads", 1, deletion)
            with pytest.raises(RunRefused) as caught:
                fetch_version("roads", 1, tmp_path, clients, portal.call, None)
    assert caught.value.reason == "version_deleted"


def test_rows_that_postgis_cannot_compute(tmp_path: Path) -> None:
    """A server whose PostGIS lacks a function that the statement calls."""
    bench = Bench(tmp_path)
    (bench.landing / "a.geojson").write_text(POINT)
    with fresh_database() as url:
        execute(url, "ALTER FUNCTION ST_IsValidReason(geometry) RENAME TO ST_IsValidReason_of_another_release")
        with pytest.raises(RunRefused) as caught:
            bench.run({"path": "a.geojson", "format": "GeoJSON"}, engine=engine_at(url))
    assert caught.value.reason == "postgis_failed"
