"""The bytes of products, pinned: a change that is meant to change no product (moved files, other names) changes none.

Every case makes its input here, from integers and fixed texts alone, and runs it through the real pipeline, once with
one thread and once with three. PINS holds the sha256 of the file that becomes the version's data.

A failure means that the same input now gives another file. Where nobody meant that, it is a defect. Where it is meant
(a recipe, a writer or a type has changed, or locks/ has other versions of the libraries), renew the table:

    python -m tests.pipelines.test_pinned_bytes

prints PINNED_WITH, PINS and PINS_OF_DESCRIBED as they are now: paste them over those below, and say in the commit why
products change. A failing test prints its own line too, and the libraries that are not those of PINNED_WITH.

PINS_OF_DESCRIBED are the vector cases under samples/recipes/described-platform.toml: what this service made before
intents stopped simplifying.

Pinned for CPython 3.11 only: locks/ has other versions of NumPy, pyproj and rasterio for later ones.

Left out: products of the PostGIS engine, which depend on the server's own GEOS and PROJ.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow as pa
import pytest
import shapely
from affine import Affine

from app.models.recipes.table import SHIPPED, RecipeTable
from tests.pipelines.joins import Lake
from tests.pipelines.rasters import UTM, Rasters
from tests.pipelines.tables import CODE, DATE, EVERYTHING, MOMENT, TIME, cell, parquet, row, run, workbook
from tests.pipelines.test_formats import WRITERS, many_types, put

PINNED_WITH = {
    "antimeridian": "0.4.9",
    "duckdb": "1.4.4",
    "geopandas": "1.2.0",
    "numpy": "2.4.6",
    "pyarrow": "26.0.1",
    "pyogrio": "0.13.0",
    "pyproj": "3.7.2",
    "rasterio": "1.4.4",
    "shapely": "2.2.0",
}

PINS = {
    "GeoJSON": "2212dbb06bdc86c08144ed0bd73162f25b7657163a4f078c6e2ef1250b7c79aa",
    "GeoJSONSeq": "73ab3240c57ce404f2945f2bbe565d4d48a24b8c9195c1bda36c484c568c96e9",
    "GPKG": "a3b615c324731d8e1bc48c79a51c206cb9ba36a8982a139a9c1e5e1cacaaaf4b",
    "SHP": "deb9cfe56c5f69677e536486f8fb5945b8da4ed3d6cc8a4e464683b88703aad2",
    "FlatGeobuf": "96d31610bafd8e6ddcff62c2cba450e0b42e8afafb1574d18074163df530cf5e",
    "KML": "d6d9bfc0695f024908c027ac7132387927ec7c80bd337a94acf27de6f6ba4578",
    "GML": "45b8bd179722efbf70939a876495d9395188092ee2853b85e10a644c56e6644c",
    "OpenFileGDB": "4c6052a44ab4129296f43ff681fc891162ea1a82911c2ebd2e10cf1d9f6dbe19",
    "GeoParquet": "40a715011349912349685c038c1ac11cc2335f0c629b9bd62144343d22786ad5",
    "GPKG, every type": "64f61142d06830dd58667859203c3c52c3bbe6971cc9c97075fbb3aa2e7dfc49",
    "GPKG, reprojected": "dfde88d3013801ec1788b5a50b35d705eae60445b05525dbc6ea90ca0150df81",
    "GeoJSON by hand": "5b60f6056d036184d0c629301576877689f32fd553fe22bf90cd0b74f8c5c7d6",
    "two FlatGeobuf files": "96d31610bafd8e6ddcff62c2cba450e0b42e8afafb1574d18074163df530cf5e",
    "buildings": "deb9cfe56c5f69677e536486f8fb5945b8da4ed3d6cc8a4e464683b88703aad2",
    "roads": "1f9fb2693f28de2304244e4b57dadf60fd579ddd73a3666834d1408140bb032a",
    "CSV": "6c829187278911be4fa68bbb69c29db73c5276c36a9c75b687f6a5a98acf2275",
    "CSV, spoiled": "e80483eba9b591d874d05d30035413d82be0f25544b4cb88333bdf5960825f6a",
    "CSV, set aside": "a4085ea11bc67fcc755f83064c2fd81f2113fa23e3b00a8f54829ea4ad112183",
    "TSV": "ce7719113a590f99518856bccc7cfe69e414c6438548e4d4e8b601e2bc72f4f3",
    "XLSX": "461c7afab1a84db3b327267ec37c71807874577abd21f45a2030f3c56512dbd2",
    "JSONL": "e62dd62445c38e32f02b98986427cdd94d5b9cfd630ab7a956ea0afa4491924e",
    "Parquet": "498dbeb818a29f212fb03dcf5a56aa5978e328ea335a1bce1385181d3c0b9494",
    "GTiff with nodata": "8a64995a955bc3a32ceb986d4505358accaa69ec2f67a1a6d9d2cda33555e567",
    "GTiff with NaN": "8687906f981a1d00ed73f05aac80e8ef53a160a82cadd1c336ed7aed1b9d85af",
    "GTiff of random float32": "c3208b042141294ba0673e60f56301a353e690054715c52562c0ce1354b77db1",
    "GTiff of random float64": "8437e0df2157471bf918663a30022d9206e1749b1830625f556af9bb863b07b9",
    "mosaic of two": "7667ac99d518fb7a512867d943a89cc6265487349cbc37e4593fe2106e95275d",
    "warped": "3f9dbc9db3647bcc6c7223d65e1aeeeb9ba8e34780d94f61481d266ccd3ca56e",
    "PNG": "da683862ca757fcb2be57e8e0aae45be1351cad13de9c9162a4b72b976cfeb5a",
    "left join": "75b18511472692a3d4e870469f78595d36ef0f90387f3d7afd93aff30983e4fb",
    "outer join": "6b67e444d32ddc601ddc55e099b069e1cdca38d18defdc94e3680c939d49d0e6",
}

PINS_OF_DESCRIBED = {
    "GeoJSON": "ff62c484bc194417e8df08376f2bf6a600e24710ece845d8168da4b79c379664",
    "GeoJSONSeq": "54ed7cf0fa13d8bf95a23a8403cbed3df972a9bec1bed78b80e3d39c117ba755",
    "GPKG": "ad78c5df4677a919c36f2a16d4c4a7957304f879fad4d36a6f6bfa2f811ea7d7",
    "SHP": "efdfe0db2f4a3075d913b3cf4fe36ddc88daecee64a46909918ade35c4401a3f",
    "FlatGeobuf": "acde49945105c1ac5d0280b389064b34cdb274869128db5c4a67a5eae13f80e9",
    "KML": "6b180cf06678f28a08fbcb6155fd8f42cc078e505d9a58d2de0d85b3ca266143",
    "GML": "cd549ee9e2453b311d7694c9193ced366686b015b1008cb0ed928ad99b469787",
    "OpenFileGDB": "69267a1064891a889633218a3b24b79b7ca2d23228959388529d9973ed998889",
    "GeoParquet": "e4586cdc87ff4f0fae589334a3a9975350ebb4520de6b2bc44417a0cde2ea546",
    "GPKG, every type": "64f61142d06830dd58667859203c3c52c3bbe6971cc9c97075fbb3aa2e7dfc49",
    "GPKG, reprojected": "608a687f067c4393f49629223e30f100f99140bf39de39463f7d69c68653ead4",
    "GeoJSON by hand": "7650cb26ee7ef36e1750fafe4bc3b7407609febc38b54ca771fa95868fa35a41",
    "two FlatGeobuf files": "acde49945105c1ac5d0280b389064b34cdb274869128db5c4a67a5eae13f80e9",
    "buildings": "2343cf419213ce996cc354856b2924c00c3e69df2b321dd42285d6af15b373d9",
    "roads": "d3accb91f7660a3f115613511728a8bca9640129e0835557b167d10be097e759",
}


DESCRIBED = RecipeTable.read(Path(__file__).parents[2] / "samples/recipes/described-platform.toml")


class Inputs(Rasters):
    """A landing zone for files of every type, with a number of threads and what intents mean."""

    def __init__(self, root: Path, threads: int, recipes: RecipeTable = SHIPPED) -> None:
        super().__init__(root)
        self.root, self.threads, self.recipes = root, threads, recipes

    def context(self, *files: dict[str, Any], **more: Any) -> Any:
        return super().context(*files, **{"threads": self.threads, "recipes": self.recipes, **more})


def polygon(x: float, y: float, size: float, wobble: float) -> Any:
    """A square with five vertices more on each side, which lie off it by up to five times `wobble`."""
    steps = [size * part / 6 for part in range(6)]
    off = [wobble * (part * 7 % 11 - 5) if part else 0.0 for part in range(6)]
    ring = [(x + step, y + by) for step, by in zip(steps, off, strict=True)]
    ring += [(x + size + by, y + step) for step, by in zip(steps, off, strict=True)]
    ring += [(x + size - step, y + size + by) for step, by in zip(steps, off, strict=True)]
    ring += [(x + by, y + size - step) for step, by in zip(steps, off, strict=True)]
    return shapely.Polygon(ring)


def areas(crs: int = 4326) -> geopandas.GeoDataFrame:
    """60 areas, among them ones with holes, of two parts, that cross themselves, without vertices, and nulls.

    crs: 4326, or 25832 for the same in metres.
    """
    unit, x0, y0 = (1.0, 6.0, 47.0) if crs == 4326 else (80_000.0, 300_000.0, 5_300_000.0)
    shapes: list[Any] = []
    for i in range(60):
        x, y, size = x0 + unit * (i % 10) * 0.75, y0 + unit * (i // 10) * 0.625, unit * (i % 7 + 1) / 16
        shape = polygon(x, y, size, unit * (i % 3 + 1) / 32_768)
        if i % 10 == 1:
            shape = shapely.Polygon(shape.exterior, [polygon(x + size / 4, y + size / 4, size / 4, 0).exterior])
        elif i % 10 == 2:
            shape = shapely.MultiPolygon([shape, polygon(x, y + 2 * size, size / 2, 0)])
        elif i % 10 == 3:
            shape = shapely.Polygon([(x, y), (x + size, y + size), (x + size, y), (x, y + size)])
        elif i % 20 == 4:
            shape = shapely.Polygon()
        elif i % 20 == 14:
            shape = None
        shapes.append(shape)
    columns = {
        "name": [f"Straße {i} – “{chr(0x4E00 + i)}”" if i % 5 else None for i in range(60)],
        "count": [i * i * 37 - 500 for i in range(60)],
        "area": [i / 8 - 2 for i in range(60)],
    }
    return geopandas.GeoDataFrame(columns, geometry=shapes, crs=crs)


def roads() -> geopandas.GeoDataFrame:
    """40 lines with heights, some of two parts, one null."""
    lines = []
    for i in range(40):
        vertices = [(8 + i / 16 + k / 1024, 50 + k * (i % 5) / 2048 + k * 7 % 11 / 32_768, k * i) for k in range(25)]
        line = shapely.LineString(vertices)
        lines.append(shapely.MultiLineString([vertices[:9], vertices[12:]]) if i % 10 == 3 else line)
    lines[20] = None
    return geopandas.GeoDataFrame({"ref": [f"A{i}" for i in range(40)]}, geometry=lines, crs=4326)


def vector(inputs: Inputs, fmt: str, frame: Callable[[], Any], intent: str = "ingest_vector") -> Path:
    made = frame()
    if fmt == "KML":  # LIBKML writes no polygon without vertices
        made = made.set_geometry(made.geometry.where(~made.geometry.is_empty, None))
    if fmt == "OpenFileGDB":  # `put` asks each row for its type
        made = made.set_geometry(made.geometry.fillna(shapely.Polygon()))
    return inputs.run({"path": put(inputs, made, fmt), "format": fmt}, intent=intent).path


def written_geojson(inputs: Inputs) -> Path:
    """What no writer writes: open rings, repeated vertices, heights, collections, lines over the antimeridian."""
    shapes: list[Any] = [
        {"type": "Point", "coordinates": [9, 48, 300.5]},
        {"type": "Polygon", "coordinates": [[[9, 48], [10, 48], [10, 49], [9, 48]]]},
        {"type": "Polygon", "coordinates": [[[9, 48], [10, 49], [10, 48], [9, 49], [9, 48]]]},
        {"type": "Polygon", "coordinates": [[[9, 48], [9, 48], [10, 48], [10, 48], [10, 49], [9, 48]]]},
        {"type": "LineString", "coordinates": [[179, 10], [-179, 12]]},
        {"type": "MultiPoint", "coordinates": [[1, 2], [3, 4]]},
        {"type": "Polygon", "coordinates": []},
        {"type": "GeometryCollection", "geometries": [{"type": "Point", "coordinates": [1, 2]}]},
        None,
    ]
    values: list[Any] = [{"a": 1}, [1, 2], "007", "ü\n", 2.5, True, None, 2**53 + 1, "2026-11-22"]
    features = [
        {"type": "Feature", "id": f"f{i}", "properties": {"n": i, "any": value, "geom": "x"}, "geometry": shape}
        for i, (shape, value) in enumerate(zip(shapes, values, strict=True))
    ]
    text = json.dumps({"type": "FeatureCollection", "features": features})
    return inputs.one(inputs.write("x.geojson", text), "GeoJSON").path


def two_files(inputs: Inputs) -> Path:
    whole = areas()
    names = [put(inputs, part, "FlatGeobuf", stem) for part, stem in ((whole[:25], "a"), (whole[25:], "b"))]
    return inputs.run(*({"path": name, "format": "FlatGeobuf"} for name in names)).path


HEADER = ["Nr.", "PLZ", "Wert", "Wert", "am", "um", "ja", "Text"]


def lines(delimiter: str) -> list[str]:
    rows = [
        [i, f"{i * 97:05d}", i / 8, "" if i % 3 else i, f"2026-{i % 12 + 1:02d}-{i % 28 + 1:02d}",
         f"2026-01-02T03:04:{i % 60:02d}Z", "true" if i % 2 else "false", f'"{delimiter}ü {i}"' if i % 4 else '""']
        for i in range(200)
    ]  # fmt: skip
    return [delimiter.join(map(str, each)) for each in [HEADER, *rows]]


def table(inputs: Inputs, fmt: str, body: Callable[[Path], bytes | str], **more: Any) -> Path:
    return product_of(run(inputs, body(inputs.root), fmt, **more))


def product_of(context: Any, companion: str | None = None) -> Path:
    return context.product.companions[companion] if companion else context.product.path


def spoiled() -> bytes:
    """Rows with too few or too many cells; CP1252 with CRLF."""
    good = lines(";")
    return "\r\n".join([*good[:50], "1;2", *good[50:90], good[90] + ";more;€", *good[91:]]).encode("cp1252")


def book() -> bytes:
    rows = row(1, *(cell(f"{letter}1", name) for letter, name in zip("ABCDEFGH", HEADER, strict=True)))
    for i in range(2, 80):
        rows += row(
            i, cell(f"A{i}", i), cell(f"B{i}", i * 97, CODE), cell(f"C{i}", i / 8), cell(f"D{i}", 1 if i % 3 else "x"),
            cell(f"E{i}", 45_000 + i, DATE), cell(f"F{i}", 45_000 + i / 8, MOMENT), cell(f"G{i}", i % 2 == 0),
            cell(f"H{i}", i / 128, TIME),
        )  # fmt: skip
    return workbook({"S": rows, "leer": ""})


def jsonl() -> str:
    nested = {"a": [1, None], "b": {"ü": True}}
    rows = [
        {"n": i, "x": i / 8, "t": None if i % 3 else f"t{i}", "o": nested if i % 2 else None, "l": [i, i + 1],
         **({"late": 2**60 + i} if i > 50 else {})}
        for i in range(120)
    ]  # fmt: skip
    return "\n".join(json.dumps(each) for each in rows)


def columns() -> pa.Table:
    n = range(150)
    return pa.table({
        "Nr.": pa.array(n, pa.int16()),
        "nr": pa.array([None if i % 7 == 0 else i * 2**50 for i in n], pa.uint64()),
        "Dezimal": pa.array([str(i) for i in n]).cast(pa.decimal128(20, 3)),
        "wann": pa.array([i * 10**9 for i in n], pa.timestamp("ns", "Europe/Berlin")),
        "Klasse": pa.array(["abc"[i % 3] for i in n]).dictionary_encode(),
        "Liste": pa.array([[i, None] if i % 2 else None for i in n], pa.list_(pa.int32())),
        "Satz": pa.array([{"a": i, "b": f"ü{i}"} for i in n]),
    })  # fmt: skip


def pixels(dtype: str, bands: int, height: int, width: int) -> Any:
    """A pattern of whole numbers from 1 to 199, or of eighths; the same on every processor."""
    y, x = np.mgrid[:height, :width]
    layers = np.stack([(x * x // 7 + y * 13 + x * y // (11 + band)) % 199 + 1 for band in range(bands)])
    return (layers / 8).astype(dtype) if np.dtype(dtype).kind == "f" else layers.astype(dtype)


def raster_with_nodata(inputs: Inputs) -> Path:
    made = pixels("int16", 2, 600, 700)
    made[:, 100:250, 300:] = -9999
    return inputs.ingest((inputs.put("x.tif", made, nodata=-9999), "GTiff")).path


def raster_with_nan(inputs: Inputs) -> Path:
    """Every line is the mirror of itself with the other sign: its sums are exact, in whatever order they are made."""
    half = pixels("float32", 1, 550, 260)
    half[:, 40:90, 30:200] = np.nan
    made = np.concatenate([half, -half[:, :, ::-1]], axis=2)
    return inputs.ingest((inputs.put("x.tif", made, nodata=np.nan), "GTiff")).path


def raster_of_floats(inputs: Inputs, dtype: str) -> Path:
    """Random numbers, whose squares have no exact sum: STATISTICS_STDDEV shows the order in which they are added."""
    made = np.random.default_rng(7).normal(100, 30, (2, 700, 800)).astype(dtype)
    return inputs.ingest((inputs.put("x.tif", made), "GTiff")).path


def mosaic(inputs: Inputs) -> Path:
    """Two files that overlap, and leave two corners to neither."""
    inputs.put("a.tif", pixels("uint8", 3, 400, 420))
    inputs.put("b.tif", 255 - pixels("uint8", 3, 400, 420), transform=UTM @ Affine.translation(300, 200))
    return inputs.ingest(("a.tif", "GTiff"), ("b.tif", "GTiff")).path


def warped(inputs: Inputs) -> Path:
    name = inputs.put("x.tif", pixels("uint8", 1, 300, 320), nodata=7)
    return inputs.ingest((name, "GTiff"), options={"warp": "EPSG:4326"}).path


def png(inputs: Inputs) -> Path:
    inputs.put("x.png", pixels("uint8", 3, 300, 320), driver="PNG", crs=None, transform=Affine.identity())
    inputs.write("x.pgw", "0.25\n0\n0\n-0.25\n5\n50\n")
    inputs.write("x.prj", 'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],'
                 'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433],AUTHORITY["EPSG","4326"]]')  # fmt: skip
    return inputs.ingest(("x.png", "PNG")).path


def joined(inputs: Inputs, how: str) -> Path:
    root = inputs.root / "join"
    root.mkdir()
    lake = Lake(root)
    keys = [f" {i * 7 % 90}" if i % 11 else None for i in range(140)]
    lake.tabular(pa.table({"k": keys, "n": range(140), "geom": [i / 8 for i in range(140)]}))
    shapes = [None if i % 13 == 5 else polygon(i / 4, i / 8, 0.25, 0) for i in range(80)]
    lake.spatial(pa.table({"code": range(20, 100), "name": [f"Ort {i}" for i in range(80)]}), shapes)
    return product_of(lake.join("k", how, right_key="code", spatial_columns=["name"], threads=inputs.threads))


CASES: Mapping[str, Callable[[Inputs], Path]] = {
    **{fmt: partial(vector, fmt=fmt, frame=areas) for fmt in WRITERS},
    "GPKG, every type": partial(vector, fmt="GPKG", frame=many_types),
    "GPKG, reprojected": partial(vector, fmt="GPKG", frame=lambda: areas(25832)),
    "GeoJSON by hand": written_geojson,
    "two FlatGeobuf files": two_files,
    "buildings": partial(vector, fmt="SHP", frame=areas, intent="ingest_building_footprints"),
    "roads": partial(vector, fmt="GeoJSON", frame=roads, intent="ingest_road_network"),
    "CSV": partial(table, fmt="CSV", body=lambda _: "\n".join(lines(","))),
    "CSV, spoiled": partial(table, fmt="CSV", body=lambda _: spoiled(), limits=EVERYTHING),
    "CSV, set aside": lambda inputs: product_of(run(inputs, spoiled(), limits=EVERYTHING), "quarantine.parquet"),
    "TSV": partial(table, fmt="TSV", body=lambda _: "\n".join(lines("\t"))),
    "XLSX": partial(table, fmt="XLSX", body=lambda _: book()),
    "JSONL": partial(table, fmt="JSONL", body=lambda _: jsonl()),
    "Parquet": partial(table, fmt="Parquet", body=lambda root: parquet(columns(), root)),
    "GTiff with nodata": raster_with_nodata,
    "GTiff with NaN": raster_with_nan,
    "GTiff of random float32": partial(raster_of_floats, dtype="float32"),
    "GTiff of random float64": partial(raster_of_floats, dtype="float64"),
    "mosaic of two": mosaic,
    "warped": warped,
    "PNG": png,
    "left join": partial(joined, how="left"),
    "outer join": partial(joined, how="outer"),
}


def sha256_of(case: str, root: Path, threads: int, recipes: RecipeTable = SHIPPED) -> str:
    return hashlib.sha256(CASES[case](Inputs(root, threads, recipes)).read_bytes()).hexdigest()


def libraries() -> dict[str, str]:
    """Those that have a part in the bytes."""
    names = ("antimeridian", "duckdb", "geopandas", "numpy", "pyarrow", "pyogrio", "pyproj", "rasterio", "shapely")
    return {name: version(name) for name in names}


def test_every_case_is_pinned() -> None:
    assert list(PINS) == list(CASES)
    assert list(PINS_OF_DESCRIBED) == list(CASES)[: len(PINS_OF_DESCRIBED)]
    assert list(PINS_OF_DESCRIBED)[-1] == "roads"


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="locks/ has other libraries for this Python")
@pytest.mark.parametrize("case", CASES)
def test_the_bytes_are_the_pinned_ones(tmp_path: Path, case: str) -> None:
    check(case, tmp_path, SHIPPED, PINS)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="locks/ has other libraries for this Python")
@pytest.mark.parametrize("case", PINS_OF_DESCRIBED)
def test_the_described_recipes_give_the_bytes_of_before(tmp_path: Path, case: str) -> None:
    check(case, tmp_path, DESCRIBED, PINS_OF_DESCRIBED)


def check(case: str, tmp_path: Path, recipes: RecipeTable, pins: Mapping[str, str]) -> None:
    found = {}
    for threads in (1, 3):
        (root := tmp_path / str(threads)).mkdir()
        found[threads] = sha256_of(case, root, threads, recipes)
    assert found[1] == found[3], "the number of threads changes the product"
    if found[1] != pins.get(case):
        other = [f"{name} {had} → {libraries()[name]}" for name, had in PINNED_WITH.items() if libraries()[name] != had]
        pytest.fail(
            f"The product is another one. Libraries that changed: {', '.join(other) or 'none'}.\n"
            f"If it is meant to be (see this module's docstring), its new line is\n"
            f'    "{case}": "{found[1]}",',
            pytrace=False,
        )


def print_tables() -> None:
    """PINNED_WITH, PINS and PINS_OF_DESCRIBED as this machine has them, to paste."""
    print("PINNED_WITH = {", *(f'    "{name}": "{it}",' for name, it in libraries().items()), "}\n", sep="\n")
    for name, recipes, cases in (("PINS", SHIPPED, CASES), ("PINS_OF_DESCRIBED", DESCRIBED, PINS_OF_DESCRIBED)):
        print(f"{name} = {{")
        for case in cases:
            with tempfile.TemporaryDirectory() as root:
                print(f'    "{case}": "{sha256_of(case, Path(root), 2, recipes)}",')
        print("}\n")


if __name__ == "__main__":
    print_tables()
