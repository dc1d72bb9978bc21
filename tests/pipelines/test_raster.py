"""The raster pipeline on GeoTIFFs: pixels out are pixels in, and everything about them is kept or said."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp

from app.errors import RunCanceled, TimeLimitExceeded
from app.pipelines.ingest import pipeline as ingest
from app.pipelines.raster import pipeline as raster
from app.settings import Limits
from tests.pipelines.conftest import Watch
from tests.pipelines.rasters import UTM, Rasters, terrain


@pytest.fixture
def rasters(tmp_path: Path) -> Rasters:
    return Rasters(tmp_path)


TYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]


@pytest.mark.parametrize("dtype", TYPES)
def test_pixels_of_every_type_come_out_byte_for_byte(rasters: Rasters, dtype: str) -> None:
    pixels = terrain(dtype, bands=2)
    if np.dtype(dtype).kind == "f":
        pixels[0, 3, 4:9] = [np.nan, np.inf, -np.inf, -0.0, np.finfo(dtype).tiny]
    made = rasters.ingest((rasters.put("x.tif", pixels), "GTiff"))
    with made.open() as dataset:
        assert dataset.read().tobytes() == pixels.tobytes()
        assert (dataset.dtypes, dataset.crs, dataset.transform) == ((dtype,) * 2, "EPSG:32632", UTM)
        assert dataset.nodata is None
        assert dataset.overviews(1) == [2]
        assert dataset.compression.name == "zstd"
        assert dataset.profile["blockxsize"] == 512
        assert dataset.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == ("3" if np.dtype(dtype).kind == "f" else "2")
    assert made.product.bounds is not None
    assert made.product.bounds.model_dump() == {"minx": 5e5, "miny": 5.493e6, "maxx": 5.09e5, "maxy": 5.5e6}
    assert made.product.crs == "EPSG:32632"


@pytest.mark.parametrize("dtype", TYPES)
def test_statistics_are_numpys_own(rasters: Rasters, dtype: str) -> None:
    pixels = terrain(dtype, bands=2)
    missing = pixels[0, 100, 100].item()
    made = rasters.ingest((put_with_nodata(rasters, pixels, missing), "GTiff"))
    for band, found in zip(pixels, made.bands, strict=True):
        valid = band[band != np.array(missing, dtype)]
        assert (found["valid"], found["nodata"]) == (valid.size, band.size - valid.size)
        assert (found["min"], found["max"]) == (valid.min(), valid.max())
        exact = valid.astype(object if np.dtype(dtype).kind in "iu" else np.float64)
        assert found["mean"] == pytest.approx(float(exact.sum() / len(exact)), rel=1e-12, abs=1e-9)
        scale = float(valid.max()) - float(valid.min())
        shifted = (exact - exact[0]).astype(np.float64)
        assert found["std"] == pytest.approx(shifted.std(), abs=1e-9 * scale if np.dtype(dtype).itemsize < 8 else scale)
        counts, edges = found["histogram"]["counts"], found["histogram"]["edges"]
        assert (len(counts), len(edges), sum(counts)) == (256, 257, valid.size)
        if np.dtype(dtype).itemsize <= 4:
            expected, _ = np.histogram(valid.astype(np.float64), edges)
            assert counts == expected.tolist()
    with made.open() as dataset:
        assert dataset.tags(1)["STATISTICS_MAXIMUM"] == repr(made.bands[0]["max"])


def put_with_nodata(rasters: Rasters, pixels: Any, missing: float) -> str:
    """rasterio writes the nodata value of 64-bit types through a float: GDAL's own C API does better."""
    if pixels.dtype.itemsize < 8 or pixels.dtype.kind == "f":
        return rasters.put("x.tif", pixels, nodata=missing)
    from app.pipelines.raster.gdal import only_drivers, write_wide_nodata

    name = rasters.put("x.tif", pixels)
    with only_drivers(["GTiff"], 1):
        write_wide_nodata(str(rasters.landing / name), str(pixels.dtype), int(missing))
    return name


@pytest.mark.parametrize("value", [2**63 - 2, -(2**63), 2**53 + 1])
def test_nodata_of_wide_integers_is_no_float(rasters: Rasters, value: int) -> None:
    pixels = np.full((1, 40, 40), 7, np.int64)
    pixels[0, :10] = value
    pixels[0, 11, 0] = value - 1 if value > 0 else value + 1
    made = rasters.ingest((put_with_nodata(rasters, pixels, value), "GTiff"))
    assert (made.bands[0]["nodata"], made.bands[0]["valid"]) == (400, 1200)
    assert made.product.statistics["nodata"] == value
    again = rasters.landing / "again.tif"
    again.write_bytes(made.path.read_bytes())
    twice = rasters.ingest(("again.tif", "COG"))
    assert twice.product.statistics["nodata"] == value
    assert twice.pixels.tobytes() == pixels.tobytes()


def test_nan_is_nodata_where_the_file_says_so(rasters: Rasters) -> None:
    pixels = terrain("float32")
    pixels[0, :50] = np.nan
    made = rasters.ingest((rasters.put("x.tif", pixels, nodata=math.nan), "GTiff"))
    with made.open() as dataset:
        assert math.isnan(dataset.nodata)
        assert dataset.read().tobytes() == pixels.tobytes()
        assert (dataset.dataset_mask()[:50] == 0).all()
        overview = dataset.read(1, out_shape=(350, 450))
        assert np.isfinite(overview[26:]).all()
    assert made.product.statistics["nodata"] == "nan"
    assert made.bands[0]["nodata"] == 50 * 900
    without = rasters.ingest((rasters.put("y.tif", pixels), "GTiff"))
    assert (without.bands[0]["nodata"], without.bands[0]["not_finite"]) == (0, 50 * 900)
    assert without.bands[0]["min"] == np.nanmin(pixels)


def test_nodata_that_the_type_cannot_hold_is_left_out_and_said(rasters: Rasters) -> None:
    name = rasters.put("x.tif", terrain("uint8"))
    body = bytearray((rasters.landing / rasters.put("y.tif", terrain("uint8"), nodata=255)).read_bytes())
    at = bytes(body).index(b"255\x00") if b"255\x00" in bytes(body) else -1
    assert at > 0
    body[at : at + 4] = b"2.5\x00"
    rasters.write("y.tif", bytes(body))
    assert rasters.ingest((name, "GTiff")).watch.warnings == {}
    made = rasters.ingest(("y.tif", "GTiff"))
    assert "2.5" in made.watch.warnings["nodata_impossible"][0]
    assert made.product.statistics["nodata"] is None


def test_masks_and_alpha_stay(rasters: Rasters) -> None:
    pixels = terrain("uint8", bands=3)
    mask = np.zeros((700, 900), bool)
    mask[100:600, 200:800] = True
    masked = rasters.put("m.tif", pixels, photometric="RGB", describe=lambda made: made.write_mask(mask))
    made = rasters.ingest((masked, "GTiff"))
    with made.open() as dataset:
        assert dataset.read().tobytes() == pixels.tobytes()
        assert ((dataset.dataset_mask() != 0) == mask).all()
        assert dataset.colorinterp == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    assert made.bands[2]["valid"] == mask.sum()
    assert made.bands[2]["max"] == pixels[2][mask].max()
    rgba = np.concatenate([pixels, np.where(mask, 255, 0)[None].astype("uint8")])
    alpha = rasters.ingest((rasters.put("a.tif", rgba, photometric="RGB", alpha="YES"), "GTiff"))
    with alpha.open() as dataset:
        assert dataset.read().tobytes() == rgba.tobytes()
        assert dataset.colorinterp[3] is ColorInterp.alpha
        assert ((dataset.dataset_mask() != 0) == mask).all()
    assert alpha.bands[0]["valid"] == mask.sum()
    assert alpha.bands[3]["valid"] == mask.size


def test_colour_tables_stay_and_overviews_invent_no_colour(rasters: Rasters) -> None:
    rng = np.random.default_rng(1)
    pixels = rng.choice(np.array([3, 7, 200], "uint8"), (1, 1200, 1300))
    colours = {3: (255, 0, 0, 255), 7: (0, 128, 0, 255), 200: (1, 2, 3, 255)}
    name = rasters.put("c.tif", pixels, describe=lambda file: file.write_colormap(1, colours))
    made = rasters.ingest((name, "GTiff"))
    with made.open() as dataset:
        assert dataset.read().tobytes() == pixels.tobytes()
        assert {index: dataset.colormap(1)[index] for index in colours} == colours
        assert dataset.colorinterp[0] is ColorInterp.palette
        assert dataset.tags(ns="IMAGE_STRUCTURE").get("PREDICTOR") is None
        assert set(np.unique(dataset.read(1, out_shape=(300, 325)))) <= {3, 7, 200}
    assert made.product.statistics["overview_resampling"] == "nearest"
    assert made.bands[0]["colour_table"]["200"] == [1, 2, 3, 255]
    assert rasters.refuses((name, "GTiff"), options={"resampling": "average"}).reason == "resampling_invents"
    mode = rasters.ingest((name, "GTiff"), options={"resampling": "mode"})
    assert mode.product.statistics["overview_resampling"] == "mode"
    with mode.open() as dataset:
        assert set(np.unique(dataset.read(1, out_shape=(300, 325)))) <= {3, 7, 200}


def test_classes_are_chosen_and_measurements_averaged(rasters: Rasters) -> None:
    classes = np.random.default_rng(1).choice(np.array([1, 40, 90], "int16"), (1, 1100, 1100))
    made = rasters.ingest((rasters.put("c.tif", classes), "GTiff"))
    with made.open() as dataset:
        assert set(np.unique(dataset.read(1, out_shape=(550, 550)))) <= {1, 40, 90}
    asked = rasters.ingest(("c.tif", "GTiff"), options={"resampling": "average"})
    with asked.open() as dataset:
        assert not set(np.unique(dataset.read(1, out_shape=(550, 550)))) <= {1, 40, 90}
    measured = terrain("float32", height=1024, width=1024)
    found = rasters.ingest((rasters.put("m.tif", measured), "GTiff"))
    with found.open() as dataset:
        averages = measured[0].reshape(512, 2, 512, 2).mean(axis=(1, 3))
        np.testing.assert_allclose(dataset.read(1, out_shape=(512, 512)), averages, rtol=1e-5, atol=1e-3)
    chosen = rasters.ingest(("m.tif", "GTiff"), options={"resampling": "nearest"})
    with chosen.open() as dataset:
        assert np.isin(dataset.read(1, out_shape=(512, 512)), measured).all()


def test_one_bit_pixels_stay(rasters: Rasters) -> None:
    pixels = np.random.default_rng(1).integers(0, 2, (1, 600, 601), dtype="uint8")
    made = rasters.ingest((rasters.put("b.tif", pixels, nbits=1), "GTiff"))
    assert made.pixels.tobytes() == pixels.tobytes()
    assert made.product.statistics["overview_resampling"] == "nearest"
    assert made.bands[0]["max"] == 1


def test_descriptions_units_scales_and_tags_stay(rasters: Rasters) -> None:
    def describe(made: Any) -> None:
        made.set_band_description(1, "Höhe")
        made.set_band_unit(2, "m/s")
        made.scales, made.offsets = (0.01, 1.0), (-3.5, 0.0)
        made.update_tags(1, wavelength="665 nm", STATISTICS_MEAN="1e9")
        made.update_tags(sensor="MSI", TIFFTAG_DATETIME="2026:01:01 00:00:00", AREA_OR_POINT="Point")

    made = rasters.ingest((rasters.put("d.tif", terrain(bands=2), describe=describe), "GTiff"))
    with made.open() as dataset:
        assert dataset.descriptions == ("Höhe", None)
        assert dataset.units[1] == "m/s"
        assert (dataset.scales, dataset.offsets) == ((0.01, 1.0), (-3.5, 0.0))
        assert dataset.tags(1)["wavelength"] == "665 nm"
        assert float(dataset.tags(1)["STATISTICS_MEAN"]) == made.bands[0]["mean"]
        tags = dataset.tags()
        assert (tags["sensor"], tags["TIFFTAG_DATETIME"]) == ("MSI", "2026:01:01 00:00:00")
        assert tags["AREA_OR_POINT"] == "Point"
        assert dataset.transform == UTM
    assert [(band["name"], band["unit"], band["scale"]) for band in made.bands] == [
        ("Höhe", None, 0.01),
        ("band_2", "m/s", 1.0),
    ]


@pytest.mark.parametrize(
    ("name", "transform"),
    [
        ("south-up", Affine(10, 0, 500_000, 0, 10, 5_400_000)),
        ("turned", Affine.translation(500_000, 5_500_000) @ Affine.rotation(30) @ Affine.scale(10, -10)),
        ("sheared", Affine(10, 1, 500_000, 2, -10, 5_500_000)),
    ],
)
def test_grids_that_are_not_north_up_stay_as_they_are(rasters: Rasters, name: str, transform: Affine) -> None:
    pixels = terrain()
    made = rasters.ingest((rasters.put("t.tif", pixels, transform=transform), "GTiff"))
    with made.open() as dataset:
        assert dataset.read().tobytes() == pixels.tobytes()
        assert dataset.transform.almost_equals(transform, precision=1e-6)
    corners = [transform @ corner for corner in ((0, 0), (900, 0), (0, 700), (900, 700))]
    bounds = made.product.bounds
    assert bounds is not None
    assert (bounds.minx, bounds.maxy) == pytest.approx((min(c[0] for c in corners), max(c[1] for c in corners)))


def test_the_same_input_gives_the_same_bytes(rasters: Rasters) -> None:
    name = rasters.put("x.tif", terrain("uint16", bands=3, height=1500, width=1400), nodata=5)
    first, second = (rasters.ingest((name, "GTiff")) for _ in range(2))
    assert first.path.read_bytes() == second.path.read_bytes()
    previews = [made.product.companions["preview.png"].read_bytes() for made in (first, second)]
    assert previews[0] == previews[1]


def test_the_preview_shows_what_there_is(rasters: Rasters) -> None:
    pixels = terrain("float32", height=600, width=1200)
    pixels[0, :, :600] = -9999
    made = rasters.ingest((rasters.put("x.tif", pixels, nodata=-9999), "GTiff"))
    with rasterio.open(made.product.companions["preview.png"]) as preview:
        assert (preview.driver, preview.count, preview.width, preview.height) == ("PNG", 4, 512, 256)
        assert (preview.read(4)[:, :250] == 0).all()
        assert (preview.read(4)[:, 262:] == 255).all()
        grey = preview.read(1)[:, 262:]
        assert (grey.min(), grey.max()) == (0, 255)


def test_several_files_are_one_mosaic(rasters: Rasters) -> None:
    whole = terrain("int16", bands=2, height=800, width=1000)
    whole[whole == -1] = 1
    a, b = whole[:, :, :600].copy(), whole[:, :, 500:].copy()
    b[:, 200:300, :] = -1  # nodata in the later file does not hide the earlier one
    a[:, :, 550:] = 77  # valid pixels of the later file win
    rasters.put("a.tif", a, nodata=-1)
    rasters.put("b.tif", b, nodata=-1, transform=UTM @ Affine.translation(500, 0), tiled=True)
    made = rasters.ingest(("a.tif", "GTiff"), ("b.tif", "GTiff"))
    expected = whole.copy()
    expected[:, 200:300, 500:550] = whole[:, 200:300, 500:550]
    expected[:, 200:300, 550:600] = 77
    expected[:, 200:300, 600:] = -1
    assert made.pixels.tobytes() == expected.tobytes()
    assert made.watch.warnings["pixels_overlapping"][1] == 100 * 800
    assert made.product.counts["pixels_overlapping"] == 100 * 800
    assert made.product.counts["rows_in"] == 1600
    assert made.product.counts["rows_out"] == 800


def test_a_mosaic_with_gaps_is_masked_there(rasters: Rasters) -> None:
    pixels = terrain("uint8", height=300, width=300)
    rasters.put("a.tif", pixels)
    rasters.put("b.tif", pixels, transform=UTM @ Affine.translation(-300, 300))
    made = rasters.ingest(("a.tif", "GTiff"), ("b.tif", "GTiff"))
    with made.open() as dataset:
        assert dataset.transform == UTM @ Affine.translation(-300, 0)
        assert dataset.read(1)[:300, 300:].tobytes() == pixels.tobytes()
        assert dataset.read(1)[300:, :300].tobytes() == pixels.tobytes()
        mask = dataset.dataset_mask() != 0
        assert mask[:300, 300:].all()
        assert mask[300:, :300].all()
        assert mask.sum() == 2 * 300 * 300
    assert made.watch.warnings["pixels_uncovered"][1] == 2 * 300 * 300
    assert made.bands[0]["valid"] == 2 * 300 * 300


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"crs": "EPSG:25832"}, "EPSG:25832 instead of EPSG:32632"),
        ({"transform": Affine(20, 0, 500_000, 0, -20, 5_500_000)}, "20 x -20 instead of 10 x -10"),
        ({"transform": Affine(10, 0, 500_004, 0, -10, 5_500_000)}, "+0.4"),
        ({"nodata": 9}, "nodata 9.0 instead of 5.0"),
        ({"dtype": "float32"}, "data type float32 instead of int16"),
        ({"describe": lambda made: made.set_band_description(1, "B08")}, "'B08' instead of none"),
    ],
)
def test_files_of_different_grids_are_refused_by_name(rasters: Rasters, change: dict[str, Any], said: str) -> None:
    rasters.put("a.tif", terrain(), nodata=5)
    pixels = terrain().astype(change.get("dtype", "int16"))
    rasters.put("b.tif", pixels, **{"nodata": 5, **change})
    error = rasters.refuses(("a.tif", "GTiff"), ("b.tif", "GTiff"))
    assert (error.reason, error.file) == ("grid_mismatch", "b.tif")
    assert "a.tif" in error.detail
    assert said in error.detail


def test_another_number_of_bands_is_refused(rasters: Rasters) -> None:
    rasters.put("a.tif", terrain())
    rasters.put("b.tif", terrain(bands=2))
    error = rasters.refuses(("a.tif", "GTiff"), ("b.tif", "GTiff"))
    assert error.reason == "grid_mismatch"
    assert "bands 2 instead of 1" in error.detail


def test_a_warp_puts_every_pixel_where_it_belongs(rasters: Rasters) -> None:
    """Pixels that hold their own longitude must come out at that longitude."""
    from pyproj import Transformer

    back = Transformer.from_crs(32632, 4326, always_xy=True)
    columns, rows = np.meshgrid(np.arange(900) + 0.5, np.arange(700) + 0.5)
    longitudes, latitudes = back.transform(*(UTM @ (columns, rows)))
    pixels = np.stack([longitudes, latitudes])
    made = rasters.ingest((rasters.put("x.tif", pixels), "GTiff"), options={"warp": "EPSG:4326"})
    assert made.product.crs == "EPSG:4326"
    with made.open() as dataset:
        found, mask = dataset.read(), dataset.dataset_mask() != 0
        x, y = np.meshgrid(np.arange(dataset.width) + 0.5, np.arange(dataset.height) + 0.5)
        expected = np.stack(dataset.transform @ (x, y))
        pixel = dataset.transform.a
        inside = mask.copy()
        inside[:2] = inside[-2:] = inside[:, :2] = inside[:, -2:] = False
        assert mask.mean() > 0.95
        assert not mask.all()
    assert np.abs(found - expected)[:, inside].max() < 0.6 * pixel
    assert made.product.statistics["masked"]


def test_a_warp_keeps_classes_nodata_and_masks(rasters: Rasters) -> None:
    classes = np.random.default_rng(1).choice(np.array([1, 40, 90], "uint8"), (1, 400, 400))
    classes[0, :100] = 255
    made = rasters.ingest((rasters.put("c.tif", classes, nodata=255), "GTiff"), options={"warp": "EPSG:4326"})
    assert set(np.unique(made.pixels)) == {1, 40, 90, 255}
    assert made.product.statistics["nodata"] == 255
    assert not made.product.statistics["masked"]
    mask = np.zeros((400, 400), bool)
    mask[:, 200:] = True
    name = rasters.put("m.tif", terrain("uint16", height=400, width=400), describe=lambda file: file.write_mask(mask))
    warped = rasters.ingest((name, "GTiff"), options={"warp": "EPSG:4326"})
    with warped.open() as dataset:
        shown = dataset.dataset_mask() != 0
        assert 0.45 < shown.mean() < 0.52
        assert not shown[:, : dataset.width // 3].any()


def test_a_warp_of_a_south_up_grid_is_north_up(rasters: Rasters) -> None:
    pixels = terrain("int16", height=180, width=360)
    up = Affine(0.01, 0, 8, 0, 0.01, 48)
    made = rasters.ingest(
        (rasters.put("u.tif", pixels, transform=up, crs="EPSG:4326"), "GTiff"),
        options={"warp": "EPSG:4326", "resampling": "nearest"},
    )
    with made.open() as dataset:
        assert dataset.transform.e < 0
        assert dataset.read(1).tobytes() == pixels[0, ::-1].tobytes()


def test_what_warps_badly_is_refused(rasters: Rasters) -> None:
    fiji = rasters.put("f.tif", terrain(), crs="EPSG:3460", transform=Affine(1000, 0, 1_600_000, 0, -1000, 4_400_000))
    assert rasters.refuses((fiji, "GTiff"), options={"warp": "EPSG:4326"}).reason == "warp_antimeridian"
    kept = rasters.ingest((fiji, "GTiff"))
    box = kept.product.statistics["bounds_4326"]
    assert box["minx"] > box["maxx"]
    wide = rasters.put("w.tif", terrain("int64"))
    assert rasters.refuses((wide, "GTiff"), options={"warp": "EPSG:4326"}).reason == "dtype_not_supported"
    plain = rasters.put("p.tif", terrain())
    both = ({"path": plain, "format": "GTiff", "options": {"warp": "EPSG:4326"}}, {"path": wide, "format": "GTiff"})
    assert rasters.refuses(*both).reason == "options_differ"


@pytest.mark.parametrize("stop", [RunCanceled("stop"), TimeLimitExceeded("late")])
@pytest.mark.parametrize("after", [0, 400])
def test_a_watch_that_raises_stops_it(rasters: Rasters, stop: Exception, after: int) -> None:
    """Between windows, and in the middle of GDAL's long call."""
    name = rasters.put("x.tif", terrain("uint16"))
    ctx = rasters.context({"path": name, "format": "GTiff", "type": "raster"}, intent="ingest_raster")
    ctx.watch = Watch(stop_after=after, error=stop)
    with pytest.raises(type(stop)):
        raster.run(ctx)
    assert ctx.product is None
    assert ctx.watch.progress
    assert after <= ctx.watch.progress[-1][0] < 700


def test_progress_counts_the_lines_of_the_sources(rasters: Rasters) -> None:
    made = rasters.ingest((rasters.put("x.tif", terrain("uint16", height=2000)), "GTiff"))
    done = [rows for rows, _ in made.watch.progress]
    assert done == sorted(done)
    assert made.watch.progress[-1] == (2000, 2000)


def test_other_intents_take_rasters_too(rasters: Rasters) -> None:
    name = rasters.put("x.tif", terrain())
    ctx = rasters.context({"path": name, "format": "GTiff", "type": "raster"}, intent="ingest_heights")
    assert ctx.manifest.intent_row.pipeline == "app.pipelines.ingest.pipeline:run"
    asset = ingest.run(ctx)
    assert asset.kind == "raster"


def test_many_windows_give_what_one_gives(rasters: Rasters, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = terrain("float32", bands=2, height=1700, width=1900)
    pixels[:, 5:900, 30:700] = -1
    name = rasters.put("x.tif", pixels, nodata=-1, describe=lambda made: made.write_mask(pixels[0] < 1200))
    whole = rasters.ingest((name, "GTiff"))
    monkeypatch.setattr("app.pipelines.raster.compute._WINDOW_BYTES", 512 * 512 * 8)
    cut = rasters.ingest((name, "GTiff"))
    assert cut.pixels.tobytes() == whole.pixels.tobytes() == pixels.tobytes()
    for one, two in zip(whole.bands, cut.bands, strict=True):
        assert {**one, "mean": 0, "std": 0} == {**two, "mean": 0, "std": 0}
        assert (one["mean"], one["std"]) == pytest.approx((two["mean"], two["std"]))


def test_limits(rasters: Rasters) -> None:
    name = rasters.put("x.tif", terrain(bands=3))
    assert rasters.refuses((name, "GTiff"), limits=Limits(pixels=900 * 700 * 3 - 1)).reason == "pixels_too_many"
    assert rasters.refuses((name, "GTiff"), limits=Limits(bands=2)).reason == "bands_too_many"
    far = rasters.put("y.tif", terrain(bands=3), transform=UTM @ Affine.translation(5000, 5000))
    error = rasters.refuses((name, "GTiff"), (far, "GTiff"), limits=Limits(pixels=10_000_000))
    assert error.reason == "pixels_too_many"
    assert "mosaic" in error.detail
    small = Limits(pixels=900 * 700 * 3)
    turned = rasters.put("z.tif", terrain(bands=3), transform=UTM @ Affine.rotation(45))
    error = rasters.refuses((turned, "GTiff"), limits=small, options={"warp": "EPSG:4326"})
    assert "warped" in error.detail


def test_a_mosaic_of_masked_files_shows_what_lies_below(rasters: Rasters) -> None:
    pixels = terrain("uint8", height=200, width=200)
    mask = np.zeros((200, 200), bool)
    mask[:, :80] = True
    rasters.put("below.tif", pixels)
    rasters.put("above.tif", 255 - pixels, describe=lambda made: made.write_mask(mask))
    made = rasters.ingest(("below.tif", "GTiff"), ("above.tif", "GTiff"))
    assert made.pixels.tobytes() == np.where(mask, 255 - pixels, pixels).tobytes()
    with made.open() as dataset:
        assert (dataset.dataset_mask() == 255).all()
    reverse = rasters.ingest(("above.tif", "GTiff"), ("below.tif", "GTiff"))
    assert reverse.pixels.tobytes() == pixels.tobytes()


def test_a_mosaic_of_many_files(rasters: Rasters, monkeypatch: pytest.MonkeyPatch) -> None:
    """More files than may be open at once."""
    monkeypatch.setattr("app.pipelines.raster.compute._MOST_OPEN", 3)
    whole = terrain("float32", height=600, width=700)
    names = []
    for row in range(0, 600, 100):
        for column in range(0, 700, 100):
            part = whole[:, row : row + 100, column : column + 100]
            names.append(rasters.put(f"{row}-{column}.tif", part, transform=UTM @ Affine.translation(column, row)))
    made = rasters.ingest(*((name, "GTiff") for name in reversed(names)))
    assert made.pixels.tobytes() == whole.tobytes()
    assert made.watch.warnings == {}


@pytest.mark.parametrize("dtype", TYPES)
def test_a_warp_by_nearest_chooses_pixels_of_every_type(rasters: Rasters, dtype: str) -> None:
    pixels = terrain(dtype, height=90, width=110)
    files = (rasters.put("x.tif", pixels), "GTiff")
    options = {"warp": "EPSG:4326", "resampling": "nearest"}
    if np.dtype(dtype).kind in "iu" and np.dtype(dtype).itemsize == 8:
        assert rasters.refuses(files, options=options).reason == "dtype_not_supported"
        return
    made = rasters.ingest(files, options=options)
    with made.open() as dataset:
        shown = dataset.dataset_mask() != 0
        found = dataset.read(1)[shown]
    assert np.isin(found, pixels).all()
    assert len(np.unique(found)) > 0.7 * len(np.unique(pixels))


def test_a_warp_of_a_mask_and_nodata_shows_neither(rasters: Rasters) -> None:
    pixels = np.full((1, 300, 300), 100, "float32")
    pixels[0, :100] = -1
    mask = np.ones((300, 300), bool)
    mask[200:] = False
    name = rasters.put("x.tif", pixels, nodata=-1, describe=lambda made: made.write_mask(mask))
    made = rasters.ingest((name, "GTiff"), options={"warp": "EPSG:4326"})
    assert set(np.unique(made.pixels)) == {-1.0, 100.0}
    assert 0.3 < made.bands[0]["valid"] / made.pixels.size < 0.36


def test_a_warp_leaves_nan_out_of_averages(rasters: Rasters) -> None:
    pixels = np.full((1, 300, 300), 100, "float32")
    pixels[0, ::7, ::5] = np.nan
    name = rasters.put("x.tif", pixels, nodata=math.nan)
    made = rasters.ingest((name, "GTiff"), options={"warp": "EPSG:4326"})
    found = made.pixels[np.isfinite(made.pixels)]
    assert 0.9 < found.size / made.pixels.size < 1
    np.testing.assert_allclose(found, 100, rtol=1e-6)


def test_a_warp_keeps_alpha(rasters: Rasters) -> None:
    rgba = np.concatenate([terrain("uint8", 3, 300, 300), np.full((1, 300, 300), 255, "uint8")])
    rgba[3, :150] = 0
    name = rasters.put("a.tif", rgba, photometric="RGB", alpha="YES")
    made = rasters.ingest((name, "GTiff"), options={"warp": "EPSG:4326"})
    with made.open() as dataset:
        assert dataset.count == 4
        assert dataset.colorinterp[3] is ColorInterp.alpha
        assert 0.45 < (dataset.read(4) > 127).mean() < 0.52


def test_hundreds_of_bands_have_smaller_blocks(rasters: Rasters) -> None:
    pixels = np.random.default_rng(1).random((260, 150, 140))
    made = rasters.ingest((rasters.put("x.tif", pixels), "GTiff"))
    assert made.pixels.tobytes() == pixels.tobytes()
    assert made.product.statistics["block"] == 128
    assert len(made.bands) == 260
