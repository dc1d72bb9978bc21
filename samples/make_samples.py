"""Make the sample inputs and their manifests. The same libraries give the same bytes.

    python samples/make_samples.py [FOLDER]

countries.zip: Natural Earth's 177 countries (public domain), a zipped shapefile, taken from the pyogrio package.
raster/terrain.tif: the height of the hills around that village in decimetres, EPSG:25832, with a pond as nodata.
parcels.gpkg: invented field parcels around an invented village, EPSG:25832, with the faults that such files have.
tabular/wells.csv: wells around that village with their coordinates in two columns, as a water board would send them.
tabular/population.csv: populations of those countries (public domain), with the traps that such tables have.
join/population_map.json: that table and those countries together, a manifest without a file.
"""

from __future__ import annotations

import json
import sys
import zipfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyogrio
import rasterio
import shapely

COLUMNS, ROWS = 24, 18
CROSSING = 12
WITH_HOLE = 9
FIRST_CORNER = (604_350.0, 5_411_800.0)
DISTRICTS = ("Großmühlbach", "Höfen a. d. Wörnitz", "Überacker", "Weiße Öd")
LANES = ("Am Gänsebühl", "Mühlstraße", "Kühgasse", "Zur Schäferhütte", "Lange Änger", "Hinterm Löß", "Fährweg")
USES = ("Acker", "Grünland", "Gehölz", "Streuobst", "Gebäude- und Freifläche")


def make_countries(folder: Path) -> None:
    source = Path(pyogrio.__file__).parent / "tests/fixtures/naturalearth_lowres"
    with zipfile.ZipFile(folder / "countries.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(source.iterdir()):
            entry = zipfile.ZipInfo(path.name.replace("naturalearth_lowres", "countries"), (2026, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes())


def corners(rng: np.random.Generator) -> np.ndarray:
    """Parcel corners as (ROWS + 1, COLUMNS + 1, 2) metres: a grid with uneven spacing, bent by a slow wave."""
    x = np.concatenate([[0.0], rng.uniform(70, 190, COLUMNS).cumsum()])
    y = np.concatenate([[0.0], rng.uniform(90, 260, ROWS).cumsum()])
    grid = np.stack(np.meshgrid(x, y), axis=-1)
    grid[1:-1, 1:-1] += rng.uniform(-14, 14, (ROWS - 1, COLUMNS - 1, 2))
    return grid


def bend(points: np.ndarray) -> np.ndarray:
    """The same slow wave and turn for every point, so that neighbours stay neighbours; to the millimetre."""
    x, y = points[..., 0], points[..., 1]
    waved = np.stack([x + 90 * np.sin(y / 620), y + 110 * np.sin(x / 780) + 35 * np.cos((x + y) / 300)], axis=-1)
    turn = np.array([[np.cos(0.31), np.sin(0.31)], [-np.sin(0.31), np.cos(0.31)]])
    bent: np.ndarray = np.round(waved @ turn + FIRST_CORNER, 3)
    return bent


def outlines(rng: np.random.Generator) -> list[np.ndarray]:
    """One closed ring a parcel, each side in five pieces."""
    grid = corners(rng)
    steps = np.linspace(0, 1, 5, endpoint=False)[:, None]
    rings = []
    for row in range(ROWS):
        for column in range(COLUMNS):
            box = [grid[row, column], grid[row, column + 1], grid[row + 1, column + 1], grid[row + 1, column]]
            sides = [a + steps * (b - a) for a, b in zip(box, [*box[1:], box[0]], strict=True)]
            ring = bend(np.concatenate(sides))
            rings.append(np.concatenate([ring, ring[:1]]))
    return rings


def make_geometries(rng: np.random.Generator) -> np.ndarray:
    rings = outlines(rng)
    chosen = rng.permutation(len(rings))
    crossing, holed, lost = chosen[:CROSSING], chosen[CROSSING : CROSSING + WITH_HOLE], chosen[CROSSING + WITH_HOLE]
    for number, index in enumerate(crossing):
        if number % 2:  # two neighbouring vertices digitised in the wrong order
            rings[index][[7, 8]] = rings[index][[8, 7]]
        else:  # one half of the outline digitised backwards: an hourglass
            rings[index][10:20] = rings[index][10:20][::-1]
    parcels = np.array([shapely.Polygon(ring) for ring in rings], dtype=object)
    for index in holed:
        pond = np.round(rings[index].mean(axis=0) + (rings[index] - rings[index].mean(axis=0)) * 0.3, 3)
        parcels[index] = shapely.Polygon(rings[index], [pond[::-1]])
    if int((~shapely.is_valid(parcels)).sum()) != CROSSING:
        raise AssertionError("The number of self-crossing parcels is not what it should be.")
    parcels[lost] = None
    return parcels


def sometimes(rng: np.random.Generator, values: list[object], share: float) -> list[object]:
    return [value if keep else None for value, keep in zip(values, rng.random(len(values)) < share, strict=True)]


def make_parcels(folder: Path) -> None:
    rng = np.random.default_rng(20260101)
    geometries = make_geometries(rng)
    count = len(geometries)
    days = rng.integers(0, 20_000, count)
    changes = rng.integers(0, 60_000_000, count)
    table = pa.table(
        {
            "parcel_id": [f"{9700 + i % 4}-{i + 1:05d}/{rng.integers(1, 9)}" for i in range(count)],
            "survey_no": pa.array(97_000_000_000_000 + rng.integers(0, 10**12, count), pa.int64()),
            "district": [DISTRICTS[i % len(DISTRICTS)] for i in rng.integers(0, 99, count)],
            "lane": pa.array(sometimes(rng, [LANES[i % len(LANES)] for i in rng.integers(0, 99, count)], 0.8)),
            "land_use": [USES[i] for i in rng.choice(len(USES), count, p=[0.5, 0.25, 0.1, 0.1, 0.05])],
            "protected": pa.array(sometimes(rng, [bool(b) for b in rng.random(count) < 0.2], 0.9), pa.bool_()),
            "soil_points": pa.array(sometimes(rng, [int(v) for v in rng.integers(18, 95, count)], 0.85), pa.int32()),
            "rent_eur_ha": pa.array(
                sometimes(rng, [round(float(v), 2) for v in rng.gamma(9, 60, count)], 0.6), pa.float64()
            ),
            "registered_on": pa.array([date(1958, 3, 1) + timedelta(days=int(d)) for d in days], pa.date32()),
            "changed_at": pa.array(
                [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=int(s)) for s in changes],
                pa.timestamp("ms", "UTC"),
            ),
            "geom": pa.array(shapely.to_wkb(geometries), pa.binary()),
        }
    )
    path = folder / "parcels.gpkg"
    path.unlink(missing_ok=True)
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "2026-01-01T00:00:00.000Z"})
    pyogrio.write_arrow(
        table, path, layer="parcels", driver="GPKG", geometry_name="geom", geometry_type="Polygon", crs="EPSG:25832"
    )


def make_terrain(folder: Path) -> None:
    """Hills with valleys cut into them: noise of many wavelengths, the short ones weak."""
    rng = np.random.default_rng(20260102)
    height, width = 480, 600
    y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    wavenumber = np.hypot(x, y)
    wavenumber[0, 0] = 1
    spectrum = wavenumber**-2.1 * np.exp(2j * np.pi * rng.random(wavenumber.shape))
    spectrum[0, 0] = 0
    hills = np.fft.irfft2(spectrum, (height, width))
    heights = 4_550 + 380 * hills / hills.std() - 260 * np.exp(-((hills / hills.std() * 2.5) ** 2))
    decimetres = np.round(heights).astype(np.int16)
    rows, columns = np.mgrid[:height, :width]
    decimetres[((rows - 210) / 14) ** 2 + ((columns - 330) / 22) ** 2 < 1] = -32768
    path = folder / "raster" / "terrain.tif"
    path.parent.mkdir(exist_ok=True)
    left, top = FIRST_CORNER[0] - 500, FIRST_CORNER[1] + 1_000
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=1,
        dtype="int16",
        crs="EPSG:25832",
        transform=rasterio.Affine(10, 0, left, 0, -10, top),
        nodata=-32768,
        compress="DEFLATE",
        predictor=2,
        zlevel=9,
    ) as made:
        made.write(decimetres, 1)
        made.set_band_description(1, "height")
        made.set_band_unit(1, "m")
        made.scales = (0.1,)


def make_population(folder: Path) -> None:
    """The populations of Natural Earth's countries as such tables come: CP1252, semicolons, codes with leading zeros,
    quoted line ends, a missing value, and one row with a field too many."""
    source = Path(pyogrio.__file__).parent / "tests/fixtures/naturalearth_lowres/naturalearth_lowres.shp"
    _, table = pyogrio.read_arrow(source, columns=["iso_a3", "name", "pop_est"])
    remarks = {
        "AUT": '"Zählung: „Österreich“\r\nohne Zweitwohnsitze"',
        "CIV": '"auch ""Elfenbeinküste"""',
    }
    known = {"Norway": "NOR", "France": "FRA"}  # without a code in this version of Natural Earth
    lines = ["ISO-Code;Ländername;Kenn-Nr.;Einwohner (Mio.);Geschätzt am;Bemerkung"]
    for number, row in enumerate(sorted(table.to_pylist(), key=lambda each: each["name"]), 1):
        code = known.get(row["name"], row["iso_a3"])
        if code == "-99":
            continue
        remark = remarks.get(code, "")
        people = "" if code == "ATA" else f"{row['pop_est'] / 1e6:.2f}"
        extra = ";?" if code == "FLK" else ""
        lines.append(f"{code};{row['name']};{number:03d};{people};2017-07-01;{remark}{extra}")
    (folder / "tabular").mkdir(exist_ok=True)
    (folder / "tabular" / "population.csv").write_bytes("\r\n".join([*lines, ""]).encode("cp1252"))
    document = {
        "batch_id": "demo-population",
        "uploader": "demo",
        "intent": "ingest_tabular",
        "files": [{"path": "s3://landing-zone/demo/population.csv", "type": "tabular", "format": "CSV"}],
        "dataset": {
            "id": "population",
            "checks": [
                {"check": "unique", "column": "iso_code"},
                {"check": "between", "column": "einwohner_mio", "min": 0, "max": 2000},
                {"check": "not_null", "column": "einwohner_mio", "severity": "warn"},
            ],
        },
        "metadata": {
            "title": "Population of the countries",
            "description": "Estimates of Natural Earth in millions, written as such tables come.",
            "source": "Natural Earth",
            "license": "Public domain",
            "attribution": "Made with Natural Earth",
            "keywords": ["countries", "population"],
            "project": "demo",
            "tags": {"dataset_id": "population"},
        },
    }
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    (folder / "tabular" / "population.json").write_text(text, encoding="utf-8")


def make_wells(folder: Path) -> None:
    """Invented wells as a table: decimal commas, German dates, and one well that was never surveyed."""
    rng = np.random.default_rng(31)
    lines = ["Brunnen;Lage;Rechtswert;Hochwert;Tiefe (m);Gemessen am"]
    for number in range(1, 25):
        east, north = bend(np.array([rng.uniform(0, 2_800), rng.uniform(0, 2_900)]))
        lane, measured = LANES[rng.integers(len(LANES))], date(2026, 3, 1) + timedelta(days=number % 5)
        place = f"{east:.2f};{north:.2f}" if number != 17 else ";"
        numbers = f"{place};{rng.uniform(8, 60):.1f}".replace(".", ",")
        lines.append(f"{number:03d};{lane};{numbers};{measured:%d.%m.%Y}")
    (folder / "tabular").mkdir(exist_ok=True)
    (folder / "tabular" / "wells.csv").write_text("\r\n".join([*lines, ""]), encoding="utf-8", newline="")
    document = {
        "batch_id": "demo-wells",
        "uploader": "demo",
        "intent": "ingest_vector",
        "files": [
            {
                "path": "s3://landing-zone/demo/wells.csv",
                "type": "tabular",
                "format": "CSV",
                "options": {
                    "geometry": {"x": "Rechtswert", "y": "Hochwert", "crs": "EPSG:25832"},
                    "decimal": ",",
                    "date_format": "dmy",
                },
            }
        ],
        "metadata": {
            "title": "Wells around Großmühlbach",
            "description": "Invented wells with their coordinates in two columns of a table.",
            "source": "samples/make_samples.py",
            "license": "CC0-1.0",
            "attribution": "",
            "keywords": ["wells", "groundwater"],
            "project": "demo",
            "tags": {"dataset_id": "wells"},
        },
    }
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    (folder / "tabular" / "wells.json").write_text(text, encoding="utf-8")


def make_join(folder: Path) -> None:
    """The map that the table was made for. Natural Earth has no codes for two of the table's countries."""
    document = {
        "batch_id": "demo-population-map",
        "uploader": "demo",
        "intent": "join_datasets",
        "files": [],
        "metadata": {
            "title": "Population on the map",
            "description": "The table of populations with the outlines of the countries.",
            "source": "Natural Earth",
            "license": "Public domain",
            "attribution": "Made with Natural Earth",
            "keywords": ["countries", "population", "map"],
            "project": "demo",
            "tags": {"dataset_id": "population-map"},
            "join_config": {
                "tabular_dataset_id": "population",
                "left_key": "iso_code",
                "spatial_dataset_id": "countries",
                "right_key": "iso_a3",
                "how": "left",
                "spatial_columns": ["continent"],
            },
        },
    }
    (folder / "join").mkdir(exist_ok=True)
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    (folder / "join" / "population_map.json").write_text(text, encoding="utf-8")


def manifest(name: str, file: dict[str, str], **metadata: object) -> dict[str, object]:
    return {
        "batch_id": f"demo-{name}",
        "uploader": "demo",
        "intent": file.get("intent", "ingest_vector"),
        "files": [
            {
                "path": f"s3://landing-zone/demo/{file['name']}",
                "type": file.get("type", "vector"),
                "format": file["format"],
            }
        ],
        "metadata": {**metadata, "project": "demo", "tags": {"dataset_id": name}},
    }


def make_manifests(folder: Path) -> None:
    manifests = (
        manifest(
            "countries",
            {"name": "countries.zip", "format": "SHP"},
            title="Countries of the world",
            description="Admin-0 countries at 1:110 million, with population and gross domestic product.",
            source="Natural Earth",
            license="Public domain",
            attribution="Made with Natural Earth",
            keywords=["countries", "boundaries", "world"],
        ),
        manifest(
            "parcels",
            {"name": "parcels.gpkg", "format": "GPKG"},
            title="Parcels of Großmühlbach",
            description="Invented field parcels in UTM zone 32, some of them digitised badly.",
            source="samples/make_samples.py",
            license="CC0-1.0",
            attribution="",
            keywords=["parcels", "cadastre"],
        ),
        manifest(
            "terrain",
            {"name": "terrain.tif", "format": "GTiff", "type": "raster", "intent": "ingest_raster"},
            title="Heights around Großmühlbach",
            description="Invented hills on a grid of 10 m, in decimetres; the pond is nodata.",
            source="samples/make_samples.py",
            license="CC0-1.0",
            attribution="",
            keywords=["elevation", "terrain"],
        ),
    )
    for document in manifests:
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        name = str(document["batch_id"]).removeprefix("demo-")
        (folder / ("raster" if name == "terrain" else "") / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    make_countries(target)
    make_parcels(target)
    make_population(target)
    make_wells(target)
    make_terrain(target)
    make_join(target)
    make_manifests(target)
