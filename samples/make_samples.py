"""Make the sample inputs and their manifests. The same libraries give the same bytes.

    python samples/make_samples.py [FOLDER]

countries.zip: Natural Earth's 177 countries (public domain), a zipped shapefile, taken from the pyogrio package.
parcels.gpkg: invented field parcels around an invented village, EPSG:25832, with the faults that such files have.
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


def manifest(name: str, file: dict[str, str], **metadata: object) -> dict[str, object]:
    return {
        "batch_id": f"demo-{name}",
        "uploader": "demo",
        "intent": "ingest_vector",
        "files": [{"path": f"s3://landing-zone/demo/{file['name']}", "type": "vector", "format": file["format"]}],
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
    )
    for document in manifests:
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        (folder / f"{str(document['batch_id']).removeprefix('demo-')}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    make_countries(target)
    make_parcels(target)
    make_manifests(target)
