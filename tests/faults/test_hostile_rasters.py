"""Hostile and wrong rasters through the real service: the right code, nothing registered, nothing left behind."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import pytest
import rasterio

from tests.service import Service, raster_manifest, wait_for


def tiff(**changes: Any) -> bytes:
    profile = {"width": 300, "height": 200, "count": 1, "dtype": "uint8", "crs": "EPSG:32632",
               "transform": rasterio.Affine(10, 0, 500_000, 0, -10, 5_500_000), **changes}  # fmt: skip
    with rasterio.MemoryFile() as memory:
        with memory.open(driver="GTiff", **profile) as made:
            if profile["width"] < 1000:
                made.write(np.random.default_rng(1).integers(0, 255, (1, 200, 300)).astype(profile["dtype"]))
        return bytes(memory.read())


def external() -> bytes:
    body = io.BytesIO()
    with h5py.File(body, "w") as file:
        file.create_dataset("v", shape=(8, 8), dtype="u1", external=[("/etc/passwd", 0, 64)])
    return body.getvalue()


VRT = b'<VRTDataset rasterXSize="1" rasterYSize="1"><VRTRasterBand band="1"/></VRTDataset>'
HUGE = {"width": 400_000, "height": 400_000, "tiled": True, "blockxsize": 4096, "blockysize": 4096, "sparse_ok": True}

CASES: list[tuple[str, Callable[[], bytes], str, str]] = [
    ("vrt", lambda: VRT, "GTiff", "content_mismatch"),
    ("vrt-as-netcdf", lambda: VRT, "netCDF", "content_mismatch"),
    ("path-of-a-url", lambda: b"/vsicurl/http://127.0.0.1:1/x.tif", "GTiff", "content_mismatch"),
    ("external-values", external, "netCDF", "external_data"),
    ("truncated", lambda: tiff()[:20_000], "GTiff", "file_damaged"),
    ("bomb", lambda: tiff(**HUGE), "GTiff", "pixels_too_many"),
    ("no-crs", lambda: tiff(crs=None), "GTiff", "crs_missing"),
    ("nowhere", lambda: tiff(transform=None), "GTiff", "georeference_missing"),
    ("complex", lambda: tiff(dtype="complex64"), "GTiff", "dtype_not_supported"),
]


@pytest.mark.parametrize(("name", "make", "fmt", "code"), CASES, ids=[case[0] for case in CASES])
def test_it_is_refused_with_its_code_and_nothing_is_left(
    service: Service, name: str, make: Callable[[], bytes], fmt: str, code: str
) -> None:
    before = service.lake()
    key = f"hostile-rasters/{name}/x"
    service.put(key, make())
    run = service.ingest(raster_manifest(f"hostile-raster-{name}", key, fmt))
    assert (run["status"], run["attempt"]) == ("failure", 1), run
    error = run["error"]
    assert (error["code"], error["file"]) == (code, key), error
    assert error["fix"]
    assert str(service.data_dir) not in json.dumps(error), "the reader's file is named, not our copy of it"
    assert service.lake() == before
    wait_for(lambda: service.scratch() == [], "scratch to be empty")
