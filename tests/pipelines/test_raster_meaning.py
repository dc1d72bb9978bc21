"""What pixels mean stays: colours as the tags of a TIFF say them, masks, metadata, and what a preview shows."""

from __future__ import annotations

import base64
import math
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from affine import Affine
from rasterio.rpc import RPC

from app.errors import RunCanceled, RunRefused
from app.pipelines.raster import check, compute
from app.pipelines.raster import pipeline as raster
from tests.pipelines.conftest import Watch
from tests.pipelines.rasters import UTM, Made, Rasters, terrain
from tests.pipelines.tiffs import EXTRA_SAMPLES, PHOTOMETRIC, geo_keys, tags_of, tiff

UTM_KEYS = geo_keys({1024: 1, 1025: 1, 3072: 32632})
COLOUR_MAP = {320: ("H", [65535, *[0] * 255, 0, 65535, *[0] * 254, *[0] * 256])}


@pytest.fixture
def rasters(tmp_path: Path) -> Rasters:
    return Rasters(tmp_path)


def preview(made: Made) -> Any:
    """(rows, columns, RGBA) as another library than GDAL reads it."""
    with PIL.Image.open(made.product.companions["preview.png"]) as image:
        return np.asarray(image.convert("RGBA"))


COLOURS: list[tuple[str, int, int, tuple[int, ...]]] = [
    ("u1", 1, 0, ()), ("u2", 1, 0, ()), ("u1", 2, 0, (0,)), ("u1", 2, 0, (2,)),
    ("u1", 1, 1, ()), ("u1", 2, 1, (0,)), ("u1", 2, 1, (2,)), ("u2", 2, 1, (1,)),
    ("u1", 3, 1, (0, 0)), ("u1", 3, 1, (0, 2)), ("u1", 3, 1, (2, 0)), ("u1", 4, 1, (0, 0, 0)), ("u1", 5, 1, (0,) * 4),
    ("u2", 3, 1, (0, 0)), ("u2", 4, 1, (0, 0, 0)), ("f4", 4, 1, (0, 0, 0)),
    ("u1", 3, 2, ()), ("u1", 4, 2, (0,)), ("u1", 4, 2, (1,)), ("u1", 4, 2, (2,)), ("u1", 5, 2, (0, 2)),
    ("u2", 3, 2, ()), ("u2", 4, 2, (1,)), ("u2", 4, 2, (2,)),
    ("u1", 1, 3, ()), ("u1", 2, 3, (0,)), ("u1", 2, 3, (2,)),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "bands", "photometric", "extra"), COLOURS)
def test_colours_are_what_the_tags_say(
    rasters: Rasters, dtype: str, bands: int, photometric: int, extra: tuple[int, ...]
) -> None:
    """In every page: the raster, and its overview."""
    pixels = np.random.default_rng(1).integers(1, 250, (bands, 300, 600)).astype(dtype)
    tags: dict[int, Any] = {PHOTOMETRIC: ("H", [photometric]), EXTRA_SAMPLES: ("H", list(extra) or None), **UTM_KEYS}
    tags |= COLOUR_MAP if photometric == 3 else {}
    made = rasters.ingest((rasters.write("x.tif", tiff(pixels, tags)), "GTiff"))
    body = made.path.read_bytes()
    assert tags_of(body, PHOTOMETRIC) == [(photometric,)] * 2
    assert tags_of(body, EXTRA_SAMPLES) == [extra] * (2 if extra else 0)
    assert made.pixels.tobytes() == pixels.tobytes()
    with made.open() as dataset:
        assert dataset.overviews(1) == [2]
    assert made.watch.warnings == {}


def test_bands_in_another_order_are_no_rgb(rasters: Rasters) -> None:
    from rasterio.enums import ColorInterp

    order = (ColorInterp.blue, ColorInterp.green, ColorInterp.red)

    def describe(made: Any) -> None:
        made.colorinterp = order

    name = rasters.put("x.tif", terrain("uint8", 3), photometric="MINISBLACK", describe=describe)
    made = rasters.ingest((name, "GTiff"))
    assert tags_of(made.path.read_bytes(), PHOTOMETRIC)[0] == (1,)
    with made.open() as dataset:
        assert dataset.colorinterp == order


def test_white_that_is_zero_is_white_in_the_preview(rasters: Rasters) -> None:
    pixels = np.array([[[0, 100], [200, 255]]], "u1")
    name = rasters.write("x.tif", tiff(pixels, {PHOTOMETRIC: ("H", [0]), **UTM_KEYS}))
    assert preview(rasters.ingest((name, "GTiff")))[..., 0].tolist() == [[255, 155], [55, 0]]
    plain = rasters.write("y.tif", tiff(pixels, UTM_KEYS))
    assert rasters.refuses((name, "GTiff"), (plain, "GTiff")).reason == "grid_mismatch"


def test_premultiplied_colours_are_bright_in_the_preview(rasters: Rasters) -> None:
    pixels = np.array([[[100, 50]], [[40, 20]], [[30, 0]], [[255, 128]]], "u1")
    tags = {PHOTOMETRIC: ("H", [2]), EXTRA_SAMPLES: ("H", [1]), **UTM_KEYS}
    found = preview(rasters.ingest((rasters.write("x.tif", tiff(pixels, tags)), "GTiff")))
    assert found[0, 0].tolist() == [100, 40, 30, 255]
    assert found[0, 1, :3].tolist() == [round(50 * 255 / 128), round(20 * 255 / 128), 0]


TURNS = {
    "north-up": Affine(10, 0, 500_000, 0, -10, 5_400_000),
    "south-up": Affine(10, 0, 500_000, 0, 10, 5_400_000),
    "mirrored": Affine(-10, 0, 500_000, 0, -10, 5_400_000),
    "half": Affine(-10, 0, 500_000, 0, 10, 5_400_000),
    "quarter": Affine(0, 10, 500_000, 10, 0, 5_400_000),
    "three quarters": Affine(0, -10, 500_000, -10, 0, 5_400_000),
    "transposed": Affine(0, 10, 500_000, -10, 0, 5_400_000),
}


@pytest.mark.parametrize("turn", TURNS)
def test_north_is_at_the_top_of_a_preview(rasters: Rasters, turn: str) -> None:
    """Pixels that hold 100 and their place: the picture grows to the right and to the top."""
    transform = TURNS[turn]
    columns, rows = np.meshgrid(np.arange(3) + 0.5, np.arange(4) + 0.5)
    x, y = transform @ (columns, rows)
    pixels = (100 + (x - x.min()) / 10 + (y - y.min())).astype("u1")
    made = rasters.ingest((rasters.put("x.tif", pixels[None], transform=transform), "GTiff"))
    assert made.pixels[0].tobytes() == pixels.tobytes()
    shown = preview(made)[..., 0].astype(int)
    assert (np.diff(shown, axis=1) == 1).all()
    assert (np.diff(shown, axis=0) == -10).all()


def test_a_colour_that_is_nodata_becomes_a_mask(rasters: Rasters) -> None:
    """NODATA_VALUES of GDAL: pixels of that colour, not values of one band."""
    pixels = terrain("uint8", 3, 300, 400)
    pixels[:, :100] = np.array([255, 0, 255], "u1")[:, None, None]
    pixels[:, 200, :50] = np.array([255, 0, 7], "u1")[:, None]

    def describe(made: Any) -> None:
        made.update_tags(NODATA_VALUES="255 0 255")

    name = rasters.put("x.tif", pixels, photometric="RGB", describe=describe)
    hidden = (pixels == np.array([255, 0, 255], "u1")[:, None, None]).all(axis=0)
    check_masked(rasters.ingest((name, "GTiff")), pixels, hidden)


def test_a_transparent_colour_of_a_png_becomes_a_mask(rasters: Rasters) -> None:
    pixels = terrain("uint8", 3, 300, 400)
    pixels[:, :100] = np.array([255, 0, 255], "u1")[:, None, None]
    PIL.Image.fromarray(pixels.transpose(1, 2, 0)).save(rasters.landing / "x.png", transparency=(255, 0, 255))
    rasters.write("x.pgw", "10\n0\n0\n-10\n500005\n5399995\n")
    hidden = (pixels == np.array([255, 0, 255], "u1")[:, None, None]).all(axis=0)
    check_masked(rasters.ingest(("x.png", "PNG"), crs="EPSG:32632"), pixels, hidden)


def check_masked(made: Made, pixels: Any, hidden: Any) -> None:
    assert made.pixels.tobytes() == pixels.tobytes()
    with made.open() as dataset:
        assert ((dataset.dataset_mask() == 0) == hidden).all()
        assert "NODATA_VALUES" not in dataset.tags()
    for band, found in zip(pixels, made.bands, strict=True):
        assert (found["valid"], found["max"]) == ((~hidden).sum(), band[~hidden].max())
    assert ((preview(made)[..., 3] == 0) == hidden).all()


def test_a_pixel_of_a_mosaic_is_never_made_of_two_files(rasters: Rasters) -> None:
    a, b = np.full((3, 20, 20), 200, "u1"), np.zeros((3, 20, 20), "u1")
    b[1:, :10] = 120
    for name, pixels in (("a.tif", a), ("b.tif", b)):
        rasters.put(name, pixels, photometric="RGB", nodata=0)
    made = rasters.ingest(("a.tif", "GTiff"), ("b.tif", "GTiff"))
    assert made.pixels.tobytes() == np.where((b != 0).any(axis=0), b, a).tobytes()
    assert (preview(rasters.ingest(("b.tif", "GTiff")))[..., 3] == np.where((b != 0).any(axis=0), 255, 0)).all()


@pytest.mark.parametrize("nodata", [None, -9999.0, math.nan])
def test_nan_does_not_grow_in_overviews(rasters: Rasters, nodata: float | None) -> None:
    pixels = np.random.default_rng(1).random((1, 1200, 1200)).astype("f4")
    pixels[:, ::2, ::2] = np.nan
    pixels[:, 100:110, 100:110] = np.nan
    if nodata == -9999:
        pixels[:, 400:500, 1::2] = nodata
    made = rasters.ingest((rasters.put("x.tif", pixels, nodata=nodata), "GTiff"))
    assert made.pixels.tobytes() == pixels.tobytes()
    with made.open() as dataset:
        assert dataset.nodata == nodata or (nodata != nodata and math.isnan(dataset.nodata))  # noqa: PLR0124 # NaN
        overview = dataset.read(1, out_shape=(600, 600))
    numbers = np.where(pixels[0] == -9999, np.nan, pixels[0]).reshape(600, 2, 600, 2)
    seen = np.isfinite(numbers).any(axis=(1, 3))
    counted = np.isfinite(numbers).sum(axis=(1, 3))
    means = np.nansum(numbers, axis=(1, 3)) / np.where(seen, counted, 1)
    np.testing.assert_allclose(overview[seen], means[seen], rtol=1e-5)
    assert (np.isnan(overview[~seen]) | (overview[~seen] == -9999)).all()
    again = rasters.ingest(("x.tif", "GTiff"))
    assert again.path.read_bytes() == made.path.read_bytes()


def put_described(rasters: Rasters, name: str, **profile: Any) -> str:
    numbers = [1.0, *[0.0] * 19]
    rpc = RPC(height_off=3, height_scale=500, lat_off=48, lat_scale=0.1, line_den_coeff=numbers, line_num_coeff=numbers,
              line_off=1, line_scale=1, long_off=7, long_scale=1, samp_den_coeff=numbers, samp_num_coeff=numbers,
              samp_off=1, samp_scale=1)  # fmt: skip

    def describe(made: Any) -> None:
        made.rpcs = rpc
        made.update_tags(ns="IMAGERY", SATELLITEID="X1", CLOUDCOVER="3")
        made.update_tags(2, ns="IMAGERY", CENTRAL_WAVELENGTH_UM="0.665")
        made.update_tags(ns="OURS", a="1")

    icc = base64.b64encode(b"\0\0\2\x0c" + bytes(520)).decode()
    settings = {"photometric": "RGB", "source_icc_profile": icc, **profile}
    return rasters.put(name, terrain("uint8", 3), describe=describe, **settings)


def test_domains_of_metadata_stay(rasters: Rasters) -> None:
    name = put_described(rasters, "x.tif")
    made = rasters.ingest((name, "GTiff"))
    assert made.watch.warnings == {}
    with made.open() as dataset:
        assert dataset.tags(ns="IMAGERY") == {"SATELLITEID": "X1", "CLOUDCOVER": "3"}
        assert dataset.tags(2, ns="IMAGERY") == {"CENTRAL_WAVELENGTH_UM": "0.665"}
        assert dataset.tags(1, ns="IMAGERY") == {}
        assert dataset.tags(ns="OURS") == {"a": "1"}
        assert (dataset.rpcs.height_off, dataset.rpcs.lat_scale) == (3, 0.1)
    (icc,) = tags_of(made.path.read_bytes(), 34675)[:1]
    assert bytes(icc) == b"\0\0\2\x0c" + bytes(520)


def test_rpcs_are_left_out_where_pixels_have_other_numbers(rasters: Rasters) -> None:
    put_described(rasters, "x.tif")
    put_described(rasters, "y.tif", transform=UTM @ Affine.translation(-900, 0))
    for made in (
        rasters.ingest(("x.tif", "GTiff"), ("y.tif", "GTiff")),
        rasters.ingest(("x.tif", "GTiff"), options={"warp": "EPSG:4326"}),
    ):
        assert "RPC" in made.watch.warnings["metadata_left_out"][0]
        with made.open() as dataset:
            assert dataset.rpcs is None
            assert dataset.tags(ns="IMAGERY")["SATELLITEID"] == "X1"


def test_a_pixel_that_changes_its_place_is_found(rasters: Rasters, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the service that cannot be provoked: the product is flipped."""
    whole = compute._read_window  # the fault is made in there

    def flipped(*args: Any) -> Any:
        pixels, mask = whole(*args)
        return pixels[:, ::-1].copy(), mask

    name = rasters.put("x.tif", terrain("int16", height=300, width=400))
    monkeypatch.setattr(compute, "_read_window", flipped)
    with pytest.raises(RunRefused) as caught:
        rasters.ingest((name, "GTiff"))
    assert caught.value.reason == "raster_not_written"
    assert "row 0" in caught.value.detail


def test_colours_that_change_are_found(rasters: Rasters, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another fault of that kind: four plain bands are left to GDAL's COG driver."""
    name = rasters.write("x.tif", tiff(np.ones((4, 9, 9), "u1"), UTM_KEYS))
    monkeypatch.setattr("app.pipelines.raster.pipeline.is_guessed_wrong", lambda _: False)
    error = rasters.refuses((name, "GTiff"))
    assert error.reason == "raster_not_written"
    assert "MINISBLACK" in error.detail
    assert check.__doc__


def test_a_mosaic_across_180_degrees_is_narrow(rasters: Rasters) -> None:
    west, east = terrain("uint8", 1, 10, 10), terrain("uint8", 1, 10, 10)[:, ::-1].copy()
    rasters.put("w.tif", west, crs="EPSG:4326", transform=Affine(0.1, 0, 179, 0, -0.1, -16))
    rasters.put("e.tif", east, crs="EPSG:4326", transform=Affine(0.1, 0, -180, 0, -0.1, -16))
    for names in (("w.tif", "e.tif"), ("e.tif", "w.tif")):
        made = rasters.ingest(*((name, "GTiff") for name in names))
        assert made.pixels.tobytes() == np.concatenate([west, east], axis=2).tobytes()
        with made.open() as dataset:
            assert dataset.bounds[::2] == pytest.approx((179, 181))
        box = made.product.statistics["bounds_4326"]
        assert (box["minx"], box["maxx"]) == pytest.approx((179, -179))
        assert "pixels_uncovered" not in made.watch.warnings
    rasters.put("n.tif", west, crs="EPSG:4326", transform=Affine(0.1, 0, -1, 0, -0.1, -16))
    near = rasters.ingest(("n.tif", "GTiff"), ("e.tif", "GTiff"))
    with near.open() as dataset:
        assert dataset.bounds[::2] == pytest.approx((-180, 0))


def test_masks_of_pages_stay(rasters: Rasters) -> None:
    pixels = terrain("uint16", 1, 40, 60)
    masks = [np.indices((40, 60))[1] < edge for edge in (30, 45)]
    for number, mask in enumerate(masks):
        more = {"APPEND_SUBDATASET": "YES"} if number else {}
        rasters.put("x.tif", pixels + number, describe=lambda made, mask=mask: made.write_mask(mask), **more)
    rasters.put("x.tif", pixels, APPEND_SUBDATASET="YES")
    error = rasters.refuses(("x.tif", "GTiff"))
    assert "'1', '3', '5'" in error.detail
    for layer, mask in zip(("1", "3", "5"), [*masks, np.ones((40, 60), bool)], strict=True):
        made = rasters.ingest(("x.tif", "GTiff"), layer=layer)
        with made.open() as dataset:
            assert ((dataset.dataset_mask() != 0) == mask).all()
        assert made.bands[0]["valid"] == mask.sum()
        assert made.product.statistics["masked"] is (not mask.all())


@pytest.mark.parametrize(("photometric", "bands", "space"), [(5, 4, "CMYK"), (8, 3, "CIELAB")])
def test_colours_that_are_converted_are_said(rasters: Rasters, photometric: int, bands: int, space: str) -> None:
    tags = {PHOTOMETRIC: ("H", [photometric]), EXTRA_SAMPLES: ("H", None), **UTM_KEYS}
    made = rasters.ingest((rasters.write("x.tif", tiff(np.full((bands, 9, 9), 40, "u1"), tags)), "GTiff"))
    assert space in made.watch.warnings["colours_converted"][0]
    assert tags_of(made.path.read_bytes(), PHOTOMETRIC)[0] == (2,)


@pytest.mark.parametrize("after", [0, 100, 200])
def test_a_watch_stops_every_step_of_other_colours(rasters: Rasters, after: int) -> None:
    """While the sources are read, while overviews are made, and while they are copied."""
    pixels = np.random.default_rng(1).integers(0, 255, (4, 1200, 1200), "u1")
    name = rasters.write("x.tif", tiff(pixels, UTM_KEYS))
    progress = rasters.ingest((name, "GTiff")).watch.progress
    done = [rows for rows, _ in progress]
    assert done == sorted(done)
    assert done[-1] == 1200
    ctx = rasters.context({"path": name, "format": "GTiff", "type": "raster"}, intent="ingest_raster")
    ctx.watch = Watch(stop_after=after * 5, error=RunCanceled("stop"))
    with pytest.raises(RunCanceled):
        raster.run(ctx)
    assert ctx.product is None
    assert ctx.watch.progress[-1][0] < 1200
