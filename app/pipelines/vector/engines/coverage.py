"""Simplifying all polygons of a dataset together, so that neighbours keep the borders that they share.

GEOS needs all of them at once: rows wait in scratch until the last one is there, then their geometries are held in
memory. It is the only step of a recipe whose memory grows with the input, and is refused above a number of vertices.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely

from app.messages.vector import COVERAGE_TOO_LARGE
from app.models.recipes.steps import SimplifyCoverage
from app.pipelines.common.findings import Findings, KeptRows
from app.pipelines.common.shapes import Geometries, to_wkb
from app.pipelines.vector.engines.chunks import WATCH_SECONDS, CleanChunk
from app.pipelines.vector.engines.external_sort import Spool
from app.pipelines.vector.engines.heights import keep_heights
from app.pipelines.vector.engines.measure import Rows, sizes_of
from app.pipelines.vector.source import VectorSource

# Columns of the scratch file besides the attributes.
_OWN = [
    pa.field("wkb", pa.large_binary()),
    pa.field("row", pa.int64()),
    pa.field("area", pa.float64()),
    pa.field("length", pa.float64()),
]
_POLYGONS = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)

Stream = Generator[CleanChunk | None, None, None]


def simplify_coverage(chunks: Stream, step: SimplifyCoverage, scratch: Path) -> Stream:
    """The same chunks, with their polygons simplified together. Rows, attributes and other geometries stay.

    Counts `simplified`; `coverage_invalid_edges`, the polygons that overlap a neighbour or do not share its vertices;
    `coverage_not_polygons`, the geometries of other types; `simplify_kept`, those whose simplification is not valid,
    which stay as they were.

    Args:
        chunks: after the steps before; None now and then.
        step: with the tolerance in units of the coordinates.
        scratch: for a file of about the size of the rows.

    Raises:
        RunRefused: coverage_too_large for more vertices than the step allows.
    """
    kept = _Waiting(scratch / "coverage", step.most_vertices)
    with closing(chunks):
        for chunk in chunks:
            if chunk is None:
                yield None
            else:
                kept.add(chunk)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(_simplified, kept, step.tolerance)
        while not wait([future], WATCH_SECONDS).done:
            yield None
    yield from kept.replaced(future.result())


@dataclass(slots=True)
class _Simplified:
    """All polygons that are not empty, by their place among all rows, with what was found of each."""

    geometries: Geometries
    invalid: npt.NDArray[np.bool_]
    changed: npt.NDArray[np.bool_]
    kept: npt.NDArray[np.bool_]


@dataclass(slots=True)
class _Waiting:
    """The chunks so far, in a file for each of their schemas' order."""

    path: Path
    most_vertices: int
    vertices: int = 0
    chunks: list[tuple[VectorSource, Findings, bool]] = field(default_factory=list)
    spool: Spool | None = None

    def add(self, chunk: CleanChunk) -> None:
        size = len(chunk.geometries)
        self.vertices += int(shapely.get_num_coordinates(chunk.geometries).sum()) + size
        if self.vertices > self.most_vertices:
            raise COVERAGE_TOO_LARGE(file=chunk.source.file, limit=self.most_vertices)
        sizes = np.full((size, 2), np.nan)
        sizes[chunk.changed] = chunk.sizes
        wkb = to_wkb(chunk.geometries) if chunk.wkb is None else chunk.wkb
        rows = chunk.first_row + np.arange(size)
        columns = [*chunk.attributes, wkb.cast(pa.large_binary()), *map(pa.array, (rows, *sizes.T.copy()))]
        if self.spool is None:
            attributes = [pa.field(str(n), array.type) for n, array in enumerate(chunk.attributes)]
            self.spool = Spool(self.path, pa.schema([*attributes, *_OWN]))
        self.spool.write(pa.record_batch(columns, schema=self.spool.schema))
        self.chunks.append((chunk.source, chunk.findings, chunk.is_flat))

    def geometries(self) -> Sequence[Geometries]:
        """Of all rows."""
        return [] if self.spool is None else [_geometries(batch) for batch in self.spool.read(remove=False)]

    def replaced(self, simplified: _Simplified) -> Stream:
        """The chunks again, with the simplified polygons."""
        if self.spool is None:
            return
        start = 0
        for batch, (source, findings, is_flat) in zip(self.spool.read(), self.chunks, strict=True):
            geometries = _geometries(batch)
            polygons = _polygons(geometries)
            part = slice(start, start := start + len(polygons))
            first = KeptRows.of(0, batch.column("row").to_numpy())
            sizes = np.column_stack([batch.column(name).to_numpy() for name in ("area", "length")])
            changed = polygons[simplified.changed[part]]
            new = changed[np.isnan(sizes[changed, 0])]
            sizes[new] = sizes_of(geometries[new])
            geometries[changed] = simplified.geometries[part][simplified.changed[part]]
            findings.counts["simplified"] += len(changed)
            findings.add("simplify_kept", polygons[simplified.kept[part]], first)
            findings.add("coverage_invalid_edges", polygons[simplified.invalid[part]], first)
            others = ~shapely.is_missing(geometries) & ~np.isin(shapely.get_type_id(geometries), _POLYGONS)
            findings.add("coverage_not_polygons", others, first)
            rows = np.flatnonzero(~np.isnan(sizes[:, 0]))
            attributes = tuple(batch.columns[: -len(_OWN)])
            yield CleanChunk(source, attributes, geometries, first, findings, is_flat, rows, sizes[rows])


def _geometries(batch: pa.RecordBatch) -> Geometries:
    found: Geometries = shapely.from_wkb(batch.column("wkb").to_numpy(zero_copy_only=False))
    return found


def _polygons(geometries: Geometries) -> Rows:
    kinds = np.isin(shapely.get_type_id(geometries), _POLYGONS)
    return np.flatnonzero(kinds & ~shapely.is_empty(geometries))


def _simplified(kept: _Waiting, tolerance: float) -> _Simplified:
    parts = [each[_polygons(each)] for each in kept.geometries()]
    before = np.concatenate([np.empty(0, object), *parts])
    if not len(before):
        nothing = np.empty(0, np.bool_)
        return _Simplified(before, nothing, nothing, nothing)
    invalid = ~shapely.is_empty(shapely.coverage_invalid_edges(before))
    after, unfit = _together(before, tolerance)
    changed = shapely.get_num_coordinates(before) != shapely.get_num_coordinates(after)
    bad = np.zeros(len(before), np.bool_)
    made = after[changed]
    keep_heights(before[changed], made)
    after[changed] = made
    bad[changed] = ~shapely.is_valid(made)
    return _Simplified(after, invalid, changed & ~bad, bad | unfit)


def _together(polygons: Geometries, tolerance: float) -> tuple[Geometries, npt.NDArray[np.bool_]]:
    """The polygons simplified together, and which were left out because GEOS cannot do it with invalid ones."""
    unfit = np.zeros(len(polygons), np.bool_)
    try:
        return shapely.coverage_simplify(polygons, tolerance), unfit
    except shapely.errors.GEOSException:
        # A recipe may keep invalid geometries.
        unfit = ~shapely.is_valid(polygons)
        made = polygons.copy()
        made[~unfit] = shapely.coverage_simplify(polygons[~unfit], tolerance)
        return made, unfit
