"""A raster through the real service: upload, run, catalogue, download."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from rio_cogeo import cog_validate

from tests.service import Service, raster_manifest

SAMPLE = Path(__file__).parents[2] / "samples" / "raster" / "terrain.tif"


def test_the_sample_from_upload_to_download(service: Service, tmp_path: Path) -> None:
    service.put("rasters/terrain.tif", SAMPLE.read_bytes())
    run = service.ingest(raster_manifest("terrain", "rasters/terrain.tif"))
    assert run["status"] == "success", run["error"]
    assert (run["lane"], run["job_name"]) == ("spatial", "spatial_asset_job")
    assert run["progress"] == {"rows_done": 480, "rows_total": 480}
    assert run["counts"]["pixels_out"] == 600 * 480
    asset = service.http.get("/assets/terrain/v1").json()
    assert (asset["kind"], asset["format"], asset["crs"]) == ("raster", "cog", "EPSG:25832")
    (band,) = asset["statistics"]["bands"]
    path = tmp_path / "terrain.tif"
    path.write_bytes(service.http.get("/assets/terrain/v1/download", follow_redirects=True).content)
    assert cog_validate(path, strict=True) == (True, [], [])
    with rasterio.open(SAMPLE) as source, rasterio.open(path) as made:
        assert made.read().tobytes() == source.read().tobytes()
        assert (made.transform, made.crs, made.nodata) == (source.transform, source.crs, source.nodata)
        assert (made.descriptions, made.units, made.scales) == (("height",), ("m",), (0.1,))
        assert band["nodata"] == int((source.read() == source.nodata).sum())
    (preview,) = asset["metadata"]["companions"]
    assert preview["name"] == "preview.png"
    (stored,) = [key for key in service.lake() if key.startswith("terrain/") and "preview" in key]
    assert stored == preview["s3_key"]
    again = service.ingest(raster_manifest("terrain-2", "rasters/terrain.tif", intent="ingest_heights"))
    assert (again["status"], again["lane"]) == ("success", "ingest")
    second = service.http.get("/assets/terrain-2/v1").json()
    assert second["content_hash"] == asset["content_hash"]


def test_a_world_file_in_the_landing_zone_is_found(service: Service, tmp_path: Path) -> None:
    image = tmp_path / "x.png"
    pixels = np.random.default_rng(1).integers(0, 255, (3, 40, 50), dtype="uint8")
    with rasterio.open(image, "w", driver="PNG", width=50, height=40, count=3, dtype="uint8") as made:
        made.write(pixels)
    service.put("world/x.png", image.read_bytes())
    service.put("world/x.PGW", b"10\n0\n0\n-10\n500005\n5499995\n")
    run = service.ingest(raster_manifest("world", "world/x.png", "PNG", crs="EPSG:32632"))
    assert run["status"] == "success", run["error"]
    asset = service.http.get("/assets/world/v1").json()
    assert asset["bounds"] == {"minx": 500000, "miny": 5499600, "maxx": 500500, "maxy": 5500000}
    assert [each["s3_key"].rpartition("/")[2] for each in asset["inputs"]] == ["x.png", "x.PGW"]


def test_an_option_of_another_format_is_refused(service: Service) -> None:
    response = service.post(raster_manifest("raster-option", "x.tif", options={"encoding": "UTF-8"}))
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["code"] == "option_not_of_format"
    assert "warp" in error["fix"]
    unknown = service.post(raster_manifest("raster-warp", "x.tif", options={"warp": "EPSG:3857"}))
    assert unknown.json()["errors"][0]["pointer"] == "/files/0/options/warp"
