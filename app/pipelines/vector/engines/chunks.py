"""Chunks on their way through an engine: after its steps, and ready to be written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely

from app.models.recipes.steps import CountInvalid, Promote
from app.pipelines.common.findings import Findings
from app.pipelines.common.shapes import Geometries, to_wkb
from app.pipelines.vector.engines.clean import count_invalid, promote
from app.pipelines.vector.engines.measure import Rows, measure
from app.pipelines.vector.source import VectorSource

_TYPE_NAMES = np.array(
    [
        "Point",
        "LineString",
        "LinearRing",
        "Polygon",
        "MultiPoint",
        "MultiLineString",
        "MultiPolygon",
        "GeometryCollection",
    ]
)
# A geometry within so many units of 0, 0 probably has no coordinates.
NULL_ISLAND = 1e-6
# Seconds between two calls of the watch while one chunk takes long.
WATCH_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class CleanChunk:
    """A chunk in the CRS of the result, repaired and simplified.

    Attributes:
        source: where it comes from.
        attributes: in the order of the source's schema.
        geometries: of all rows, null and empty ones included.
        first_row: number of the first row within the source.
        findings: of the steps so far.
        is_flat: whether no geometry has z.
        changed: rows that were changed after the reprojection.
        sizes: (n, 2) area and length of these rows before that, as `sizes_of` gives them.
        wkb: the geometries as ISO WKB, where the engine has them.
    """

    source: VectorSource
    attributes: tuple[pa.Array, ...]
    geometries: Geometries
    first_row: int
    findings: Findings
    is_flat: bool
    changed: Rows
    sizes: npt.NDArray[np.float64]
    wkb: pa.Array | None = None


@dataclass(frozen=True, slots=True)
class TransformedChunk:
    """A transformed chunk, ready to be written."""

    source: VectorSource
    attributes: tuple[pa.Array, ...]
    wkb: pa.Array
    boxes: npt.NDArray[np.float64]
    types: Counter[str]
    heights: tuple[float, float] | None
    findings: Findings


def complete(chunk: CleanChunk, steps: Sequence[CountInvalid | Promote]) -> TransformedChunk:
    """Run the last steps, the same for all engines, count what is left to count, and prepare the chunk for writing."""
    geometries, wkb, first, findings = chunk.geometries, chunk.wkb, chunk.first_row, chunk.findings
    measure(geometries, chunk.changed, chunk.sizes, first, findings)
    for step in steps:
        if isinstance(step, Promote):
            geometries, wkb = promote(geometries), None
        else:
            count_invalid(geometries, first, findings)
    findings.add("null_geometries", shapely.is_missing(geometries), first)
    findings.add("empty_geometries", shapely.is_empty(geometries), first)
    findings.counts["vertices_out"] += int(shapely.get_num_coordinates(geometries).sum())
    boxes = shapely.bounds(geometries)
    findings.add("null_island", (np.abs(boxes) < NULL_ISLAND).all(axis=1), first)
    high = np.zeros(len(geometries), np.bool_) if chunk.is_flat else shapely.has_z(geometries)
    return TransformedChunk(
        source=chunk.source,
        attributes=chunk.attributes,
        wkb=to_wkb(geometries) if wkb is None else wkb,
        boxes=boxes,
        types=_types(geometries, high),
        heights=_heights(geometries[high]) if high.any() else None,
        findings=findings,
    )


def _types(geometries: npt.NDArray[np.object_], high: npt.NDArray[np.bool_]) -> Counter[str]:
    """Rows by geometry type, as GeoParquet names them; null geometries have none."""
    ids = shapely.get_type_id(geometries)
    numbers = np.bincount(ids[ids >= 0] * 2 + high[ids >= 0])
    return Counter({_TYPE_NAMES[i // 2] + " Z" * (i % 2): int(n) for i, n in enumerate(numbers) if n})


def _heights(geometries: npt.NDArray[np.object_]) -> tuple[float, float] | None:
    z = shapely.get_coordinates(geometries, include_z=True)[:, 2]
    z = z[np.isfinite(z)]
    return (float(z.min()), float(z.max())) if len(z) else None
