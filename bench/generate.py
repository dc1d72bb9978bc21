"""Make an input of a case, always the same one: python -m bench.generate KIND DRIVER CRS ROWS."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyogrio
import pyproj
import shapely

from bench.cases import BIG_VERTICES, Case

Floats = npt.NDArray[np.float64]

NATIVE_CRS = "EPSG:25832"
SEED = 20260101
INVALID_SHARE = 0.0009
COURTYARD_SHARE = 0.01
BUILDINGS_A_TOWN = 2_000
SCHEMA = pa.schema(
    {
        "id": pa.int64(),
        "street": pa.string(),
        "use": pa.string(),
        "storeys": pa.int32(),
        "height": pa.float64(),
        "built": pa.date32(),
        "geom": pa.binary(),
    }
)

# Outlines in a unit square, counter-clockwise and open, with the share of buildings that have them.
OUTLINES: tuple[tuple[float, str], ...] = (
    (0.34, "0,0 1,0 1,1 0,1"),
    (0.20, "0,0 1,0 1,.5 .5,.5 .5,1 0,1"),
    (0.10, "0,0 1,0 1,.4 .7,.4 .7,1 .3,1 .3,.4 0,.4"),
    (0.10, "0,0 1,0 1,1 .7,1 .7,.4 .3,.4 .3,1 0,1"),
    (0.08, "0,0 1,0 1,.3 .8,.3 .8,.6 .5,.6 .5,.8 .3,.8 .3,1 0,1"),
    (0.09, ".3,0 .7,0 .7,.3 1,.3 1,.7 .7,.7 .7,1 .3,1 .3,.7 0,.7 0,.3 .3,.3"),
    (0.09, "0,0 1,0 1,.9 .85,.9 .85,.5 .7,.5 .7,.9 .55,.9 .55,.5 .45,.5 .45,.9 .3,.9 .3,.5 .15,.5 .15,.9 0,.9"),
)


def templates() -> tuple[Floats, npt.NDArray[np.int64]]:
    """Closed outlines, padded to one length, centred on 0,0; and how many vertices each really has."""
    rings = [np.array([point.split(",") for point in text.split()], dtype=float) - 0.5 for _, text in OUTLINES]
    closed = [np.vstack([ring, ring[:1]]) for ring in rings]
    sizes = np.array([len(ring) for ring in closed])
    padded = np.zeros((len(closed), sizes.max(), 2))
    for index, ring in enumerate(closed):
        padded[index, : len(ring)] = ring
    return padded, sizes


def buildings(rng: np.random.Generator, count: int) -> npt.NDArray[np.object_]:
    """Town by town; about 1 in 1,200 crosses itself, 1 in 100 has a courtyard. Metres, to the millimetre."""
    padded, template_sizes = templates()
    kind = rng.choice(len(OUTLINES), count, p=[share for share, _ in OUTLINES])
    sizes = template_sizes[kind]
    used = np.arange(padded.shape[1]) < sizes[:, None]
    shapes = padded[kind] * rng.uniform(7, 32, (count, 1, 2))
    wobble = rng.normal(0, 0.05, shapes.shape)
    shapes += wobble
    shapes[np.arange(count), sizes - 1] = shapes[:, 0]
    crossing = rng.random(count) < INVALID_SHARE
    shapes[crossing, 1:3] = shapes[crossing, 2:0:-1]
    angle = rng.uniform(0, np.pi / 2, count)
    turn = np.stack([np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)], axis=-1).reshape(-1, 2, 2)
    towns = np.repeat(
        rng.uniform((420_000, 5_300_000), (680_000, 5_900_000), (-(-count // BUILDINGS_A_TOWN), 2)),
        BUILDINGS_A_TOWN,
        axis=0,
    )
    place = (towns[:count] + rng.normal(0, 800, (count, 2)))[:, None]
    outer = np.round(shapes @ turn + place, 3)
    courtyard = np.flatnonzero((kind == 0) & ~crossing & (rng.random(count) < COURTYARD_SHARE / OUTLINES[0][0]))
    inner = np.round(shapes[courtyard, 4::-1] * 0.4 @ turn[courtyard] + place[courtyard], 3)
    rings = shapely.linearrings(outer[used], indices=np.repeat(np.arange(count), sizes))
    holes = shapely.linearrings(inner.reshape(-1, 2), indices=np.repeat(np.arange(len(inner)), 5))
    owner = np.concatenate([np.arange(count), courtyard])
    order = np.argsort(owner, kind="stable")
    polygons: npt.NDArray[np.object_] = shapely.polygons(np.concatenate([rings, holes])[order], indices=owner[order])
    return polygons


def big(rng: np.random.Generator, count: int) -> npt.NDArray[np.object_]:
    """Rough coastlines around a centre, 4 to 20 km wide; valid, but for one in a hundred."""
    waves = np.arange(1, BIG_VERTICES // 2)
    spectrum = waves**-1.4 * np.exp(2j * np.pi * rng.random((count, len(waves))))
    rough = np.fft.irfft(np.pad(spectrum, ((0, 0), (1, 0))), BIG_VERTICES - 1, axis=1)
    rough *= 0.5 / np.abs(rough).max(axis=1, keepdims=True)
    radius = rng.uniform(2_000, 10_000, (count, 1)) * (1 + rough)
    angle = np.linspace(0, 2 * np.pi, BIG_VERTICES - 1, endpoint=False)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    points += rng.uniform((420_000, 5_300_000), (680_000, 5_900_000), (count, 1, 2))
    crossing = rng.random(count) < 0.01
    points[crossing, 100:102] = points[crossing, 101:99:-1]
    closed = np.round(np.concatenate([points, points[:, :1]], axis=1), 3)
    polygons: npt.NDArray[np.object_] = shapely.polygons(closed)
    return polygons


KINDS: dict[str, tuple[Callable[[np.random.Generator, int], npt.NDArray[np.object_]], int]] = {
    "buildings": (buildings, 100_000),
    "big": (big, 250),
}


def batches(case: Case) -> Iterator[pa.RecordBatch]:
    rng = np.random.default_rng(SEED)
    make, chunk = KINDS[case.kind]
    to_case = pyproj.Transformer.from_crs(NATIVE_CRS, case.crs, always_xy=True)
    for first in range(0, case.rows, chunk):
        # Whole chunks are made even where fewer rows are asked for: a small input is the beginning of a large one.
        count = min(chunk, case.rows - first)
        geometries = make(rng, chunk)[:count]
        ids = np.arange(first, first + count)
        noise = rng.random((4, chunk))[:, :count]
        if case.crs != NATIVE_CRS:
            geometries = shapely.transform(
                geometries, lambda xy: np.stack(to_case.transform(xy[:, 0], xy[:, 1]), axis=-1)
            )
        yield pa.record_batch(
            [
                pa.array(ids),
                pa.array([f"Mühlstraße {number}" for number in (ids % 240).tolist()]),
                pa.array(np.array(["residential", "garage", "farm", "industrial", None])[(noise[0] * 5).astype(int)]),
                pa.array((noise[1] * 7 + 1).astype(np.int32)),
                pa.array(np.round(noise[2] * 30 + 2, 2), mask=noise[2] < 0.1),
                pa.array((noise[3] * 20_000).astype(np.int32)).cast(pa.date32()),
                pa.array(shapely.to_wkb(geometries), pa.binary()),
            ],
            schema=SCHEMA,
        )


def generate(case: Case) -> Path:
    """Write the file unless it is there already."""
    if not case.path.exists():
        case.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = case.path.with_stem(f"{case.path.stem}.unfinished")
        unfinished.unlink(missing_ok=True)
        pyogrio.write_arrow(
            pa.RecordBatchReader.from_batches(SCHEMA, batches(case)),
            unfinished,
            layer="layer",
            driver=case.driver,
            geometry_name="geom",
            geometry_type="Polygon",
            crs=case.crs,
        )
        unfinished.rename(case.path)
    return case.path


if __name__ == "__main__":
    kind, driver, crs, rows = sys.argv[1:]
    generate(Case(kind, driver, crs, int(rows)))
